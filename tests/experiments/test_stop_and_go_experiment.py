"""``experiments/stop_and_go.py``: differences by seed, updates saved, recipes that differ in one point."""

from __future__ import annotations

from types import ModuleType

NAME = "stop_and_go"


def test_the_table_shows_differences_by_seed_and_updates_saved(experiment: ModuleType) -> None:
    def result(seed: int, scores: tuple[float, float], updates: tuple[int, int], iterations: int) -> object:
        named = dict(zip(("gqa", "nlvr2"), scores, strict=True))
        steps = dict(zip(("gqa", "nlvr2"), updates, strict=True))
        none = dict.fromkeys(named, 0)
        return experiment.Result(seed, iterations, named, steps, none | {"nlvr2": 2}, none | {"nlvr2": 1})

    dynamic = [result(0, (50.0, 70.0), (100, 60), 100), result(1, (54.0, 70.0), (100, 80), 100)]
    robin = [result(0, (52.0, 66.0), (80, 80), 80), result(1, (50.0, 70.0), (90, 90), 90)]
    gqa, nlvr2, average = experiment.table(dynamic, robin).splitlines()[2:5]
    assert gqa == "| gqa | 52.0 | 51.0 | +1.0 | -2.0, +4.0 | 0 % | 0.0 | 0.0 |"
    assert nlvr2 == "| nlvr2 | 70.0 | 68.0 | +2.0 | +4.0, +0.0 | 30 % | 2.0 | 1.0 |"
    assert average == "| **average** | 61.0 | 59.5 | +1.5 | +1.0, +2.0 | 15 % | | |"


def test_both_recipes_differ_only_in_stop_and_go_and_length(experiment: ModuleType) -> None:
    recipe = experiment.Recipe.load(experiment.RECIPE)
    plain = experiment.vary(recipe, 2, 512, stop_and_go=False)
    assert (plain.seed, plain.training.iterations, plain.training.stop_and_go) == (2, 512, False)
    assert experiment.vary(plain, recipe.seed, recipe.training.iterations, stop_and_go=True) == recipe
