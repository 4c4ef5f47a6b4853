"""Prepare: read the official files once, clean the splits, and leave tables that training reads at random.

:func:`prepare` says the order: test sets first, as they decide what train and val may keep (paper: section 2.2),
then train and val, answer lists and hard negatives. Every file is keyed by the digest of all that it is made from.
What is there under its key is not made again: a second call does nothing, a call after a kill makes the rest.
"""

from __future__ import annotations

import inspect
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.table import Table

from twelvefold import datasets, workers
from twelvefold.batches.neighbours import NEIGHBOURS, nearest
from twelvefold.batches.text import Tokens
from twelvefold.datasets import answers, identity, images
from twelvefold.datasets.records import BadRecords
from twelvefold.progress import track
from twelvefold.schema import Split, TaskSpec, TwelvefoldError
from twelvefold.splits.cleaning import Protected
from twelvefold.splits.evidence import gather
from twelvefold.splits.identity import Identity
from twelvefold.splits.keeping import Tally, keep
from twelvefold.store import files
from twelvefold.store.ledger import Ledger, Made
from twelvefold.store.prepared import MANIFEST, SPLITS, Counts, FileEntry, Manifest, choices
from twelvefold.store.regions import RegionStore
from twelvefold.store.tables import VERSION as TABLES_VERSION
from twelvefold.store.tables import ExampleTable, write_table

CODE = ("prepare.py", "datasets", "splits", "store/tables.py", "batches/text.py", "batches/neighbours.py")
"""Sources of this package that decide what comes out: a change in them makes every prepared file stale."""


@dataclass(frozen=True, slots=True)
class PrepareSummary:
    """What was prepared. ``made``: what this call had to make; ``hidden``: what cleaning could not know, in
    sentences; ``problems``: malformed records that were left out."""

    folder: Path
    clean: bool
    counts: Mapping[str, Mapping[str, Counts]]
    made: tuple[str, ...]
    problems: tuple[str, ...]
    hidden: tuple[str, ...]

    def table(self) -> Table:
        """Examples before cleaning, removed and kept, task by task: to print with rich."""
        table = Table("task")
        for name in ("train read", "removed", "kept", "val read", "removed", "kept", "test kept"):
            table.add_column(name, justify="right")
        for task, counts in self.counts.items():
            cells = [f"{n:,}" for s in ("train", "val") for n in (counts[s].read, counts[s].removed, counts[s].kept)]
            table.add_row(task, *cells, f"{counts['test'].kept:,}")
        return table


@dataclass(frozen=True, slots=True)
class Asked:
    """A task as it was asked for (``name``: one of the twelve or a dotted path), with what was chosen for it."""

    name: str
    task: TaskSpec
    options: Mapping[str, Any]
    limit: int
    answers: Path | None


@dataclass(frozen=True, slots=True)
class Job:
    """One table to make, with all that a process needs for it."""

    data: Path
    out: Path
    asked: Asked
    split: Split
    digest: str
    regions: Path | None
    protected: Protected | None
    skip_bad: bool
    without_regions: bool

    @property
    def name(self) -> str:
        return f"{self.asked.task.name}-{self.split}"


