"""Old names: refused in a person's recipe with the present name, translated in the files of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from twelvefold.config.recipe import Recipe
from twelvefold.config.renamed import RECIPE
from twelvefold.schema import TwelvefoldError

OLD_NAMES = [(table, old, present) for table, names in RECIPE.items() for old, present in names.items()]

OLD_RUN = """
name = "old"
tasks = ["coco"]
seed = 3

[model]
vocabulary_size = 900
max_positions = 40
text_width = 24
image_width = 36
joint_width = 12
text_heads = 2
image_heads = 3
joint_heads = 4
text_inner = 11
image_inner = 13
head_inner = 14
text_layers = 2
image_layers = 3
blocks = 4
norm_eps = 1e-5
region_classes = 9
sees = "text"

[pretraining]
words = 0.2
regions = 0.1
hide_overlapping = false
swapped = 0.4
tell_of_swapped = true
region_weight = 2.0
pool = 7

[training]
iterations = 5
beta1 = 0.8
beta2 = 0.98
epsilon = 1e-8
clip = 1.0
accumulation = 2
stop_from_fraction = 0.4
gap = 5
evaluate_within = 3
checkpoint_every = 2
keep = 1
loaders = 4

[evaluation]
pool = 20
bootstrap = 30
"""
"""The recipe of a run as an earlier version wrote it."""


@pytest.mark.parametrize(("table", "old", "present"), OLD_NAMES)
def test_an_old_name_in_a_recipe_is_refused_with_the_present_name(table: str, old: str, present: str) -> None:
    text = f'name = "r"\ntasks = ["coco"]\n[{table}]\n{old} = 1\n'
    with pytest.raises(TwelvefoldError, match=rf"mine\.toml: \[{table}\] {old} is now called {present}; rename it"):
        Recipe.parse(text, "mine.toml")


def test_the_recipe_of_an_old_run_is_read_with_all_its_values(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(OLD_RUN)
    recipe = Recipe.load_run(tmp_path)
    assert all(f"\n{old} = " in OLD_RUN for _, old, _ in OLD_NAMES)
    changed = Recipe.parse('name = "old"\ntasks = ["coco"]\n[pretraining]\n')
    for table, _, present in OLD_NAMES:
        old, new = (r.model_config() if table == "model" else getattr(r, table) for r in (recipe, changed))
        assert getattr(old, present) != getattr(new, present), present
    training, pretraining = recipe.training, recipe.pretraining
    assert (training.max_grad_norm, training.gradient_accumulation_steps, training.adam_eps) == (1.0, 2, 1e-8)
    assert pretraining is not None
    assert (pretraining.token_mask_prob, pretraining.region_mask_prob) == (0.2, 0.1)
    assert Recipe.parse(recipe.to_toml()) == recipe


def test_the_detector_path_of_an_old_run_is_read_as_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    for old, weights in (
        ('detector = ""\nmax_regions = 16', ""),
        ('detector = "my.safetensors"\nmax_regions = 9', "my.safetensors"),
    ):
        path.write_text(f'name = "old"\ntasks = ["coco"]\n[extract]\n{old}\n')
        extract = Recipe.load_run(tmp_path).extract
        assert (extract.detector, extract.weights) == ("world", weights)
    with pytest.raises(
        TwelvefoldError, match=r"\[extract\] detector can't be 'my.safetensors'.*is now \[extract\] weights"
    ):
        Recipe.parse(path.read_text())
