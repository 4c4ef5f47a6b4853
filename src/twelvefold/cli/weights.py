"""The commands ``twelvefold weights ...``: import and export weights, and inspect weight files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclopts import App

from twelvefold.cli.computing import computing_on
from twelvefold.cli.from_function import ANSWER_FILES, Device, Json, Output, command, first_lines, print_result
from twelvefold.export.hub import write_hub_folder
from twelvefold.export.onnx import OnnxSummary, export_onnx
from twelvefold.schema import TwelvefoldError
from twelvefold.vilbert_mt.export_weights import export_weights
from twelvefold.vilbert_mt.import_weights import ImportSummary, import_weights
from twelvefold.vilbert_mt.inspect_weights import WeightsContents, inspect_weights

app = App(name="weights", help="Import published weights; export models for vilbert-multi-task, a hub or ONNX.")


@app.command(name="import")
@command(
    import_weights,
    example="""
        twelvefold weights import multi_task_model.bin --config bert_base_6layer_6conect.json \\
        --answers vqav2=trainval_label2ans.pkl gqa=gqa_label2ans.pkl --out models/published""",
    options=("out",),
    answers=ANSWER_FILES,
)
def weights_import(summary: ImportSummary, arguments: Mapping[str, Any]) -> Output:
    lines = [
        f"{summary.folder}: {summary.kind}, {summary.parameters:,} parameters; of {summary.entries} entries "
        f"{len(summary.used)} are used, {len(summary.tied)} tied, {len(summary.carried)} carried along",
        f"tasks: {', '.join(summary.tasks) or 'none; the file has no task heads'}",
        *(f"head {name}: {summary.answers[name]} of {summary.heads[name]} answers named" for name in summary.answers),
        *first_lines("carried, unknown", summary.unknown),
        *first_lines("initialized", summary.fresh),
        *first_lines("set aside", summary.set_aside),
        *(f"note: {note}" for note in summary.notes),
    ]
    return Output("\n".join(lines))


@app.command(name="export")
def weights_export(
    folder: Path,
    file: Path | None = None,
    *,
    hub: Path | None = None,
    name: str = "",
    license: str = "",
    device: Device = None,
    json: Json = False,
) -> int:
    """Write a model under the parameter names of vilbert-multi-task, or as a folder for a model hub.

    ```
    twelvefold weights export models/published multi_task_model.bin
    twelvefold weights export models/published --hub hub/published --name me/published --license cc-by-4.0
    ```

    A model that was imported and not trained since is written exactly as it was read, bit for bit.

    Args:
        folder: Folder of a model, or of a run (its latest checkpoint).
        file: File to write: safetensors if the name ends so, else as torch.save writes.
        hub: Folder to write instead: weights, configuration, tokenizer and model card.
        name: Name on the hub for the model card: user/name.
        license: License of the weights for the model card, as the hub names it: apache-2.0, cc-by-4.0 ...
    """
    if hub is not None and file is None:
        with computing_on(device):
            written = write_hub_folder(folder, hub, name=name, license_name=license)
        text = f"{written.folder}: {', '.join(written.files)}; {written.parameters:,} parameters"
        return print_result(written, Output(text), json=json)
    if file is None or hub is not None:
        raise TwelvefoldError("give either a file to write, or --hub and a folder")

    with computing_on(device):
        summary = export_weights(folder, file)
    zeros = f"; {len(summary.zeros)} that no output depends on are zero" if summary.zeros else ""
    return print_result(
        summary,
        Output(f"{summary.file}: {summary.entries} entries, {summary.parameters:,} parameters{zeros}"),
        json=json,
    )


@app.command(name="onnx")
@command(
    export_onnx,
    example="twelvefold weights onnx models/published --task vqav2 --out vqa.onnx",
    options=("task", "out"),
    computes=computing_on,
)
def weights_onnx(summary: OnnxSummary, arguments: Mapping[str, Any]) -> Output:
    lines = [
        f"{summary.file}: task {summary.task} ({summary.family}), opset {summary.opset}, {summary.megabytes:.1f} MB",
        *(f"input {name}: {text}" for name, text in summary.inputs.items()),
        f"output logits: {summary.output}",
    ]
    return Output("\n".join(lines))


@app.command(name="show")
@command(inspect_weights, example="twelvefold weights show multi_task_model.bin")
def weights_show(contents: WeightsContents, arguments: Mapping[str, Any]) -> Output:
    lines = [
        f"{contents.kind}: {contents.entries} entries, {contents.tensors} distinct tensors, "
        f"{contents.parameters:,} parameters",
        *(f"  {part.name:20} {part.tensors:4} tensors {part.parameters:12,} parameters" for part in contents.parts),
        *(f"head {name}: {count} outputs" for name, count in contents.outputs.items()),
        f"absent: {', '.join(contents.absent) or 'nothing'}",
        *first_lines("belongs to no part", contents.others),
        *first_lines("set aside", contents.set_aside),
        *(f"note: {note}" for note in contents.notes),
    ]
    return Output("\n".join(lines))
