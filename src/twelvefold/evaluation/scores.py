"""Scores as ``scores.json``, ``blind.json`` and ``report.json`` hold them. All scores are percentages.

A score can be unknown: the publishers of VQAv2 and GQA withhold test labels, and a server of theirs scores predictions.
An unknown score is None (``null`` in JSON), never NaN and never 0, and is part of no average.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

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


class ShortlistUse(msgspec.Struct, frozen=True):
    """How a retrieval task was scored by shortlists, instead of by all pairs of a caption and an image.

    size: images that each caption, and captions that each image was compared with. listed: share of captions, in
    percent, whose own image was on the shortlist; the others are misses. pairs: that were scored, for image and text
    retrieval together. all_pairs: that an exact search scores. twin_digest: of the twin encoder's file.
    """

    size: int
    listed: float
    pairs: int
    all_pairs: int
    twin_digest: str

    def describe(self) -> str:
        """Return a sentence for people."""
        return (
            f"scored by shortlists of {self.size}: {self.pairs:,} of {self.all_pairs:,} pairs were compared, and "
            f"{self.listed:.1f} % of the captions had their own image on the list; the others count as misses"
        )


class TaskScore(msgspec.Struct, frozen=True):
    """Score of one task on one split.

    score: None if no label is known. n: examples with a label. ci95: bootstrap interval, resampled by image; None
    without a score. unlabeled: examples that are predicted and not scored, because their labels are withheld.
    extra_metrics: other metrics by name, in percent (recall_at_5, consistency, the IoU rule of vilbert-multi-task).
    limitations: sentences about what these metrics leave out.
    text_retrieval: of retrieval tasks; it is part of no average. shortlist: of retrieval tasks that were not scored
    exactly.
    """

    metric: str
    split: str
    score: float | None
    n: int
    ci95: tuple[float, float] | None
    by_question_type: dict[str, QuestionTypeScore] = msgspec.field(default_factory=dict, name="by_kind")
    extra_metrics: dict[str, float] = msgspec.field(default_factory=dict, name="also")
    reliability: Reliability | None = None
    limitations: tuple[str, ...] = ()
    text_retrieval: TextRetrievalScore | None = None
    unlabeled: int = 0
    shortlist: ShortlistUse | None = None

    def require_score(self) -> float:
        """Return the score, where labels cannot be withheld.

        Raises:
            TwelvefoldError: it is unknown.
        """
        if self.score is None:
            raise TwelvefoldError(
                f"the {self.split} labels are withheld ({self.unlabeled:,} examples): no score is known"
            )
        return self.score


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
    """Scores of one model on several tasks, and the time and memory of the last evaluation.

    Several evaluations of the same model on the same data, of some tasks each, add up. tasks: all that were evaluated,
    also those whose score is unknown. invocation: None in files that were written before it was recorded.
    unknown: why a score is unknown, by task; submit: the command that writes the file for its server.
    missing: tasks of the recipe that are not in ``tasks``, and why: they were not evaluated, or with another model.
    weights_digest: of the scored weights; inputs_digest: of weights, data, limits and temperatures. Empty in files that
    were written before they were recorded.
    """

    tasks: dict[str, TaskScore]
    checkpoint: str
    seconds: float
    peak_memory_gb: float
    invocation: Invocation | None = None
    unknown: dict[str, str] = {}
    submit: dict[str, str] = {}
    missing: dict[str, str] = {}
    weights_digest: str = ""
    inputs_digest: str = ""

    @property
    def known(self) -> dict[str, float]:
        """Return the score of each task that has one."""
        return {name: task.score for name, task in self.tasks.items() if task.score is not None}

    @property
    def average(self) -> float | None:
        """Return the mean over the tasks that have a score, each with equal weight (the last column of the paper's
        Table 2); None if there is none."""
        return sum(self.known.values()) / len(self.known) if self.known else None

    def describe_average(self) -> str:
        """Return ``average 61.20 of 12 tasks``, and which tasks it is of unless it is of all; empty without a score."""
        if self.average is None:
            return ""
        known, others = self.known, len(self.tasks) + len(self.missing) - len(self.known)
        tasks = f"{len(known)} of {len(known) + others} tasks: {', '.join(known)}" if others else f"{len(known)} tasks"
        return f"average {self.average:.2f} of {tasks}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields, the average (null if no score is known) and the names of the tasks that it is of."""
        average = None if self.average is None else round(self.average, 2)
        return {"average": average, "average_of": list(self.known), **msgspec.to_builtins(self)}


class TaskBaselines(msgspec.Struct, frozen=True):
    """Baseline scores of a task in percent, on the examples and with the code of the model's score.

    chance: expected score of a uniform guess. majority: the most frequent training answer, class or candidate.
    text_only, image_only: a small network that reads one modality. n: examples with a label; if it is 0, all are None.
    """

    chance: float | None
    majority: float | None
    text_only: float | None = msgspec.field(name="blind_text")
    image_only: float | None = msgspec.field(name="blind_image")
    n: int

    @property
    def best(self) -> float | None:
        """Return the best baseline; None if they are unknown."""
        scores = (self.chance, self.majority, self.text_only, self.image_only)
        return max((score for score in scores if score is not None), default=None)


class Baselines(msgspec.Struct, frozen=True):
    """``blind.json``: the baselines of all tasks, and the seconds that they took."""

    tasks: dict[str, TaskBaselines]
    seconds: float


def write_scores(path: Path, scores: msgspec.Struct) -> None:
    """Write a struct of this module as indented JSON, atomically."""
    content = scores.to_json() if isinstance(scores, Scores) else scores
    atomic_files.write_bytes(path, msgspec.json.format(msgspec.json.encode(content), indent=1))


def read_scores(path: Path, type_: type[T]) -> T:
    """Read what :func:`write_scores` wrote.

    Raises:
        TwelvefoldError: the file is missing, or holds something else.
    """
    scores = atomic_files.read_optional(path, type_, problem=f"does not hold {type_.__name__}")
    if scores is None:
        raise TwelvefoldError(f"{path} is missing: run the command that writes it first")
    return scores
