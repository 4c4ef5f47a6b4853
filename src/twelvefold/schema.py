"""Types shared by several packages: examples and regions as read and stored, tasks and heads, and predictions.

Plain data with checks and conversions only. This module imports nothing of twelvefold and no torch; batches and other
types that hold tensors are in :mod:`twelvefold.batch`.

Letters in shapes:

====== =====================================================================================================
``B``  examples in a batch
``K``  image-text pairs of one example (NLVR2 2, retrieval training 4, the rest 1)
``P``  pairs in a batch, ``P = B * K``: what the trunk reads, row ``b * K + k`` being pair ``k`` of example ``b``
``L``  text tokens, ``[CLS]`` and ``[SEP]`` included, the task token not
``R``  region rows: row 0 is the whole image (IMG), then detected regions, then given candidate boxes
``D``  numbers in one region's feature
``A``  outputs of a head: answers or classes
``C``  kinds the detector knows
====== =====================================================================================================

Masks are boolean and True means real. Boxes are ``x1, y1, x2, y2``; ``_px`` or ``_unit`` is in every name.

What an example is made of are structs: there are millions, and a frozen dataclass takes six to ten times as long to
make. ``gc=False``: they never refer to what refers to them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""``x1, y1, x2, y2``."""

Split = Literal["train", "val", "test"]

CONSISTENCY_ONLY = "entailed"
"""The ``kind`` of examples that count for consistency alone and not for a task's score (GQA's ``all`` questions)."""


class TwelvefoldError(Exception):
    """Something a person can mend: what failed, expected, got, where, what to do. Ends a command with code 2."""


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """``; did you mean 'x'?`` where a valid name is close to a misspelt one, else nothing: the end of an error."""
    close = difflib.get_close_matches(name, list(valid), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


class ImageKey(Struct, frozen=True, order=True, gc=False):
    """A picture as its publisher names it: ``coco/391895``, ``vg/2318324``, ``flickr30k/1000092795``.

    Two keys may name the same photograph; ``splits`` finds out, nothing else guesses.
    """

    source: str
    id: str

    def __str__(self) -> str:
        return f"{self.source}/{self.id}"

    @classmethod
    def parse(cls, text: str) -> ImageKey:
        source, _, id_ = text.partition("/")
        if not source or not id_:
            raise TwelvefoldError(f"an image key looks like 'coco/391895', got {text!r}")
        return cls(source, id_)


Evidence = Literal["ids", "bytes", "pixels", "looks", "features"]
"""How it is known that two keys name one photograph, the surest first: a publisher's id map, files of equal bytes,
equal decoded pixels, pictures that look alike, features that lie close together."""


class SameImageLink(NamedTuple):
    """Two keys of one photograph: how that is known, and why, in words that end a sentence about them."""

    first: ImageKey
    second: ImageKey
    evidence: Evidence
    reason: str


class SoftAnswers(Struct, frozen=True, gc=False):
    """Answers with scores in 0..1 (VQA's min(1, 0.3 c)); empty when no annotator's answer is known."""

    scores: Mapping[str, float]


class ClassName(Struct, frozen=True, gc=False):
    """One class by name; empty when the annotators found none (SNLI-VE's gold label ``-``): never right."""

    name: str


class PositivePair(Struct, frozen=True, gc=False):
    """The pair at ``index`` belongs together; every other pair of the example does not."""

    index: int = 0


class TargetBox(Struct, frozen=True, gc=False):
    """The box meant, not necessarily among the regions; scored by overlap (RefCOCO, RefCOCO+, RefCOCOg)."""

    box_px: Box


class Candidate(Struct, frozen=True, gc=False):
    """The candidate box meant, by its place in ``Pair.candidates_px`` (Visual7W, GuessWhat)."""

    index: int


Label = SoftAnswers | ClassName | PositivePair | TargetBox | Candidate


class Pair(Struct, frozen=True, gc=False):
    """One image and one text: what the trunk reads once. ``candidates_px`` where the task gives the boxes."""

    image: ImageKey
    text: str
    candidates_px: tuple[Box, ...] = ()


class Example(Struct, frozen=True, gc=False):
    """One thing to learn from or be scored on: an id, K pairs and the label (None where it is withheld).

    ``kind`` is what per-kind scores are grouped by (a question type, ``testA``). ``group`` names examples that
    consistency judges together (NLVR2: the same sentence). ``linked`` lists ids that this one entails (GQA).
    ``chosen_answer`` is the one answer that counts towards the answer list of an answers task.
    """

    id: str
    pairs: tuple[Pair, ...]
    label: Label | None
    question_type: str = ""
    group: str = ""
    linked: tuple[str, ...] = ()
    chosen_answer: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """What a detector saw in one picture, best first.

    boxes_px: (N, 4) float32, pixels of the original picture. features: (N, D) float16 or float32.
    class_probs: (N, C) of the same type, or None where not kept.
    """

    boxes_px: NDArray[np.float32]
    features: NDArray[np.floating]
    width: int
    height: int
    class_probs: NDArray[np.floating] | None = None


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What a task is, before any recipe changes a number. Paper: section 2.1, 3.2; values of the supplement.

    ``head``: tasks naming the same head share its weights. ``pairs``: K. ``max_tokens`` counts ``[CLS]`` and
    ``[SEP]``. ``max_regions`` counts IMG and detected rows; given candidates come on top and are never cut.
    ``vocabulary``: the task whose answer list this one predicts from. ``classes``: class names in head order.
    """

    name: str
    title: str
    family: str
    head: str
    metric: str
    max_tokens: int
    batch_size: int
    lr: float
    max_regions: int = 101
    pairs_per_example: int = 1
    epochs: int = 20
    vocabulary: str = ""
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """A head: its name, the family whose shape it has, its outputs by name, and K for heads that read K pairs.

    ``outputs`` is the answer list or the class order; empty for retrieval and grounding heads (one logit).
    ``form``: of an answers or verification head, the paper's two layers or one linear layer.
    """

    name: str
    family: str
    outputs: tuple[str, ...] = ()
    pairs_per_example: int = 1
    form: Literal["mlp", "linear"] = "mlp"


@dataclass(frozen=True, slots=True)
class Ranked:
    """One answer or class with its probability, or one box with its probability."""

    probability: float
    name: str = ""
    box_px: Box | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one example, best first: what files, REST and the page all show.

    ``ranked`` holds names (answers, verification), boxes (grounding) or image keys (retrieval).
    """

    example_id: str
    task: str
    ranked: tuple[Ranked, ...] = field(default=())

    @property
    def best(self) -> Ranked:
        return self.ranked[0]
