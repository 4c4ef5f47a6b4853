"""Types that several packages share: examples, regions, tasks, heads, predictions.

This module imports nothing of twelvefold and no torch; types that hold tensors are in :mod:`twelvefold.batch`.

Letters in shapes:

====== =====================================================================================================
``B``  examples in a batch
``K``  image-text pairs of one example (NLVR2 2, retrieval training 4, the rest 1)
``P``  pairs in a batch, ``P = B * K``; row ``b * K + k`` is pair ``k`` of example ``b``
``L``  text tokens with ``[CLS]`` and ``[SEP]``, without the task token; ``L'`` with it
``R``  region rows: row 0 is the whole image (IMG), then detected regions, then candidate boxes
``D``  length of a region's feature vector
``W``  hidden size of a stream: ``W_t`` of the text stream, ``W_i`` of the image stream
``H``  size of the pooled and fused vectors
``A``  outputs of a head: answers or classes
``C``  categories of the detector
====== =====================================================================================================

Masks are boolean, True for real. Boxes are ``x1, y1, x2, y2``; their names end in ``_px`` (pixels) or ``_unit`` (0..1).

Examples and their parts are msgspec structs: there are millions, and a frozen dataclass takes six to ten times as long
to create. ``gc=False`` is safe because they contain no reference cycles.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""``x1, y1, x2, y2``."""

Size = tuple[int, int]
"""Width and height of an image in pixels."""

Split = Literal["train", "val", "test"]

CONSISTENCY_ONLY = "entailed"
"""The ``question_type`` of examples that count for consistency only, not for the score (GQA's ``all`` questions)."""


MAX_MESSAGE = 20_000
"""Characters of an error; the longest ones list what differs between two weight files."""
_LONG_WORD = re.compile(r"(\S{300})\S{700,}")


LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def escape_surrogates(text: str) -> str:
    """Return a text that UTF-8 can encode: lone surrogates become backslash escapes; other texts stay as they are.

    Python has lone surrogates where the name of a file is not UTF-8: its byte 0xe9 becomes the characters ``\\xe9``.
    """
    return LONE_SURROGATE.sub(_escape_surrogate, text)


