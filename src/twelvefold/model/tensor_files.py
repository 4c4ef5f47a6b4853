"""Read and write files of tensors by name, without running any code that a file could contain.

Files are written as safetensors. Both safetensors and the formats of ``torch.save``, old and new, are read: a mapping
of names to tensors, or a training checkpoint that contains one. PyTorch's ``weights_only`` loading is tried first. The
training checkpoints of the original project also hold objects of its classes, which ``weights_only`` refuses. Such a
file is read again with an allow-list of our own: an unknown object becomes an empty stand-in without behavior, and a
file that calls any other function is refused with the function's name.
"""

from __future__ import annotations

import os
import pickle  # only with AllowListUnpickler
import re
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.safe_pickle import AllowListUnpickler, encode_latin1

STATE_KEYS = ("model_state_dict", "state_dict", "model")
"""Keys under which training checkpoints hold the model's tensors; the first is the original project's."""


@dataclass(slots=True, eq=False)
class TensorFile:
    """Content of a file.

    wrapped: the key of the mapping that holds the tensors, empty for a flat file. other_keys: further keys of a
    training checkpoint. stand_ins: full names of the classes whose objects were ignored. metadata: of a safetensors
    file.
    """

    tensors: dict[str, Tensor]
    wrapped: str = ""
    other_keys: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def read(path: Path) -> TensorFile:
    """Read all tensors of a file, memory-mapped if the format allows it.

    Raises:
        TwelvefoldError: the file is missing, truncated, of another format, needs to run code, or has no named tensors.
    """
    if not path.is_file():
        raise TwelvefoldError(f"no weight file {path}")
    if _is_safetensors(path):
        return read_safetensors(path)
    if not zipfile.is_zipfile(path) and tarfile.is_tarfile(path):
        raise TwelvefoldError(f"{path} is an archive of files; unpack it and give the weight file in it")
    value, stand_ins = _unpickle(path)
    tensors, wrapped = _find_tensors(path, value)
    other_keys = tuple(str(key) for key in value if key != wrapped) if wrapped else ()
    return TensorFile(tensors, wrapped, other_keys, stand_ins)


def _is_safetensors(path: Path) -> bool:
    """Return whether the file begins with eight bytes of length and JSON, or has the suffix."""
    with path.open("rb") as file:
        head = file.read(9)
    return path.suffix == ".safetensors" or (len(head) == 9 and head[8:] == b"{")


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, atomically and without a second copy of them in memory.

    Raises:
        TwelvefoldError: the disk is full, the folder cannot be written to, ...; ``path`` is then unchanged.
    """
    with atomic_files.atomic_path(path) as temporary:
        try:
            contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            save_file(contiguous, temporary, dict(metadata) if metadata else None)
        except SafetensorError as error:
            number = re.search(r"\(os error (\d+)\)", str(error))  # the exception has no other sign of its cause
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def read_safetensors(path: Path) -> TensorFile:
    """Read all tensors of a safetensors file.

    Raises:
        TwelvefoldError: the file can't be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return TensorFile(tensors, metadata=file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise TwelvefoldError(f"{path}: can't be read as safetensors ({error})") from error


