"""The built-in datasets, one module each. Paper: section 2.1.

A module reads one dataset's official files. Its file name is the dataset's name; ``refcoco_plus.py`` is ``refcoco+``.
:func:`load_dataset` imports the module of one dataset, built-in or your own. Nothing is registered: the built-in names
are the modules in this folder. Two constants of a module are read without importing it: ``PAPER_ORDER``, the position
of one of the paper's twelve tasks in its Table 2, and ``CAPTION_SET = True`` for captions that only pretraining uses. A
module without either is another task.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args, get_origin, get_type_hints

import msgspec

from twelvefold.schema import Example, Split, TaskForm, TaskSpec, TwelvefoldError, did_you_mean

if TYPE_CHECKING:
    from twelvefold.datasets.reading.records import BadRecords

VERSION = 4
"""Version of what the readers of this package yield. Increase it when a change to a reader, or to `reading/`, gives
other examples, image files or links: prepared files are then made again."""

TASK_NAME = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"


class Dataset(Protocol):
    """The names that a dataset's module defines.

    A module may also define ``SUBMISSION``, a :class:`~twelvefold.datasets.reading.submissions.Submission`; ``FORM``, a
    :class:`~twelvefold.schema.TaskForm`, how a page asks for its text;
    ``vocabulary(root, *, min_count, bad)``, which returns the answer list; and ``optional_files(root)``, files that
    ``read`` uses where they exist. A built-in task has ``CARD``, its
    ``DatasetCard``. The paper's twelve have ``PAPER_SCORE``: percent and split (Table 2, row 4).
    """

    TASK: TaskSpec

    def files(self, root: Path, split: Split, **options: Any) -> list[Path]:
        """Return every source file that this split is read from.

        Raises:
            TwelvefoldError: a file is missing.
        """

    def read(self, root: Path, split: Split, *, bad: BadRecords, **options: Any) -> Iterator[Example]:
        """Yield the examples of a split, always in the same order."""


def paper_task_names() -> tuple[str, ...]:
    """Return the names of the paper's twelve tasks, in the order of its Table 2."""
    orders = {name: constants["PAPER_ORDER"] for name, constants in _constants().items() if "PAPER_ORDER" in constants}
    return tuple(sorted(orders, key=orders.__getitem__))


def task_names() -> tuple[str, ...]:
    """Return the names of all built-in tasks: the paper's, then others in alphabetical order."""
    others = set(_constants()) - set(paper_task_names()) - set(caption_set_names())
    return *paper_task_names(), *sorted(others)


def caption_set_names() -> tuple[str, ...]:
    """Return the names of the built-in datasets for pretraining. Paper: section 3.1."""
    return tuple(sorted(name for name, constants in _constants().items() if constants.get("CAPTION_SET")))


def is_built_in(name: str) -> bool:
    """Return whether ``name`` is a built-in dataset."""
    return name in _constants()


def load_dataset(name: str) -> Dataset:
    """Import and return the module of a built-in dataset, or of your own by its dotted path (``my.pets``).

    A dotted path is looked up in Python's own search path, then in the current folder.

    Raises:
        TwelvefoldError: there is no such dataset or module, or the module lacks ``TASK``, ``files`` or ``read``.
    """
    if is_built_in(name):
        return cast(Dataset, importlib.import_module(f"{__name__}.{name.replace('+', '_plus')}"))
    if "." not in name:
        tasks, captions = task_names(), caption_set_names()
        if Path(f"{name}.py").is_file():
            raise TwelvefoldError(
                f"no dataset {name!r}: a module of your own is in a folder; move {name}.py to mine/{name}.py and name "
                f"it 'mine.{name}'"
            )
        raise TwelvefoldError(
            f"no dataset {name!r}; expected one of {', '.join(tasks)}, for pretraining {', '.join(captions)}, or your "
            f"own as a dotted path such as 'my.pets'{did_you_mean(name, (*tasks, *captions))}"
        )
    return _load_custom(name)


def task_name(name: str) -> str:
    """Return the name of the task that a built-in dataset, or your own by its dotted path, defines.

    Raises:
        TwelvefoldError: as :func:`load_dataset`.
    """
    return load_dataset(name).TASK.name


def load_datasets(names: Iterable[str]) -> dict[str, Dataset]:
    """Return datasets by the names of their tasks. ``names``: as :func:`load_dataset` takes them.

    Raises:
        TwelvefoldError: as :func:`load_dataset`, or two of them define the same task.
    """
    loaded: dict[str, tuple[str, Dataset]] = {}
    for name in names:
        dataset = load_dataset(name)
        task = dataset.TASK.name
        if task in loaded:
            raise TwelvefoldError(
                f"a task is requested more than once: {loaded[task][0]} and {name} are both the task {task!r}; request "
                "it once, or change TASK.name in one of the modules"
            )
        loaded[task] = name, dataset
    return {task: dataset for task, (_, dataset) in loaded.items()}


