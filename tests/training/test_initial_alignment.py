"""A new model can begin with words that attend to the regions they describe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.config.recipe import Recipe
from twelvefold.data.region_inputs import RegionSource
from twelvefold.datasets.reading.recipe_tasks import task_specs
from twelvefold.finetune import single_task_recipe
from twelvefold.model import Model
from twelvefold.schema import TwelvefoldError
from twelvefold.store.prepared import Prepared
from twelvefold.train import train
from twelvefold.training.build_run import TrainServices, build_run
from twelvefold.training.distributed import init_distributed
from twelvefold.training.initial_alignment import fit_word_directions
from twelvefold.training.signals import GracefulShutdown

from .conftest import Toy, equal_tensors, read_weights, train_one_iteration

NUM_CATEGORIES, NUM_REGIONS, THE, RARE = 5, 4, 10, 11


def expressions(count: int, random: torch.Generator) -> Batch:
    """Return expressions "the X" about one of four regions."""
    categories = torch.stack([torch.randperm(NUM_CATEGORIES, generator=random)[:NUM_REGIONS] for _ in range(count)])
    features = torch.nn.functional.one_hot(categories, NUM_CATEGORIES) + 0.3 * torch.randn(
        (count, NUM_REGIONS, NUM_CATEGORIES), generator=random
    )
    target_rows = torch.randint(NUM_REGIONS, (count,), generator=random)
    target = torch.nn.functional.one_hot(target_rows, NUM_REGIONS).float()
    words = 1 + categories[torch.arange(count), target_rows]
    token_ids = torch.stack([torch.full((count,), THE), words], dim=1)
    token_ids[0, 0] = RARE
    real = torch.ones((count, NUM_REGIONS), dtype=torch.bool)
    return Batch(
        task="refcoco",
        pairs_per_example=1,
        example_ids=[str(i) for i in range(count)],
        token_ids=token_ids,
        token_mask=torch.ones_like(token_ids, dtype=torch.bool),
        features=features,
        boxes_px=torch.zeros(count, NUM_REGIONS, 4),
        locations=torch.rand((count, NUM_REGIONS, 5), generator=random),
        region_mask=real,
        candidate_mask=real,
        target=torch.stack([target, target], dim=-1),
    )


def test_a_word_points_in_the_direction_of_the_regions_it_describes() -> None:
    random = torch.Generator().manual_seed(0)
    fitted = fit_word_directions([expressions(300, random) for _ in range(2)], torch.arange(20), 20)
    response = torch.eye(NUM_CATEGORIES) @ fitted.directions[:, :NUM_CATEGORIES].T  # (category, word)
    response = response - response.mean(dim=0)
    words = fitted.rows.tolist()
    assert words == [1, 2, 3, 4, 5, THE]  # RARE occurs in too few expressions
    for category in range(NUM_CATEGORIES):
        assert response[:, words.index(1 + category)].argmax() == category
        assert response[category, words.index(1 + category)] > 0.3
    assert response[:, words.index(THE)].abs().max() < 0.05  # said of all regions alike


def test_words_without_a_relation_to_regions_get_no_direction() -> None:
    random = torch.Generator().manual_seed(0)
    batch = expressions(400, random)
    batch.token_ids[:, 1] = torch.randint(1, 6, (400,), generator=random)
    fitted = fit_word_directions([batch], torch.arange(20), 20)
    assert fitted.directions.abs().max() < 0.15


def build(toy: Toy, recipe: Recipe, run: Path) -> tuple[Model, TrainServices]:
    prepared, regions = Prepared.open(toy.prepared), RegionSource.open(toy.regions)
    with init_distributed("cpu") as group:
        specs = task_specs(recipe, prepared)
        state, services, _ = build_run(recipe, specs, prepared, regions, run, group, GracefulShutdown())
    return state.model.eval(), services


def attention_to_targets(model: Model, batch: Batch) -> Tensor:
    """Return the mean attention of the word of each expression to the region it describes, and to the others."""
    with torch.no_grad():
        _, (weights, *_) = model.forward_with_attention(batch)
    to_regions = weights.to_regions.mean(dim=1)[:, 2]  # (P, R): [CLS], task token, then the word
    assert batch.target is not None
    target, others = batch.target[..., 0] > 0, batch.candidate_mask & (batch.target[..., 0] == 0)
    return torch.stack([to_regions[target].mean(), to_regions[others].mean()])


def test_words_attend_to_what_they_describe_before_the_first_step(toy: Toy, tmp_path: Path) -> None:
    ratios = {}
    for alignment in (False, True):
        model, services = build(toy, toy.recipe(initial_alignment=alignment), tmp_path / str(alignment))
        batch = services.objectives["refcoco"].train_batches.train_batch(0)
        to_target, to_others = attention_to_targets(model, batch)
        ratios[alignment] = float(to_target / to_others)
    assert ratios[False] == pytest.approx(1.0, abs=0.2)
    assert ratios[True] > 1.5


def test_a_resumed_run_goes_on_and_is_not_aligned_again(toy: Toy, tmp_path: Path) -> None:
    recipe = toy.recipe(initial_alignment=True, iterations=2)
    train(recipe, toy.prepared, toy.regions, tmp_path / "whole")
    train_one_iteration(toy, recipe, tmp_path / "resumed")
    train(recipe, toy.prepared, toy.regions, tmp_path / "resumed")
    assert equal_tensors(read_weights(tmp_path / "resumed"), read_weights(tmp_path / "whole"))


def test_alignment_needs_grounding_tasks_and_two_equal_streams(toy: Toy, tmp_path: Path) -> None:
    text = toy.recipe(initial_alignment=True).to_toml()
    without = Recipe.parse(text.replace('"refcoco", "visual7w", ', ""))
    with pytest.raises(TwelvefoldError, match="grounding tasks, and the recipe has none"):
        build(toy, without, tmp_path / "without")
    for change in ('trunk = "single_stream"', "image_ffn_dim = 8\nimage_hidden_size = 8"):
        keys = [line.split(" = ")[0] for line in change.splitlines()]
        kept = [line for line in text.splitlines() if line.split(" = ")[0] not in keys]
        other = Recipe.parse("\n".join(kept).replace("[model]", f"[model]\n{change}"))
        with pytest.raises(TwelvefoldError, match="trunk two_stream with text_hidden_size equal to image_hidden_size"):
            build(toy, other, tmp_path / keys[0])
    with pytest.raises(TwelvefoldError, match="models that start from scratch"):
        Recipe.parse(text.replace('preset = "small"', 'initial = "runs/other"'))


def test_trained_weights_are_not_aligned(toy: Toy, tmp_path: Path) -> None:
    aligned = toy.recipe(initial_alignment=True, iterations=1)
    train(aligned, toy.prepared, toy.regions, tmp_path / "run")
    expected = Model.load(tmp_path / "run/checkpoints/latest").state_dict()
    for name, recipe in (
        ("initial", aligned.with_initial(tmp_path / "run")),
        ("finetune", single_task_recipe(aligned, "vqav2").with_initial(tmp_path / "run")),  # without grounding
    ):
        model, _ = build(toy, recipe, tmp_path / name)
        for part in ("features", "locations"):
            key = f"trunk.image_embeddings.{part}.weight"
            assert torch.equal(model.state_dict()[key], expected[key])
