"""The commands ``twelvefold detector ...``: train and measure the detector."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cyclopts import App

from twelvefold.cli.output import Json, say

app = App(name="detector", help="Train and measure the detector that turns pictures into regions.")


@app.command(name="train")
def detector_train(out: Path, *, pictures: int = 30_000, seed: int = 0, workers: int = 0, json: Json = False) -> int:
    """Train a detector on drawn pictures: boxes, kinds, colours, sizes and patterns.

    ```
    twelvefold detector train runs/detector --pictures 30000 --seed 0
    ```

    Parameters
    ----------
    out
        Folder for checkpoints and `detector.safetensors`; a stopped training goes on.
    pictures
        Pictures to learn from; about 12 a second on one core.
    seed
        Of weights and pictures.
    workers
        Processes that draw ahead; 0: draw between steps.
    """
    from twelvefold.detectors.world_detector.train_on_world import metrics_to_json, train_detector

    measures = metrics_to_json(train_detector(out, pictures=pictures, seed=seed, workers=workers))
    say(measures, json, _lines(measures))
    return 0


@app.command(name="evaluate")
def detector_evaluate(
    weights: Path | None = None, *, pictures: int = 400, crowded: bool = False, json: Json = False
) -> int:
    """Measure a detector on drawn pictures that it never saw: recall, mAP50, attributes.

    ```
    twelvefold detector evaluate --pictures 400
    ```

    Parameters
    ----------
    weights
        A weight file; the detector that ships with the package where left out.
    pictures
        How many pictures.
    crowded
        Pictures of 10 to 20 things instead of 3 to 9.
    """
    from twelvefold.detectors.world_detector.train_on_world import evaluate_detector, metrics_to_json

    measures = metrics_to_json(evaluate_detector(weights, pictures=pictures, crowded=crowded))
    say(measures, json, _lines(measures))
    return 0


def _lines(figures: Mapping[str, float]) -> str:
    return "\n".join(f"{name:15} {figure:g}" for name, figure in figures.items())
