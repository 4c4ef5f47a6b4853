"""The arithmetic of ``experiments/pretraining.py``, and what its arms change."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from twelvefold.schema import TwelvefoldError

NAME = "pretraining"


def model(share: float, *, examples: int = 400, seed: int = 0) -> dict[str, dict[str, float]]:
    """Scores of a model that is right in so many of its examples of two tasks."""
    random = np.random.default_rng(seed)
    return {task: {str(n): float(random.random() < share) for n in range(examples)} for task in ("gqa", "coco")}


def test_a_gain_is_the_mean_over_tasks_seeds_and_examples_with_its_spread(experiment: ModuleType) -> None:
    more = {0: {"gqa": {"a": 1.0, "b": 1.0}, "coco": {"c": 1.0}}, 1: {"gqa": {"a": 1.0, "b": 0.0}, "coco": {"c": 1.0}}}
    less = {0: {"gqa": {"a": 0.0, "b": 1.0}, "coco": {"c": 1.0}}, 1: {"gqa": {"a": 1.0, "b": 0.0}, "coco": {"c": 0.0}}}
    found = experiment.gain(more, less)
    assert found.tasks == {"gqa": 25.0, "coco": 50.0}  # each task counts once, however many examples it has
    assert found.by_seed == {0: 25.0, 1: 50.0}
    assert found.gain == 37.5


def test_the_interval_holds_what_is_true_and_arms_compare_over_common_seeds(experiment: ModuleType) -> None:
    more = {seed: model(0.6, seed=seed) for seed in range(3)}
    less = {seed: model(0.5, seed=10 + seed) for seed in range(2)}
    found = experiment.gain(more, less)
    assert list(found.by_seed) == [0, 1]
    assert found.ci95[0] < 10 < found.ci95[1]
    assert found.ci95[0] > 0
    assert experiment.gain({2: model(0.6)}, less) is None


def test_models_scored_on_other_examples_do_not_compare(experiment: ModuleType) -> None:
    with pytest.raises(TwelvefoldError, match="gqa: the models were scored on different examples"):
        experiment.gain({0: model(0.5)}, {0: model(0.5, examples=399)})


def test_arms_differ_in_the_two_changes_alone_and_all_else_is_equal(experiment: ModuleType, tmp_path: Path) -> None:
    found = experiment.jobs(tmp_path, tmp_path, 2, list(experiment.ARMS), 7)
    assert [(job.seed, job.arm) for job in found][:6] == [(0, a) for a in ("scratch", *experiment.ARMS)] + [
        (1, "scratch")
    ]
    changes = {
        job.arm: (job.captions.pretraining.mask_overlapping, job.captions.pretraining.predict_on_mismatched)
        for job in found
    }
    assert {arm: changes[arm] for arm in experiment.ARMS} == {
        "both": (True, False), "overlap": (True, True), "swapped": (False, False), "neither": (False, True),
    }  # fmt: skip
    assert {job.captions.training.iterations for job in found} == {7}
    assert len({job.tasks.to_toml() for job in found if job.seed == 0}) == 1
    assert not any(job.tasks.training.stop_and_go for job in found)


def test_nothing_to_report_is_said(experiment: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"no model from scratch in .* is scored yet"):
        experiment.report(experiment.jobs(tmp_path, tmp_path, 1, [], 7), tmp_path)


def test_averages_and_tasks_are_over_the_seeds_that_all_arms_have(experiment: ModuleType) -> None:
    scored = {
        "scratch": {0: {"gqa": {"a": 0.0}}, 1: {"gqa": {"a": 1.0}}},
        "both": {0: {"gqa": {"a": 1.0}}},
    }
    text = experiment.tables(scored, {"scratch": {}}, {"both": {0: {"words": 12.0}}})
    assert "| scratch | 0.0 | 0.0, 100.0 |" in text
    assert "| gqa | 0.0 | 100.0 |" in text
    assert text.rstrip().endswith("| both | 12.0 |")
