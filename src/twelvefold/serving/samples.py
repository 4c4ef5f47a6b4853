"""Sample images that ship with the package, with questions and their correct answers: for the page, docs and tests.

They come from a world of a seed that the shipped model was not trained on; ``tools/make_samples.py`` makes them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from twelvefold.schema import Box, TwelvefoldError, did_you_mean

FOLDER = Path(__file__).parent / "samples"
LIST_FILE = "samples.json"
PREFIX = "sample:"
"""``sample:room`` stands for the sample ``room`` wherever an image is expected."""


class Suggestion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A question to a task with its correct answer.

    dialogue: GuessWhat's turns, instead of ``text``. answer: the annotators' most frequent answer, the class, or for a
    caption the sample's name. box_px: the correct box. boxes_px: the candidates, for tasks that list them. other: for
    two images, the name of the right one.
    """

    task: str
    text: str = ""
    dialogue: tuple[tuple[str, str], ...] = ()
    answer: str = ""
    box_px: Box | None = None
    boxes_px: tuple[Box, ...] = ()
    other: str = ""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A JPEG image of the package, its size in pixels, and questions about it."""

    name: str
    width: int
    height: int
    suggestions: tuple[Suggestion, ...]

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.jpg"


@cache
def load_samples() -> tuple[Sample, ...]:
    """Return all samples, in the order in which the page lists them."""
    return msgspec.json.decode((FOLDER / LIST_FILE).read_bytes(), type=tuple[Sample, ...])


def find_sample(name: str) -> Sample:
    """Return the sample of that name.

    Raises:
        TwelvefoldError: there is none.
    """
    samples = {sample.name: sample for sample in load_samples()}
    if not isinstance(name, str) or name not in samples:
        name = str(name)
        raise TwelvefoldError(f"no sample image {name!r}; there are {', '.join(samples)}{did_you_mean(name, samples)}")
    return samples[name]


def sample(name: str) -> Path:
    """Return the path of a sample image that ships with the package: ``sample("room")``.

    Raises:
        TwelvefoldError: there is no sample of that name; the message lists all.
    """
    return find_sample(name).path


def resolve_sample(path: Path) -> Path:
    """Return the path of a sample for ``sample:NAME``, and any other path unchanged.

    Raises:
        TwelvefoldError: there is no sample of that name; the message lists all.
    """
    return sample(str(path).removeprefix(PREFIX)) if str(path).startswith(PREFIX) else path
