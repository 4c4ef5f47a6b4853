"""The command ``twelvefold extract``: detect the regions of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from twelvefold.cli.output import Json, say, unreadable
from twelvefold.config.extract import ExtractConfig

DEFAULTS = ExtractConfig()


def extract(
    images: Path,
    out: Path,
    config: Annotated[ExtractConfig, Parameter(name="*")] = DEFAULTS,
    *,
    boxes: Path | None = None,
    processes: int = 2,
    resume: bool = True,
    skip_bad: bool = False,
    json: Json = False,
) -> int:
    """Detect the regions of every image of a folder once, and store them. An interrupted call continues.

    ```
    twelvefold extract data/world regions/world
    twelvefold extract holiday regions/holiday --detector x152 --weights detectron_model.pth --processes 1
    twelvefold extract holiday regions/few --detector x152 --weights x152.pth --min-regions 10 --confidence 0.2
    ```

    Exit code 1 if some images could not be read; they are listed in OUT/unreadable.json.

    Parameters
    ----------
    images
        A data folder (docs/design.md shows the layout), or any folder of images.
    out
        Folder for the stores `detected` and `given`.
    boxes
        JSON file of given boxes: {"boat.jpg": [[x1, y1, x2, y2]]}. Default: the candidate boxes of the tasks.
    processes
        Processes on this machine, each with its own detector (x152: 2 GB); under torchrun, per rank.
    resume
        `--no-resume` starts over.
    skip_bad
        Skip malformed records of the tasks with candidate boxes.
    """
    from twelvefold.features.extract import extract as run

    summary = run(images, out, config, processes=processes, boxes=boxes, resume=resume, skip_bad=skip_bad)
    rate = f", {summary.images_per_second:.3g} images/s" if summary.num_processed else ", already there"
    counts = f"{summary.num_images:,} images, {summary.num_regions:,} regions, {summary.num_given_regions:,} given"
    say(summary, json, "\n".join([f"{out}: {counts}{rate}", *unreadable(summary.unreadable)]))
    return 1 if summary.unreadable else 0