def prepare(
    data: Path,
    regions: Path | None,
    out: Path,
    *,
    tasks: Sequence[str] = datasets.NAMES,
    clean: bool = True,
    min_count: int = answers.MIN_COUNT,
    reader_options: Mapping[str, Mapping[str, Any]] | None = None,
    max_examples: Mapping[str, int] | None = None,
    answer_lists: Mapping[str, Path] | None = None,
    skip_bad: bool = False,
    without_regions: bool = False,
    negatives: int = NEIGHBOURS,
    processes: int = 1,
) -> PrepareSummary:
    """Prepare the ``tasks`` of a data folder in ``out``; ``regions`` is the folder that ``extract`` left, or None.

    ``clean``: take every task's test photographs out of every task's train and val. ``min_count``: how often an
    answer must occur to be in a list. By task, as named in ``tasks``: ``reader_options`` (keyword arguments of its
    reader), ``max_examples`` (training examples kept, the first so many), ``answer_lists`` (a file to take instead
    of counting answers). ``skip_bad``: list malformed records instead of stopping at the first.
    ``without_regions``: leave out and count examples whose picture has no regions, instead of stopping.
    ``negatives``: hard negatives per picture, made where regions are there. ``processes``: tables made at once.

    Raises:
        TwelvefoldError: a file is missing or broken, a record is malformed, a picture has no regions, a name is
            wrong, the disk is full, another process prepares the same folder.
    """
    asked = _asked(tasks, reader_options or {}, max_examples or {}, answer_lists or {})
    store = None if regions is None else RegionStore.open(regions / "detected")
    work = _Work(Path(data), Ledger(out), regions, store, asked, skip_bad, without_regions, processes)
    with files.lock_folder(out):
        work.ledger.clear()
        work.tables(["test"], None, "")
        protected, digest = work.protect() if clean else (None, "")
        work.tables(["train", "val"], protected, digest)
        for one in asked:
            if one.task.vocabulary:
                work.answer_list(_owner(one, asked, answer_lists or {}), min_count)
            if one.task.family == "retrieval" and work.store is not None:
                work.hard_negatives(one, negatives)
        manifest = work.manifest(clean)
    hidden = identity.hidden(work.data) if clean else []
    return PrepareSummary(Path(out), clean, manifest.counts, tuple(work.new), tuple(manifest.problems), tuple(hidden))