def _escape_surrogate(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


class TwelvefoldError(Exception):
    """An error that the user can fix: what failed, expected, got, where, what to do. A command exits with code 2.

    Names and values in its message come from files; those of a thousand characters are cut. The message can be
    encoded in UTF-8 whatever they contain.
    """

    def __init__(self, message: object = "", *args: object) -> None:
        text = escape_surrogates(str(message))
        if len(text) > 1000:
            text = _LONG_WORD.sub(r"\1...", text)
        super().__init__(text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}...", *args)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` if a valid name is close to a misspelled one, else an empty string.

    The only name that begins with the misspelled one is the closest: ``vqav2`` for ``vqa``.
    """
    names = list(valid)
    longer = [each for each in names if len(name) >= 3 and each.startswith(name)]
    close = longer if len(longer) == 1 else difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


class ImageKey(Struct, frozen=True, order=True, gc=False):
    """An image by its publisher's id: ``coco/391895``, ``vg/2318324``, ``flickr30k/1000092795``.

    Two keys may name the same image; ``duplicates`` finds such pairs.
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
"""How it is known that two keys name the same image, most certain first: a publisher's id map, files of equal bytes,
equal decoded pixels, similar appearance, similar features."""


SIMILARITY: Final = frozenset[Evidence](("looks", "features"))
"""Evidence by similarity. What it links is alike, not equal, so it is never chained: of three images A, B and C, B may
be like A and like C while A and C differ."""


class SameImageLink(NamedTuple):
    """Two keys of the same image, and how that is known. ``reason``: words that end a sentence."""

    first: ImageKey
    second: ImageKey
    evidence: Evidence
    reason: str


class SoftAnswers(Struct, frozen=True, gc=False):
    """Answers with scores in 0..1 (VQA: min(1, 0.3 c)); empty if no answer is known."""

    scores: Mapping[str, float]


class ClassName(Struct, frozen=True, gc=False):
    """A class by name; empty if there is no gold label (SNLI-VE's ``-``): then no prediction is right."""

    name: str


class PositivePair(Struct, frozen=True, gc=False):
    """The text and image of the pair at ``index`` match; those of the example's other pairs do not."""

    index: int = 0


class TargetBox(Struct, frozen=True, gc=False):
    """The true box, which need not be one of the regions; scored by IoU (RefCOCO, RefCOCO+, RefCOCOg)."""

    box_px: Box


class TargetBoxes(Struct, frozen=True, gc=False):
    """All boxes of a phrase, of which the first is trained on and scored by the original project's rule (Flickr30k
    Entities); at least one."""

    boxes_px: tuple[Box, ...]


class Candidate(Struct, frozen=True, gc=False):
    """The true candidate box, by its index in ``Pair.candidates_px`` (Visual7W, GuessWhat)."""

    index: int


Label = SoftAnswers | ClassName | PositivePair | TargetBox | Candidate | TargetBoxes


class Pair(Struct, frozen=True, gc=False):
    """One image and one text. ``candidates_px``: the boxes to choose from, if the dataset lists them. ``stated_size``:
    width and height of the image in pixels that the annotations state, if they do; boxes are in these pixels."""

    image: ImageKey
    text: str
    candidates_px: tuple[Box, ...] = ()
    stated_size: Size | None = None


class Example(Struct, frozen=True, gc=False):
    """An example of a dataset: K pairs and a label, None if it is withheld.

    ``question_type``: scores are also reported for each of these (VQA's answer types, RefCOCO's ``testA``). ``group``:
    examples whose consistency is judged together (NLVR2: the same sentence). ``linked``: ids of examples whose answers
    follow from this example's answer (GQA). ``chosen_answer``: the answer that is counted to make the answer list.
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
    """The detected regions of one image, most confident first.

    boxes_px: (N, 4) float32, pixels of the original image. features: (N, D) float16 or float32. class_probs: (N, C) of
    the same type, None if they are not stored. width, height: of the image.
    """

    boxes_px: NDArray[np.float32]
    features: NDArray[np.floating]
    width: int
    height: int
    class_probs: NDArray[np.floating] | None = None


@dataclass(frozen=True, slots=True)
class TaskForm:
    """How a page asks for the text of a task: a family states it, and a dataset may state its own.

    ``tab``: a short name. ``heading``, ``hint``: what the task does. ``label``, ``placeholder``: of the text field.
    ``verb``: of the button.
    """

    tab: str
    heading: str
    label: str
    placeholder: str = ""
    hint: str = ""
    verb: str = "Ask"


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task, with the paper's values where a recipe does not change them. Paper: sections 2.1, 3.2, supplement.

    ``head``: tasks that name the same head share its weights. ``max_tokens`` includes ``[CLS]`` and ``[SEP]``.
    ``max_regions`` includes IMG and detected regions; candidate boxes are additional and never cut.
    ``pairs_per_example``: K. ``vocabulary``: name of the task whose answer list is used. ``classes``: class names in
    the order of the head's outputs. ``form``: how a page asks for the text, where a dataset of your own states it.
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
    form: TaskForm | None = None


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """A head that one or more tasks of a family share.

    ``outputs``: the answers or classes in the order of the logits; empty for heads that score pairs or regions.
    ``pairs_per_example``: K, the pairs that a classifier reads together. ``form``: a classifier's two-layer MLP (the
    paper's) or one linear layer.
    """

    name: str
    family: str
    outputs: tuple[str, ...] = ()
    pairs_per_example: int = 1
    form: Literal["mlp", "linear"] = "mlp"


@dataclass(frozen=True, slots=True)
class Ranked:
    """An answer, class or image by name, or a box, with its probability.

    ``label``, in serving only: what the answer is called. For an answer or a class its name; for an image its file's
    name; for a box what the detector takes the object in it for, or else the request's text.
    """

    probability: float
    name: str = ""
    box_px: Box | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class ExamplePrediction:
    """The model's outputs for one example, most probable first.

    ``ranked``: answers or classes, boxes (grounding), or image keys (retrieval).
    """

    example_id: str
    task: str
    ranked: tuple[Ranked, ...] = field(default=())

    @property
    def best(self) -> Ranked:
        return self.ranked[0]