def check_options(dataset: Dataset, options: Mapping[str, Any]) -> None:
    """Check the names and the types of reader options against the signature of the dataset's ``read``.

    Raises:
        TwelvefoldError: the reader has no such option (names the closest), or the value has another type than the
            option's annotation, or than its default where there is no annotation.
    """
    parameters = list(inspect.signature(dataset.read).parameters.values())[2:]  # after root and split
    known = {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD and p.name != "bad"}
    try:
        annotations = get_type_hints(dataset.read)
    except NameError:  # an annotation that is imported for type checkers only
        annotations = {}
    task = dataset.TASK.name
    for name, value in options.items():
        if name not in known:
            raise TwelvefoldError(
                f"{task}: its reader has no option {name!r}; it has {', '.join(known) or 'none'}"
                f"{did_you_mean(name, known)}"
            )
        default = known[name]
        unknown_type = default is None or default is inspect.Parameter.empty
        expected = annotations.get(name, Any if unknown_type else type(default))
        try:
            msgspec.convert(value, expected)
        except msgspec.ValidationError:
            raise TwelvefoldError(
                f"{task}: reader option {name}: expected {_type_name(expected)}, got {value!r}"
            ) from None


def _type_name(expected: Any) -> str:
    if get_origin(expected) is Literal:
        return f"one of {', '.join(map(repr, get_args(expected)))}"
    return expected.__name__ if isinstance(expected, type) else str(expected)


@cache
def _constants() -> dict[str, dict[str, Any]]:
    """Return the constants that each module of this folder states about itself, by dataset name."""
    constants: dict[str, dict[str, Any]] = {}
    for path in Path(__file__).parent.glob("[!_]*.py"):
        stated = constants.setdefault(path.stem.replace("_plus", "+"), {})
        for statement in ast.parse(path.read_bytes()).body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                name = statement.targets[0].id
                if name in ("PAPER_ORDER", "CAPTION_SET"):
                    stated[name] = ast.literal_eval(statement.value)
    return constants


def _load_custom(name: str) -> Dataset:
    folder = str(Path.cwd())
    if folder not in sys.path and "" not in sys.path:
        sys.path.append(folder)  # `python -m` does the same; a command installed as a script does not
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise _import_error(name, error) from error  # the module exists, but something that it imports does not
        raise TwelvefoldError(
            f"no module {name!r} for a dataset of your own: {error}. Python looked in the current folder {folder} and "
            f"in its search path; name the module relative to one of these, or set PYTHONPATH"
        ) from None
    except Exception as error:  # a module of your own can fail in any way
        raise _import_error(name, error) from error
    missing = [part for part in ("TASK", "files", "read") if not hasattr(module, part)]
    if missing:
        raise TwelvefoldError(f"the dataset module {name} ({module.__file__}) does not define {', '.join(missing)}")
    if not isinstance(module.TASK, TaskSpec):
        raise TwelvefoldError(f"{name}.TASK: expected a TaskSpec, got {type(module.TASK).__name__}")
    if not re.fullmatch(TASK_NAME, module.TASK.name):
        raise TwelvefoldError(
            f"{name}.TASK.name is {module.TASK.name!r}; files are named after it, so use letters, digits and . _ + -"
        )
    if is_built_in(module.TASK.name):
        raise TwelvefoldError(f"{name}.TASK.name is {module.TASK.name!r}, the name of a built-in task; choose another")
    if (form := getattr(module, "FORM", None)) is not None:
        _check_form(name, form)
        setattr(module, "TASK", replace(module.TASK, form=form))  # noqa: B010 - a model keeps it with the task
    return cast(Dataset, module)


def _check_form(name: str, form: Any) -> None:
    """Raises: TwelvefoldError if the ``FORM`` of a module of your own is no form, or has values that are no texts."""
    if not isinstance(form, TaskForm):
        raise TwelvefoldError(f"{name}.FORM: expected a twelvefold.schema.TaskForm, got {type(form).__name__}")
    for field, text in asdict(form).items():
        if not isinstance(text, str) or (field in ("tab", "heading", "label", "verb") and not text.strip()):
            raise TwelvefoldError(f"{name}.FORM: {field} needs a text, got {text!r}")


def _import_error(name: str, error: Exception) -> TwelvefoldError:
    """Return the error for a module that exists and fails, with the line of the user's code that failed last."""
    if isinstance(error, SyntaxError):
        location = f"{error.filename}, line {error.lineno}"
    else:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
        location = f"{frames[-1].filename}, line {frames[-1].lineno}"
    return TwelvefoldError(f"importing the dataset module {name!r} failed: {location}: {type(error).__name__}: {error}")
