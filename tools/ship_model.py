"""Make src/twelvefold/serving/weights/, the model that ships, from a finished run: float16 weights and a card.

    python tools/ship_model.py runs/large --name "the world's small model" --check /tmp/check

``--check FOLDER`` evaluates the float16 weights on the run's test sets in that folder and prints the change of each
score; a change of the average by more than 0.2 points is an error.

    python tools/ship_model.py --statistics prepared/world regions/world

writes only the statistics of the training images' region features. A calibrated run has them already.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file, save

from twelvefold.data.region_inputs import RegionSource
from twelvefold.evaluate import evaluate
from twelvefold.evaluation.fit_statistics import fit_feature_statistics
from twelvefold.evaluation.scores import Scores, read_scores
from twelvefold.model import card, feature_statistics, save_load
from twelvefold.schema import TwelvefoldError
from twelvefold.serving.load import read_card
from twelvefold.store import atomic_files
from twelvefold.store.prepared import Prepared
from twelvefold.training.data_folders import find_data_folders

OUT = Path(__file__).parent.parent / "src" / "twelvefold" / "serving" / "weights"
LICENSE = "apache-2.0"
MAX_CHANGE = 0.2
"""Points of the average score: a tenth of the widest confidence interval of a task."""


def ship(run: Path, out: Path, name: str) -> None:
    """Write the run's latest model to ``out`` in float16, with its card."""
    latest = run / "checkpoints" / "latest"
    old_card = read_card(latest)
    if not old_card.scores:
        raise TwelvefoldError(f"the card of {latest} has no scores; run `twelvefold evaluate {run}` first")
    tensors = {key: tensor.half() for key, tensor in load_file(latest / save_load.TENSORS).items()}
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise TwelvefoldError(
            f"{latest}: a weight is too large for float16, so this model cannot ship in half precision"
        )
    atomic_files.write_bytes(out / save_load.TENSORS, save(tensors))
    shutil.copyfile(latest / save_load.DESCRIPTION, out / save_load.DESCRIPTION)
    card.write(out, msgspec.structs.replace(old_card, name=name, license=LICENSE))
    if (latest / feature_statistics.FILE).exists():
        shutil.copyfile(latest / feature_statistics.FILE, out / feature_statistics.FILE)


def ship_statistics(prepared: Path, regions: Path, out: Path) -> None:
    """Fit the statistics of the training images on prepared data, and write them to ``out``."""
    data, source = Prepared.open(prepared), RegionSource.open(regions)
    statistics = fit_feature_statistics(data, source.detected, [task.name for task in data.tasks])
    if statistics is None:
        raise TwelvefoldError(f"{prepared} has too few images to fit statistics of their features on")
    statistics.write(out)
    print(f"limit: {statistics.limit:.3f}")


def check(run: Path, out: Path, folder: Path) -> float:
    """Evaluate the float16 weights as the run was evaluated, and return the change of the average in points."""
    shutil.copytree(out, folder / "checkpoints" / "latest", dirs_exist_ok=True)
    shutil.copyfile(run / "recipe.toml", folder / "recipe.toml")
    data = find_data_folders(run)
    after = evaluate(folder, prepared=data.prepared, regions=data.regions, processes=2)
    before = read_scores(run / "scores.json", Scores)
    for task, score in after.known.items():
        print(f"{task:10} {before.tasks[task].require_score():6.2f} -> {score:6.2f}")
    averages = [sum(scores.known.values()) / len(scores.known) for scores in (before, after)]
    print("average    {:6.2f} -> {:6.2f}".format(*averages))
    return abs(averages[1] - averages[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--name")
    parser.add_argument("--statistics", type=Path, nargs=2, metavar=("PREPARED", "REGIONS"))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--check", type=Path)
    arguments = parser.parse_args()
    if arguments.statistics:
        prepared, regions = arguments.statistics
        ship_statistics(prepared, regions, arguments.out)
        return
    if arguments.run is None or arguments.name is None:
        parser.error("give a run and --name, or --statistics")
    ship(arguments.run, arguments.out, arguments.name)
    if arguments.check and check(arguments.run, arguments.out, arguments.check) > MAX_CHANGE:
        raise SystemExit(f"float16 changes the average by more than {MAX_CHANGE} points")


if __name__ == "__main__":
    main()
