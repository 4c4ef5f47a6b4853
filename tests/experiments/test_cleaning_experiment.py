"""``experiments/cleaning.py`` computes the gap and the inflation that the scores were made with."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import pytest

from twelvefold.config.recipe import Recipe
from twelvefold.data.write_table import write_table
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.evaluation.predictions import PredictionRecord, write_predictions
from twelvefold.schema import CONSISTENCY_ONLY, Example, ImageKey, Pair, PositivePair, TaskSpec, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.prepared import MANIFEST, FileEntry, Prepared, PreparedManifest

NAME = "cleaning"
IMAGES = [ImageKey("coco", str(n)) for n in range(200)]
LEAKED = set(IMAGES[:120])


def test_the_value_of_more_data_is_separated_from_inflation(experiment: ModuleType) -> None:
    random = np.random.default_rng(0)
    images = [frozenset([key]) for key in IMAGES for _ in range(5)]
    leaked = np.array([bool(keys & LEAKED) for keys in images])
    probability = 0.5 + 0.1 + 0.2 * leaked  # more data give 10 points, training on the image 20 more
    scores = {
        "full": (random.random((3, len(images))) < probability).astype(float),
        "cleaned": (random.random((3, len(images))) < 0.5).astype(float),
    }
    gaps = experiment.compute_gaps(experiment.TaskScores(images, scores), LEAKED)
    assert (gaps.leaked.gap.examples, gaps.unleaked.gap.examples) == (600, 400)
    assert gaps.unleaked.gap.gap == pytest.approx(10, abs=4)
    inflation, (low, high) = experiment.gap_difference(gaps.leaked, gaps.unleaked)
    assert inflation == pytest.approx(gaps.leaked.gap.gap - gaps.unleaked.gap.gap)
    assert low < 20 < high
    assert high - low < 20
    whole = gaps.whole.gap
    assert whole.gap == pytest.approx(0.6 * gaps.leaked.gap.gap + 0.4 * gaps.unleaked.gap.gap)
    assert np.mean(whole.by_seed) == pytest.approx(whole.gap, abs=0.01)
    assert gaps.crossed is None


def test_the_crossover_compares_models_with_and_without_the_image(experiment: ModuleType) -> None:
    images = [frozenset([key]) for key in IMAGES]
    in_first = np.array([[experiment.half_of(key) == 0 for key in IMAGES]], dtype=float)
    assert 60 < in_first.sum() < 140
    scores = {"full": np.ones((1, 200)), "cleaned": np.zeros((1, 200))}
    scores |= {
        experiment.HALVES[0]: 1 - in_first,
        experiment.HALVES[1]: in_first,
    }  # each is correct on the images of its half only
    gaps = experiment.compute_gaps(experiment.TaskScores(images, scores), LEAKED).crossed
    assert (gaps.gap.examples, gaps.gap.more, gaps.gap.less, gaps.gap.gap) == (120, 100, 0, 100)
    both = frozenset(key for key in list(LEAKED)[:40])  # images of both halves: both models trained on some of them
    assert experiment.compute_gaps(experiment.TaskScores([both] * 200, scores), LEAKED).crossed is None


def test_the_bootstrap_resamples_whole_images(experiment: ModuleType) -> None:
    more, less = np.tile([[1.0, 0.0]], (1, 50)), np.zeros((1, 100))
    independent = experiment.measure_gap(more, less, [str(n) for n in range(100)]).gap.ci95
    clustered = experiment.measure_gap(more, less, [str(n % 2) + str(n // 20) for n in range(100)]).gap.ci95
    assert clustered[1] - clustered[0] > 2 * (independent[1] - independent[0])
    same = experiment.measure_gap(more, more, ["a"] * 100).gap
    assert (same.gap, same.ci95) == (0, (0, 0))
    assert experiment.measure_gap(more[:, :0], less[:, :0], []) is None


def test_the_average_weights_tasks_equally_and_ignores_missing_gaps(experiment: ModuleType) -> None:
    large = experiment.measure_gap(np.ones((2, 90)), np.zeros((2, 90)), [str(n) for n in range(90)])
    small = experiment.measure_gap(np.zeros((2, 3)), np.zeros((2, 3)), ["a", "b", "c"])
    gaps = experiment.average_gap([large, None, small]).gap
    assert (gaps.gap, gaps.examples, gaps.by_seed) == (50, 93, [50.0, 50.0])
    assert experiment.average_gap([None]) is None
    assert experiment.gap_difference(large, None) is None


def test_scores_come_from_prediction_files_of_the_same_examples(experiment: ModuleType, tmp_path: Path) -> None:
    task = TaskSpec("finds", "finds", "retrieval", "finds", "R@1", 12, 4, 1e-4)
    examples = [
        Example("b", (Pair(ImageKey("vg", "7"), "x"),), PositivePair()),
        Example("a", (Pair(ImageKey("coco", "2"), "x"),), PositivePair()),
        Example("c", (Pair(ImageKey("coco", "2"), "x"),), PositivePair(), question_type=CONSISTENCY_ONLY),
    ]
    write_table(tmp_path / "tables/finds-test.arrow", examples, lambda texts: [[1]] * len(texts), digest="d")
    size = (tmp_path / "tables/finds-test.arrow").stat().st_size
    entry = FileEntry("tables/finds-test.arrow", size, 3, "d")
    written = PreparedManifest(clean=True, regions="", tasks=[task], tables={"finds": {"test": entry}}, counts={})
    atomic_files.write_json(tmp_path / MANIFEST, msgspec.to_builtins(written))

    def predict(split: str, **scores: float) -> None:
        path = experiment.run_folder(tmp_path, 0, split) / "predictions" / "finds.jsonl"
        write_predictions(path, [PredictionRecord(id_, "finds", score, ()) for id_, score in scores.items()])

    predict("full", b=1.0, a=0.0, c=1.0)
    predict("cleaned", a=0.25, c=0.0, b=0.5)
    arguments = (tmp_path, Prepared.open(tmp_path), "finds", ImageGroups(), ("full", "cleaned"), 1)
    task_scores = experiment.read_scores(*arguments)
    assert task_scores.images == [frozenset([ImageKey("coco", "2")]), frozenset([ImageKey("vg", "7")])]
    assert {split: values.tolist() for split, values in task_scores.scores.items()} == {
        "full": [[0.0, 1.0]],
        "cleaned": [[0.25, 0.5]],
    }
    predict("cleaned", a=0.25)
    with pytest.raises(TwelvefoldError, match=r"seed-0/cleaned was scored on 1 test examples that are not the 2 of"):
        experiment.read_scores(*arguments)


def test_the_page_shows_every_task_and_missing_gaps(experiment: ModuleType) -> None:
    images = [frozenset([key]) for key in IMAGES]
    scores = {"full": np.ones((1, 200)), "cleaned": np.zeros((1, 200))}
    scores |= {split: np.ones((1, 200)) for split in experiment.HALVES}
    tasks = {
        "gqa": experiment.compute_gaps(experiment.TaskScores(images, scores), LEAKED),
        "nlvr2": experiment.compute_gaps(experiment.TaskScores(images, scores), set()),
    }
    recipe = Recipe.parse('name = "r"\ntasks = ["gqa", "nlvr2"]')
    text = experiment.make_page(recipe, tasks, 1, "make inflation")
    assert "| gqa | 120 | 100.0 | 0.0 | +100.0 (+100.0 to +100.0) | 80 | 100.0 | 0.0 |" in text
    assert "| nlvr2 | 0 | | |  | 200 |" in text
    assert "| gqa | 120 | 100.0 | 100.0 | +0.0 (+0.0 to +0.0) |" in text  # the crossover
    assert "nan" not in text
