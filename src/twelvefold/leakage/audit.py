"""Audit: is my test set in anybody's training set? Paper: section 2.2, Table 1.

``audit(Path("data/world"))`` reads whichever of the twelve tasks are there, with datasets of one's own, pretraining
and detector sets beside them, finds out which keys name one photograph, and counts. Nothing is changed, and PyTorch
is never loaded. ``docs/audit.md`` shows it for somebody who has two folders of pictures and nothing else.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import msgspec

from twelvefold import datasets
from twelvefold.datasets.reading import image_files
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.duplicates.evidence import KINDS, Gathered, gather
from twelvefold.duplicates.image_groups import Identity
from twelvefold.leakage import custom_sets as own_sets
from twelvefold.leakage.overlap import LEARNT, Collection, Overlap, Part
from twelvefold.leakage.report import Report, as_csv, compose
from twelvefold.progress import track
from twelvefold.schema import Evidence, Example, ImageKey, SameImageLink, Split, TwelvefoldError, did_you_mean
from twelvefold.splits.policy import POLICIES
from twelvefold.store import atomic_files, worker_pool
from twelvefold.store.prepared import Prepared
from twelvefold.store.region_store import RegionStore
from twelvefold.store.relaxed_gc import relaxed_gc

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class Material:
    """What an audit looks at. ``kinds``: the evidence asked for; ``found``: the joins, what could not be read and what
    could not be known; ``pictures``: the files there are; ``left_out``: tasks and splits that are not there, with the
    reason; ``problems``: malformed records that were left out."""

    collections: list[Collection]
    kinds: list[Evidence]
    found: Gathered
    pictures: dict[ImageKey, Path]
    left_out: dict[str, str]
    problems: list[str]


@dataclass(frozen=True, slots=True)
class Audit:
    """``report``: all that came of it, to write as JSON; ``overlap``: to ask further; ``material``: as looked at."""

    report: Report
    overlap: Overlap
    material: Material

    def page(self) -> str:
        """A page of HTML to read, the pictures that look alike in it."""
        from twelvefold.leakage.html import render  # here, as only who wants a page should wait for templates
        from twelvefold.reporting.thumbnails import Thumbnails

        return render(msgspec.to_builtins(self.report), Thumbnails(self.material.pictures))

    def listing(self) -> str:
        """Every shared photograph, one a line, as CSV: what to take out of a train set, or what to test on instead."""
        lines: list[tuple[object, ...]] = [("row", "split", "column", "key", "key_in_column", "evidence")]
        for cell in [*self.overlap.tests, *self.overlap.vals]:
            for one in self.overlap.shared(cell.row, cell.column, cell.split) if cell.count else ():
                lines.append((cell.row, cell.split, cell.column, one.key, one.other, one.evidence))
        return as_csv(lines)


@dataclass(frozen=True, slots=True)
class Why:
    """What joins two keys. ``steps``: the chain, empty for one key or two photographs; ``held``: the sets that hold
    each key on the way."""

    one: ImageKey
    other: ImageKey
    same: bool
    steps: list[SameImageLink]
    held: dict[str, list[str]]

    def __str__(self) -> str:
        keys = {key: ", ".join(held) or "no set" for key, held in self.held.items()}
        verdict = "name one photograph" if self.same else "are not known to be one photograph"
        steps = [f"  {step.first} = {step.second}: {step.reason} ({step.evidence})" for step in self.steps]
        return "\n".join([f"{self.one} and {self.other} {verdict}", *steps, *(f"{k}: {v}" for k, v in keys.items())])


def audit(material: Material, *, threshold: float = 0.0, val: bool = False) -> Audit:
    """Count what :func:`collect` has found. ``threshold``: a leak is more than so many percent of a test set; with
    ``val`` of a val set too."""
    overlap = Overlap(material.collections, material.found.joins)
    report = compose(
        overlap,
        material.collections,
        material.found,
        threshold=threshold,
        val=val,
        evidence=material.kinds,
        left_out=material.left_out,
        problems=material.problems,
    )
    return Audit(report, overlap, material)


def why(material: Material, one: ImageKey, other: ImageKey) -> Why:
    """Why two keys are one photograph, or that they are not known to be.

    Raises:
        TwelvefoldError: no set holds a key, and no join names it.
    """
    identity = Identity(material.found.joins)
    named = {key for join in material.found.joins for key in (join.first, join.second)}
    steps = identity.why(one, other)
    held = {str(key): _holders(material.collections, key) for key in (one, *(step.second for step in steps), other)}
    for key in (one, other):
        if not held[str(key)] and key not in named:
            known = {str(k) for each in material.collections for part in each.parts.values() for k in part.images}
            raise TwelvefoldError(
                f"no set holds {key}, and nothing names it{did_you_mean(str(key), sorted(known)[:5000])}"
            )
    return Why(one, other, identity.same(one, other), steps, held)


def collect(
    data: Path | None = None,
    *,
    tasks: Sequence[str] = (),
    collections: Path | None = None,
    own: Sequence[own_sets.Asked] = (),
    prepared: Path | None = None,
    kinds: Sequence[Evidence] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    regions: Path | None = None,
    notes: Path | None = None,
    skip_bad: bool = False,
    processes: int = 1,
) -> Material:
    """Everything that an audit looks at.

    ``data``: a data folder. ``tasks``: which of its tasks; none: all of the twelve that are there. ``collections``: a
    file of sets without a reader (``splits.own``); ``own``: more of them. ``prepared``: look at the tables of a
    prepared folder, as they are after cleaning, instead of the official files in ``data``. ``kinds``: evidence that
    counts; None: what a prepared folder was cleaned by, else ``splits.evidence.KINDS``. ``options``: of readers, by
    task; a world states its own. ``regions``: what ``extract`` left, for evidence by features. ``notes``: a folder
    that remembers compared pictures. ``processes``: that read tasks and compare pictures.

    Raises:
        TwelvefoldError: nothing to look at, a task asked for that is not there, a name given twice, bad input.
    """
    if prepared is not None and data is None:
        raise TwelvefoldError(f"{prepared} holds tables alone: give the data folder too, for its id maps and pictures")
    listed = own_sets.AskedFile() if collections is None else own_sets.read_file(collections)
    sets = [own_sets.read(one) for one in track([*own, *listed.collection], description="sets")]
    if prepared is not None:
        opened = Prepared.open(prepared)
        kinds = _cleaned_by(opened) if kinds is None else kinds
        tables = list(_prepared(opened, tasks))
    else:
        tables = [] if data is None else list(_tasks(data, tasks, options, skip_bad=skip_bad, processes=processes))
    kinds = KINDS if kinds is None else kinds
    of_tasks = [Collection(one.name, "task", one.parts) for one in tables if one.parts]
    found = [*of_tasks, *(each.collection for each in sets)]
    left_out = {name: reason for one in tables for name, reason in one.left_out().items()}
    _check(found, data, left_out)
    pictures, hidden = _pictures(data, of_tasks, kinds)
    pictures |= {key: path for each in sets for key, path in each.pictures.items()}
    bad = BadRecords(skip=skip_bad)
    gathered = gather(
        data or Path(),
        pictures if set(kinds) - {"ids"} else {},
        kinds=[kind for kind in kinds if data is not None or kind != "ids"],
        notes=notes or _notes(data),
        bad=bad,
        processes=processes,
        store=None if regions is None else RegionStore.open(regions / "detected"),
    )
    gathered.hidden.extend([*hidden, *own_sets.zeros(found), *(told for each in sets for told in each.hidden)])
    gathered.unreadable.update({key: reason for each in sets for key, reason in each.missing.items()})
    if "ids" in kinds:
        gathered.joins.extend(join for each in listed.map for join in each.joins())
    problems = [*(problem for one in tables for problem in one.problems), *map(str, bad.rejected)]
    return Material(found, list(kinds), gathered, pictures, left_out, problems)


@dataclass(frozen=True, slots=True)
class Read:
    """One task as read. ``parts`` is empty where nothing of it is there; ``absent``: splits that are not there, with
    the reason; ``problems``: malformed records that were left out."""

    name: str
    parts: dict[Split, Part] = field(default_factory=dict)
    absent: dict[Split, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def left_out(self) -> dict[str, str]:
        """What is not there, by its name, with the reason: the task, or some of its splits."""
        if not self.parts:
            return {self.name: next(iter(self.absent.values()))}
        return {f"{self.name}, {split}": reason for split, reason in self.absent.items()}


@relaxed_gc()
def read_task(data: Path, name: str, options: Mapping[str, Any], *, whole: bool, skip_bad: bool) -> Read:
    """The pictures and texts of every split of a task whose files are there; ``whole``: all must be.

    Raises:
        TwelvefoldError: no such task or option, a file is broken, a record is malformed and may not be skipped.
    """
    dataset, bad = datasets.load_dataset(name), BadRecords(skip=skip_bad)
    datasets.check_options(dataset, options)
    found = Read(dataset.TASK.name)
    for split in SPLITS:
        try:
            dataset.files(data, split, **options)
        except TwelvefoldError as error:
            if whole:
                raise
            found.absent[split] = str(error)
            continue
        found.parts[split] = _part(dataset.read(data, split, bad=bad, **options))
    found.problems.extend(map(str, bad.rejected))
    return found


def _tasks(
    data: Path,
    asked: Sequence[str],
    options: Mapping[str, Mapping[str, Any]] | None,
    *,
    skip_bad: bool,
    processes: int,
) -> Iterator[Read]:
    """The tasks of a data folder, several at once where asked; the results don't depend on that."""
    if not data.is_dir():
        raise TwelvefoldError(f"expected a data folder, got {data}, which is no folder")
    chosen = reader_options(data, asked or datasets.task_names(), options)
    work = partial(read_task, data, whole=bool(asked), skip_bad=skip_bad)
    if processes == 1:
        yield from (work(*one) for one in track(chosen.items(), description="tasks"))
        return
    with worker_pool.create_pool(min(processes, len(chosen))) as pool:
        yield from track(pool.map(work, chosen, chosen.values()), description="tasks", total=len(chosen))


