"""Prepare: read the official files once, clean the splits, and leave tables that training reads at random.

:func:`prepare` says the order: what cleaning removes (paper: section 2.2), written down or taken from a manifest that
was pinned, then the tables without it, answer lists and hard negatives. Every file is keyed by the digest of all that
it is made from. What is there under its key is not made again: a second call does nothing, a call after a kill makes
the rest.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.table import Table

from twelvefold import datasets
from twelvefold.data.negatives import NUM_NEIGHBORS, nearest
from twelvefold.data.tokenizer import Tokenizer
from twelvefold.datasets.reading import answers
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.preparation.jobs import CLEANING_VERSIONS, Asked, all_asked, owner_of, sources
from twelvefold.preparation.pinning import check_pin, pinned_manifest, policy_name
from twelvefold.progress import track
from twelvefold.schema import Split, TwelvefoldError
from twelvefold.splits import decide, manifest
from twelvefold.splits.filter import FilterCounts, filter_examples
from twelvefold.splits.policy import NO_CLEANING, Policy, get_policy
from twelvefold.store import atomic_files, worker_pool
from twelvefold.store.example_table import VERSION as TABLES_VERSION
from twelvefold.store.example_table import ExampleTable, write_table
from twelvefold.store.prepared import CLEANING, MANIFEST, SPLITS, ExampleCounts, FileEntry, PreparedManifest
from twelvefold.store.region_store import RegionStore
from twelvefold.store.relaxed_gc import relaxed_gc
from twelvefold.store.step_cache import Entry, StepCache


@dataclass(frozen=True, slots=True)
class PrepareSummary:
    """What was prepared. ``policy``: of cleaning, and ``clean_digest``: what a recipe can pin. ``made``: what this call
    had to make; ``problems``: malformed records that were left out; ``hidden``: what cleaning could not know, in
    sentences; ``unreadable``: pictures that it could not compare, with the reason."""

    folder: Path
    policy: str
    clean_digest: str
    counts: Mapping[str, Mapping[str, ExampleCounts]]
    made: tuple[str, ...]
    problems: tuple[str, ...]
    hidden: tuple[str, ...]
    unreadable: Mapping[str, str]

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
class Job:
    """One table to make, with all that a process needs for it."""

    data: Path
    out: Path
    asked: Asked
    split: Split
    digest: str
    regions: Path | None
    cleaned: manifest.CleanedSplit | None
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
    tasks: Sequence[str] = (),
    clean: str | bool = "paper",
    clean_manifest: Path | None = None,
    clean_digest: str = "",
    min_count: int = answers.MIN_COUNT,
    reader_options: Mapping[str, Mapping[str, Any]] | None = None,
    max_examples: Mapping[str, int] | None = None,
    answer_lists: Mapping[str, Path] | None = None,
    skip_bad: bool = False,
    without_regions: bool = False,
    negatives: int = NUM_NEIGHBORS,
    processes: int = 1,
) -> PrepareSummary:
    """Prepare the ``tasks`` of a data folder in ``out``; ``regions`` is the folder that ``extract`` left, or None.

    ``clean``: the cleaning policy by name (``splits.cleaning``), "none" for full data; True and False are "paper" and
    "none". ``clean_manifest``: remove exactly what this manifest says, and refuse other data; ``clean_digest``: refuse
    to go on where the manifest has another digest. ``min_count``: how often an answer must occur to be in a list. By
    task, as named in ``tasks``: ``reader_options`` (keyword arguments of its reader), ``max_examples`` (training
    examples kept, the first so many), ``answer_lists`` (a file to take instead of counting answers). ``skip_bad``:
    list malformed records instead of stopping at the first. ``without_regions``: leave out and count examples whose
    picture has no regions, instead of stopping. ``negatives``: hard negatives per picture, made where regions are
    there; 0: none. ``processes``: tables made at once.

    Raises:
        TwelvefoldError: a file is missing or broken, a record is malformed, a picture has no regions, a name is
            wrong, the data are not those that were pinned, the disk is full, another process prepares the folder.
    """
    asked = all_asked(tasks or datasets.task_names(), reader_options or {}, max_examples or {}, answer_lists or {})
    store = None if regions is None else RegionStore.open(regions / "detected")
    work = _Work(
        Path(data), StepCache(out), regions, store, asked, skip_bad, without_regions, processes, BadRecords(skip_bad)
    )
    policy = policy_name(clean, clean_manifest, clean_digest)
    with atomic_files.lock_folder(out):
        work.cache.remove_leftovers()
        decided = work.clean(policy, clean_manifest, clean_digest)
        work.tables(decided)
        for one in asked:
            if one.task.vocabulary:
                work.answer_list(owner_of(one, asked, answer_lists or {}), min_count)
            if one.task.family == "retrieval" and work.store is not None and negatives:
                work.hard_negatives(one, negatives)
        written = work.write_down(policy)
    return PrepareSummary(
        folder=Path(out),
        policy=policy,
        clean_digest=decided.digest if decided else "",
        counts=written.counts,
        made=tuple(work.new),
        problems=tuple(written.problems),
        hidden=tuple(decided.limitations) if decided else (),
        unreadable=decided.unreadable if decided else {},
    )


@dataclass(slots=True)
class _Work:
    """One call of :func:`prepare`. ``made``: every thing by name; ``new``: the names of those made by this call;
    ``bad_joins``: malformed records of id maps."""

    data: Path
    cache: StepCache
    regions: Path | None
    store: RegionStore | None
    asked: Sequence[Asked]
    skip_bad: bool
    without_regions: bool
    processes: int
    bad_joins: BadRecords
    made: dict[str, Entry] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)

    def clean(self, policy: str, pinned: Path | None, digest: str) -> manifest.CleaningManifest | None:
        """What cleaning removes, decided here or by the manifest that was pinned; None for full data."""
        if policy == NO_CLEANING:
            return None
        path = self.cache.folder / CLEANING
        if pinned:
            found, source = pinned_manifest(pinned, policy, digest), atomic_files.digest_file(pinned)
            if not self._have("cleaning", source):
                atomic_files.write_bytes(path, pinned.read_bytes())
                self._note_cleaning(found, source)
            return found
        self._decide(get_policy(policy))
        found = manifest.read_manifest(path)
        check_pin(found, digest, path)
        return found

    def tables(self, decided: manifest.CleaningManifest | None) -> None:
        """The tables of all splits of all tasks, without what cleaning removes."""
        common = [self.skip_bad, self.without_regions, self.store.digest if self.store else ""]
        common += [TABLES_VERSION, _tokens().version]
        jobs = []
        for one in self.asked:
            for split in SPLITS:
                limit = one.limit if split == "train" else 0
                cleaned = decided.split(one.task.name, split) if decided else None
                outcome = [msgspec.to_builtins(cleaned.source), sorted(cleaned.removed_ids())] if cleaned else []
                made_from = [sources(one, self.data, split), dict(one.options), split, limit, common, outcome]
                digest, choices = atomic_files.digest_value(made_from), (self.skip_bad, self.without_regions)
                job = Job(self.data, self.cache.folder, one, split, digest, self.regions, cleaned, *choices)
                if not self._have(job.name, job.digest):
                    jobs.append(job)
        for name, made in _run(jobs, self.processes):
            self._add(name, made)

    def _decide(self, policy: Policy) -> None:
        """Make the manifest of these data, unless it is there."""
        found = decide.collect_policy_evidence(
            self.data,
            policy,
            cache_dir=self.cache.folder / "made",
            bad=self.bad_joins,
            processes=self.processes,
        )
        data = [(one.name, dict(one.options), [sources(one, self.data, s) for s in SPLITS]) for one in self.asked]
        shown = [sorted(map(str, found.links)), found.limitations, sorted(map(str, found.unreadable.items()))]
        choices = [msgspec.to_builtins(policy), self.skip_bad, list(CLEANING_VERSIONS)]
        digest = atomic_files.digest_value([sorted(data, key=lambda one: one[0]), shown, choices])
        if not self._have("cleaning", digest):
            decided = decide.decide_removals(
                self.data,
                {one.name: one.options for one in self.asked},
                policy,
                found,
                bad=BadRecords(skip=self.skip_bad),  # the tables list them again
                processes=self.processes,
            )
            manifest.write_manifest(self.cache.folder / CLEANING, decided)
            self._note_cleaning(decided, digest)

    def answer_list(self, owner: Asked, min_count: int) -> None:
        """The answer list of the task that owns it."""
        name = f"{owner.task.name}-vocabulary"
        if name in self.made:
            return
        if owner.answers:
            made_from: list[object] = [atomic_files.digest_file(owner.answers)]
        else:
            read_from = [sources(owner, self.data, split) for split in ("train", "val")]
            made_from = [read_from, dict(owner.options), min_count, self.skip_bad]
        digest = atomic_files.digest_value(made_from)
        if self._have(name, digest):
            return
        found, problems = _answers(owner, self.data, min_count, self.skip_bad)
        path = f"vocabularies/{owner.task.name}.json"
        atomic_files.write_json(self.cache.folder / path, found)
        entry = self.cache.file_entry(path, len(found), digest)
        self._add(name, self.cache.save(name, Entry(digest, {"vocabulary": entry}, problems=problems)))

    def hard_negatives(self, one: Asked, count: int) -> None:
        """For every training picture of a retrieval task those that look most like it."""
        name, train = f"{one.task.name}-negatives", self.made[f"{one.task.name}-train"]
        store = self.store
        if store is None:
            raise TwelvefoldError(f"hard negatives of {one.task.name} are made from regions, and there are none")
        digest = atomic_files.digest_value([train.digest, store.digest, count])
        if self._have(name, digest):
            return
        keys, _ = self._open(train).first_images()
        means = np.array([store.mean(key) for key in keys], dtype=np.float32).reshape(len(keys), store.feature_size)
        buffer, path = io.BytesIO(), f"negatives/{one.task.name}.npy"
        np.save(buffer, nearest(means, count))
        atomic_files.write_bytes(self.cache.folder / path, buffer.getvalue())
        entry = self.cache.file_entry(path, len(keys), digest)
        self._add(name, self.cache.save(name, Entry(digest, {"negatives": entry})))

    def write_down(self, policy: str) -> PreparedManifest:
        """Write down what the folder holds, where that has changed."""
        names = [one.task.name for one in self.asked]
        tables = {name: {split: self.made[f"{name}-{split}"] for split in SPLITS} for name in names}
        written = PreparedManifest(
            clean=policy != NO_CLEANING,
            policy=policy,
            cleaning=self.made["cleaning"].files["manifest"] if "cleaning" in self.made else None,
            regions=self.store.digest if self.store else "",
            tasks=[one.task for one in self.asked],
            tables={name: {split: made.files["table"] for split, made in own.items()} for name, own in tables.items()},
            counts={name: {split: made.counts for split, made in own.items()} for name, own in tables.items()},
            vocabularies=self._all("vocabulary"),
            negatives=self._all("negatives"),
            problems=[
                *map(str, self.bad_joins.rejected),
                *(problem for made in self.made.values() for problem in made.problems),
            ],
        )
        path, text = self.cache.folder / MANIFEST, atomic_files.json_text(msgspec.to_builtins(written))
        if not path.exists() or path.read_bytes() != text.encode():
            atomic_files.write_text(path, text)
        return written

    def _note_cleaning(self, decided: manifest.CleaningManifest, digest: str) -> None:
        removed = sum(len(one.removed_ids()) for own in decided.splits.values() for one in own.values())
        entry = FileEntry(CLEANING, (self.cache.folder / CLEANING).stat().st_size, removed, decided.digest)
        self._add("cleaning", self.cache.save("cleaning", Entry(digest, {"manifest": entry})))

    def _have(self, name: str, digest: str) -> bool:
        made = self.cache.find(name, digest)
        if made is not None:
            self.made[name] = made
        return made is not None

    def _add(self, name: str, made: Entry) -> None:
        self.made[name] = made
        self.new.append(name)

    def _all(self, what: str) -> dict[str, FileEntry]:
        ending = f"-{what}"
        return {name.removesuffix(ending): made.files[what] for name, made in self.made.items() if what in made.files}

    def _open(self, made: Entry) -> ExampleTable:
        return ExampleTable.open(self.cache.folder / made.files["table"].file)


@relaxed_gc()
def make_table(job: Job) -> Entry:
    """Read one split of one task, keep what may be kept, and write its table."""
    step_cache, bad, counted = StepCache(job.out), BadRecords(skip=job.skip_bad), FilterCounts()
    examples = datasets.load_dataset(job.asked.name).read(job.data, job.split, bad=bad, **job.asked.options)
    if job.cleaned is not None:
        examples = manifest.check_examples(examples, job.cleaned, f"{job.asked.task.name}, {job.split}")
    removed = job.cleaned.removed_ids() if job.cleaned else frozenset[str]()
    pictures = None if job.regions is None else RegionStore.open(job.regions / "detected")
    limit = job.asked.limit if job.split == "train" else 0
    kept = filter_examples(
        examples,
        counted,
        removed,
        images_with_features=pictures,
        allow_missing_features=job.without_regions,
        limit=limit,
        split_name=job.name,
    )
    path = f"tables/{job.name}.arrow"
    write_table(job.out / path, kept, _tokens().encode_batch, digest=job.digest)
    entries = {"table": step_cache.file_entry(path, counted.kept, job.digest)}
    counts = ExampleCounts(
        read=counted.read,
        malformed=len(bad.rejected),
        removed=counted.removed,
        without_regions=len(counted.missing_features),
        beyond_limit=counted.beyond_limit,
        kept=counted.kept,
    )
    return step_cache.save(job.name, Entry(job.digest, entries, counts, [str(refusal) for refusal in bad.rejected]))


def _run(jobs: Sequence[Job], processes: int) -> Iterator[tuple[str, Entry]]:
    """Make the tables, several at once where asked; the results don't depend on that."""
    if processes == 1 or len(jobs) < 2:
        for job in track(jobs, description="tables"):
            yield job.name, make_table(job)
        return
    with worker_pool.create_pool(min(processes, len(jobs))) as pool:
        running = {pool.submit(make_table, job): job.name for job in jobs}
        try:
            for done in track(as_completed(running), description="tables", total=len(jobs)):
                yield running[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)


@relaxed_gc()
def _answers(owner: Asked, data: Path, min_count: int, skip_bad: bool) -> tuple[list[str], list[str]]:
    """The answer list of its owner, and the malformed records that were left out."""
    if owner.answers:
        return answers.load_answer_list(owner.answers), []
    module: Any = datasets.load_dataset(owner.name)
    if not hasattr(module, "vocabulary"):
        raise TwelvefoldError(f"{owner.name} has an answer list, so its module needs a function vocabulary, or a list")
    bad = BadRecords(skip=skip_bad)
    found = list(module.vocabulary(data, min_count=min_count, bad=bad, **owner.options))
    if not found:
        raise TwelvefoldError(
            f"{owner.name}: no answer occurs {min_count} times, so none could be learnt; lower min_count"
        )
    return found, [f"answer list: {refusal}" for refusal in bad.rejected]


@cache
def _tokens() -> Tokenizer:
    return Tokenizer()
