"""Makes src/twelvefold/serving/weights/, the model that ships, of a finished run: half the bytes, and a card.

    python tools/ship_model.py runs/large --name "the world's small model" --check /tmp/check

Weights become half floats. ``--check FOLDER`` scores them on the run's test sets (an ordinary evaluation, left in that
folder), and says by how much each task moved; more than 0.2 points on average is refused. What the run and its data
are is taken from the run itself.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file, save

from twelvefold.config.recipe import Recipe
from twelvefold.evaluate import evaluate
from twelvefold.evaluation.scores import Scores, read_scores
from twelvefold.model import card, save_load
from twelvefold.schema import TwelvefoldError
from twelvefold.serving.load import read_card
from twelvefold.store import atomic_files

OUT = Path(__file__).parent.parent / "src" / "twelvefold" / "serving" / "weights"
MOST_MOVED = 0.2
"""Points of the average; a tenth of the widest interval of a task."""


def ship(run: Path, out: Path, name: str) -> None:
    """Leave the run's latest model in ``out``, in half precision, with its card."""
    latest = run / "checkpoints" / "latest"
    said, recipe = read_card(latest), Recipe.load_run(run)
    scores = read_scores(run / "scores.json", Scores)
    tensors = {key: tensor.half() for key, tensor in load_file(latest / save_load.TENSORS).items()}
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise TwelvefoldError(f"{latest}: a weight is beyond half floats; this model can't ship in half precision")
    atomic_files.write_bytes(out / save_load.TENSORS, save(tensors))
    shutil.copyfile(latest / save_load.DESCRIPTION, out / save_load.DESCRIPTION)
    world = recipe.world
    words = f"{world.images:,} drawn pictures of the embedded world (seed {world.seed})" if world else said.trained_on
    made = msgspec.structs.replace(
        said, name=name, trained_on=words, scores={task: one.score for task, one in scores.tasks.items()}
    )
    card.write(out, made)


def check(run: Path, out: Path, folder: Path) -> float:
    """Score the shipped weights as the run was scored; how far the average moved, in points."""
    shutil.copytree(out, folder / "checkpoints" / "latest", dirs_exist_ok=True)
    shutil.copyfile(run / "recipe.toml", folder / "recipe.toml")
    after = evaluate(folder, prepared=run / "prepared", regions=run / "regions", processes=1)
    before = read_scores(run / "scores.json", Scores)
    for task, one in after.tasks.items():
        print(f"{task:10} {before.tasks[task].score:6.2f} -> {one.score:6.2f}")
    print(f"average    {before.average:6.2f} -> {after.average:6.2f}")
    return abs(after.average - before.average)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--check", type=Path)
    asked = parser.parse_args()
    ship(asked.run, asked.out, asked.name)
    if asked.check and check(asked.run, asked.out, asked.check) > MOST_MOVED:
        raise SystemExit(f"half precision moved the average by more than {MOST_MOVED} points")


if __name__ == "__main__":
    main()
