"""Scores as ``scores.json``, ``blind.json`` and ``report.json`` hold them. All scores are percentages."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files

T = TypeVar("T", bound=msgspec.Struct)


class QuestionTypeScore(msgspec.Struct, frozen=True):
    """Mean score of the examples of one question type (or part of a split, such as ``testA``), and their number."""

    score: float
    n: int


class CalibrationBin(msgspec.Struct, frozen=True):
    """Mean confidence and mean score, both in 0..1, of ``n`` answers with similar confidence."""

    confidence: float
    score: float
    n: int


class Reliability(msgspec.Struct, frozen=True):
    """How well confidences match scores.

    temperature: 1 if none was fitted. error, error_raw: expected calibration error in points, with the temperature
    and without it. bins, bins_raw: the bins behind both errors, least confident first.
    """

    temperature: float
    error: float
    error_raw: float
    bins: tuple[CalibrationBin, ...]
    bins_raw: tuple[CalibrationBin, ...]


class TextRetrievalScore(msgspec.Struct, frozen=True):
    """Text retrieval of a retrieval task: share of images for which one of their captions is found first, in percent.

    n: images. captions: number of captions that are searched, of all these images. ci95: bootstrap interval.
    extra_metrics: recall_at_5 and recall_at_10.
    """

    metric: str
    score: float
    n: int
    captions: int
    ci95: tuple[float, float]
    extra_metrics: dict[str, float] = msgspec.field(default_factory=dict, name="also")


class TaskScore(msgspec.Struct, frozen=True):
    """Score of one task on one split.

    n: examples with a label; if it is 0, the score is unknown. ci95: bootstrap interval, resampled by image.
    extra_metrics: other metrics by name, in percent (recall_at_5, consistency, the IoU rule of vilbert-multi-task).
    limitations: sentences about what these metrics leave out.
    text_retrieval: of retrieval tasks; it is part of no average.
    """

    metric: str
    split: str
    score: float
    n: int
    ci95: tuple[float, float]
    by_question_type: dict[str, QuestionTypeScore] = msgspec.field(default_factory=dict, name="by_kind")
    extra_metrics: dict[str, float] = msgspec.field(default_factory=dict, name="also")
    reliability: Reliability | None = None
    limitations: tuple[str, ...] = ()
    text_retrieval: TextRetrievalScore | None = None


class Invocation(msgspec.Struct, frozen=True):
    """When, by which command and with which code something was computed.

    date: UTC, ``2026-01-31 14:05 UTC``. commit: of twelvefold's repository, ending in ``-dirty`` if it had uncommitted
    changes; empty for an installed package.
    """

    date: str
    command: str
    version: str
    commit: str = ""

    @property
    def code(self) -> str:
        """Return version and commit as people name them."""
        commit, dirty, _ = self.commit.partition("-dirty")
        parts = [f"twelvefold {self.version}", f"commit {commit}" if commit else ""]
        return ", ".join(filter(None, parts)) + (" with uncommitted changes" if dirty else "")


class Scores(msgspec.Struct, frozen=True):
    """Scores of one model on several tasks, and the time and memory of the evaluation.

    unknown: tasks whose test labels are withheld, with a sentence; their predictions are written, and they are part of
    no average. invocation: None in files that were written before it was recorded.
    """

    tasks: dict[str, TaskScore]
    checkpoint: str
    seconds: float
    peak_memory_gb: float
    invocation: Invocation | None = None
    unknown: dict[str, str] = {}

    @property
    def average(self) -> float:
        """Return the mean over tasks, each with equal weight (the last column of the paper's Table 2); 0 if there is
        none."""
        return sum(t.score for t in self.tasks.values()) / len(self.tasks) if self.tasks else 0.0


class TaskBaselines(msgspec.Struct, frozen=True):
    """Baseline scores of a task in percent, on the examples and with the code of the model's score.

    chance: expected score of a uniform guess. majority: the most frequent training answer, class or candidate.
    text_only, image_only: a small network that reads one modality.
    """

    chance: float
    majority: float
    text_only: float = msgspec.field(name="blind_text")
    image_only: float = msgspec.field(name="blind_image")
    n: int

    @property
    def best(self) -> float:
        return max(self.chance, self.majority, self.text_only, self.image_only)


class Baselines(msgspec.Struct, frozen=True):
    """``blind.json``: the baselines of all tasks, and the seconds that they took."""

    tasks: dict[str, TaskBaselines]
    seconds: float


def write_scores(path: Path, scores: msgspec.Struct) -> None:
    """Write a struct of this module as indented JSON, atomically."""
    atomic_files.write_bytes(path, msgspec.json.format(msgspec.json.encode(scores), indent=1))


def read_scores(path: Path, type_: type[T]) -> T:
    """Read what :func:`write_scores` wrote.

    Raises:
        TwelvefoldError: the file is missing, or holds something else.
    """
    scores = atomic_files.read_optional(path, type_, problem=f"does not hold {type_.__name__}")
    if scores is None:
        raise TwelvefoldError(f"{path} is missing: run the command that writes it first")
    return scores
