"""A few pictures that ship, with what to ask about them and the right answers: for the page, the docs and tests.

They are of a world of a seed that no model of ours was trained on; ``tools/make_samples.py`` makes them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from twelvefold.schema import Box, TwelvefoldError, did_you_mean

FOLDER = Path(__file__).parent / "samples"
LISTING = "samples.json"


class Suggestion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something to ask of a task. ``dialogue`` instead of ``text``: GuessWhat's turns. ``answer``: the likeliest among
    annotators, the class, or for a caption the sample's own name. ``box_px``: the box meant; ``boxes_px``: the
    candidates where the task gives them. ``other``: the sample that is the right picture of a pair."""

    task: str
    text: str = ""
    dialogue: tuple[tuple[str, str], ...] = ()
    answer: str = ""
    box_px: Box | None = None
    boxes_px: tuple[Box, ...] = ()
    other: str = ""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A picture of the package: a JPEG file, its size in pixels, and what to ask about it."""

    name: str
    width: int
    height: int
    suggestions: tuple[Suggestion, ...]

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.jpg"


@cache
def samples() -> tuple[Sample, ...]:
    """All that ship, in the order in which to show them."""
    return msgspec.json.decode((FOLDER / LISTING).read_bytes(), type=tuple[Sample, ...])


def sample(name: str) -> Sample:
    """The sample of that name.

    Raises:
        TwelvefoldError: there is none.
    """
    names = [one.name for one in samples()]
    if name not in names:
        raise TwelvefoldError(f"no sample picture {name!r}; there are {', '.join(names)}{did_you_mean(name, names)}")
    return samples()[names.index(name)]
