"""COCO captions for image retrieval: five captions per image, Karpathy's splits. Paper: group G2, section 2.1.

Publisher: cocodataset.org, and Andrej Karpathy for the splits. License: captions CC BY 4.0; images under Flickr's
terms.

File, in ``coco/``: ``dataset_coco.json`` (Karpathy). With ``captions="official"`` the texts are read from
``captions_{train,val}2014.json`` (or 2017's) instead, and only the splits from Karpathy's file. If Karpathy's file is
missing, ALBEF's and BLIP's ``coco_karpathy_{train,val,test}.json`` are read
(:mod:`twelvefold.datasets.reading.blip_files`), or the original project's JSON lines
(:mod:`twelvefold.datasets.reading.vilbert_mt_files`).

Splits: train is Karpathy's train and restval, 566,747 captions of 113,287 images (487,600 after cleaning); val has
5,000 images; test has the first 1,000 of Karpathy's 5,000 test images (``pool=0``: all 5,000).

One example per caption, in the order of the file, with the captioned image as its positive pair. Captions are stripped
of white space at both ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import msgspec

from twelvefold.datasets.reading import blip_files, vilbert_mt_files
from twelvefold.datasets.reading.cards import CC_BY, KARPATHY_SOURCE, CardFile, DatasetCard, OriginalCounts
from twelvefold.datasets.reading.image_sources import COCO
from twelvefold.datasets.reading.records import BadRecords, RecordReader, Row, require_files, validated
from twelvefold.datasets.reading.shared_files import decode_once
from twelvefold.datasets.reading.submissions import (
    Answered,
    OfficialQuestions,
    Submission,
    SubmissionFormat,
    SubmissionRow,
    simple_format,
)
from twelvefold.schema import Example, ImageKey, Pair, PositivePair, Split, TaskSpec, TwelvefoldError

PAPER_ORDER = 4
PAPER_SCORE = 63.70, "test-1K"
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
CARD = DatasetCard(
    title=TASK.title,
    publisher=KARPATHY_SOURCE,
    license=f"captions {CC_BY}",
    files=(CardFile("coco/dataset_coco.json", "captions and splits"),),
    image_sources=(COCO,),
    examples={"train": 566_747, "val": 25_010, "test": 5_000},
    approximate_splits=("val", "test"),  # a few images have six or seven captions
    original_counts=OriginalCounts(487_600),
)
POOL = 1000
"""Test images (paper: the 1K pool; that it is the first thousand is inferred from the original's "set0")."""
KARPATHY_SPLITS: dict[str, Split] = {"train": "train", "restval": "train", "val": "val", "test": "test"}

BLIP_FILE = "coco_karpathy_{}.json"

CaptionSource = Literal["karpathy", "official"]


class Sentence(msgspec.Struct, gc=False):
    raw: str
    sentid: int


class CaptionedImage(msgspec.Struct, gc=False):
    split: str
    filename: str
    sentences: msgspec.Raw
    cocoid: int | None = None


class OfficialImage(msgspec.Struct, gc=False):
    id: int


class OfficialCaption(msgspec.Struct, gc=False):
    id: int
    image_id: int
    caption: str


def files(root: Path, split: Split, *, pool: int = POOL, captions: CaptionSource = "karpathy") -> list[Path]:
    """Return Karpathy's file, followed by both official files if the captions are read from those.

    Raises:
        TwelvefoldError: a file is missing, or an option has an invalid value.
    """
    if pool < 0 or captions not in get_args(CaptionSource):
        expected = f"pool >= 0 and captions one of {', '.join(get_args(CaptionSource))}"
        raise TwelvefoldError(f"{TASK.name}: expected {expected}, got {pool} and {captions!r}")
    folder = root / "coco"
    names = [["dataset_coco.json", BLIP_FILE.format(split), vilbert_mt_files.CAPTIONS[split]]]
    if captions == "official":
        # 2017's files have the same captions, divided in another way.
        year = 2017 if (folder / "captions_train2017.json").exists() else 2014
        year = 2014 if (folder / "captions_train2014.json").exists() else year
        names = [["dataset_coco.json"], [f"captions_train{year}.json"], [f"captions_val{year}.json"]]
    return require_files(TASK.name, [[folder / name for name in each] for each in names])


def read(
    root: Path, split: Split, *, bad: BadRecords, pool: int = POOL, captions: CaptionSource = "karpathy"
) -> Iterator[Example]:
    """Yield one example per caption of a split, with label ``PositivePair(0)``.

    ``pool``: number of test images, 0 for all. ``captions``: the file that the texts are read from.
    """
    paths = files(root, split, pool=pool, captions=captions)
    karpathy, *official = (RecordReader(TASK.name, path, bad) for path in paths)
    if karpathy.path.name == vilbert_mt_files.CAPTIONS[split]:
        return validated(vilbert_mt_files.read_captions(karpathy, _image_key, pool if split == "test" else 0))
    if karpathy.path.name == BLIP_FILE.format(split):
        return validated(blip_files.read_captions(karpathy, COCO, pool if split == "test" else 0))
    texts = _official_captions(official) if official else None
    return validated(_rows(karpathy, split, pool, texts))


def read_images(reader: RecordReader, split: Split) -> Iterator[tuple[str, CaptionedImage]]:
    """Yield the images of a split of one of Karpathy's files, in the order of the file."""
    for record, image in decode_once(reader, "images", lambda reader: list(reader.items("images", CaptionedImage))):
        if image.split not in KARPATHY_SPLITS:
            reader.reject(record, f"expected one of the splits {', '.join(KARPATHY_SPLITS)}, got {image.split!r}")
        elif bytes(image.sentences).translate(None, b" \t\r\n") in (b"[]", b"null"):
            reader.reject(record, "expected captions, got none")
        elif KARPATHY_SPLITS[image.split] == split:
            yield record, image


def caption_rows(
    reader: RecordReader, record: str, key: ImageKey, image: CaptionedImage, official: list[Sentence] | None = None
) -> Iterator[Row]:
    """Yield one row per caption of an image; a bad caption is rejected alone. ``official``: captions to use instead."""
    name = f"{record}.sentences"
    named = ((f"{name}[{i}]", sentence) for i, sentence in enumerate(official or ()))
    for caption, sentence in named if official else reader.nested_items(name, image.sentences, Sentence):
        yield reader, caption, Example(str(sentence.sentid), (Pair(key, sentence.raw.strip()),), PositivePair(0))


def _image_key(image: vilbert_mt_files.CaptionedImage) -> ImageKey:
    return ImageKey(COCO, str(image.id))


def _rows(reader: RecordReader, split: Split, pool: int, texts: dict[int, list[Sentence]] | None) -> Iterator[Row]:
    num_images = 0
    for record, image in read_images(reader, split):
        if image.cocoid is None:
            reader.reject(record, "expected a COCO image with a cocoid, got none")
            continue
        official = None if texts is None else texts.get(image.cocoid, [])
        if official == []:
            reader.reject(record, f"expected official captions of image {image.cocoid}, got none")
            continue
        num_images += 1
        if split == "test" and 0 < pool < num_images:
            return
        yield from caption_rows(reader, record, ImageKey(COCO, str(image.cocoid)), image, official)


def _official_captions(readers: list[RecordReader]) -> dict[int, list[Sentence]]:
    """Return the captions of the official files by image id."""
    texts: dict[int, list[Sentence]] = {}
    for reader in readers:
        for image_id, sentences in decode_once(reader, "captions", _captions_by_image).items():
            texts.setdefault(image_id, []).extend(sentences)
    return texts


def _captions_by_image(reader: RecordReader) -> dict[int, list[Sentence]]:
    with reader.path.open("rb") as stream:
        if stream.read(64).lstrip().startswith(b"["):
            raise TwelvefoldError(
                f"{TASK.name}: {reader.path}: expected the official annotations (an object with images and "
                f"annotations), got a list: is it a captioner's result file (image_id, caption)?"
            )
    texts: dict[int, list[Sentence]] = {}
    image_ids = {image.id for _, image in reader.items("images", OfficialImage)}
    for record, caption in reader.items("annotations", OfficialCaption):
        if caption.image_id not in image_ids:
            reader.reject(record, f"expected an image that the file lists, got {caption.image_id}")
        else:
            texts.setdefault(caption.image_id, []).append(Sentence(caption.caption, caption.id))
    return texts


def _submission_row(example: Example, answered: Answered) -> dict[str, object]:
    caption = int(example.id) if example.id.isdecimal() else example.id
    images = [ranked.name for ranked in answered.ranked]
    return {"caption": caption, "rank": _rank(example, answered), "images": images}


def _vilbert_mt_row(questions: OfficialQuestions) -> SubmissionRow:
    """Rows are indices in the pool: the images of the split, in the order of their first captions."""
    keys = dict.fromkeys(str(example.pairs[0].image) for example in questions.examples())
    pool = {key: index for index, key in enumerate(keys)}

    def row(example: Example, answered: Answered) -> list[int]:
        _rank(example, answered)
        unknown = [ranked.name for ranked in answered.ranked if ranked.name not in pool]
        if unknown:
            raise TwelvefoldError(
                f"{answered.task}: caption {example.id!r} ranks {unknown[0]!r}, no image of this split"
            )
        return [pool[ranked.name] for ranked in answered.ranked]

    return row


def _rank(example: Example, answered: Answered) -> int:
    if answered.rank is None:
        raise TwelvefoldError(
            f"{answered.task}: caption {example.id!r} has no rank and only a few images: an older version wrote these "
            f"predictions; remove the run's scores/*/{answered.task}.json and evaluate again"
        )
    return answered.rank


SUBMISSION = Submission(
    simple_format("jsonl", _submission_row, max_ranked=None),
    SubmissionFormat("json", _vilbert_mt_row, max_ranked=None),
)
