"""Dataset cards: the files, publisher, size, license and number of examples of each built-in dataset.

A dataset's module states its card as ``CARD``. ``twelvefold datasets`` prints the cards, and ``twelvefold doctor``
compares a data folder with them. Sizes and MD5 sums are given where the publisher states them and are empty otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import msgspec

from twelvefold.datasets import load_dataset, task_names
from twelvefold.datasets.reading.image_sources import COCO, FLICKR30K, GQA, NLVR2, VG
from twelvefold.schema import Split, TwelvefoldError, did_you_mean

COCO_SOURCE = "COCO, cocodataset.org, Download"
VG_SOURCE = "Visual Genome, homes.cs.washington.edu/~ranjay/visualgenome, Download"
KARPATHY_SOURCE = "Andrej Karpathy's caption_datasets.zip, cs.stanford.edu/people/karpathy/deepimagesent"
REFER_SOURCE = "the refer toolkit, github.com/lichengunc/refer, Download"
CC_BY = "CC BY 4.0"
FLICKR_TERMS = "images under Flickr's terms, for research"

TOLERANCE = 0.01
"""Relative difference allowed for a count that is not published exactly (``DatasetCard.approximate_splits``)."""


class CardFile(msgspec.Struct, frozen=True):
    """One file of a dataset. ``path``: relative to the data folder. ``content``: what the file holds."""

    path: str
    content: str = msgspec.field(name="holds")
    size: str = ""
    md5: str = ""


class ImageSource(msgspec.Struct, frozen=True):
    """The image files of one publisher. ``folder``: relative to the data folder."""

    folder: str
    publisher: str = msgspec.field(name="home")
    license: str = msgspec.field(name="licence")
    size: str = ""


class OriginalCounts(msgspec.Struct, frozen=True):
    """Numbers of examples that the original project trained on, to compare with those of a data folder.

    ``cleaned``: after cleaning. ``train``: before it, where that is not the card's number. ``train_splits``: the splits
    here that hold these examples. ``recalled``: which of the counts are from memory of the paper's supplement; the
    others were checked against the publishers' numbers, the original code or a log of it.
    """

    cleaned: int
    train: int | None = None
    train_splits: tuple[Split, ...] = ("train",)
    recalled: tuple[str, ...] = ("cleaned",)


class DatasetCard(msgspec.Struct, frozen=True, kw_only=True):
    """What one dataset consists of.

    ``examples``: number of examples by split, as the reader yields them from the publisher's full files with default
    options, before cleaning. ``approximate_splits``: splits whose count is not published exactly. ``image_sources``:
    keys of ``IMAGE_SOURCES``. ``on_request``: the files that the publisher sends only on request, or empty.
    ``original_counts``: of the original project; None for a dataset that it does not have.
    """

    title: str
    publisher: str = msgspec.field(name="home")
    license: str = msgspec.field(name="licence")
    files: tuple[CardFile, ...]
    image_sources: tuple[str, ...] = msgspec.field(name="pictures")
    examples: Mapping[Split, int]
    on_request: str = msgspec.field(name="by_hand", default="")
    approximate_splits: tuple[Split, ...] = ()
    original_counts: OriginalCounts | None = None

    def matches(self, split: Split, count: int) -> bool:
        """Return whether ``count`` examples are as many as the publisher's full files hold."""
        tolerance = TOLERANCE if split in self.approximate_splits else 0
        return abs(count - self.examples[split]) <= tolerance * self.examples[split]


IMAGE_SOURCES: dict[str, ImageSource] = {
    COCO: ImageSource(
        "images/coco/{train2014,val2014,test2015}",
        COCO_SOURCE,
        FLICKR_TERMS,
        "13 GB, 6 GB and 12 GB (test2015 for VQA alone)",
    ),
    VG: ImageSource("images/vg/{VG_100K,VG_100K_2}", VG_SOURCE, CC_BY, "9.2 GB and 5.5 GB"),
    GQA: ImageSource("images/gqa", "GQA, cs.stanford.edu/people/dorarad/gqa, Download", CC_BY, "20.3 GB"),
    FLICKR30K: ImageSource(
        "images/flickr30k", "Flickr30k, shannon.cs.illinois.edu/DenotationGraph: fill in their form", FLICKR_TERMS
    ),
    NLVR2: ImageSource("images/nlvr2", "NLVR2, lil.nlp.cornell.edu/nlvr: ask with their form", "their owners'"),
}
"""Publishers of image files, by the folder under ``images/``."""

VG_ID_MAP = CardFile("vg/image_data.json", "which of its images are COCO's and Flickr's; cleaning needs it")


@cache
def dataset_cards() -> dict[str, DatasetCard]:
    """Return the cards of the built-in tasks by name, in the order of the paper's Table 2."""
    cards = {name: getattr(load_dataset(name), "CARD", None) for name in task_names()}
    return {name: card for name, card in cards.items() if card is not None}


def dataset_card(name: str) -> DatasetCard:
    """Return the card of one built-in task.

    Raises:
        TwelvefoldError: there is no such task; names the closest.
    """
    cards = dataset_cards()
    if name not in cards:
        raise TwelvefoldError(f"no dataset {name!r}; expected one of {', '.join(cards)}{did_you_mean(name, cards)}")
    return cards[name]


def refer_card(name: str, title: str, split_by: str, examples: Mapping[Split, int], cleaned: int) -> DatasetCard:
    """Return the card of a dataset that the refer toolkit publishes. ``split_by``: the toolkit's name of the splits.
    ``cleaned``: training examples of the original project after cleaning."""
    files = (
        CardFile(f"{name}/refs({split_by}).p", "expressions and splits, a Python 2 pickle"),
        CardFile(f"{name}/instances.json", "COCO's boxes"),
    )
    return DatasetCard(
        title=title,
        publisher=REFER_SOURCE,
        license="as the toolkit says, for research",
        files=files,
        image_sources=(COCO,),
        examples=examples,
        original_counts=OriginalCounts(cleaned),
    )
