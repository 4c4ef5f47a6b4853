"""Read and write files of tensors by name, without running any code that a file could contain.

Files are written as safetensors. Both safetensors and the formats of ``torch.save``, old and new, are read: a mapping
of names to tensors, or a training checkpoint that contains one. PyTorch's ``weights_only`` loading is tried first. The
training checkpoints of the original project also hold objects of its classes, which ``weights_only`` refuses. Such a
file is read again with an allow-list of our own: an unknown object becomes an empty stand-in without behavior, and a
file that calls any other function is refused with the function's name.
"""

from __future__ import annotations

import math
import mmap
import os
import pickle  # only with AllowListUnpickler
import re
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from twelvefold.parsing.bounds import short_repr
from twelvefold.parsing.file_kind import check_file_kind
from twelvefold.printable import utf_8_path
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.pickle_opcodes import PickleBoundsError, check_opcodes
from twelvefold.store.safe_pickle import AllowListUnpickler, encode_latin1

STATE_KEYS = ("model_state_dict", "state_dict", "model")
"""Keys under which training checkpoints hold the model's tensors; the first is the original project's."""


WRAPPERS = ("module.", "_orig_mod.", "model.")
"""Prefixes of names that wrappers add: DistributedDataParallel, torch.compile, Lightning and training scripts."""
_WRAPPED_PART = re.compile(r"^module\.|(^|\.)_orig_mod\.")


@dataclass(slots=True, eq=False)
class TensorFile:
    """Content of a file.

    wrapped: the key of the mapping that holds the tensors, empty for a flat file. other_keys: further keys of a
    training checkpoint. stand_ins: full names of the classes whose objects were ignored. metadata: of a safetensors
    file. removed: prefixes that wrappers had added to the names (:func:`strip_wrappers`).
    """

    tensors: dict[str, Tensor]
    wrapped: str = ""
    other_keys: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """Return what was changed in the names."""
        return [f"names began with {' and '.join(self.removed)}, which wrappers add"] if self.removed else []


def read_weights(path: Path, usual: Collection[str] = ()) -> TensorFile:
    """Read the weights of a network, and warn if prefixes were removed from their names, other than ``usual`` ones.

    Raises:
        TwelvefoldError: as :func:`read`, or a tensor holds NaN or infinity.
    """
    file = read(path)
    check_finite(path, file.tensors)
    for note in file.notes if {*file.removed} - {*usual} else ():
        warnings.warn(f"{path}: {note}; they were removed", stacklevel=3)
    return file


def read(path: Path) -> TensorFile:
    """Read all tensors of a file, memory-mapped if the format allows it, without the prefixes of wrappers.

    Raises:
        TwelvefoldError: the file is missing, truncated, of another format, a web page or a pointer, needs to run code,
            or has no named tensors.
    """
    if not path.is_file():
        raise TwelvefoldError(f"no weight file {path}")
    check_file_kind(path)
    if _is_safetensors(path):
        return read_safetensors(path)
    if not zipfile.is_zipfile(path) and tarfile.is_tarfile(path):
        raise TwelvefoldError(f"{path} is an archive of files; unpack it and give the weight file in it")
    value, stand_ins = _unpickle(path)
    tensors, wrapped = _find_tensors(path, value)
    other_keys = tuple(str(key) for key in value if key != wrapped) if wrapped else ()
    tensors, removed = strip_wrappers(path, tensors)
    return TensorFile(tensors, wrapped, other_keys, stand_ins, removed=removed)


def strip_wrappers(path: Path, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return tensors without the prefixes that wrappers add to their names, and these prefixes.

    ``module.`` is DistributedDataParallel's, ``_orig_mod.`` is torch.compile's; ``model.`` is removed if all names
    begin with it, as Lightning and many training scripts write them.

    Raises:
        TwelvefoldError: two names are equal without the prefixes.
    """
    names, removed = {name: name for name in tensors}, []
    while prefix := next((p for p in WRAPPERS if names and all(n.startswith(p) for n in names.values())), ""):
        names = {name: short.removeprefix(prefix) for name, short in names.items()}
        removed.append(prefix)
    short_names = {name: _WRAPPED_PART.sub(r"\1", short) for name, short in names.items()}
    removed += [p for p in WRAPPERS[:2] if any(p in names[name] and p not in short_names[name] for name in names)]
    sources: dict[str, str] = {}
    for name, short in short_names.items():
        if short in sources:
            raise TwelvefoldError(f"{path}: {sources[short]} and {name} are both {short}; remove one of them")
        sources[short] = name
    return {short: tensors[name] for short, name in sources.items()}, tuple(dict.fromkeys(removed))


def find_non_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that hold NaN or infinity, each with how many of its numbers."""
    counts = {
        name: int((~torch.isfinite(tensor.float())).sum())
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor.float().sum())
    }
    return [f"{name} ({count:,} of {tensors[name].numel():,})" for name, count in counts.items() if count]


