"""Requests to a model: their checks, and the texts that the dataset readers would have produced.

Paper: section 2.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from twelvefold import boxes
from twelvefold.datasets import is_built_in, load_dataset
from twelvefold.datasets.guesswhat import format_dialogue
from twelvefold.families import Family, load_family
from twelvefold.images import InputImage
from twelvefold.parsing.json_text import JsonError, decode_json, describe_error
from twelvefold.schema import Box, TaskSpec, TwelvefoldError, did_you_mean

T = TypeVar("T")

MAX_TEXT_LENGTH = 10_000
"""Characters: 20 times what the longest task reads (256 word pieces), and fast to tokenize."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question to one task.

    images: as many as the task's pairs, or the pool to search (retrieval). boxes_px: candidate boxes; empty means the
    detected regions. top: number of answers, best first. explain: also return attention weights. texts: the texts to
    choose from, for a family that chooses a text; ``text`` is then empty.
    """

    task: str
    images: tuple[InputImage, ...]
    text: str
    boxes_px: tuple[Box, ...] = ()
    top: int = 5
    explain: bool = False
    texts: tuple[str, ...] = ()

    @property
    def stripped_texts(self) -> list[str]:
        """Return the texts to choose from, or the text, without white space around them."""
        return [text.strip() for text in self.texts or (self.text,)]


def parse_json(text: str, expected_type: type[T], name: str, expected: str) -> T:
    """Return the value of a JSON argument or form field.

    Raises:
        TwelvefoldError: it is not JSON of that type.
    """
    data = text.encode(errors="replace")
    try:
        return decode_json(data, expected_type)
    except JsonError as error:
        reason = describe_error(error, data)
        raise TwelvefoldError(f"{name}: expected a JSON list {expected}, got {text[:80]!r} ({reason})") from error


def parse_boxes(text: str) -> list[Box]:
    """Return the boxes of a JSON list [[x1, y1, x2, y2], ...]; none if the text is empty."""
    return parse_json(text, list[Box], "boxes", "of [x1, y1, x2, y2] in pixels") if text else []


def parse_dialogue(text: str) -> list[tuple[str, str]]:
    """Return the turns of a JSON list [["question", "answer"], ...]."""
    return parse_json(text, list[tuple[str, str]], "dialogue", 'of pairs ["question", "answer"], one for each turn')


def dialogue_text(turns: str | Iterable[Sequence[str]]) -> str:
    """Join (question, answer) pairs as GuessWhat's reader does; return a text unchanged.

    Raises:
        TwelvefoldError: a turn is no pair of texts, or a question or answer is empty.
    """
    if isinstance(turns, str):
        return turns
    pairs = [tuple(turn) for turn in turns]
    if not pairs or not all(len(turn) == 2 and all(isinstance(text, str) for text in turn) for turn in pairs):
        raise TwelvefoldError(
            f"a dialogue is a list of (question, answer) pairs of texts, at least one, got {pairs!r}"[:300]
        )
    text = format_dialogue([(turn[0], turn[1]) for turn in pairs])
    if text is None:
        raise TwelvefoldError("every turn of a dialogue needs a question and an answer, got an empty one")
    return text


def lists_candidates(task: str) -> bool:
    """Return whether the task's files list candidate boxes.

    A request to such a task that gives no boxes uses the detected regions as candidates.
    """
    return is_built_in(task) and getattr(load_dataset(task), "LISTS_CANDIDATES", False)


def check_request(request: Request, spec: TaskSpec) -> None:
    """Check everything except the boxes' numbers, which :func:`clip_boxes` checks.

    Raises:
        TwelvefoldError: no text, a text that is too long, a wrong number of texts or images, boxes for a task that
            takes none, or ``top`` below 1.
    """
    num_images = len(request.images)
    family = load_family(spec.family)
    if family.chooses_text != bool(request.texts) or (request.text and request.texts):
        expected = "a list of `texts` to choose from, and no `text`" if family.chooses_text else "one `text`"
        raise TwelvefoldError(f"task {spec.name!r} takes {expected}")
    for text in request.texts or (request.text,):
        check_text(text, spec.name)
    num_expected = 1 if family.chooses_text else spec.pairs_per_example
    if family.searches_images:
        if not num_images:
            raise TwelvefoldError(f"task {spec.name!r} searches a list of images, got none")
    elif num_images != num_expected:
        raise TwelvefoldError(
            f"task {spec.name!r} takes {num_expected} image{'s'[: num_expected - 1]}, got {num_images}"
        )
    check_top(request.top)
    if request.boxes_px and not family.chooses_region:
        raise TwelvefoldError(f"task {spec.name!r} takes no boxes: its answers are not boxes")


def check_text(text: str, task: str) -> None:
    """Raises: TwelvefoldError if it is no text, blank or too long."""
    if not isinstance(text, str) or not text.strip():
        raise TwelvefoldError(f"task {task!r} needs a text, got {text!r}"[:300])
    if len(text) > MAX_TEXT_LENGTH:
        raise TwelvefoldError(f"a text has at most {MAX_TEXT_LENGTH:,} characters, got {len(text):,}")


def check_phrases(phrases: Iterable[str], caption: str) -> None:
    """Raises: TwelvefoldError if a phrase is not part of the caption (ignoring case)."""
    for phrase in phrases:
        if phrase.lower() not in caption.lower():
            raise TwelvefoldError(f"the phrase {phrase[:100]!r} is not part of the caption {caption[:200]!r}")


def check_top(top: int) -> None:
    """Raises: TwelvefoldError if it is below 1."""
    if top < 1:
        raise TwelvefoldError(f"top is the number of answers, at least 1, got {top}")


def clip_boxes(request: Request) -> tuple[Box, ...]:
    """Return the request's boxes, clipped to its image as the dataset readers clip theirs.

    Raises:
        TwelvefoldError: a box is not four finite numbers, or has no area inside the image.
    """
    if not request.boxes_px:
        return ()
    image = request.images[0]
    try:
        corners = np.array(request.boxes_px, dtype=np.float64)
    except (ValueError, TypeError):
        corners = np.zeros(0)
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise TwelvefoldError(f"a box is x1, y1, x2, y2 in pixels, got {list(request.boxes_px)!r}"[:300])
    clipped = boxes.clip(corners, image.width, image.height)
    valid = np.isfinite(corners).all(axis=1) & (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
    if not valid.all():
        invalid = list(request.boxes_px[int(np.argmin(valid))])
        size = f"{image.width} x {image.height}"
        raise TwelvefoldError(f"a box x1, y1, x2, y2 needs an area inside the image ({size} pixels), got {invalid}")
    # Rounded to float32, as the dataset readers' boxes are in a region store.
    return tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in clipped.astype(np.float32).tolist())


def find_task(name: str, family: Family, tasks: Mapping[str, TaskSpec], *, num_images: int | None = 1) -> TaskSpec:
    """Return the task of that name, family and number of images (None: any).

    Raises:
        TwelvefoldError: the model has no such task.
    """
    fitting = [
        s
        for s in tasks.values()
        if load_family(s.family) is family and (num_images is None or s.pairs_per_example == num_images)
    ]
    for spec in fitting:
        if spec.name == name:
            return spec
    names = [spec.name for spec in fitting]
    choices = f"choose one of {', '.join(names)}" if names else f"it has none of family {family.name}"
    raise TwelvefoldError(f"the model has no task {name!r} for this; {choices}{did_you_mean(name, names)}")
