"""The commands ``twelvefold features ...``: what other projects' detectors saw, into our region store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from twelvefold.cli.output import SHOWN, Json, say
from twelvefold.features.formats.record import Boxes, Format

if TYPE_CHECKING:
    from twelvefold.features.import_features import ImportSummary

FORMAT = "What SOURCE is, where it can't be told."
BOXES = "How SOURCE writes boxes, where it is not as its format has it."
SIZES = "A table of picture sizes for VinVL's features, where none lies beside them."
MATCH = "With --given: a data folder; each candidate box of its tasks takes the features of the box closest to it."
NAME = "What to call this import, where two files have one name."
GIVEN = "Features of given boxes, not of detected ones."
FULL = "Keep float32 instead of half floats: twice the space."
PROBABILITIES = "Keep the detector's class probabilities too, which pretraining wants."

app = App(name="features", help="Bring in region features that other projects extracted.")


@app.command(name="import")
def features_import(
    source_file: Annotated[Path, Parameter(name="SOURCE")],
    out: Path,
    /,
    *,
    format: Annotated[Format, Parameter(help=FORMAT)] = "auto",
    source: str = "",
    given: Annotated[bool, Parameter(help=GIVEN, negative="")] = False,
    full: Annotated[bool, Parameter(help=FULL, negative="")] = False,
    class_probs: Annotated[bool, Parameter(help=PROBABILITIES, negative="")] = False,
    boxes: Annotated[Boxes | None, Parameter(help=BOXES)] = None,
    sizes: Annotated[Path | None, Parameter(help=SIZES)] = None,
    match: Annotated[Path | None, Parameter(help=MATCH)] = None,
    name: Annotated[str, Parameter(help=NAME)] = "",
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
    source
        Whose pictures these are, where their names don't tell: coco, vg, gqa, visual7w, flickr30k, nlvr2, or your own.
    resume
        `--no-resume` begins this file anew.
    """
    from twelvefold.features.import_features import import_features

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
    say(done, json, _lines(done))
    return 1 if done.refused else 0


def _lines(done: ImportSummary) -> str:
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
    return "\n".join(lines)