def check_finite(
    path: Path, tensors: Mapping[str, Tensor], advice: str = "the training that wrote it diverged"
) -> None:
    """Check that all tensors hold finite numbers.

    Raises:
        TwelvefoldError: names those that do not. ``advice``: the end of the message.
    """
    if names := find_non_finite(tensors):
        listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if names[8:] else "")
        raise TwelvefoldError(f"{path}: NaN or infinity in {listed}; {advice}")


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


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file.

    Raises:
        TwelvefoldError: the file can't be read.
    """
    try:
        with utf_8_path(path) as openable, safe_open(openable, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        check_file_kind(path)
        raise TwelvefoldError(f"{path}: can't be read as safetensors ({error})") from error


def count_parameters(path: Path) -> int:
    """Return the number of values in all tensors of a safetensors file; only its header is read.

    Raises:
        TwelvefoldError: the file can't be read.
    """
    with _open_safetensors(path) as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def read_safetensors(path: Path) -> TensorFile:
    """Read all tensors of a safetensors file.

    Raises:
        TwelvefoldError: the file can't be read.
    """
    with _open_safetensors(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    tensors, removed = strip_wrappers(path, tensors)
    return TensorFile(tensors, metadata=metadata, removed=removed)


DAMAGED = (
    RuntimeError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, OSError,
    OverflowError, MemoryError, struct.error, ImportError,
)  # fmt: skip
"""What ``torch.load`` raises for files that are damaged."""


def _unpickle(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Return the content of a file of ``torch.save``, and the names of the classes replaced by stand-ins."""
    _check_pickles(path)
    can_map = zipfile.is_zipfile(path)  # the older format, which the original project wrote, cannot be memory-mapped
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=can_map), ()
    except pickle.UnpicklingError:
        pass  # the file holds more than tensors, or is damaged: the second attempt shows which
    except DAMAGED as error:
        raise _damaged(path, error) from error
    module = _PickleModule()
    try:
        value = torch.load(path, map_location="cpu", weights_only=False, mmap=can_map, pickle_module=module)
    except pickle.UnpicklingError as error:
        if str(error).startswith("invalid load key"):
            raise _damaged(path, error) from error
        raise TwelvefoldError(f"{path} was not loaded, and nothing in it was run: {error}") from error
    except DAMAGED as error:
        raise _damaged(path, error) from error
    return value, tuple(sorted(module.replaced))


def _check_pickles(path: Path) -> None:
    """Check the pickles of a file of ``torch.save`` before they are loaded: one in a zip archive, or five in a row.

    Raises:
        TwelvefoldError: loading one would cost far more than its length.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    if info.file_size > MAX_RATIO * info.compress_size + (1 << 20):
                        raise TwelvefoldError(f"{path} was not loaded: {info.filename!r} in it is a zip bomb")
                    if info.filename.endswith("data.pkl"):
                        check_opcodes(archive.read(info))
        elif path.stat().st_size:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                position = 0
                for _ in range(NUM_LEGACY_PICKLES):
                    position = check_opcodes(data, position)
    except PickleBoundsError as error:
        raise TwelvefoldError(f"{path} was not loaded: {error}") from error
    except (pickle.UnpicklingError, zipfile.BadZipFile, OSError, zlib.error, EOFError, NotImplementedError, ValueError):
        return  # damaged: loading says how


MAX_RATIO = 20
"""Times by which the content of a weight file may be larger than the file; ``torch.save`` does not compress."""
NUM_LEGACY_PICKLES = 5
"""Pickles at the start of a file of the older format."""


def _damaged(path: Path, error: Exception) -> TwelvefoldError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return TwelvefoldError(f"{path} is truncated or not a weight file ({reason})")


def _find_tensors(path: Path, value: Any) -> tuple[dict[str, Tensor], str]:
    """Return names and tensors of a flat mapping, or of the mapping under a known key, and that key."""
    if not isinstance(value, Mapping):
        raise TwelvefoldError(f"{path}: expected a mapping of names to tensors, got {_type_name(value)}")
    wrapped = next((key for key in STATE_KEYS if isinstance(value.get(key), Mapping)), "")
    state = value[wrapped] if wrapped else value
    others = [
        f"{name if isinstance(name, str) else short_repr(name, 40)} ({_type_name(item)})"
        for name, item in state.items()
        if not isinstance(item, Tensor) or not isinstance(name, str)
    ]
    if others or not state:
        raise TwelvefoldError(
            f"{path}: expected names and tensors, alone or under one of {', '.join(STATE_KEYS)}; got "
            f"{', '.join(others[:8]) or 'nothing'}"
        )
    return dict(state), wrapped


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
