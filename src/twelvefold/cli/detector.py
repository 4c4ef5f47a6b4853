"""The commands ``twelvefold detector ...``: train and evaluate the detector."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cyclopts import App

from twelvefold.cli.output import Json, say

app = App(name="detector", help="Train and evaluate the detector that finds regions in images.")


@app.command(name="train")
def detector_train(out: Path, *, pictures: int = 30_000, seed: int = 0, workers: int = 0, json: Json = False) -> int:
    """Train a detector on drawn images: boxes, categories, colors, sizes and patterns.

    ```
    twelvefold detector train runs/detector --pictures 30000 --seed 0
    ```

    Parameters
    ----------
    out
        Folder for checkpoints and `detector.safetensors`; an interrupted training continues.
    pictures
        Number of training images; about 12 per second on one core.
    seed
        Seed of the weights and the images.
    workers
        Processes that draw images ahead; 0 draws between steps.
    """
    from twelvefold.detectors.world_detector.train_on_world import metrics_to_json, train_detector

    metrics = metrics_to_json(train_detector(out, pictures=pictures, seed=seed, workers=workers))
    say(metrics, json, _lines(metrics))
    return 0


@app.command(name="evaluate")
def detector_evaluate(
    weights: Path | None = None, *, pictures: int = 400, crowded: bool = False, json: Json = False
) -> int:
    """Evaluate a detector on drawn images that are never used for training: recall, mAP50, attributes.

    ```
    twelvefold detector evaluate --pictures 400
    ```

    Parameters
    ----------
    weights
        Weight file of the detector. Default: the detector of the package.
    pictures
        Number of images.
    crowded
        Use images with 10 to 20 objects instead of 3 to 9.
    """
    from twelvefold.detectors.world_detector.train_on_world import evaluate_detector, metrics_to_json

    metrics = metrics_to_json(evaluate_detector(weights, pictures=pictures, crowded=crowded))
    say(metrics, json, _lines(metrics))
    return 0


def _lines(metrics: Mapping[str, float]) -> str:
    return "\n".join(f"{name:15} {value:g}" for name, value in metrics.items())
