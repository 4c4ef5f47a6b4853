"""What a preparation is asked for, task by task, and what its files are made from: sources, options and code."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from twelvefold import boxes, datasets
from twelvefold.data import negatives, tokenizer
from twelvefold.duplicates import evidence
from twelvefold.schema import Split, TaskSpec, TwelvefoldError
from twelvefold.splits import decide, filter
from twelvefold.store import atomic_files, example_table
from twelvefold.store.prepared import list_choices

VERSION = 1
"""Version of how tables, vocabularies and negatives are made. Increase it when a change gives other files."""

TABLE_VERSIONS = (
    VERSION,
    boxes.VERSION,
    datasets.VERSION,
    filter.VERSION,
    example_table.VERSION,
    tokenizer.VERSION,
    negatives.VERSION,
)
"""What prepared files depend on besides their sources. A file made with other versions is made again."""

CLEANING_VERSIONS = (decide.VERSION, evidence.VERSION, datasets.VERSION)
"""What the decision to remove examples depends on besides its sources."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A task as it was asked for (``name``: one of the twelve or a dotted path), with what was chosen for it."""

    name: str
    task: TaskSpec
    options: Mapping[str, Any]
    limit: int
    answers: Path | None


def all_asked(
    tasks: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
    limits: Mapping[str, int],
    lists: Mapping[str, Path],
) -> list[Asked]:
    """The tasks with what was chosen for them, after checking every name."""
    owners = [datasets.load_dataset(name).TASK.vocabulary for name in tasks]
    for name in [*options, *limits, *lists]:
        if name not in tasks and not (name in lists and name in owners):
            raise TwelvefoldError(
                f"choices are made for task {name!r}, which is not asked for{list_choices(name, tasks)}"
            )
    asked = [_ask(name, options.get(name, {}), limits.get(name, 0), lists.get(name)) for name in tasks]
    names = [one.task.name for one in asked]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TwelvefoldError(f"tasks are asked for more than once: {', '.join(twice)}")
    return asked


def _ask(name: str, options: Mapping[str, Any], limit: int = 0, listed: Path | None = None) -> Asked:
    module = datasets.load_dataset(name)
    parameters = inspect.signature(module.read).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "bad"]
    for option in options:
        if option not in known:
            raise TwelvefoldError(f"the reader of {name!r} has no option {option!r}{list_choices(option, known)}")
    return Asked(name, module.TASK, options, limit, listed)


def owner_of(one: Asked, asked: Sequence[Asked], lists: Mapping[str, Path]) -> Asked:
    """The task whose answer list ``one`` predicts from; it need not be asked for itself."""
    name = one.task.vocabulary
    owners = [other for other in asked if other.task.name == name]
    return owners[0] if owners else _ask(name, {}, listed=lists.get(name))


def sources(one: Asked, data: Path, split: Split) -> list[object]:
    """Digests of the files that a split is read from, the versions of the code that reads them, and the digest of a
    user's own reader."""
    module = datasets.load_dataset(one.name)
    digests = []
    for path in module.files(data, split, **one.options):
        try:
            info = path.stat()
        except OSError as error:
            raise TwelvefoldError(f"{one.name}, {split}: can't read {path}: {error.strerror}") from error
        digests.append((path.name, _digest(path, info.st_size, info.st_mtime_ns)))
    own = [] if one.name in datasets.task_names() else [atomic_files.digest_file(Path(inspect.getfile(module.read)))]
    return [list(TABLE_VERSIONS), own, digests]


@cache
def _digest(path: Path, size: int, changed: int) -> str:
    """A source file's digest, taken once however many splits read the file, unless size or time change."""
    return atomic_files.digest_file(path)
