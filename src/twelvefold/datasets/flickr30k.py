"""Flickr30k captions for image retrieval: five captions per image, Karpathy's splits. Paper: group G2, section 2.1.

Publisher: the University of Illinois, and Andrej Karpathy for the splits. License: captions for research; images under
Flickr's terms.

File: ``flickr30k/dataset_flickr30k.json`` (Karpathy), whose images are identified by their file names only. If it is
missing, ALBEF's and BLIP's ``flickr30k_{train,val,test}.json`` are read
(:mod:`twelvefold.datasets.reading.blip_files`), or the original project's JSON lines
(:mod:`twelvefold.datasets.reading.vilbert_mt_files`).

Splits: train has 145,000 captions of 29,000 images (140,485 after cleaning), val 1,014 images, test 1,000 images.

One example per caption, in the order of the file, with the captioned image as its positive pair. Captions are stripped
of white space at both ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from twelvefold.datasets import coco
from twelvefold.datasets.coco import caption_rows, read_images
from twelvefold.datasets.reading import blip_files, vilbert_mt_files
from twelvefold.datasets.reading.cards import KARPATHY_SOURCE, CardFile, DatasetCard, OriginalCounts
from twelvefold.datasets.reading.image_sources import FLICKR30K
from twelvefold.datasets.reading.records import BadRecords, RecordReader, Row, require_files, validated
from twelvefold.schema import Example, ImageKey, Split, TaskSpec

PAPER_ORDER = 5
PAPER_SCORE = 63.52, "test-1K"
TASK: TaskSpec = replace(coco.TASK, name="flickr30k", title="Flickr30k retrieval")
CARD = DatasetCard(
    title=TASK.title,
    publisher=KARPATHY_SOURCE,
    license="for research",
    files=(CardFile("flickr30k/dataset_flickr30k.json", "captions and splits"),),
    image_sources=(FLICKR30K,),
    examples={"train": 145_000, "val": 5_070, "test": 5_000},
    on_request="the images",
    original_counts=OriginalCounts(140_485),
)
BLIP_FILE = "flickr30k_{}.json"


def files(root: Path, split: Split) -> list[Path]:
    """Return Karpathy's file, which holds all splits, or ALBEF's or the original project's file of the split."""
    names = "dataset_flickr30k.json", BLIP_FILE.format(split), vilbert_mt_files.CAPTIONS[split]
    return require_files(TASK.name, [[root / "flickr30k" / name for name in names]])


def read(root: Path, split: Split, *, bad: BadRecords) -> Iterator[Example]:
    """Yield one example per caption of a split, with label ``PositivePair(0)``."""
    reader = RecordReader(TASK.name, files(root, split)[0], bad)
    if reader.path.name == vilbert_mt_files.CAPTIONS[split]:
        return validated(vilbert_mt_files.read_captions(reader, _image_key))
    if reader.path.name == BLIP_FILE.format(split):
        return validated(blip_files.read_captions(reader, FLICKR30K))
    return validated(_rows(reader, split))


def _image_key(image: vilbert_mt_files.CaptionedImage) -> ImageKey:
    # From the file name, as in the original code: the ``id`` field holds another number.
    return ImageKey(FLICKR30K, Path(image.img_path).name.partition(".")[0])


def _rows(reader: RecordReader, split: Split) -> Iterator[Row]:
    for record, image in read_images(reader, split):
        key = ImageKey(FLICKR30K, image.filename.removesuffix(".jpg"))
        yield from caption_rows(reader, record, key, image)


SUBMISSION = coco.SUBMISSION
