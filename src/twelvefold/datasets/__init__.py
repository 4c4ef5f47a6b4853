"""The twelve datasets, one module each: module name = task name (``refcoco_plus`` for ``refcoco+``).

:func:`load` imports the one that is asked for, or a user's own module by its dotted path. Paper: section 2.1.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from twelvefold.schema import Example, Split, TaskSpec, TwelvefoldError, did_you_mean

if TYPE_CHECKING:
    from twelvefold.datasets.reading.records import BadRecords

VERSION = 1
"""Version of what the readers of this package yield. Increase it when a change to a reader, or to `reading/`, gives
other examples, image files or links: prepared files are then made again."""

NAMES = (
    "vqav2",
    "gqa",
    "vgqa",
    "coco",
    "flickr30k",
    "refcoco",
    "refcoco+",
    "refcocog",
    "visual7w",
    "guesswhat",
    "nlvr2",
    "snli_ve",
)
"""The twelve tasks in the order of the paper's Table 2."""
CAPTION_SETS = ("conceptual_captions",)
"""What is pretrained on besides, and is no task of the twelve. Paper: section 3.1."""


class Dataset(Protocol):
    """What a dataset's module offers; owners of an answer list offer ``vocabulary`` as well."""

    TASK: TaskSpec

    def files(self, root: Path, split: Split, **options: Any) -> list[Path]:
        """Every source file that this split reads.

        Raises:
            TwelvefoldError: one is missing.
        """

    def read(self, root: Path, split: Split, *, bad: BadRecords, **options: Any) -> Iterator[Example]:
        """The examples of a split, always in the same order."""


def load(name: str) -> Dataset:
    """The module of one of the twelve by its name, or of a user's own dataset by its dotted path (``my.pets``).

    A dotted path is looked up where Python looks, then in the current folder.

    Raises:
        TwelvefoldError: there is no such dataset or module, or the module lacks TASK, files or read.
    """
    if name in (*NAMES, *CAPTION_SETS):
        return cast(Dataset, importlib.import_module(f"{__name__}.{name.replace('+', '_plus')}"))
    if "." not in name:
        raise TwelvefoldError(
            f"no dataset {name!r}; there are {', '.join(NAMES)}, to pretrain on {', '.join(CAPTION_SETS)}, or your own "
            f"as a dotted path such as 'my.pets'{did_you_mean(name, (*NAMES, *CAPTION_SETS))}"
        )
    return _own(name)


def check_options(dataset: Dataset, options: Mapping[str, Any]) -> None:
    """Refuse an option that the dataset's reader doesn't have, or of another type than its default.

    Raises:
        TwelvefoldError: names the option, the closest one, and all there are.
    """
    parameters = inspect.signature(dataset.read).parameters
    known = {name: p.default for name, p in parameters.items() if name not in ("root", "split", "bad")}
    for name, value in options.items():
        if name not in known:
            raise TwelvefoldError(
                f"{dataset.TASK.name}: its reader has no option {name!r}; it has {', '.join(known) or 'none'}"
                f"{did_you_mean(name, known)}"
            )
        default = known[name]
        fits = type(value) is type(default) or (type(default) is float and type(value) is int)
        if not fits and default not in (None, inspect.Parameter.empty):
            raise TwelvefoldError(
                f"{dataset.TASK.name}: option {name} takes {type(default).__name__} values, got {value!r}"
            )


def _own(name: str) -> Dataset:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # as `python -m` would: a command installed as a script leaves it out
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise  # the module is there, but something that it imports is not: its own traceback says which
        raise TwelvefoldError(
            f"no module {name!r} for a dataset of your own: {error}. Python looked in the current folder {here} and "
            f"in its own path; name the module from there, or set PYTHONPATH"
        ) from None
    lacking = [part for part in ("TASK", "files", "read") if not hasattr(module, part)]
    if lacking:
        raise TwelvefoldError(f"the dataset module {name} ({module.__file__}) lacks {', '.join(lacking)}")
    if not isinstance(module.TASK, TaskSpec):
        raise TwelvefoldError(f"{name}.TASK is a TaskSpec, got {type(module.TASK).__name__}")
    if module.TASK.name in (*NAMES, *CAPTION_SETS):
        raise TwelvefoldError(f"{name}.TASK.name is {module.TASK.name!r}, which is one of ours; choose another")
    return cast(Dataset, module)
