"""The arithmetic of ``experiments/cleaning.py``: what is put into the scores comes out as gap and as inflation."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import pytest

from twelvefold.config.recipe import Recipe
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.evaluation.predictions import PredictionRecord, write_predictions
from twelvefold.schema import CONSISTENCY_ONLY, Example, ImageKey, Pair, PositivePair, TaskSpec, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.example_table import write_table
from twelvefold.store.prepared import MANIFEST, FileEntry, Prepared, PreparedManifest

NAME = "cleaning"
PHOTOGRAPHS = [ImageKey("coco", str(n)) for n in range(200)]
LEAKED = set(PHOTOGRAPHS[:120])


def test_what_more_data_give_is_told_from_inflation(experiment: ModuleType) -> None:
    random = np.random.default_rng(0)
    pictures = [frozenset([key]) for key in PHOTOGRAPHS for _ in range(5)]
    leaked = np.array([bool(own & LEAKED) for own in pictures])
    chance = 0.5 + 0.1 + 0.2 * leaked  # more data give 10 points, having seen the photograph 20 more
    scores = {
        "full": (random.random((3, len(pictures))) < chance).astype(float),
        "cleaned": (random.random((3, len(pictures))) < 0.5).astype(float),
    }
    found = experiment.figures(experiment.Scored(pictures, scores), LEAKED)
    assert (found.leaked.gap.examples, found.unleaked.gap.examples) == (600, 400)
    assert found.unleaked.gap.gap == pytest.approx(10, abs=4)
    inflation, (low, high) = experiment.difference(found.leaked, found.unleaked)
    assert inflation == pytest.approx(found.leaked.gap.gap - found.unleaked.gap.gap)
    assert low < 20 < high
    assert high - low < 20
    whole = found.whole.gap
    assert whole.gap == pytest.approx(0.6 * found.leaked.gap.gap + 0.4 * found.unleaked.gap.gap)
    assert np.mean(whole.by_seed) == pytest.approx(whole.gap, abs=0.01)
    assert found.crossed is None


def test_the_crossover_holds_the_model_that_saw_a_photograph_against_the_other(experiment: ModuleType) -> None:
    pictures = [frozenset([key]) for key in PHOTOGRAPHS]
    in_first = np.array([[experiment.half(key) == 0 for key in PHOTOGRAPHS]], dtype=float)
    assert 60 < in_first.sum() < 140
    scores = {"full": np.ones((1, 200)), "cleaned": np.zeros((1, 200))}
    scores |= {experiment.HALVES[0]: 1 - in_first, experiment.HALVES[1]: in_first}  # right on what it saw alone
    found = experiment.figures(experiment.Scored(pictures, scores), LEAKED).crossed
    assert (found.gap.examples, found.gap.more, found.gap.less, found.gap.gap) == (120, 100, 0, 100)
    both = frozenset(key for key in list(LEAKED)[:40])  # photographs of both halves: neither model is without them
    assert experiment.figures(experiment.Scored([both] * 200, scores), LEAKED).crossed is None


def test_examples_of_one_photograph_are_drawn_together(experiment: ModuleType) -> None:
    more, less = np.tile([[1.0, 0.0]], (1, 50)), np.zeros((1, 100))
    apart = experiment.measure(more, less, [str(n) for n in range(100)]).gap.ci95
    together = experiment.measure(more, less, [str(n % 2) + str(n // 20) for n in range(100)]).gap.ci95
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])
    same = experiment.measure(more, more, ["a"] * 100).gap
    assert (same.gap, same.ci95) == (0, (0, 0))
    assert experiment.measure(more[:, :0], less[:, :0], []) is None


def test_the_average_counts_each_task_once_and_leaves_out_those_without_figures(experiment: ModuleType) -> None:
    many = experiment.measure(np.ones((2, 90)), np.zeros((2, 90)), [str(n) for n in range(90)])
    few = experiment.measure(np.zeros((2, 3)), np.zeros((2, 3)), ["a", "b", "c"])
    found = experiment.average([many, None, few]).gap
    assert (found.gap, found.examples, found.by_seed) == (50, 93, [50.0, 50.0])
    assert experiment.average([None]) is None
    assert experiment.difference(many, None) is None


def test_scores_are_read_from_prediction_files_and_must_be_of_the_same_examples(
    experiment: ModuleType, tmp_path: Path
) -> None:
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
    read = (tmp_path, Prepared.open(tmp_path), "finds", ImageGroups(), ("full", "cleaned"), 1)
    found = experiment.read_task(*read)
    assert found.photographs == [frozenset([ImageKey("coco", "2")]), frozenset([ImageKey("vg", "7")])]
    assert {split: values.tolist() for split, values in found.scores.items()} == {
        "full": [[0.0, 1.0]],
        "cleaned": [[0.25, 0.5]],
    }
    predict("cleaned", a=0.25)
    with pytest.raises(TwelvefoldError, match=r"seed-0/cleaned was scored on 1 test examples that are not the 2 of"):
        experiment.read_task(*read)


def test_the_page_shows_every_task_and_what_was_not_measured(experiment: ModuleType) -> None:
    pictures = [frozenset([key]) for key in PHOTOGRAPHS]
    scores = {"full": np.ones((1, 200)), "cleaned": np.zeros((1, 200))}
    scores |= {split: np.ones((1, 200)) for split in experiment.HALVES}
    tasks = {
        "gqa": experiment.figures(experiment.Scored(pictures, scores), LEAKED),
        "nlvr2": experiment.figures(experiment.Scored(pictures, scores), set()),
    }
    recipe = Recipe.parse('name = "r"\ntasks = ["gqa", "nlvr2"]')
    text = experiment.page(recipe, tasks, 1, "make inflation")
    assert "| gqa | 120 | 100.0 | 0.0 | +100.0 (+100.0 to +100.0) | 80 | 100.0 | 0.0 |" in text
    assert "| nlvr2 | 0 | | |  | 200 |" in text
    assert "| gqa | 120 | 100.0 | 100.0 | +0.0 (+0.0 to +0.0) |" in text  # the crossover
    assert "nan" not in text