def _unpickle(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Return the content of a file of ``torch.save``, and the names of the classes replaced by stand-ins."""
    can_map = zipfile.is_zipfile(path)  # the older format, which the original project wrote, cannot be memory-mapped
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=can_map), ()
    except pickle.UnpicklingError:
        pass  # the file holds more than tensors, or is damaged: the second attempt shows which
    except (RuntimeError, EOFError, ValueError, TypeError, KeyError, OSError) as error:
        raise _damaged(path, error) from error
    module = _PickleModule()
    try:
        value = torch.load(path, map_location="cpu", weights_only=False, mmap=can_map, pickle_module=module)
    except pickle.UnpicklingError as error:
        raise TwelvefoldError(f"{path} was not loaded, and nothing in it was run: {error}") from error
    except (
        RuntimeError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, OSError,
        OverflowError, MemoryError,
    ) as error:  # fmt: skip
        raise _damaged(path, error) from error
    return value, tuple(sorted(module.replaced))


def _damaged(path: Path, error: Exception) -> TwelvefoldError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return TwelvefoldError(f"{path} is truncated or not a weight file ({reason})")


def _find_tensors(path: Path, value: Any) -> tuple[dict[str, Tensor], str]:
    """Return names and tensors of a flat mapping, or of the mapping under a known key, and that key."""
    if not isinstance(value, Mapping):
        raise TwelvefoldError(f"{path}: expected a mapping of names to tensors, got {_type_name(value)}")
    wrapped = next((key for key in STATE_KEYS if isinstance(value.get(key), Mapping)), "")
    state = value[wrapped] if wrapped else value
    others = [f"{name} ({_type_name(item)})" for name, item in state.items() if not isinstance(item, Tensor)]
    if others or not state:
        raise TwelvefoldError(
            f"{path}: expected names and tensors, alone or under one of {', '.join(STATE_KEYS)}; got "
            f"{', '.join(others[:8]) or 'nothing'}"
        )
    return {str(name): tensor for name, tensor in state.items()}, wrapped


def _type_name(value: Any) -> str:
    return str(type(value)) if isinstance(type(value), _StandIn) else type(value).__name__


class _StandIn(type):
    """Metaclass of the stand-ins for unknown classes: their objects can be created and filled, but not called."""

    def __call__(cls, *_: Any, **__: Any) -> Any:
        raise pickle.UnpicklingError(f"expected tensors and plain data, got a file that calls {cls}")

    def __str__(cls) -> str:
        return f"{cls.__module__}.{cls.__qualname__}"


def _new(cls: type, *_: Any, **__: Any) -> Any:
    return object.__new__(cls)


def _ignore(*_: Any, **__: Any) -> None:
    """Discard whatever is put into a stand-in."""


def _make_stand_in(module: str, name: str) -> _StandIn:
    methods = dict.fromkeys(("__setstate__", "__setitem__", "append", "extend", "add"), _ignore)
    return _StandIn(name, (), methods | {"__slots__": (), "__new__": _new, "__module__": module})


def _rebuild_tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    """Build a tensor of ``torch.save``, without its hooks and metadata."""
    return torch._utils._rebuild_tensor(storage, offset, size, stride)  # type: ignore[no-any-return,no-untyped-call]


def _rebuild_parameter(tensor: Tensor, *_: Any) -> Tensor:
    return tensor


def _reconstruct(cls: type, *_: Any) -> Any:
    """Replace ``copyreg._reconstructor``, for stand-ins only."""
    if not isinstance(cls, _StandIn):
        raise pickle.UnpicklingError(f"expected tensors and plain data, got an object of {cls!r}")
    return _new(cls)


def _replace_numpy(*_: Any) -> Any:
    """Replace a NumPy number or array in a checkpoint's other entries, which are not used."""
    return _new(_make_stand_in("numpy", "ndarray"))


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): torch.Size,
    ("copyreg", "_reconstructor"): _reconstruct,
    ("copy_reg", "_reconstructor"): _reconstruct,
    ("builtins", "object"): object,
    ("__builtin__", "object"): object,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("_codecs", "encode"): encode_latin1,
    ("numpy.core.multiarray", "scalar"): _replace_numpy,
    ("numpy._core.multiarray", "scalar"): _replace_numpy,
    ("numpy.core.multiarray", "_reconstruct"): _replace_numpy,
    ("numpy._core.multiarray", "_reconstruct"): _replace_numpy,
    ("numpy", "dtype"): _replace_numpy,
}
"""The global names that a file may use; the functions are our own. ``torch.load`` itself resolves storages."""


class _PickleModule:
    """The ``pickle_module`` for ``torch.load``: its unpickler replaces all names that are not allowed by stand-ins."""

    UnpicklingError = pickle.UnpicklingError
    __name__ = "allow-listed pickle"

    def __init__(self) -> None:
        replaced: set[str] = set()
        self.replaced = replaced

        class Unpickler(AllowListUnpickler):
            allowed = ALLOWED

            def replace(self, module: str, name: str) -> Any:
                replaced.add(f"{module}.{name}")
                return _make_stand_in(module, name)

        self.Unpickler = Unpickler

    def load(self, file: Any, **options: Any) -> Any:
        return self.Unpickler(file, **options).load()
