"""Deciding what cleaning removes: every split of every task is read once, in the order test, val, train.

Only the readers are asked; regions, answer lists and limits of a recipe don't matter, so what is decided is a function
of the data and the policy alone, whatever the number of processes and the order of tasks. Paper: section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from twelvefold import datasets
from twelvefold.datasets.reading import image_files
from twelvefold.datasets.reading.records import BadRecords, Rejection
from twelvefold.duplicates.evidence import Gathered, gather
from twelvefold.duplicates.image_groups import Identity
from twelvefold.progress import track
from twelvefold.schema import ImageKey, Split
from twelvefold.splits.id_lists import IdList
from twelvefold.splits.manifest import Cleaned, Fingerprint, Manifest, Reason
from twelvefold.splits.policy import ORDER, Owner, Policy, Protected
from twelvefold.store import atomic_files, worker_pool
from twelvefold.store.relaxed_gc import relaxed_gc

VERSION = 1
"""Version of what this module computes. Increase it when a change gives other results: files made from it are then
made again."""

Options = Mapping[str, Mapping[str, Any]]
"""By task as ``datasets.load_dataset`` takes it: keyword arguments of its reader. Its keys are the tasks."""


WHAT = {False: "kept", True: "removed"}
"""How lists of ids are called, by whether their examples went."""


@dataclass(frozen=True, slots=True)
class Walk:
    """One split to read. ``names``: keys of protected photographs; ``collect``: whether its pictures are wanted;
    ``ids``: a folder for lists of kept and removed ids, or None."""

    data: Path
    name: str
    options: Mapping[str, Any]
    split: Split
    names: frozenset[ImageKey]
    collect: bool
    skip_bad: bool
    ids: Path | None


@dataclass(slots=True)
class Walked:
    """What came of it. ``pictures``: those of the examples that stay, where wanted; ``refused``: malformed records."""

    task: str
    cleaned: Cleaned
    pictures: set[ImageKey]
    refused: list[Rejection]


def evidence(data: Path, policy: Policy, *, notes: Path, bad: BadRecords, processes: int = 1) -> Gathered:
    """The joins of a data folder that a policy trusts; what could not be known is told without the folder's path."""
    compares = any(kind != "ids" for kind in policy.evidence)
    there = (data / "images").is_dir()
    pictures = image_files.image_files(data) if compares and there else {}
    found = gather(data, pictures, kinds=policy.evidence, notes=notes, bad=bad, processes=processes)
    hidden = [sentence.replace(f"{data}/", "") for sentence in found.hidden]
    if compares and not there:
        hidden.append("there are no pictures in images/, so photographs that no id map joins can't be recognised")
    unreadable = {key: reason.replace(f"{data}/", "") for key, reason in sorted(found.unreadable.items())}
    return Gathered(found.joins, unreadable, hidden)


def decide(
    data: Path,
    tasks: Options,
    policy: Policy,
    found: Gathered,
    *,
    bad: BadRecords,
    lists: Sequence[IdList] = (),
    processes: int = 1,
    ids: Path | None = None,
) -> Manifest:
    """What ``policy`` removes from ``tasks``, by the joins that were ``found``.

    ``lists``: pictures that are protected besides. ``ids``: a folder to leave lists of ids in, task by task and split
    by split: ``<task>-<split>-kept.txt`` and ``-removed.txt``.

    Raises:
        TwelvefoldError: a source file is missing or broken, or a record is malformed and may not be skipped.
    """
    identity = Identity(found.joins)
    pictures = dict[Owner, set[ImageKey]]()
    for one in lists:
        pictures.setdefault((one.about.file, "list"), set()).update(one.keys)
    protected, splits, reasons = Protected(pictures, identity), dict[str, dict[Split, Cleaned]](), {}
    with _walkers(processes, bad) as walk_all:
        for split in ORDER:
            names = frozenset[ImageKey]() if split == "test" else protected.names()
            walks = [
                Walk(data, name, own, split, names, split in policy.protects, bad.skip, ids)
                for name, own in tasks.items()
            ]
            for walked in walk_all(walks):
                splits.setdefault(walked.task, {})[split] = walked.cleaned
                if split != "train" and split in policy.protects:
                    pictures[walked.task, split] = walked.pictures
                for picture in walked.cleaned.removed:
                    reasons[picture] = [Reason.of(place) for place in protected.places(ImageKey.parse(picture))]
            protected = Protected(pictures, identity)
    return Manifest(
        policy=policy,
        lists=sorted((one.about for one in lists), key=lambda one: (one.file, one.digest)),
        splits={task: {split: splits[task][split] for split in ORDER} for task in sorted(splits)},
        reasons={picture: reasons[picture] for picture in sorted(reasons)},
        hidden=found.hidden,
        unreadable={str(key): reason for key, reason in found.unreadable.items()},
    )


def protected_tests(
    data: Path, tasks: Options, identity: Identity, *, bad: BadRecords, processes: int = 1
) -> Protected:
    """The photographs of all test sets, for whoever only wants to know those."""
    walks = [Walk(data, name, own, "test", frozenset(), True, bad.skip, None) for name, own in tasks.items()]
    with _walkers(processes, bad) as walk_all:
        return Protected({(one.task, "test"): one.pictures for one in walk_all(walks)}, identity)


@relaxed_gc()
def walk(job: Walk) -> Walked:
    """Read one split and say which of its examples go."""
    dataset, seen, bad = datasets.load_dataset(job.name), Fingerprint(), BadRecords(skip=job.skip_bad)
    removed, pictures = dict[str, list[str]](), set[ImageKey]()
    with ExitStack() as stack:
        name, lines = f"{dataset.TASK.name}-{job.split}", dict[bool, IO[bytes]]()
        if job.ids is not None:
            lines = {went: _lines(stack, job.ids, f"{name}-{what}") for went, what in WHAT.items()}
        for example in dataset.read(job.data, job.split, bad=bad, **job.options):
            seen.add(example)
            gone = next((pair.image for pair in example.pairs if pair.image in job.names), None)
            if gone is not None:
                removed.setdefault(str(gone), []).append(example.id)
            elif job.collect:
                pictures.update(pair.image for pair in example.pairs)
            if lines:
                lines[gone is not None].write(f"{example.id}\n".encode())
    source = seen.source()
    kept = source.examples - sum(map(len, removed.values()))
    by_picture = {picture: sorted(removed[picture]) for picture in sorted(removed)}
    return Walked(dataset.TASK.name, Cleaned(source, kept, by_picture), pictures, bad.rejected)


@contextmanager
def _walkers(processes: int, bad: BadRecords) -> Iterator[Callable[[Sequence[Walk]], list[Walked]]]:
    """What walks many splits, in processes that stay for the next ones; ``bad`` gets the records they passed over."""
    pool = worker_pool.create_pool(processes) if processes > 1 else None

    def walk_all(walks: Sequence[Walk]) -> list[Walked]:
        what = f"{walks[0].split} sets read for cleaning" if walks else ""
        results = pool.map(walk, walks) if pool else map(walk, walks)
        done = list(track(results, description=what, total=len(walks)))
        bad.rejected += [refusal for walked in done for refusal in walked.refused]
        return done

    try:
        yield walk_all
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)


def _lines(stack: ExitStack, folder: Path, name: str) -> IO[bytes]:
    return stack.enter_context(atomic_files.atomic_file(folder / f"{name}.txt"))
