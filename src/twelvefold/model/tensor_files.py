"""Tensors by name in a file: ours written, and anyone's read without running anything that it might hold.

Written are safetensors. Read are safetensors, and what ``torch.save`` writes, old and new form: a mapping of names to
tensors, alone or inside a training checkpoint. PyTorch's own ``weights_only`` loading comes first. A training
checkpoint of the original project also holds objects of its classes, which that refuses; such a file is read once more
behind an allow-list of our own: an object becomes an empty stand-in that has no behaviour, and anything that asks to
call a function refuses the file by the function's name.
"""

from __future__ import annotations

import os
import pickle  # only behind find_class below
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

STATE_KEYS = ("model_state_dict", "state_dict", "model")
"""Under which training checkpoints keep the model's tensors; the first is the original project's."""


@dataclass(slots=True, eq=False)
class TensorFile:
    """Content of a file.

    wrapped: the key of the mapping that holds the tensors, empty for a flat file. beside: the other keys of a training
    checkpoint. stand_ins: full names of the classes whose objects were ignored. metadata: of a safetensors file.
    """

    tensors: dict[str, Tensor]
    wrapped: str = ""
    beside: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def read(path: Path) -> TensorFile:
    """Every tensor of a file by name, memory-mapped where the format allows.

    Raises:
        TwelvefoldError: there is no such file, it is truncated or of another kind, it asks to run something, or it
            holds no tensors by name.
    """
    if not path.is_file():
        raise TwelvefoldError(f"no weight file {path}")
    if _is_safetensors(path):
        return _safetensors(path)
    if not zipfile.is_zipfile(path) and tarfile.is_tarfile(path):
        raise TwelvefoldError(f"{path} is an archive of files; unpack it and give the weight file in it")
    value, stand_ins = _pickled(path)
    tensors, wrapped = _state(path, value)
    beside = tuple(str(key) for key in value if key != wrapped) if wrapped else ()
    return TensorFile(tensors, wrapped, beside, stand_ins)


def _is_safetensors(path: Path) -> bool:
    """By content: eight bytes of length, then JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    return path.suffix == ".safetensors" or (len(head) == 9 and head[8:] == b"{")


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, atomically and without a second copy of them in memory.

    Raises:
        TwelvefoldError: the disk is full, the folder can't be written, ...; ``path`` is then as it was before.
    """
    with atomic_files.atomic_path(path) as temporary:
        try:
            contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            save_file(contiguous, temporary, dict(metadata) if metadata else None)
        except SafetensorError as error:
            number = re.search(r"\(os error (\d+)\)", str(error))  # its kind says nothing
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _safetensors(path: Path) -> TensorFile:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return TensorFile(tensors, metadata=file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise TwelvefoldError(f"{path}: can't be read as safetensors ({error})") from error


def _pickled(path: Path) -> tuple[Any, tuple[str, ...]]:
    mapped = zipfile.is_zipfile(path)  # the older form, which the original project wrote, can't be mapped
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped), ()
    except pickle.UnpicklingError:
        pass  # holds more than tensors, or is broken: the second reading says which
    except (RuntimeError, EOFError, ValueError, TypeError, KeyError, OSError) as error:
        raise _broken(path, error) from error
    reader = _Reader()
    try:
        value = torch.load(path, map_location="cpu", weights_only=False, mmap=mapped, pickle_module=reader)
    except pickle.UnpicklingError as error:
        raise TwelvefoldError(f"{path} is not loaded, and nothing in it was run: {error}") from error
    except (
        RuntimeError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, OSError,
        OverflowError, MemoryError,
    ) as error:  # fmt: skip
        raise _broken(path, error) from error
    return value, tuple(sorted(reader.met))


def _broken(path: Path, error: Exception) -> TwelvefoldError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return TwelvefoldError(f"{path} is truncated or no weight file ({reason})")


