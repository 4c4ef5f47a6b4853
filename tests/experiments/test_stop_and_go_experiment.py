"""The arithmetic of ``experiments/stop_and_go.py``: differences seed by seed, updates saved, one recipe varied."""

from __future__ import annotations

from types import ModuleType

NAME = "stop_and_go"


def test_the_table_says_who_gained_seed_by_seed_and_what_was_saved(experiment: ModuleType) -> None:
    def outcome(seed: int, scores: tuple[float, float], updates: tuple[int, int], iterations: int) -> object:
        named = dict(zip(("gqa", "nlvr2"), scores, strict=True))
        steps = dict(zip(("gqa", "nlvr2"), updates, strict=True))
        none = dict.fromkeys(named, 0)
        return experiment.Outcome(seed, iterations, named, steps, none | {"nlvr2": 2}, none | {"nlvr2": 1}, 1.0)

    dynamic = [outcome(0, (50.0, 70.0), (100, 60), 100), outcome(1, (54.0, 70.0), (100, 80), 100)]
    robin = [outcome(0, (52.0, 66.0), (80, 80), 80), outcome(1, (50.0, 70.0), (90, 90), 90)]
    gqa, nlvr2, average = experiment.table(dynamic, robin).splitlines()[2:5]
    assert gqa == "| gqa | 52.0 | 51.0 | +1.0 | -2.0, +4.0 | 0 % | 0.0 | 0.0 |"
    assert nlvr2 == "| nlvr2 | 70.0 | 68.0 | +2.0 | +4.0, +0.0 | 30 % | 2.0 | 1.0 |"
    assert average == "| **average** | 61.0 | 59.5 | +1.5 | +1.0, +2.0 | 15 % | | |"


def test_both_ways_differ_in_nothing_but_what_is_compared(experiment: ModuleType) -> None:
    recipe = experiment.Recipe.load(experiment.RECIPE)
    plain = experiment.seeded(recipe, 2, 512, stop_and_go=False)
    assert (plain.seed, plain.training.iterations, plain.training.stop_and_go) == (2, 512, False)
    assert experiment.seeded(plain, recipe.seed, recipe.training.iterations, stop_and_go=True) == recipe