@dataclass(slots=True)
class _Work:
    """One call of :func:`prepare`. ``made``: every thing by name; ``new``: the names of those made by this call."""

    data: Path
    ledger: Ledger
    regions: Path | None
    store: RegionStore | None
    asked: Sequence[Asked]
    skip_bad: bool
    without_regions: bool
    processes: int
    made: dict[str, Made] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)

    def tables(self, splits: Iterable[Split], protected: Protected | None, protection: str) -> None:
        """The tables of these splits of all tasks; ``protection``: the digest of what is protected."""
        common = [self.skip_bad, self.without_regions, self.store.digest if self.store else "", protection]
        common += [TABLES_VERSION, _tokens().version]
        jobs = []
        for one in self.asked:
            for split in splits:
                limit = one.limit if split == "train" else 0
                sources = [_sources(one, self.data, split), dict(one.options), split, limit, common]
                digest, choices = files.digest_value(sources), (self.skip_bad, self.without_regions)
                job = Job(self.data, self.ledger.folder, one, split, digest, self.regions, protected, *choices)
                if not self._have(job.name, job.digest):
                    jobs.append(job)
        for name, made in _run(jobs, self.processes):
            self._add(name, made)

    def protect(self) -> tuple[Protected, str]:
        """The photographs of all test sets under all their names, and the digest of what decides that."""
        pictures = images.image_files(self.data) if (self.data / "images").is_dir() else {}
        bad, notes = BadRecords(skip=self.skip_bad), self.ledger.folder / "made"
        gathered = gather(self.data, pictures, notes=notes, bad=bad, processes=self.processes)
        tests = {one.task.name: self.made[f"{one.task.name}-test"] for one in self.asked}
        tested = {name: self._open(made).pictures() for name, made in tests.items()}
        sources = [sorted((name, made.digest) for name, made in tests.items()), sorted(map(str, gathered.joins))]
        return Protected(tested, Identity(gathered.joins)), files.digest_value(sources)

    def answer_list(self, owner: Asked, min_count: int) -> None:
        """The answer list of the task that owns it."""
        name = f"{owner.task.name}-vocabulary"
        if name in self.made:
            return
        if owner.answers:
            sources: list[object] = [files.digest_file(owner.answers)]
        else:
            read_from = [_sources(owner, self.data, split) for split in ("train", "val")]
            sources = [read_from, dict(owner.options), min_count, self.skip_bad]
        digest = files.digest_value(sources)
        if self._have(name, digest):
            return
        found, problems = _answers(owner, self.data, min_count, self.skip_bad)
        path = f"vocabularies/{owner.task.name}.json"
        files.write_json(self.ledger.folder / path, found)
        entry = self.ledger.entry(path, len(found), digest)
        self._add(name, self.ledger.note(name, Made(digest, {"vocabulary": entry}, problems=problems)))

    def hard_negatives(self, one: Asked, count: int) -> None:
        """For every training picture of a retrieval task those that look most like it."""
        name, train = f"{one.task.name}-negatives", self.made[f"{one.task.name}-train"]
        store = self.store
        if store is None:
            raise TwelvefoldError(f"hard negatives of {one.task.name} are made from regions, and there are none")
        digest = files.digest_value([train.digest, store.digest, count])
        if self._have(name, digest):
            return
        keys, _ = self._open(train).images()
        means = np.array([store.mean(key) for key in keys], dtype=np.float32).reshape(len(keys), store.feature_size)
        buffer, path = io.BytesIO(), f"negatives/{one.task.name}.npy"
        np.save(buffer, nearest(means, count))
        files.write_bytes(self.ledger.folder / path, buffer.getvalue())
        entry = self.ledger.entry(path, len(keys), digest)
        self._add(name, self.ledger.note(name, Made(digest, {"negatives": entry})))

    def manifest(self, clean: bool) -> Manifest:
        """Write down what the folder holds, where that has changed."""
        names = [one.task.name for one in self.asked]
        tables = {name: {split: self.made[f"{name}-{split}"] for split in SPLITS} for name in names}
        manifest = Manifest(
            clean=clean,
            regions=self.store.digest if self.store else "",
            tasks=[one.task for one in self.asked],
            tables={name: {split: made.files["table"] for split, made in own.items()} for name, own in tables.items()},
            counts={name: {split: made.counts for split, made in own.items()} for name, own in tables.items()},
            removed={
                name: {split: made.files["removed"] for split, made in own.items() if "removed" in made.files}
                for name, own in tables.items()
            },
            vocabularies=self._all("vocabulary"),
            negatives=self._all("negatives"),
            problems=[problem for made in self.made.values() for problem in made.problems],
        )
        path, text = self.ledger.folder / MANIFEST, files.json_text(msgspec.to_builtins(manifest))
        if not path.exists() or path.read_bytes() != text.encode():
            files.write_text(path, text)
        return manifest

    def _have(self, name: str, digest: str) -> bool:
        made = self.ledger.find(name, digest)
        if made is not None:
            self.made[name] = made
        return made is not None

    def _add(self, name: str, made: Made) -> None:
        self.made[name] = made
        self.new.append(name)

    def _all(self, what: str) -> dict[str, FileEntry]:
        ending = f"-{what}"
        return {name.removesuffix(ending): made.files[what] for name, made in self.made.items() if what in made.files}

    def _open(self, made: Made) -> ExampleTable:
        return ExampleTable.open(self.ledger.folder / made.files["table"].file)


def make_table(job: Job) -> Made:
    """Read one split of one task, keep what may be kept, write its table and the list of what was removed."""
    ledger, bad, tally = Ledger(job.out), BadRecords(skip=job.skip_bad), Tally()
    examples = datasets.load(job.asked.name).read(job.data, job.split, bad=bad, **job.asked.options)
    pictures = None if job.regions is None else RegionStore.open(job.regions / "detected")
    limit = job.asked.limit if job.split == "train" else 0
    kept = keep(
        examples, tally, job.protected, pictures=pictures, may_lack=job.without_regions, limit=limit, what=job.name
    )
    path = f"tables/{job.name}.arrow"
    write_table(job.out / path, kept, _tokens().many, digest=job.digest)
    entries = {"table": ledger.entry(path, tally.kept, job.digest)}
    if job.protected is not None:
        lines = [json.dumps({"id": id_, "why": why}, ensure_ascii=False) for id_, why in tally.removed]
        path = f"removed/{job.name}.jsonl"
        files.write_text(job.out / path, "".join(f"{line}\n" for line in lines))
        entries["removed"] = ledger.entry(path, len(lines), job.digest)
    counts = Counts(
        read=tally.read,
        malformed=len(bad.listed),
        removed=len(tally.removed),
        without_regions=len(tally.lacking),
        beyond_limit=tally.beyond_limit,
        kept=tally.kept,
    )
    return ledger.note(job.name, Made(job.digest, entries, counts, [str(refusal) for refusal in bad.listed]))


