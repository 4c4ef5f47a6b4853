"""Flickr30k captions for image retrieval: five captions a picture, Karpathy's splits. Paper: group G2, section 2.1.

Home: the Flickr30k page of the University of Illinois, and Karpathy's split file. Licence: captions for research;
pictures under Flickr's terms.

File: ``flickr30k/dataset_flickr30k.json`` (Karpathy), whose pictures have a file name and no other id.
Where it is missing, the original project's JSON lines are read (:mod:`twelvefold.datasets.reading.vilbert_mt_files`).

Splits: train 145,000 captions of 29,000 pictures (140,485 after cleaning), val 1,014 pictures, test 1,000.

One example per caption, in the file's order; its picture is the positive pair. Texts lose the blanks at their ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from twelvefold.datasets.coco import captioned, pictures
from twelvefold.datasets.reading import vilbert_mt_files
from twelvefold.datasets.reading.records import BadRecords, Row, Source, checked, present
from twelvefold.schema import Example, ImageKey, Split, TaskSpec

TASK = TaskSpec(
    name="flickr30k",
    title="Flickr30k retrieval",
    family="retrieval",
    head="retrieval",
    metric="recall_at_1",
    max_tokens=30,
    batch_size=128,
    lr=2e-5,
)


def files(root: Path, split: Split) -> list[Path]:
    """Karpathy's file, whatever the split; or the original project's of the split."""
    folder = root / "flickr30k"
    return present(TASK.name, [[folder / "dataset_flickr30k.json", folder / vilbert_mt_files.CAPTIONS[split]]])


def read(root: Path, split: Split, *, bad: BadRecords) -> Iterator[Example]:
    """One example per caption of a split, label PositivePair(0)."""
    source = Source(TASK.name, files(root, split)[0], bad)
    by_original = source.path.name == vilbert_mt_files.CAPTIONS[split]
    return checked(vilbert_mt_files.captions(source, _key) if by_original else _rows(source, split))


def _key(picture: vilbert_mt_files.Captioned) -> ImageKey:
    return ImageKey("flickr30k", Path(picture.img_path).name.partition(".")[0])  # as the original: its id says else


def _rows(source: Source, split: Split) -> Iterator[Row]:
    for record, picture in pictures(source, split):
        image = ImageKey("flickr30k", picture.filename.removesuffix(".jpg"))
        yield from captioned(source, record, image, picture.sentences)