def _prepared(prepared: Prepared, asked: Sequence[str]) -> Iterator[Read]:
    """The tasks of a prepared folder."""
    tasks = [prepared.task(name) for name in asked] or prepared.tasks
    for task in track(tasks, description="tables"):
        yield Read(task.name, {s: _part(prepared.table(task.name, s)) for s in prepared.splits(task.name)})


def _part(examples: Iterable[Example]) -> Part:
    return Part.of((pair.image, pair.text) for example in examples for pair in example.pairs)


def _cleaned_by(prepared: Prepared) -> Sequence[Evidence]:
    """The evidence that a prepared folder was cleaned by: what it could know."""
    policy = POLICIES.get(prepared.manifest.policy)
    return KINDS if policy is None or not policy.evidence else policy.evidence


def _pictures(
    data: Path | None, found: Sequence[Collection], kinds: Sequence[Evidence]
) -> tuple[dict[ImageKey, Path], list[str]]:
    """The files behind the pictures of collections in a data folder, and what their lack hides."""
    if data is None or not set(kinds) - {"ids"}:
        return {}, []
    if not (data / "images").is_dir():
        return {}, [f"{data / 'images'} is not there, so photographs that no id map joins can't be recognised"]
    keys = {key for each in found for part in each.parts.values() for key in part.images}
    there = {key: path for key, path in image_files.image_files(data).items() if key in keys}
    lacking = Counter(key.source for key in keys if key not in there)
    return there, [
        f"{count:,} pictures of {source} are not in {data / 'images'}, so they are recognised by id maps alone"
        for source, count in sorted(lacking.items())
    ]


def _check(found: Sequence[Collection], data: Path | None, left_out: Mapping[str, str]) -> None:
    """Refuse what nothing can be said about."""
    if not found and data is None:
        raise TwelvefoldError("nothing to audit: give a data folder or sets of your own (--own pets:test=pets/test)")
    if not found:
        reasons = "\n".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise TwelvefoldError(f"{data} holds none of the twelve tasks:\n{reasons}")
    names = [each.name for each in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TwelvefoldError(f"two sets are called {twice[0]!r}; give each a name of its own")
    splits = {split for each in found for split in each.parts}
    if not any(split in splits and splits & set(learnt) for split, learnt in LEARNT.items()):
        raise TwelvefoldError(
            f"nothing to compare: expected a test set and somebody's train or val set (or a val set and a train set), "
            f"got only {', '.join(sorted(splits))} of {', '.join(names)}"
        )


def _holders(collections: Sequence[Collection], key: ImageKey) -> list[str]:
    return [f"{each.name} {split}" for each in collections for split, part in each.parts.items() if key in part.images]


def _notes(data: Path | None) -> Path:
    """Where compared pictures of a data folder are remembered: with the user's caches, as data may be read-only."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "twelvefold" / atomic_files.digest_value(str((data or Path()).resolve()))
