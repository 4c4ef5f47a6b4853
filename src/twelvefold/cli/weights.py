"""The commands ``twelvefold weights ...``: the published weights in, ours out, and what a file holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from twelvefold.cli.output import SHOWN, Json, say
from twelvefold.schema import TwelvefoldError

Lists = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")]
Off = Annotated[bool, Parameter(negative="")]

app = App(name="weights", help="Take over published weights, give ours back under official names.")


@app.command(name="import")
def weights_import(
    file: Path,
    *,
    out: Path,
    config: Path | None = None,
    answers: Lists = (),
    pad_answers: Off = False,
    guesswhat_row: int = 17,
    partial: Off = False,
    seed: int = 0,
    json: Json = False,
) -> int:
    """Make a model folder of a published file: multi-task, pretraining, plain BERT, or a training checkpoint.

    ```
    twelvefold weights import multi_task_model.bin --config bert_base_6layer_6conect.json \\
        --answers vqav2=trainval_label2ans.pkl gqa=gqa_label2ans.pkl --out models/published
    ```

    Nothing in the file is run. Exit code 2 where tensors are missing, unknown or of another shape, each by name.

    Parameters
    ----------
    out
        Folder of the model; an older model there is replaced.
    config
        The JSON that was published with the file; needed where sizes are not the published ones.
    answers
        Answer lists by task, pickled or JSON: vqav2=trainval_label2ans.pkl.
    pad_answers
        A list may be shorter than its head; the other outputs are then called unnamed.<column>.
    guesswhat_row
        The row of the task embedding that GuessWhat reads; sources differ between 17 and 16.
    partial
        Draw missing tensors anew and carry unknown ones along, each by name, instead of refusing the file.
    seed
        Of the tensors that are drawn anew.
    """
    from twelvefold.vilbert_mt.import_weights import import_weights

    summary = import_weights(
        file,
        out,
        config=config,
        answers=_lists(answers),
        pad_answers=pad_answers,
        guesswhat_row=guesswhat_row,
        partial=partial,
        seed=seed,
    )
    lines = [
        f"{summary.folder}: {summary.kind}, {summary.parameters:,} parameters; of {summary.entries} entries "
        f"{len(summary.used)} are used, {len(summary.tied)} tied, {len(summary.carried)} carried along",
        f"tasks: {', '.join(summary.tasks) or 'none; the file has no task heads'}",
        *(f"head {name}: {summary.answers[name]} of {summary.heads[name]} answers named" for name in summary.answers),
        *_some("carried, unknown", summary.unknown),
        *_some("drawn anew", summary.fresh),
        *_some("set aside", summary.set_aside),
        *(f"note: {note}" for note in summary.notes),
    ]
    say(summary, json, "\n".join(lines))
    return 0


@app.command(name="export")
def weights_export(
    folder: Path, file: Path | None = None, *, hub: Path | None = None, name: str = "", json: Json = False
) -> int:
    """Write a model under the official names, for the original code to load, or as a folder for a model hub.

    ```
    twelvefold weights export models/published multi_task_model.bin
    twelvefold weights export models/published --hub hub/published --name me/published
    ```

    A model that was imported and not trained since gives its file back, every entry bit for bit.

    Parameters
    ----------
    folder
        Folder of the model, or of a run.
    file
        What to write: safetensors where it ends so, else as torch.save does.
    hub
        A folder to upload instead: weights, configuration, tokenizer and model card.
    name
        What it will be called there, for the card: user/name.
    """
    from twelvefold.export.hub import write_hub_folder
    from twelvefold.vilbert_mt.import_weights import export_weights

    if hub is not None and file is None:
        made = write_hub_folder(folder, hub, name=name)
        say(made, json, f"{made.folder}: {', '.join(made.files)}; {made.parameters:,} parameters")
        return 0
    if file is None or hub is not None:
        raise TwelvefoldError("give either a file to write, or --hub and a folder")

    summary = export_weights(folder, file)
    zeros = f"; {len(summary.zeros)} that no output depends on are zero" if summary.zeros else ""
    say(summary, json, f"{summary.file}: {summary.entries} entries, {summary.parameters:,} parameters{zeros}")
    return 0


@app.command(name="onnx")
def weights_onnx(where: Path, *, task: str, out: Path, json: Json = False) -> int:
    """Write one task of a model as an ONNX file, for a runtime without PyTorch. Tasks of two pictures can't be.

    ```
    twelvefold weights onnx models/published --task vqav2 --out vqa.onnx
    ```

    The file takes any number of pictures, words and regions; its metadata say what goes in and what comes out.

    Parameters
    ----------
    where
        Folder of the model: of ours, a run's checkpoint or a hub's.
    task
        Which of its tasks: answering, retrieval (the score of one pair), pointing, or saying what a picture entails.
    out
        The file.
    """
    from twelvefold.export.onnx import export_onnx

    summary = export_onnx(where, task, out)
    lines = [
        f"{summary.file}: task {summary.task} ({summary.family}), opset {summary.opset}, {summary.megabytes:.1f} MB",
        *(f"input {name}: {said}" for name, said in summary.inputs.items()),
        f"output logits: {summary.output}",
    ]
    say(summary, json, "\n".join(lines))
    return 0


@app.command(name="show")
def weights_show(file: Path, *, json: Json = False) -> int:
    """Say what a weight file holds, part by part. Nothing in it is run.

    ```
    twelvefold weights show multi_task_model.bin
    ```
    """
    from twelvefold.vilbert_mt.inspect_weights import show_weights

    contents = show_weights(file)
    lines = [
        f"{contents.kind}: {contents.entries} entries, {contents.tensors} distinct tensors, "
        f"{contents.parameters:,} parameters",
        *(f"  {part.name:20} {part.tensors:4} tensors {part.parameters:12,} parameters" for part in contents.parts),
        *(f"head {name}: {count} outputs" for name, count in contents.outputs.items()),
        f"absent: {', '.join(contents.absent) or 'nothing'}",
        *_some("belongs to no part", contents.others),
        *_some("set aside", contents.set_aside),
        *(f"note: {note}" for note in contents.notes),
    ]
    say(contents, json, "\n".join(lines))
    return 0


def _lists(given: Sequence[str]) -> dict[str, Path]:
    lists: dict[str, Path] = {}
    for one in given:
        task, equals, path = one.partition("=")
        if not equals or not path or task in lists:
            raise TwelvefoldError(f"an answer list looks like vqav2=label2ans.pkl, once for each task, got {one!r}")
        lists[task] = Path(path)
    return lists


def _some(what: str, names: Sequence[str]) -> list[str]:
    more = [f"{what}: {len(names) - SHOWN} more; --json has all"] if len(names) > SHOWN else []
    return [f"{what}: {name}" for name in names[:SHOWN]] + more
