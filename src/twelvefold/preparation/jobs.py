"""What a preparation has to do for each task, and the digests of what its files are made from."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from twelvefold import boxes, datasets
from twelvefold.config.recipe import TaskConfig
from twelvefold.data import negatives, tokenizer
from twelvefold.data.write_table import write_table
from twelvefold.datasets.reading.answers import AnswerList, read_answer_lists
from twelvefold.datasets.reading.examples import read_examples
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.datasets.reading.shared_files import share_decoded_files
from twelvefold.duplicates import evidence
from twelvefold.preparation.entries import Entry, entry_cache, file_entry
from twelvefold.schema import Split, TaskSpec, TwelvefoldError
from twelvefold.splits import decide
from twelvefold.splits import filter as row_filter
from twelvefold.store import atomic_files, example_table
from twelvefold.store.prepared import ExampleCounts
from twelvefold.store.relaxed_gc import relaxed_gc

VERSION = 2
"""Version of how tables, rows, answer lists and negatives are made. Increase it when a change gives other files."""

TABLE_VERSIONS = (VERSION, boxes.VERSION, datasets.VERSION, example_table.VERSION, tokenizer.VERSION)
"""What a table depends on besides its sources. A table made with other versions is made again."""

SELECTION_VERSIONS = (VERSION, row_filter.VERSION, negatives.VERSION)
"""What rows and negatives depend on besides tables, cleaning and regions."""

CLEANING_VERSIONS = (decide.VERSION, evidence.VERSION, datasets.VERSION)
"""What the decision to remove examples depends on besides its sources."""


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A task to prepare. ``name``: as ``datasets.load_dataset`` takes it. ``options``: of its reader. ``max_examples``:
    training examples to keep, 0 for all."""

    name: str
    task: TaskSpec
    options: Mapping[str, Any]
    max_examples: int = 0


def make_requests(tasks: Sequence[str] | Mapping[str, TaskConfig]) -> list[TaskRequest]:
    """Return the tasks to prepare, after checking all names and reader options.

    Raises:
        TwelvefoldError: a task or reader option does not exist or has a wrong type, or a task is named twice.
    """
    configs = tasks if isinstance(tasks, Mapping) else dict.fromkeys(tasks, TaskConfig())
    requests = [_make_request(name, config) for name, config in configs.items()]
    datasets.load_datasets(tasks)  # refuses a task that is named twice
    return requests


def _make_request(name: str, config: TaskConfig) -> TaskRequest:
    dataset = datasets.load_dataset(name)
    datasets.check_options(dataset, config.options)
    return TaskRequest(name, dataset.TASK, config.options, config.max_examples or 0)


def vocabulary_task(request: TaskRequest, requests: Sequence[TaskRequest]) -> TaskRequest:
    """Return the task whose answer list ``request`` uses; it need not be among ``requests``."""
    name = request.task.vocabulary
    owners = [other for other in requests if other.task.name == name]
    return owners[0] if owners else _make_request(name, TaskConfig())


def choose_answer_lists(
    requests: Sequence[TaskRequest], configured: Mapping[str, str], answer_lists: Mapping[str, Path]
) -> tuple[dict[str, AnswerList], list[str]]:
    """Return the answer lists to use instead of counting, by the task that owns each, and notes about unused ones.

    ``configured``: of the recipe, which may have lists of tasks that are not prepared. ``answer_lists``: take
    precedence, and each must be used.

    Raises:
        TwelvefoldError: an answer list is not used by any task or cannot be read, or two of one list differ.
    """
    owners = dict[str, str]()
    for request in requests:
        if vocabulary := request.task.vocabulary:
            owners |= {vocabulary: vocabulary, request.task.name: vocabulary, request.name: vocabulary}
    built_in = {name for name in datasets.task_names() if datasets.load_dataset(name).TASK.vocabulary}
    files = {task: Path(file) for task, file in configured.items() if file}
    unused = [task for task in files if task in built_in and task not in owners]
    lists = read_answer_lists({task: file for task, file in files.items() if task not in unused}, owners)
    notes = [
        f"the answer list of {task}, {files[task]}, is not used: no task that is prepared has it" for task in unused
    ]
    return lists | read_answer_lists(answer_lists, owners), notes


def source_digests(request: TaskRequest, data: Path, split: Split) -> list[object]:
    """Return the digests of the files that a split is read from, of the code that reads them, and the options."""
    dataset = datasets.load_dataset(request.name)
    files = []
    optional = [path for path in getattr(dataset, "optional_files", lambda _: [])(data) if path.exists()]
    for path in [*dataset.files(data, split, **request.options), *optional]:
        try:
            info = path.stat()
        except OSError as error:
            raise TwelvefoldError(f"{request.name}, {split}: cannot read {path}: {error.strerror}") from error
        files.append((path.name, _file_digest(path, info.st_size, info.st_mtime_ns)))
    is_built_in = datasets.is_built_in(request.name)
    custom_reader = [] if is_built_in else [atomic_files.digest_file(Path(inspect.getfile(dataset.read)))]
    return [list(TABLE_VERSIONS), custom_reader, files, dict(request.options), split]


@cache
def _file_digest(path: Path, size: int, modified: int) -> str:
    """Return a file's digest, computed once for all splits unless its size or modification time changes."""
    return atomic_files.digest_file(path)


def table_digest(request: TaskRequest, split: Split, data: Path, *, skip_bad: bool) -> str:
    """Return the digest of everything that a table depends on."""
    return atomic_files.digest_value([source_digests(request, data, split), skip_bad, load_tokenizer().version])


def find_table(
    prepared: Path, request: TaskRequest, split: Split, data: Path
) -> tuple[example_table.ExampleTable, Entry] | None:
    """Return the table of a split from a prepared folder, with all examples, if it was made from these data."""
    step = f"{request.task.name}-{split}"
    for skip_bad in (True, False):
        digest = table_digest(request, split, data, skip_bad=skip_bad)
        if entry := entry_cache(prepared, {step: digest}).load(step):
            return example_table.ExampleTable.open(prepared / entry.files["table"].file), entry
    return None


def make_tables(request: TaskRequest, digests: Mapping[Split, str], data: Path, out: Path, skip_bad: bool) -> None:
    """Write the tables of a task's splits in ``digests``, and of each an entry as soon as it is complete.

    Files that hold several splits are decoded once. Runs in a process of its own.
    """
    with share_decoded_files():
        for split, digest in digests.items():
            step = f"{request.task.name}-{split}"
            entry_cache(out, {step: digest}).save(step, make_table(request, split, data, out, digest, skip_bad))


@relaxed_gc()
def make_table(request: TaskRequest, split: Split, data: Path, out: Path, digest: str, skip_bad: bool) -> Entry:
    """Read one split of one task and write the table of all its examples."""
    bad = BadRecords(skip=skip_bad)
    examples = read_examples(datasets.load_dataset(request.name), data, split, bad=bad, **request.options)
    file = f"tables/{request.task.name}-{split}.arrow"
    count = write_table(out / file, examples, load_tokenizer().encode_batch, digest=digest)
    return Entry(
        digest,
        {"table": file_entry(out, file, count, digest)},
        ExampleCounts(read=count, malformed=len(bad.rejected)),
        [str(rejection) for rejection in bad.rejected],
        notes=bad.notes(),
    )


@cache
def load_tokenizer() -> tokenizer.Tokenizer:
    """Return the process's tokenizer."""
    return tokenizer.Tokenizer()
