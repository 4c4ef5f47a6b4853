"""Build the model that a run starts with, randomly initialized or with another model's weights, and its card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from twelvefold.config.recipe import Recipe
from twelvefold.data.masking import num_region_categories
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.tokenizer import collect_word_pieces
from twelvefold.export import hub
from twelvefold.model import Model, provenance, save_load, warm_start
from twelvefold.model.card import Card, DetectorCard, TrainingData
from twelvefold.model.vocabulary import check_vocabulary
from twelvefold.model.warm_start import WarmStartReport
from twelvefold.schema import ImageKey, TaskSpec
from twelvefold.splits.policy import NO_CLEANING
from twelvefold.store.prepared import Prepared


def build_model(
    recipe: Recipe, specs: Sequence[TaskSpec], prepared: Prepared, regions: RegionSource, checkpoint: Path | None = None
) -> tuple[Model, WarmStartReport | None]:
    """Return the model, and which weights it took from the recipe's ``initial``, if any.

    ``checkpoint`` is that of a run to resume. It states the configuration, so the run no longer needs ``initial``; its
    weights are not read here. A model for pretraining has no tasks and no heads but those of pretraining.

    Raises:
        TwelvefoldError: ``initial`` is not a model, or does not fit (:func:`twelvefold.model.warm_start.warm_start`);
            it has embeddings for fewer word pieces than texts are split into.
    """
    tasks, num_categories = list(specs), 0
    if recipe.pretraining is not None:
        tasks, num_categories = [], num_region_categories(prepared.table(specs[0].name, "train"), regions)
    heads, initial = list({spec.head: prepared.head(spec.name) for spec in tasks}.values()), None
    if recipe.initial is not None:
        folder = checkpoint or hub.resolve_folder(recipe.initial)
        description = save_load.describe(folder)
        initial, heads = warm_start.config_from(description), warm_start.heads_from(heads, description)
    config = recipe.model_config(
        initial=initial, feature_size=regions.feature_size, num_region_categories=num_categories
    )
    if initial is not None and provenance.read(folder) is not None:  # imported, so of any vocabulary
        check_vocabulary(config.vocab_size, str(recipe.initial))
    tables = (prepared.table(spec.name, "train") for spec in specs)
    word_pieces = collect_word_pieces(tables) if recipe.training.word_pieces == "seen" else ()  # (): all
    torch.manual_seed(recipe.seed)
    model = Model(config, tasks, heads, precision=recipe.training.precision, word_pieces=word_pieces)
    if recipe.initial is None or checkpoint is not None:
        return model, None
    return model, warm_start.warm_start(model, folder)


def build_card(recipe: Recipe, prepared: Prepared, regions: RegionSource) -> Card:
    """Return the card of the model: its recipe, its training data and its detector.

    The training data are those that were prepared; a recipe's ``[world]`` says nothing about them.
    """
    tables = {task.name: prepared.table(task.name, "train") for task in prepared.tasks if task.name in recipe.tasks}
    source = prepared.manifest.source
    data = TrainingData(
        folder=source.folder if source else "",
        images=len(set[ImageKey]().union(*(table.all_images() for table in tables.values()))),
        examples={name: len(table) for name, table in tables.items()},
        captions=recipe.pretraining is not None,
        recipe=recipe.name,
        initial=recipe.initial.name if recipe.initial else "",
        world_seed=source.world_seed if source else None,
        cleaning=prepared.manifest.policy if prepared.manifest.clean else NO_CLEANING,
    )
    return Card(
        name=recipe.name,
        trained_on=data.describe(),
        data=data,
        data_digests={"prepared": prepared.digest, "regions": regions.detected.digest},
        detector=DetectorCard.from_store_info(regions.detected.info, regions.feature_size),
    )
