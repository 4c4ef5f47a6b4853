"""``twelvefold submit``: submission files for servers and official scorers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from twelvefold.cli.output import Json, say


def submit(
    run: Path,
    *,
    task: str,
    out: Path,
    split: str = "test",
    data: Path | None = None,
    form: Literal["publishers", "vilbert_mt", "original"] = "publishers",
    boxes: Literal["xywh", "xyxy"] = "xywh",
    subset: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Write a task's predictions in the format of its server or official scorer.

    ```
    twelvefold submit runs/mine --task vqav2 --split test-dev --data data/real --out vqa.json
    twelvefold submit runs/mine --task nlvr2 --data data/real --out nlvr2.csv
    ```

    Run `twelvefold evaluate` first. Nothing is written unless every question of the official file has exactly one
    prediction and no prediction is left. docs/submissions.md shows every format.

    Parameters
    ----------
    run
        Folder of the run.
    task
        Name of the task.
    out
        File to write; an older file is replaced.
    split
        test, val, or an official part: vqav2 test-dev, test2015; gqa testdev, submission; nlvr2 test1, test2.
    data
        Folder of the official files; RUN/world by default.
    form
        Format of the publishers, or that of vilbert-multi-task (former name: original).
    boxes
        Boxes of RefCOCO, RefCOCO+ and RefCOCOg as x, y, width, height, or as two corners.
    subset
        Leave out predictions of other questions instead of refusing them.
    """
    from twelvefold.evaluation.submit import submit as work

    name = "vilbert_mt" if form == "original" else form
    summary = work(run, task, out, part=split, data=data, form=name, box_format=boxes, subset=subset)
    lines = [
        f"{summary.file}: {summary.questions:,} questions of {task} {split}, format {name}",
        *([f"{summary.left_out:,} predictions of other questions left out"] if summary.left_out else []),
        *([f"{summary.unanswered:,} expressions got an empty box: nothing detected"] if summary.unanswered else []),
        *([f"{summary.malformed:,} malformed records of the official file are not in it"] if summary.malformed else []),
    ]
    say(summary, json, "\n".join(lines))
    return 0
