"""The commands ``twelvefold features ...``: what other projects' detectors saw, into our region store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from twelvefold.cli_output import Json, say
from twelvefold.foreign.record import Boxes, Format

SHOWN = 20
"""So many problems are shown to a person; JSON has all."""
Flag = Annotated[bool, Parameter(negative="")]

app = App(name="features", help="Bring in region features that other projects extracted.")


@app.command(name="import")
def features_import(
    source_file: Annotated[Path, Parameter(name="SOURCE")],
    out: Path,
    /,
    *,
    format: Format = "auto",
    source: str = "",
    given: Flag = False,
    full: Flag = False,
    class_probs: Flag = False,
    boxes: Boxes | None = None,
    sizes: Path | None = None,
    match: Path | None = None,
    name: str = "",
    resume: bool = True,
    json: Json = False,
) -> int:
    """Read a feature file once and keep its regions as `twelvefold extract` would. Stop it anywhere; a second call
    goes on. Several files, one after the other, fill one store.

    ```
    twelvefold features import COCO_trainval_resnext152_faster_rcnn_genome.lmdb regions/real --source coco
    twelvefold features import visual7w_gt_resnext152_faster_rcnn_genome.lmdb regions/real --given --match data/real
    ```

    Exit code 1 where records were left out; each is listed by key, line or file, with the reason.

    Parameters
    ----------
    source_file
        An LMDB (the original project's, its older base64 variant, MMF's), a table (bottom-up attention, LXMERT, VinVL),
        or a folder of .npy files.
    out
        Folder for the stores `detected` and `given`.
    format
        What SOURCE is, where it can't be told.
    source
        Whose pictures these are, where their names don't tell: coco, vg, gqa, visual7w, flickr30k, nlvr2, or your own.
    given
        Features of given boxes, not of detected ones.
    full
        Keep float32 instead of half floats: twice the space.
    class_probs
        Keep the detector's class probabilities too, which pretraining wants.
    boxes
        How SOURCE writes boxes, where it is not as its format has it: corners, xywh or unit.
    sizes
        A table of picture sizes for VinVL's features, where none lies beside them.
    match
        With --given: a data folder; each candidate box of its tasks takes the features of the box closest to it.
    name
        What to call this import, where two files have one name.
    resume
        `--no-resume` begins this file anew.
    """
    from twelvefold.features import import_features

    done = import_features(
        source_file,
        out,
        format=format,
        source=source,
        given=given,
        full=full,
        class_probs=class_probs,
        boxes=boxes,
        sizes=sizes,
        match=match,
        name=name,
        resume=resume,
    )
    rate = f"in {done.seconds:.0f} s" if done.seconds else "already there"
    lines = [
        f"{done.store}: {done.pictures:,} pictures, {done.regions:,} regions from {done.records:,} records, {rate}",
        f"checksum of what was read {done.checksum}, digest of the store {done.digest}",
    ]
    if done.already:
        lines.append(f"{done.already:,} pictures were there from another file and stay as they are")
    for what, problems in (("left out", done.refused), ("odd, but kept", done.noted)):
        lines += [f"{what}: {problem}" for problem in problems[:SHOWN]]
        if len(problems) > SHOWN:
            lines.append(f"{what}: {len(problems) - SHOWN:,} more (--json lists all)")
    say(done, json, "\n".join(lines))
    return 1 if done.refused else 0
