"""Commands that make region stores: extract, and features import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cyclopts import App, Parameter

from twelvefold.cli.computing import computing_on
from twelvefold.cli.from_function import Output, command, first_lines
from twelvefold.config.recipe import Recipe
from twelvefold.datasets.reading.recipe_tasks import resolve_tasks
from twelvefold.features.extract import ExtractSummary
from twelvefold.features.extract import extract as extract_regions
from twelvefold.features.image_list import TaskOptions
from twelvefold.features.import_features import FeatureImportSummary, import_features
from twelvefold.features.unpack_shards import UnpackSummary, unpack_shards
from twelvefold.image_folder import skipped_lines

Arguments = Mapping[str, Any]

RECIPE_HELP = "Use the candidate boxes of this recipe's tasks. Default: those of the built-in tasks in the folder."

app = App(name="features", help="Import region features that other projects extracted; unpack shards of images.")


def _recipe_tasks(hint: Any, tokens: Sequence[Any]) -> TaskOptions:
    recipe = resolve_tasks(Recipe.load(tokens[0].value))
    return {recipe.module(name): recipe.task_config(name).options for name in recipe.tasks}


@command(
    extract_regions,
    example="""
        twelvefold extract data/world regions/world
        twelvefold extract holiday regions/holiday --detector x152 --weights detectron_model.pth --processes 1
        twelvefold extract holiday regions/few --detector x152 --weights x152.pth --min-regions 10 --confidence 0.2""",
    problem="some images could not be read (OUT/unreadable.json has them), or given boxes do not fit their images",
    computes=computing_on,
    tasks=Parameter(name="--recipe", converter=_recipe_tasks, n_tokens=1, accepts_keys=False, help=RECIPE_HELP),
)
def extract(summary: ExtractSummary, arguments: Arguments) -> Output:
    rate = f", {summary.images_per_second:.3g} images/s" if summary.num_processed else ", already there"
    counts = f"{summary.num_images:,} images, {summary.num_regions:,} regions, {summary.num_given_regions:,} given"
    lines = [f"{arguments['out']}: {counts}{rate}", *first_lines("unreadable", summary.unreadable)]
    lines += [f"given boxes of {summary.num_scaled:,} resized copies are scaled"] if summary.num_scaled else []
    lines += first_lines("given boxes left out", summary.other_sizes)
    lines += skipped_lines(summary.skipped)
    return Output("\n".join(lines), exit_code=1 if summary.unreadable or summary.other_sizes else 0)


@app.command(name="unpack")
@command(
    unpack_shards,
    example="""
        twelvefold features unpack data/real
        twelvefold extract data/real regions/real""",
    problem="a shard has no images",
)
def features_unpack(summary: UnpackSummary, arguments: Arguments) -> Output:
    lines = [f"{summary.folder}: {summary.num_shards:,} shards, {summary.new_images:,} new images"]
    lines += first_lines("without images", summary.without_images)
    return Output("\n".join(lines), exit_code=1 if summary.without_images else 0)


@app.command(name="import")
@command(
    import_features,
    example="""
        twelvefold features import COCO_trainval_resnext152_faster_rcnn_genome.lmdb regions/real --source coco
        twelvefold features import visual7w_gt_resnext152_faster_rcnn_genome.lmdb regions/real --given --match data/real
        """,
    problem="records were rejected; each is listed by key, line or file, with the reason",
)
def features_import(summary: FeatureImportSummary, arguments: Arguments) -> Output:
    rate = f"in {summary.seconds:.0f} s" if summary.seconds else "already there"
    counts = f"{summary.num_images:,} images, {summary.num_regions:,} regions from {summary.num_records:,} records"
    lines = [
        f"{summary.store}: {counts}, {rate}",
        f"checksum of the records {summary.checksum}, digest of the store {summary.digest}",
        *first_lines("rejected", summary.rejected),
        *first_lines("warning", summary.warnings),
    ]
    if summary.num_present:
        lines.append(f"{summary.num_present:,} images were already there from another file and were not replaced")
    return Output("\n".join(lines), exit_code=1 if summary.rejected else 0)
