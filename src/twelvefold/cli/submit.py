"""``twelvefold submit``: files for servers and publishers' scorers."""

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
    form: Literal["publishers", "original"] = "publishers",
    boxes: Literal["xywh", "xyxy"] = "xywh",
    subset: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Write a task's predictions as its server or its publisher's scorer wants them.

    ```
    twelvefold submit runs/mine --task vqav2 --split test-dev --data data/real --out vqa.json
    twelvefold submit runs/mine --task nlvr2 --data data/real --out nlvr2.csv
    ```

    Predictions are what `twelvefold evaluate` left. Nothing is written unless every question of the official file is
    answered once and no other is. docs/submissions.md shows every form.

    Parameters
    ----------
    run
        Folder of the run.
    out
        The file to write; an older one is replaced.
    split
        test or val, or a publisher's part: vqav2 test-dev, test2015; gqa testdev, submission; nlvr2 test1, test2.
    data
        Folder of the official files; RUN/world where left out.
    form
        The publishers', or what the original project's code writes.
    boxes
        Boxes of RefCOCO, RefCOCO+ and RefCOCOg as x, y, width, height or as two corners.
    subset
        Leave predictions of other questions out, instead of refusing them.
    """
    from twelvefold.evaluation.submit import submit as work

    summary = work(run, task, out, part_name=split, data=data, form=form, box_form=boxes, subset=subset)
    lines = [
        f"{summary.file}: {summary.questions:,} questions of {task} {split}, {form} form",
        *([f"{summary.left_out:,} predictions of other questions left out"] if summary.left_out else []),
        *([f"{summary.unanswered:,} expressions got an empty box: nothing detected"] if summary.unanswered else []),
        *([f"{summary.malformed:,} malformed records of the official file are not in it"] if summary.malformed else []),
    ]
    say(summary, json, "\n".join(lines))
    return 0
