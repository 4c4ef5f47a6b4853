"""What a person asks, checked and worded as the tasks' readers word it: requests in, examples out.

Paper: section 2.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from twelvefold import boxes
from twelvefold.datasets.guesswhat import dialogue
from twelvefold.schema import Box, Example, FamilyName, ImageKey, Pair, TaskSpec, TwelvefoldError, did_you_mean
from twelvefold.serving.images import Picture

GIVEN_CANDIDATES = ("visual7w", "guesswhat")
"""Tasks whose files give the boxes to choose from; asked without, they choose among what was detected."""

MAX_CHARACTERS = 10_000
"""Longest text taken: 20 times what the longest task reads (256 word pieces), and quick to cut into pieces."""


@dataclass(frozen=True, slots=True)
class Request:
    """One thing asked of one task. ``pictures``: as many as the task has pairs, or the pool to search (retrieval).
    ``boxes_px``: candidates to point at; empty: the detected regions. ``top``: so many answers, best first.
    ``explain``: also say which words looked at which regions."""

    task: str
    pictures: tuple[Picture, ...]
    text: str
    boxes_px: tuple[Box, ...] = ()
    top: int = 5
    explain: bool = False


def dialogue_text(turns: str | Iterable[Sequence[str]]) -> str:
    """A dialogue as GuessWhat's reader words it, of (question, answer) pairs; a text stays as it is.

    Raises:
        TwelvefoldError: a turn is no pair, or a question or answer is empty.
    """
    if isinstance(turns, str):
        return turns
    pairs = [tuple(turn) for turn in turns]
    if not pairs or not all(len(turn) == 2 and all(isinstance(said, str) for said in turn) for turn in pairs):
        raise TwelvefoldError(f"a dialogue is (question, answer) pairs of texts, at least one, got {pairs!r}"[:300])
    text = dialogue([(turn[0], turn[1]) for turn in pairs])
    if text is None:
        raise TwelvefoldError("every turn of a dialogue has a question and an answer, got an empty one")
    return text


def check(request: Request, spec: TaskSpec) -> None:
    """Refuse what can't be answered.

    Raises:
        TwelvefoldError: no text, too long a text, a wrong number of pictures, boxes where none belong or outside the
            picture, ``top`` below 1.
    """
    count = len(request.pictures)
    check_text(request.text, spec.name)
    if spec.family == "retrieval":
        if not count:
            raise TwelvefoldError(f"task {spec.name!r} searches among pictures, got none")
    elif count != spec.pairs_per_example:
        raise TwelvefoldError(
            f"task {spec.name!r} looks at {spec.pairs_per_example} "
            f"picture{'s'[: spec.pairs_per_example - 1]}, got {count}"
        )
    check_top(request.top)
    if request.boxes_px and spec.family != "grounding":
        raise TwelvefoldError(f"task {spec.name!r} points at nothing, so it takes no boxes")


def check_text(text: str, task: str) -> None:
    """Raises: TwelvefoldError where it is no text, blank or too long."""
    if not isinstance(text, str) or not text.strip():
        raise TwelvefoldError(f"task {task!r} needs a text, got {text!r}"[:300])
    if len(text) > MAX_CHARACTERS:
        raise TwelvefoldError(f"a text has at most {MAX_CHARACTERS:,} characters, got {len(text):,}")


def check_phrases(phrases: Iterable[str], caption: str) -> None:
    """Raises: TwelvefoldError where one does not stand in the caption."""
    for phrase in phrases:
        if phrase.lower() not in caption.lower():
            raise TwelvefoldError(f"the phrase {phrase[:100]!r} does not stand in the caption {caption[:200]!r}")


def check_top(top: int) -> None:
    """Raises: TwelvefoldError where it is below 1."""
    if top < 1:
        raise TwelvefoldError(f"top is how many answers to give, at least 1, got {top}")


def candidates(request: Request) -> tuple[Box, ...]:
    """The request's boxes, cut to its picture, as the readers cut theirs.

    Raises:
        TwelvefoldError: a box is not four finite numbers, or has no area inside the picture.
    """
    if not request.boxes_px:
        return ()
    picture = request.pictures[0]
    try:
        corners = np.array(request.boxes_px, dtype=np.float64)
    except (ValueError, TypeError):
        corners = np.zeros(0)
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise TwelvefoldError(f"a box is x1, y1, x2, y2 in pixels, got {list(request.boxes_px)!r}"[:300])
    cut = boxes.clip(corners, picture.width, picture.height)
    good = np.isfinite(corners).all(axis=1) & (cut[:, 2] > cut[:, 0]) & (cut[:, 3] > cut[:, 1])
    if not good.all():
        wrong = list(request.boxes_px[int(np.argmin(good))])
        size = f"{picture.width} x {picture.height}"
        raise TwelvefoldError(f"a box x1, y1, x2, y2 has an area inside the picture ({size} pixels), got {wrong}")
    # Through float32, in which features are found by their boxes again.
    return tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in cut.astype(np.float32).tolist())


def example(request: Request, given: Sequence[Box], id_: str) -> Example:
    """The request as its task's reader would have given it, the label withheld. ``given``: candidate boxes."""
    text = request.text.strip()
    return Example(id_, tuple(Pair(key(picture), text, tuple(given)) for picture in request.pictures), None)


def key(picture: Picture) -> ImageKey:
    """The name under which a picture's regions are kept."""
    return ImageKey("asked", picture.digest)


def choose_task(name: str, family: FamilyName, known: Iterable[TaskSpec], *, pairs: int | None = 1) -> TaskSpec:
    """The task of that name, of a family and number of pictures that fit what is asked.

    Raises:
        TwelvefoldError: the model has no such task.
    """
    fitting = [s for s in known if s.family == family and (pairs is None or s.pairs_per_example == pairs)]
    for spec in fitting:
        if spec.name == name:
            return spec
    names = [spec.name for spec in fitting]
    there = f"for this it has {', '.join(names)}" if names else f"it has none of family {family}"
    raise TwelvefoldError(f"the model has no task {name!r}; {there}{did_you_mean(name, names)}")
