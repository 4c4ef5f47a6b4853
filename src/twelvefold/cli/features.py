"""The commands ``twelvefold features ...``: import region features of other projects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from twelvefold.cli.output import SHOWN, Json, say
from twelvefold.config.extract import ImportConfig

if TYPE_CHECKING:
    from twelvefold.features.import_features import FeatureImportSummary

DEFAULTS = ImportConfig()

app = App(name="features", help="Import region features that other projects extracted.")


@app.command(name="import")
def features_import(
    source_file: Annotated[Path, Parameter(name="SOURCE")],
    out: Path,
    /,
    config: Annotated[ImportConfig, Parameter(name="*")] = DEFAULTS,
    *,
    resume: bool = True,
    json: Json = False,
) -> int:
    """Read a feature file and store its regions as `twelvefold extract` would. An interrupted call continues. Several
    files, imported one after the other, fill one store.

    ```
    twelvefold features import COCO_trainval_resnext152_faster_rcnn_genome.lmdb regions/real --source coco
    twelvefold features import visual7w_gt_resnext152_faster_rcnn_genome.lmdb regions/real --given --match data/real
    ```

    Exit code 1 if records were rejected; each is listed by key, line or file, with the reason.

    Parameters
    ----------
    source_file
        An LMDB (the original project's, its older base64 variant, MMF's), a table (bottom-up attention, LXMERT, VinVL),
        or a folder of .npy files.
    out
        Folder for the stores `detected` and `given`.
    resume
        `--no-resume` starts the import of this file over.
    """
    from twelvefold.features.import_features import import_features

    summary = import_features(source_file, out, config, resume=resume)
    say(summary, json, _lines(summary))
    return 1 if summary.rejected else 0


def _lines(summary: FeatureImportSummary) -> str:
    rate = f"in {summary.seconds:.0f} s" if summary.seconds else "already there"
    counts = f"{summary.num_images:,} images, {summary.num_regions:,} regions from {summary.num_records:,} records"
    lines = [
        f"{summary.store}: {counts}, {rate}",
        f"checksum of the records {summary.checksum}, digest of the store {summary.digest}",
    ]
    if summary.num_present:
        lines.append(f"{summary.num_present:,} images were already there from another file and were not replaced")
    for label, problems in (("rejected", summary.rejected), ("warning", summary.warnings)):
        lines += [f"{label}: {problem}" for problem in problems[:SHOWN]]
        if len(problems) > SHOWN:
            lines.append(f"{label}: {len(problems) - SHOWN:,} more (--json lists all)")
    return "\n".join(lines)