def _run(jobs: Sequence[Job], processes: int) -> Iterator[tuple[str, Made]]:
    """Make the tables, several at once where asked; the results don't depend on that."""
    if processes == 1 or len(jobs) < 2:
        for job in track(jobs, what="tables"):
            yield job.name, make_table(job)
        return
    with workers.pool(min(processes, len(jobs))) as pool:
        running = {pool.submit(make_table, job): job.name for job in jobs}
        try:
            for done in track(as_completed(running), what="tables", total=len(jobs)):
                yield running[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _asked(
    tasks: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
    limits: Mapping[str, int],
    lists: Mapping[str, Path],
) -> list[Asked]:
    """The tasks with what was chosen for them, after checking every name."""
    owners = [datasets.load(name).TASK.vocabulary for name in tasks]
    for name in [*options, *limits, *lists]:
        if name not in tasks and not (name in lists and name in owners):
            raise TwelvefoldError(f"choices are made for task {name!r}, which is not asked for{choices(name, tasks)}")
    asked = [_ask(name, options.get(name, {}), limits.get(name, 0), lists.get(name)) for name in tasks]
    names = [one.task.name for one in asked]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TwelvefoldError(f"tasks are asked for more than once: {', '.join(twice)}")
    return asked


def _ask(name: str, options: Mapping[str, Any], limit: int = 0, listed: Path | None = None) -> Asked:
    module = datasets.load(name)
    parameters = inspect.signature(module.read).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "bad"]
    for option in options:
        if option not in known:
            raise TwelvefoldError(f"the reader of {name!r} has no option {option!r}{choices(option, known)}")
    return Asked(name, module.TASK, options, limit, listed)


def _owner(one: Asked, asked: Sequence[Asked], lists: Mapping[str, Path]) -> Asked:
    """The task whose answer list ``one`` predicts from; it need not be asked for itself."""
    name = one.task.vocabulary
    owners = [other for other in asked if other.task.name == name]
    return owners[0] if owners else _ask(name, {}, listed=lists.get(name))


def _answers(owner: Asked, data: Path, min_count: int, skip_bad: bool) -> tuple[list[str], list[str]]:
    """The answer list of its owner, and the malformed records that were left out."""
    if owner.answers:
        return answers.load_answers(owner.answers), []
    module: Any = datasets.load(owner.name)
    if not hasattr(module, "vocabulary"):
        raise TwelvefoldError(f"{owner.name} has an answer list, so its module needs a function vocabulary, or a list")
    bad = BadRecords(skip=skip_bad)
    found = list(module.vocabulary(data, min_count=min_count, bad=bad, **owner.options))
    if not found:
        raise TwelvefoldError(
            f"{owner.name}: no answer occurs {min_count} times, so none could be learnt; lower min_count"
        )
    return found, [f"answer list: {refusal}" for refusal in bad.listed]


def _sources(one: Asked, data: Path, split: Split) -> list[object]:
    """Digests of the files that a split is read from, and of the code that reads them."""
    module = datasets.load(one.name)
    digests = []
    for path in module.files(data, split, **one.options):
        try:
            info = path.stat()
        except OSError as error:
            raise TwelvefoldError(f"{one.name}, {split}: can't read {path}: {error.strerror}") from error
        digests.append((path.name, _digest(path, info.st_size, info.st_mtime_ns)))
    return [_code(inspect.getfile(module.read)), digests]


@cache
def _tokens() -> Tokens:
    return Tokens()


@cache
def _code(reader: str) -> str:
    here = Path(__file__).parent
    parts = [[here / part] if part.endswith(".py") else sorted((here / part).glob("*.py")) for part in CODE]
    return files.digest_value([files.digest_file(path) for path in [*chain.from_iterable(parts), Path(reader)]])


@cache
def _digest(path: Path, size: int, changed: int) -> str:
    """A source file's digest, taken once however many splits read the file, unless size or time change."""
    return files.digest_file(path)
