"""The command ``twelvefold extract``: pictures to regions, with whichever detector."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from twelvefold.cli.output import Json, say, unreadable


def extract(
    photos: Path,
    out: Path,
    *,
    detector: str = "world",
    weights: Path | None = None,
    boxes: Path | None = None,
    max_regions: int | None = None,
    min_regions: int | None = None,
    confidence: float | None = None,
    fc6: Literal["after_relu", "before_relu"] | None = None,
    device: Literal["auto", "cpu", "cuda"] = "cpu",
    processes: int = 2,
    resume: bool = True,
    skip_bad: bool = False,
    json: Json = False,
) -> int:
    """Look at every picture of a folder once and store its regions. Stop it anywhere; a second call goes on.

    ```
    twelvefold extract data/world regions/world
    twelvefold extract holiday regions/holiday --detector x152 --weights detectron_model.pth --processes 1
    twelvefold extract holiday regions/few --detector x152 --weights x152.pth --min-regions 10 --confidence 0.2
    ```

    Exit code 1 where some pictures could not be read; they are listed in OUT/unreadable.json.

    Parameters
    ----------
    photos
        A data folder (docs/design.md shows the layout), or any folder of photographs.
    out
        Folder for the stores `detected` and `given`.
    detector
        world (the package's, for drawn pictures), x152 (the paper's), or one of torchvision's with COCO weights:
        fasterrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn_v2, fasterrcnn_mobilenet_v3_large_fpn,
        fasterrcnn_mobilenet_v3_large_320_fpn.
    weights
        The detector's weight file; only world has its own.
    boxes
        Boxes to be asked about, as JSON: {"boat.jpg": [[x1, y1, x2, y2]]}. Without: those that the tasks give.
    max_regions
        Regions kept per picture, best first; 16 with world, 100 with the others where left out.
    min_regions
        Of x152: so many at least, where fewer are surer than CONFIDENCE; always MAX_REGIONS where left out, as in the
        original. Bottom-up attention's files have 10 to 100 with 0.2.
    confidence
        Of x152: how sure a region must be of a class to count, 0 where left out.
    fc6
        Of x152: features after the ReLU (where left out) or before it; which the published files hold is unsure.
    device
        auto: a GPU where there is one. With a GPU for each rank: torchrun --nproc-per-node 8 -m twelvefold extract ...
        --processes 1 --device cuda.
    processes
        Processes on this machine, each with a detector of its own (x152: 2 GB); under torchrun, of each rank.
    resume
        `--no-resume` begins anew.
    skip_bad
        Pass over malformed records of the tasks that give boxes.
    """
    from twelvefold.features.extract import extract as work

    summary = work(
        photos,
        out,
        processes=processes,
        detector=detector,
        weights=weights,
        boxes=boxes,
        max_regions=max_regions,
        min_regions=min_regions,
        confidence=confidence,
        fc6=fc6,
        device=device,
        resume=resume,
        skip_bad=skip_bad,
    )
    rate = f", {summary.pictures_per_second:.3g} pictures/s" if summary.looked_at else ", already there"
    text = f"{out}: {summary.pictures:,} pictures, {summary.regions:,} regions, {summary.given_regions:,} given{rate}"
    say(summary, json, "\n".join([text, *unreadable(summary.unreadable)]))
    return 1 if summary.unreadable else 0