def _state(path: Path, value: Any) -> tuple[dict[str, Tensor], str]:
    """The names and tensors of a flat mapping, or those under the one key that holds them."""
    if not isinstance(value, Mapping):
        raise TwelvefoldError(f"{path}: expected a mapping of names to tensors, got {_what(value)}")
    wrapped = next((key for key in STATE_KEYS if isinstance(value.get(key), Mapping)), "")
    state = value[wrapped] if wrapped else value
    others = {str(name): _what(one) for name, one in state.items() if not isinstance(one, Tensor)}
    if others or not state:
        told = ", ".join(f"{name} ({what})" for name, what in list(others.items())[:8]) or "nothing"
        raise TwelvefoldError(
            f"{path}: expected names and tensors, alone or under one of {', '.join(STATE_KEYS)}; got {told}"
        )
    return {str(name): tensor for name, tensor in state.items()}, wrapped


def _what(value: Any) -> str:
    kind = type(value)
    return str(kind) if isinstance(kind, _StandIn) else kind.__name__


class _StandIn(type):
    """The kind of classes that stand in for unknown ones: their objects may be made and filled, never called upon."""

    def __call__(cls, *_: Any, **__: Any) -> Any:
        raise pickle.UnpicklingError(f"expected tensors and plain data, got a file that asks to call {cls}")

    def __str__(cls) -> str:
        return f"{cls.__module__}.{cls.__qualname__}"


def _new(cls: type, *_: Any, **__: Any) -> Any:
    return object.__new__(cls)


def _ignore(*_: Any, **__: Any) -> None:
    """What a stand-in does with all that is put into it."""


def _stand_in(module: str, name: str) -> _StandIn:
    inside = dict.fromkeys(("__setstate__", "__setitem__", "append", "extend", "add"), _ignore)
    return _StandIn(name, (), inside | {"__slots__": (), "__new__": _new, "__module__": module})


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    """A tensor as ``torch.save`` describes it; hooks and metadata are left out."""
    return torch._utils._rebuild_tensor(storage, offset, size, stride)  # type: ignore[no-any-return,no-untyped-call]


def _parameter(tensor: Tensor, *_: Any) -> Tensor:
    return tensor


def _reconstructed(cls: type, *_: Any) -> Any:
    """What ``copyreg._reconstructor`` does for an object without a plain ancestor."""
    if not isinstance(cls, _StandIn):
        raise pickle.UnpicklingError(f"expected tensors and plain data, got an object of {cls!r}")
    return _new(cls)


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"expected bytes as 'latin1', got {encoding!r}")
    return text.encode("latin1")


def _number(*_: Any) -> Any:
    """A NumPy number or array among a checkpoint's bookkeeping, which is not ours to read."""
    return _new(_stand_in("numpy", "ndarray"))


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): torch.Size,
    ("copyreg", "_reconstructor"): _reconstructed,
    ("copy_reg", "_reconstructor"): _reconstructed,
    ("builtins", "object"): object,
    ("__builtin__", "object"): object,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("_codecs", "encode"): _latin1,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
    ("numpy.core.multiarray", "_reconstruct"): _number,
    ("numpy._core.multiarray", "_reconstruct"): _number,
    ("numpy", "dtype"): _number,
}
"""Every global name that gets a meaning, by full name; the functions are ours. Storages are torch's own to name."""


class _Reader:
    """What ``torch.load`` takes for a pickle module: the unpickler that looks nothing up beyond the allow-list."""

    UnpicklingError = pickle.UnpicklingError
    __name__ = "allow-listed pickle"

    def __init__(self) -> None:
        met: set[str] = set()
        self.met = met

        class Unpickler(pickle.Unpickler):
            def find_class(self, module: str, name: str) -> Any:
                if (module, name) in ALLOWED:
                    return ALLOWED[module, name]
                met.add(f"{module}.{name}")
                return _stand_in(module, name)

        self.Unpickler = Unpickler

    def load(self, file: Any, **options: Any) -> Any:
        return self.Unpickler(file, **options).load()
