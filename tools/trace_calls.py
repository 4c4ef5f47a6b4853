"""Trace the source files that a call visits, and its calls from a lower import layer to a higher one.

    python tools/trace_calls.py example       # a VQA example from its official file to the loss
    python tools/trace_calls.py question      # Predictor.ask, from an image and a question to the answer
    python tools/trace_calls.py question --root CHECKOUT --calls

``--root`` traces another checkout, also an older one with other module names; layers are read from its .importlinter.
``--calls`` lists every call from one file to another. The layers of one line are peers. A function that is passed down
and called from a lower layer counts as an upward call. Loading the model and detecting the example's regions are not
traced; the detector of the question is. docs/results/tracing.md has the results.
"""

from __future__ import annotations

import argparse
import configparser
import importlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "twelvefold"
QUESTION, ANSWER = "What is the color of the boot?", "green"
IMAGE = "serving/samples/room.jpg"


@dataclass
class Tracer:
    """Record the first visit of every file of a package, and the calls between its files."""

    package: Path
    files: list[str] = field(default_factory=list)
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    _imports: int = 0

    def run(self, function: Callable[[], object]) -> None:
        """Call a function under ``sys.setprofile``."""
        sys.setprofile(self._on_event)
        try:
            function()
        finally:
            sys.setprofile(None)

    def _on_event(self, frame: FrameType, event: str, _: object) -> None:
        file = self._file(frame)
        if file is not None and frame.f_code.co_name == "<module>":  # an import on first use is not a step
            self._imports += {"call": 1, "return": -1}.get(event, 0)
        if event != "call" or file is None or self._imports:
            return
        if file not in self.files:
            self.files.append(file)
        caller = frame.f_back
        while caller is not None and self._file(caller) is None:  # skip torch, contextlib and other packages
            caller = caller.f_back
        caller_file = self._file(caller) if caller is not None else None
        if caller_file not in (None, file):
            call = (str(caller_file), file, frame.f_code.co_qualname)
            if call not in self.calls:
                self.calls.append(call)

    def _file(self, frame: FrameType) -> str | None:
        path = Path(frame.f_code.co_filename)
        return path.relative_to(self.package).as_posix() if path.is_relative_to(self.package) else None


def read_layers(root: Path) -> dict[str, int]:
    """Return the layer of each module in a checkout's .importlinter, 0 for the lowest."""
    config = configparser.ConfigParser()
    config.read(root / ".importlinter")
    section = next(s for s in config.values() if s.get("type") == "layers")
    lines = [line.split("|") for line in section["layers"].split("\n") if line.strip()]
    return {
        name.strip().removeprefix(f"{PACKAGE}."): level for level, names in enumerate(reversed(lines)) for name in names
    }


def find_layer(layers: dict[str, int], file: str) -> int | None:
    """Return the layer of a file by the longest module name that contains it."""
    parts = file.removesuffix(".py").removesuffix("/__init__").split("/")
    names = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((layers[name] for name in names if name in layers), None)


def resolve(*candidates: str) -> Any:
    """Return the first object that exists; ``module:name``, the module inside the package."""
    for candidate in candidates:
        module, _, name = candidate.partition(":")
        try:
            return getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)
        except (ImportError, AttributeError):
            continue
    raise SystemExit(f"none of these exists in this checkout: {', '.join(candidates)}")


def question_case(package: Path, _: Path) -> Callable[[], object]:
    model = importlib.import_module(PACKAGE).load()
    return lambda: model.ask(package / IMAGE, QUESTION)


def example_case(package: Path, folder: Path) -> Callable[[], object]:
    """Write official files with one question and extract its image; return the traced part."""
    import torch

    network = importlib.import_module(PACKAGE).load().network
    (folder / "coco").mkdir()
    shutil.copy(package / IMAGE, folder / "coco" / "1.jpg")
    resolve("features.extract:extract", "extract:extract")(folder / "coco", folder / "regions", processes=1)
    question = {"question_id": 1, "image_id": 1, "question": QUESTION}
    annotation = {"question_id": 1, "image_id": 1, "answer_type": "other", "answers": [{"answer": ANSWER}] * 10}
    (folder / "vqav2").mkdir()
    for name, records in (
        ("OpenEnded_mscoco_val2014_questions", [question]),
        ("mscoco_val2014_annotations", [annotation]),
    ):
        path = folder / "vqav2" / f"v2_{name}.json"
        path.write_text(json.dumps({name.rsplit("_", 1)[1]: records}))

    reader = importlib.import_module(f"{PACKAGE}.datasets.vqav2")
    bad_records = resolve("datasets.reading.records:BadRecords", "datasets.records:BadRecords")
    tokens = resolve("data.tokenizer:Tokenizer", "batches.text:Tokens")()
    encode = getattr(tokens, "encode_batch", None) or tokens.many
    write_table = resolve("data.write_table:write_table", "store.example_table:write_table", "store.tables:write_table")
    example_table = resolve("store.example_table:ExampleTable", "store.tables:ExampleTable")
    source = resolve("data.region_inputs:RegionSource", "batches.regions:RegionSource").open(folder / "regions")
    task_batches = resolve("data.task_batches:TaskBatches", "data.task_loader:TaskBatches", "batches.tasks:TaskBatches")
    family_of = resolve("families:load_family", "families:of")
    spec = network.tasks["vqav2"]

    @torch.inference_mode()
    def run() -> object:
        examples = list(reader.read(folder, "val", bad=bad_records(), minval=1))
        write_table(folder / "vqav2.arrow", examples, encode, digest="")
        table = example_table.open(folder / "vqav2.arrow")
        batch = task_batches(table, source, spec, network.head_specs[spec.head]).batch([0])
        return family_of(spec.family).loss(network(batch), batch)

    return run


CASES = {"example": example_case, "question": question_case}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--calls", action="store_true")
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    sys.path.insert(0, str(root / "src"))
    package, layers = root / "src" / PACKAGE, read_layers(root)
    tracer = Tracer(package)
    with tempfile.TemporaryDirectory() as folder:
        tracer.run(CASES[arguments.case](package, Path(folder)))
    for number, file in enumerate(tracer.files, 1):
        print(f"{number:3} {file}")
    upward = []
    for caller, file, function in tracer.calls:
        low, high = find_layer(layers, caller), find_layer(layers, file)
        is_upward = low is not None and high is not None and high > low
        upward += [f"{caller} -> {file}: {function}"] if is_upward else []
        if arguments.calls:
            print(f"{'UP ' if is_upward else '   '} {caller} -> {file}: {function}")
    print(f"{len(tracer.files)} files, {len(tracer.calls)} calls between files, {len(upward)} upward calls")
    print("\n".join(upward))


if __name__ == "__main__":
    main()
