"""The model that a run begins with: of the recipe's size and freshly drawn, or with what another model has for it;
and the card that its checkpoints get."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from twelvefold.config.recipe import Recipe
from twelvefold.data.masking import num_region_categories
from twelvefold.data.region_inputs import RegionSource
from twelvefold.model import Model, save_load, warm_start
from twelvefold.model.card import Card, DetectorCard
from twelvefold.model.warm_start import WarmStartReport
from twelvefold.schema import TaskSpec
from twelvefold.store.prepared import Prepared


def first_model(
    recipe: Recipe,
    specs: Sequence[TaskSpec],
    pieces: Sequence[int],
    prepared: Prepared,
    regions: RegionSource,
    saved: Path | None = None,
) -> tuple[Model, WarmStartReport | None]:
    """The model, and what it took from the recipe's ``initial``, where there is one.

    pieces: word pieces with a row of their own; none: all. saved: the checkpoint of a run that goes on, which has the
    shape, so that the run no longer needs ``initial``; its weights are not read here. A model that pretrains has no
    tasks and heads but those of pretraining.

    Raises:
        TwelvefoldError: ``initial`` is no model, or doesn't fit (:func:`twelvefold.model.warm_start.warm_start`).
    """
    size, kinds, tasks = regions.feature_size, 0, list(specs)
    if recipe.pretraining is not None:
        kinds, tasks = num_region_categories(prepared.table(specs[0].name, "train"), regions), []
    heads = list({spec.head: prepared.head(spec.name) for spec in tasks}.values())
    torch.manual_seed(recipe.seed)
    precision = recipe.training.precision
    if recipe.initial is None:
        config = recipe.model_config(feature_size=size, num_region_categories=kinds)
        return Model(config, tasks, heads, precision=precision, word_pieces=pieces), None
    folder = saved or save_load.model_folder(recipe.initial)
    said = save_load.describe(folder)
    config = recipe.model_config(initial=warm_start.config_from(said), feature_size=size, num_region_categories=kinds)
    model = Model(config, tasks, warm_start.heads_from(heads, said), precision=precision, word_pieces=pieces)
    return model, None if saved else warm_start.warm_start(model, folder)


def card_of(recipe: Recipe, prepared: Prepared, regions: RegionSource) -> Card:
    """What is known of a model before it has learnt: by which recipe, from what, by whose eyes."""
    examples = sum(len(prepared.table(name, "train")) for name in recipe.tasks)
    words = f"{examples:,} {'captions' if recipe.pretraining else 'examples'} of {', '.join(recipe.tasks)}"
    if recipe.world is not None:
        words += f": {recipe.world.images:,} drawn pictures of the embedded world (seed {recipe.world.seed})"
    return Card(
        name=recipe.name,
        trained_on=words if recipe.initial is None else f"{words}; from the weights of {Path(recipe.initial).name}",
        made_from={"prepared": prepared.digest, "regions": regions.detected.digest},
        detector=DetectorCard.of(regions.detected.info, regions.feature_size),
    )
