"""COCO captions for image retrieval: five captions a picture, Karpathy's splits. Paper: group G2, section 2.1.

Home: cocodataset.org, and Karpathy's split file. Licence: captions CC BY 4.0; pictures under Flickr's terms.

File, in ``coco/``: ``dataset_coco.json`` (Karpathy). With ``captions="official"`` the texts come from
``captions_{train,val}2014.json`` instead, and only the splits from Karpathy's file. Where Karpathy's is missing, the
original project's JSON lines are read (:mod:`twelvefold.datasets.reading.vilbert_mt_files`).

Splits: train is Karpathy's train and restval: 566,747 captions of 113,287 pictures (487,600 after cleaning); val
5,000 pictures; test the first 1,000 of its 5,000 (``pool=0``: all).

One example per caption, in the file's order; its picture is the positive pair. Texts lose the blanks at their ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import msgspec

from twelvefold.datasets.reading import vilbert_mt_files
from twelvefold.datasets.reading.records import BadRecords, Row, Source, checked, present
from twelvefold.schema import Example, ImageKey, Pair, PositivePair, Split, TaskSpec, TwelvefoldError

TASK = TaskSpec(
    name="coco",
    title="COCO retrieval",
    family="retrieval",
    head="retrieval",
    metric="recall_at_1",
    max_tokens=30,
    batch_size=128,
    lr=2e-5,
)
POOL = 1000
"""Test pictures (paper: the 1K pool; that it is the first thousand is inferred from the original's "set0")."""
KARPATHY: dict[str, Split] = {"train": "train", "restval": "train", "val": "val", "test": "test"}

Texts = Literal["karpathy", "official"]


class Sentence(msgspec.Struct, gc=False):
    raw: str
    sentid: int


class Picture(msgspec.Struct, gc=False):
    split: str
    filename: str
    sentences: list[Sentence]
    cocoid: int | None = None


class OfficialPicture(msgspec.Struct, gc=False):
    id: int


class OfficialCaption(msgspec.Struct, gc=False):
    id: int
    image_id: int
    caption: str


def files(root: Path, split: Split, *, pool: int = POOL, captions: Texts = "karpathy") -> list[Path]:
    """Karpathy's file, and both official ones where the texts come from there; or the original project's of the split.

    Raises:
        TwelvefoldError: a file is missing, or an option has no such value.
    """
    if pool < 0 or captions not in get_args(Texts):
        wanted = f"pool >= 0 and captions one of {', '.join(get_args(Texts))}"
        raise TwelvefoldError(f"{TASK.name}: expected {wanted}, got {pool} and {captions!r}")
    folder = root / "coco"
    names = [["dataset_coco.json", vilbert_mt_files.CAPTIONS[split]]]
    if captions == "official":
        names = [["dataset_coco.json"], ["captions_train2014.json"], ["captions_val2014.json"]]
    return present(TASK.name, [[folder / name for name in each] for each in names])


def read(
    root: Path, split: Split, *, bad: BadRecords, pool: int = POOL, captions: Texts = "karpathy"
) -> Iterator[Example]:
    """One example per caption of a split, label PositivePair(0); ``pool`` test pictures, 0 for all."""
    karpathy, *official = (Source(TASK.name, path, bad) for path in files(root, split, pool=pool, captions=captions))
    if karpathy.path.name == vilbert_mt_files.CAPTIONS[split]:
        return checked(vilbert_mt_files.captions(karpathy, _key, pool if split == "test" else 0))
    texts = _official(official) if official else None
    return checked(_rows(karpathy, split, pool, texts))


def pictures(source: Source, split: Split) -> Iterator[tuple[str, Picture]]:
    """The pictures of a split in a file of Karpathy's, in its order."""
    for record, picture in source.items("images", Picture):
        if picture.split not in KARPATHY:
            source.refuse(record, f"expected one of the splits {', '.join(KARPATHY)}, got {picture.split!r}")
        elif not picture.sentences:
            source.refuse(record, "expected captions, got none")
        elif KARPATHY[picture.split] == split:
            yield record, picture


def captioned(source: Source, record: str, image: ImageKey, sentences: list[Sentence]) -> Iterator[Row]:
    """One row per caption of a picture."""
    for i, sentence in enumerate(sentences):
        pair = Pair(image, sentence.raw.strip())
        yield source, f"{record}.sentences[{i}]", Example(str(sentence.sentid), (pair,), PositivePair(0))


def _key(picture: vilbert_mt_files.Captioned) -> ImageKey:
    return ImageKey("coco", str(picture.id))


def _rows(source: Source, split: Split, pool: int, texts: dict[int, list[Sentence]] | None) -> Iterator[Row]:
    taken = 0
    for record, picture in pictures(source, split):
        if picture.cocoid is None:
            source.refuse(record, "expected a COCO picture with a cocoid, got none")
            continue
        sentences = picture.sentences if texts is None else texts.get(picture.cocoid, [])
        if not sentences:
            source.refuse(record, f"expected official captions of image {picture.cocoid}, got none")
            continue
        taken += 1
        if split == "test" and 0 < pool < taken:
            return
        yield from captioned(source, record, ImageKey("coco", str(picture.cocoid)), sentences)


def _official(sources: list[Source]) -> dict[int, list[Sentence]]:
    """Captions by image of the official annotation files, which look much like a captioner's result file."""
    texts: dict[int, list[Sentence]] = {}
    for source in sources:
        with source.path.open("rb") as stream:
            if stream.read(64).lstrip().startswith(b"["):
                raise TwelvefoldError(
                    f"{TASK.name}: {source.path}: expected the official annotations (an object with images and "
                    f"annotations), got a list: a captioner's result file (image_id, caption)?"
                )
        known = {picture.id for _, picture in source.items("images", OfficialPicture)}
        for record, caption in source.items("annotations", OfficialCaption):
            if caption.image_id not in known:
                source.refuse(record, f"expected an image that the file lists, got {caption.image_id}")
            else:
                texts.setdefault(caption.image_id, []).append(Sentence(caption.caption, caption.id))
    return texts
