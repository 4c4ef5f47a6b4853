"""What each of the twelve datasets consists of: files, publisher, place, size, licence, how many examples.

What ``twelvefold datasets`` shows and ``twelvefold doctor`` compares with. A size stands here where the publisher
states one, ``md5`` where one is published; both are empty otherwise. ``examples`` are counted as our readers split the
full files with their default options, before cleaning; the paper's supplement has the same figures for training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from twelvefold.schema import Split, TwelvefoldError, did_you_mean

COCO_HOME = "COCO, cocodataset.org, Download"
VG_HOME = "Visual Genome, homes.cs.washington.edu/~ranjay/visualgenome, Download"
KARPATHY = "Andrej Karpathy's caption_datasets.zip, cs.stanford.edu/people/karpathy/deepimagesent"
REFER = "the refer toolkit, github.com/lichengunc/refer, Download"
CC_BY = "CC BY 4.0"
FLICKR = "pictures under Flickr's terms, for research"


class Part(NamedTuple):
    """One file of a dataset. path: below the data folder, one of several names where the publishers use several."""

    path: str
    holds: str
    size: str = ""
    md5: str = ""


class Pictures(NamedTuple):
    """A publisher's pictures. folder: below the data folder."""

    folder: str
    home: str
    licence: str
    size: str


class Published(NamedTuple):
    """One dataset. pictures: names in ``PICTURES``. by_hand: what must be asked for, and how, or nothing."""

    title: str
    home: str
    licence: str
    files: tuple[Part, ...]
    pictures: tuple[str, ...]
    examples: Mapping[Split, int]
    by_hand: str = ""


PICTURES: dict[str, Pictures] = {
    "coco": Pictures(
        "images/coco/{train2014,val2014,test2015}", COCO_HOME, FLICKR, "13 GB, 6 GB and 12 GB (test2015 for VQA alone)"
    ),
    "vg": Pictures("images/vg/{VG_100K,VG_100K_2}", VG_HOME, CC_BY, "9.2 GB and 5.5 GB"),
    "gqa": Pictures("images/gqa", "GQA, cs.stanford.edu/people/dorarad/gqa, Download", CC_BY, "20.3 GB"),
    "flickr30k": Pictures(
        "images/flickr30k", "Flickr30k, shannon.cs.illinois.edu/DenotationGraph: fill in their form", FLICKR, ""
    ),
    "nlvr2": Pictures("images/nlvr2", "NLVR2, lil.nlp.cornell.edu/nlvr: ask with their form", "their owners'", ""),
}

_ID_MAP = Part("vg/image_data.json", "which of its pictures are COCO's and Flickr's; cleaning needs it")
_CAPTIONS = "captions and splits"


def _refer(name: str, title: str, split_by: str, examples: tuple[int, int, int]) -> Published:
    parts = (
        Part(f"{name}/refs({split_by}).p", "expressions and splits, a Python 2 pickle"),
        Part(f"{name}/instances.json", "COCO's boxes"),
    )
    return Published(title, REFER, "as the toolkit says, for research", parts, ("coco",), _counts(*examples))


def _counts(train: int, val: int, test: int) -> dict[Split, int]:
    return {"train": train, "val": val, "test": test}


