"""The figures of an evaluation, as they lie in ``scores.json``, ``blind.json`` and ``report.json``: percentages."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files

T = TypeVar("T", bound=msgspec.Struct)


class KindScore(msgspec.Struct, frozen=True):
    """The score of one kind of example (a question type, ``testA``): percent, and how many there were."""

    score: float
    n: int


class Bin(msgspec.Struct, frozen=True):
    """Answers of like confidence: means of confidence and score, in 0..1, and how many answers."""

    confidence: float
    score: float
    n: int


class Reliability(msgspec.Struct, frozen=True):
    """temperature: 1 where none was fitted. error, error_raw: expected calibration error in points, with the
    temperature and without. bins, bins_raw: what these are made of, least confident first."""

    temperature: float
    error: float
    error_raw: float
    bins: tuple[Bin, ...]
    bins_raw: tuple[Bin, ...]


class TaskScore(msgspec.Struct, frozen=True):
    """One task's score on one split. ``ci95``: bootstrap over pictures. ``also``: further figures by name, in percent
    (recall_at_5, consistency, the original project's convention). ``reliability``: of its probabilities."""

    metric: str
    split: str
    score: float
    n: int
    ci95: tuple[float, float]
    by_kind: dict[str, KindScore] = {}
    also: dict[str, float] = {}
    reliability: Reliability | None = None


class Scores(msgspec.Struct, frozen=True):
    """Scores of one model on several tasks, with what it cost to get them."""

    tasks: dict[str, TaskScore]
    checkpoint: str
    seconds: float
    peak_memory_gb: float

    @property
    def average(self) -> float:
        """The mean over tasks, each task counting once (the paper's last column)."""
        return sum(t.score for t in self.tasks.values()) / len(self.tasks)


class BlindScore(msgspec.Struct, frozen=True):
    """What a task gives away: percent, on the same examples and by the same code as the model's score.

    ``chance``: expected score of a uniform guess. ``majority``: the commonest training answer, class or slot.
    ``blind_text``, ``blind_image``: a model trained with the other side hidden.
    """

    chance: float
    majority: float
    blind_text: float
    blind_image: float
    n: int

    @property
    def best(self) -> float:
        return max(self.chance, self.majority, self.blind_text, self.blind_image)


class BlindScores(msgspec.Struct, frozen=True):
    tasks: dict[str, BlindScore]
    seconds: float


def write(path: Path, scores: msgspec.Struct) -> None:
    """Write scores as indented JSON, atomically."""
    atomic_files.write_bytes(path, msgspec.json.format(msgspec.json.encode(scores), indent=1))


def read(path: Path, kind: type[T]) -> T:
    """Read what ``write`` wrote. Raises TwelvefoldError naming the file where it is missing or not such a file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError as error:
        raise TwelvefoldError(f"{path} is not there: run the command that makes it first") from error
    except msgspec.DecodeError as error:
        raise TwelvefoldError(f"{path} does not hold {kind.__name__}: {error}") from error
