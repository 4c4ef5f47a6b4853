"""``experiments/pretraining.py``: gains and their intervals, and the recipes of its arms."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from twelvefold.schema import TwelvefoldError

NAME = "pretraining"


def model(share: float, *, examples: int = 400, seed: int = 0) -> dict[str, dict[str, float]]:
    """Return scores of a model that is right in a fraction ``share`` of the examples of two tasks."""
    random = np.random.default_rng(seed)
    return {task: {str(n): float(random.random() < share) for n in range(examples)} for task in ("gqa", "coco")}


def test_a_gain_is_the_mean_over_tasks_seeds_and_examples(experiment: ModuleType) -> None:
    more = {0: {"gqa": {"a": 1.0, "b": 1.0}, "coco": {"c": 1.0}}, 1: {"gqa": {"a": 1.0, "b": 0.0}, "coco": {"c": 1.0}}}
    less = {0: {"gqa": {"a": 0.0, "b": 1.0}, "coco": {"c": 1.0}}, 1: {"gqa": {"a": 1.0, "b": 0.0}, "coco": {"c": 0.0}}}
    gain = experiment.gain(more, less)
    assert gain.tasks == {"gqa": 25.0, "coco": 50.0}  # each task counts once, however many examples it has
    assert gain.by_seed == {0: 25.0, 1: 50.0}
    assert gain.gain == 37.5


def test_the_interval_contains_the_true_gain_and_covers_common_seeds(experiment: ModuleType) -> None:
    more = {seed: model(0.6, seed=seed) for seed in range(3)}
    less = {seed: model(0.5, seed=10 + seed) for seed in range(2)}
    gain = experiment.gain(more, less)
    assert list(gain.by_seed) == [0, 1]
    assert gain.ci95[0] < 10 < gain.ci95[1]
    assert gain.ci95[0] > 0
    assert experiment.gain({2: model(0.6)}, less) is None


def test_models_scored_on_different_examples_are_refused(experiment: ModuleType) -> None:
    with pytest.raises(TwelvefoldError, match="gqa: the models were scored on different examples"):
        experiment.gain({0: model(0.5)}, {0: model(0.5, examples=399)})


def test_arms_differ_only_in_the_two_changes(experiment: ModuleType, tmp_path: Path) -> None:
    jobs = experiment.jobs(tmp_path, tmp_path, 2, list(experiment.ARMS), 7)
    assert [(job.seed, job.arm) for job in jobs][:6] == [(0, a) for a in ("scratch", *experiment.ARMS)] + [
        (1, "scratch")
    ]
    changes = {
        job.arm: (job.captions.pretraining.mask_overlapping, job.captions.pretraining.predict_on_mismatched)
        for job in jobs
    }
    assert {arm: changes[arm] for arm in experiment.ARMS} == {
        "both": (True, False), "overlap": (True, True), "mismatched": (False, False), "neither": (False, True),
    }  # fmt: skip
    assert {job.captions.training.iterations for job in jobs} == {7}
    assert len({job.tasks.to_toml() for job in jobs if job.seed == 0}) == 1
    assert not any(job.tasks.training.stop_and_go for job in jobs)


def test_a_report_without_models_is_refused(experiment: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"no model from scratch in .* is scored yet"):
        experiment.report(experiment.jobs(tmp_path, tmp_path, 1, [], 7), tmp_path)


def test_tables_average_over_the_seeds_that_all_arms_have(experiment: ModuleType) -> None:
    scores = {
        "scratch": {0: {"gqa": {"a": 0.0}}, 1: {"gqa": {"a": 1.0}}},
        "both": {0: {"gqa": {"a": 1.0}}},
    }
    averages = experiment.average_table(scores, {"scratch": {}})
    assert any(line.startswith("| scratch | 0.0 | 0.0, 100.0 |") for line in averages)
    assert "| gqa | 0.0 | 100.0 |" in experiment.task_table(scores)
    assert experiment.metric_table({"both": {0: {"words": 12.0}}})[-1] == "| both | 12.0 |"
