"""A model on disk: ``model.safetensors`` (tensors by name) and ``model.json`` (configuration, tasks, heads with
their outputs, task-token rows, all by name). Loading is strict: every tensor must be there, and none more."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from twelvefold.config.model import ModelConfig
from twelvefold.model import tensor_files
from twelvefold.schema import HeadSpec, TaskSpec, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.older_formats import rename_keys

FORMAT = 2
"""Version of ``model.json``."""
KEYS_OF_FORMAT_1 = {"kind": "family", "pairs": "pairs_per_example"}
"""Keys of ``model.json`` that had other names in format 1, which is still read."""

NAMES = "model.json"
HUB_NAMES = "config.json"
"""What ``model.json`` is called in a folder from a model hub."""
TENSORS = "model.safetensors"


class Description(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What ``model.json`` holds."""

    format: int = FORMAT
    config: ModelConfig
    tasks: list[TaskSpec]
    heads: list[HeadSpec]
    task_tokens: list[str]
    word_pieces: list[int] = []


def write(folder: Path, description: Description, tensors: Mapping[str, Tensor]) -> None:
    """Write both files, each atomically, the names last."""
    tensor_files.write(folder / TENSORS, tensors)
    atomic_files.write_json(folder / NAMES, msgspec.to_builtins(description))


def folder_of(where: Path) -> Path:
    """The folder of a model: ``where`` itself, or the latest checkpoint of a run there.

    Raises:
        TwelvefoldError: it is neither.
    """
    latest = where / "checkpoints" / "latest"
    for folder in (latest, where):
        if any((folder / name).exists() for name in (NAMES, HUB_NAMES)):
            return folder
    raise TwelvefoldError(f"{where} holds no model: it has neither {NAMES} nor checkpoints/latest")


def describe(folder: Path) -> Description:
    """What ``model.json`` says.

    Raises:
        TwelvefoldError: there is none, it can't be read, or another version wrote it.
    """
    path = folder / NAMES
    if not path.exists() and (folder / HUB_NAMES).exists():
        path = folder / HUB_NAMES
    try:
        said = json.loads(path.read_bytes())
        if isinstance(said, dict) and said.get("format") == 1:
            said = rename_keys(said, KEYS_OF_FORMAT_1) | {"format": FORMAT}
        if isinstance(said, dict) and said.get("format") != FORMAT:
            raise TwelvefoldError(f"{path}: format {said.get('format')!r}, but this version reads {FORMAT}")
        return msgspec.convert(said, Description)
    except OSError as error:
        raise TwelvefoldError(f"{path}: can't be read ({error.strerror}); a model's folder holds it") from error
    except ValueError as error:
        raise TwelvefoldError(f"{path} doesn't describe a model: {error}") from error


def read(folder: Path, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a folder, just those of ``wanted``, by name and shape.

    Raises:
        TwelvefoldError: the file can't be read, or tensors are missing, unknown or of another shape: all listed.
    """
    path, found = folder / TENSORS, read_all(folder)
    wrong = differences(found, wanted)
    if wrong:
        raise TwelvefoldError(f"{path} doesn't hold this model's tensors:\n  " + "\n  ".join(wrong))
    return {name: tensor.to(wanted[name].dtype) for name, tensor in found.items()}


def read_all(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder by name.

    Raises:
        TwelvefoldError: the file can't be read.
    """
    path = folder / TENSORS
    try:
        found: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise TwelvefoldError(f"{path}: can't be read as safetensors ({error})") from error
    return found


def differences(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """One line for every tensor that is missing, unknown (with the nearest missing name) or of another shape."""
    missing = [name for name in wanted if name not in found]
    lines = [f"missing: {name} {list(wanted[name].shape)}" for name in missing]
    for name, tensor in found.items():
        if name not in wanted:
            close = difflib.get_close_matches(name, missing, n=1)
            hint = f"; is it {close[0]}?" if close else ""
            lines.append(f"unknown: {name} {list(tensor.shape)}{hint}")
        elif tensor.shape != wanted[name].shape:
            lines.append(f"shape: {name} is {list(tensor.shape)}, wanted {list(wanted[name].shape)}")
    return lines
