"""A model on disk: ``model.safetensors`` (tensors by name) and ``model.json`` (configuration, tasks, heads).

Loading is strict: the file must hold exactly the model's tensors. Tensor names on disk are a file format and never
change; :func:`disk_name` maps the names of today's modules to them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import msgspec
from torch import Tensor

from twelvefold.config import renamed
from twelvefold.config.model import ModelConfig
from twelvefold.model import provenance, tensor_files
from twelvefold.model.state_dicts import state_dict_differences
from twelvefold.parsing.json_text import JsonError, describe_error, parse_json
from twelvefold.parsing.text import read_bytes
from twelvefold.schema import HeadSpec, TaskSpec, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.older_formats import rename_keys

FORMAT = 2
"""Version of ``model.json``."""
KEYS_OF_FORMAT_1 = {"kind": "family", "pairs": "pairs_per_example", **renamed.RECIPE["model"]}
"""Keys of ``model.json`` that had other names in format 1, which is still read."""
MODULES_ON_DISK = {
    "qkv": "projections",
    "out_proj": "out",
    "fc1": "into",
    "fc2": "out",
    "dense": "into",
    "region_classifier": "kinds",
}
"""Modules whose tensors have another name on disk."""

DESCRIPTION = "model.json"
HUB_DESCRIPTION = "config.json"
"""Name of ``model.json`` in a folder from a model hub."""
TENSORS = "model.safetensors"


class Description(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Content of ``model.json``: all arguments of :class:`twelvefold.model.model.Model` but the precision."""

    format: int = FORMAT
    config: ModelConfig
    tasks: list[TaskSpec]
    heads: list[HeadSpec]
    task_tokens: list[str]
    word_pieces: list[int] = []


def disk_name(name: str) -> str:
    """Return the name on disk of a parameter (``trunk.blocks.0.text_layer.feed_forward.fc1.weight``)."""
    path, _, parameter = name.rpartition(".")
    parent, _, module = path.rpartition(".")
    return f"{parent}.{MODULES_ON_DISK.get(module, module)}.{parameter}" if parent else name


def to_disk_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a model's state dict with the names that its tensors have on disk."""
    return {disk_name(name): tensor for name, tensor in tensors.items()}


def write(folder: Path, description: Description, tensors: Mapping[str, Tensor]) -> None:
    """Write both files, each atomically, ``model.json`` last. ``tensors``: the model's state dict."""
    tensor_files.write(folder / TENSORS, to_disk_names(tensors))
    atomic_files.write_json(folder / DESCRIPTION, msgspec.to_builtins(description))


def model_folder(path: Path) -> Path:
    """Return the folder of a model: ``path`` itself, or the latest checkpoint if ``path`` is a run.

    Raises:
        TwelvefoldError: it is neither.
    """
    latest = path / "checkpoints" / "latest"
    for folder in (latest, path):
        if any((folder / name).exists() for name in (DESCRIPTION, HUB_DESCRIPTION)):
            return folder
    raise TwelvefoldError(f"{path} holds no model: it has neither {DESCRIPTION} nor checkpoints/latest")


def describe(folder: Path) -> Description:
    """Read ``model.json``.

    Raises:
        TwelvefoldError: the file is missing, broken or of an unknown format.
    """
    path = folder / DESCRIPTION
    if not path.exists() and (folder / HUB_DESCRIPTION).exists():
        path = folder / HUB_DESCRIPTION
    data = read_bytes(path)
    try:
        content = parse_json(data)
        if isinstance(content, dict) and content.get("format") == 1:
            content = rename_keys(content, KEYS_OF_FORMAT_1) | {"format": FORMAT}
        if isinstance(content, dict) and "format" not in content and "model_type" in content:
            kind = content["model_type"]
            raise TwelvefoldError(
                f"{path} describes a Hugging Face model of type {kind!r}; expected a model that twelvefold wrote. Its "
                "weights have another architecture and cannot be loaded here"
            )
        if isinstance(content, dict) and content.get("format") != FORMAT:
            raise TwelvefoldError(f"{path}: format {content.get('format')!r}, but this version reads {FORMAT}")
        return msgspec.convert(content, Description)
    except JsonError as error:
        raise TwelvefoldError(f"{path} does not describe a model: {describe_error(error, data)}") from error


def read(folder: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read the tensors of a folder. ``expected``: the model's state dict, whose names, shapes and dtypes they get.

    Raises:
        TwelvefoldError: the file can't be read, or tensors are missing, unknown or of another shape; all are listed.
    """
    tensors, on_disk = read_all(folder), to_disk_names(expected)
    if problems := state_dict_differences(tensors, on_disk):
        raise TwelvefoldError(f"{folder / TENSORS} does not hold this model's tensors:\n  " + "\n  ".join(problems))
    return {name: tensors[disk_name(name)].to(tensor.dtype) for name, tensor in expected.items()}


def read_all(folder: Path) -> dict[str, Tensor]:
    """Read every tensor of a folder by its name on disk.

    Raises:
        TwelvefoldError: the file can't be read, or a tensor holds NaN or infinity, which an import did not accept.
    """
    path = folder / TENSORS
    file = tensor_files.read_safetensors(path)
    origin = provenance.read(folder)
    accepted = origin.non_finite if origin else []
    tensor_files.check_finite(path, {name: t for name, t in file.tensors.items() if name not in accepted})
    for note in file.notes:
        warnings.warn(f"{path}: {note}; they were removed", stacklevel=2)
    return file.tensors