PUBLISHED: dict[str, Published] = {
    "vqav2": Published(
        "VQAv2",
        "VQA, visualqa.org, Download, version 2",
        CC_BY,
        (
            *(Part(f"vqav2/v2_OpenEnded_mscoco_{p}_questions.json", "questions") for p in ("train2014", "val2014")),
            Part("vqav2/v2_OpenEnded_mscoco_test2015_questions.json", "questions; answers are withheld"),
            *(Part(f"vqav2/v2_mscoco_{p}_annotations.json", "ten answers each") for p in ("train2014", "val2014")),
        ),
        ("coco",),
        _counts(655_111, 3_000, 447_793),
    ),
    "gqa": Published(
        "GQA",
        "GQA, cs.stanford.edu/people/dorarad/gqa, Download",
        CC_BY,
        (
            *(Part(f"gqa/{p}_balanced_questions.json", "questions and answers") for p in ("train", "val", "testdev")),
            Part("gqa/testdev_all_questions.json", "entailed questions, for consistency alone (optional)"),
            _ID_MAP,
        ),
        ("vg", "gqa"),
        _counts(1_072_062, 3_000, 12_578),
    ),
    "vgqa": Published(
        "VG QA",
        VG_HOME,
        CC_BY,
        (Part("vg/question_answers.json", "questions and answers, version 1.2"), _ID_MAP),
        ("vg",),
        _counts(1_435_322, 5_000, 5_000),
    ),
    "coco": Published(
        "COCO retrieval",
        KARPATHY,
        f"captions {CC_BY}",
        (Part("coco/dataset_coco.json", _CAPTIONS),),
        ("coco",),
        _counts(566_747, 25_010, 5_000),
    ),
    "flickr30k": Published(
        "Flickr30k retrieval",
        KARPATHY,
        "for research",
        (Part("flickr30k/dataset_flickr30k.json", _CAPTIONS),),
        ("flickr30k",),
        _counts(145_000, 5_070, 5_000),
        "the pictures",
    ),
    "refcoco": _refer("refcoco", "RefCOCO", "unc", (120_624, 10_834, 10_752)),
    "refcoco+": _refer("refcoco+", "RefCOCO+", "unc", (120_191, 10_758, 10_615)),
    "refcocog": _refer("refcocog", "RefCOCOg", "umd", (80_512, 4_896, 9_602)),
    "visual7w": Published(
        "Visual7W",
        "Visual7W, ai.stanford.edu/~yukez/visual7w, pointing questions",
        "MIT",
        (Part("visual7w/dataset_v7w_pointing.json", "questions and boxes; dataset.json is read too"), _ID_MAP),
        ("vg",),
        _counts(93_813, 36_990, 57_265),
    ),
    "guesswhat": Published(
        "GuessWhat?!",
        "GuessWhat?!, guesswhat.ai, Download",
        "Apache-2.0 for the code; of the data none is stated",
        tuple(
            Part(f"guesswhat/guesswhat.{p}.jsonl.gz", "games; .jsonl is read too") for p in ("train", "valid", "test")
        ),
        ("coco",),
        _counts(113_221, 23_739, 23_785),
    ),
    "nlvr2": Published(
        "NLVR2",
        "NLVR2, github.com/lil-lab/nlvr, folder nlvr2/data",
        CC_BY,
        tuple(Part(f"nlvr2/{p}.json", "statements, a JSON record on each line") for p in ("train", "dev", "test1")),
        ("nlvr2",),
        _counts(86_373, 6_982, 6_967),
        "the pictures",
    ),
    "snli_ve": Published(
        "SNLI-VE",
        "SNLI-VE, github.com/necla-ml/SNLI-VE, Data",
        "CC BY-SA 4.0, as SNLI's",
        tuple(Part(f"snli_ve/snli_ve_{p}.jsonl", "hypotheses and labels") for p in ("train", "dev", "test")),
        ("flickr30k",),
        _counts(529_527, 17_858, 17_901),
        "the pictures",
    ),
}
"""The twelve by name, in the order of the paper's Table 2."""

ABOUT = frozenset((("vgqa", "train"), ("coco", "val"), ("coco", "test")))
"""Counts that are not published to the example: VG QA's releases differ by some hundreds (the paper trained on
1,440,069, our val's 5,000 included), and a few COCO pictures have six or seven captions."""
ABOUT_SHARE = 0.01
"""So far such a count may differ."""


def published(name: str) -> Published:
    """One of the twelve.

    Raises:
        TwelvefoldError: there is none of that name.
    """
    if name not in PUBLISHED:
        raise TwelvefoldError(f"no dataset {name!r}; there are {', '.join(PUBLISHED)}{did_you_mean(name, PUBLISHED)}")
    return PUBLISHED[name]


def agrees(task: str, split: Split, count: int) -> bool:
    """Whether a reader gave as many examples as the full files hold."""
    wanted = PUBLISHED[task].examples[split]
    slack = ABOUT_SHARE * wanted if (task, split) in ABOUT else 0
    return abs(count - wanted) <= slack
