"""Audit: is my test set in anybody's training set? Paper: section 2.2, Table 1.

``audit(Path("data/world"))`` reads whichever of the twelve tasks are there, with datasets of one's own, pretraining
and detector sets beside them, finds out which keys name one photograph, and counts. Nothing is changed, and PyTorch
is never loaded. ``docs/audit.md`` shows it for somebody who has two folders of pictures and nothing else.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import msgspec

from twelvefold import datasets
from twelvefold.audit_report import Report, as_csv, compose
from twelvefold.datasets import images
from twelvefold.datasets.options import reader_options
from twelvefold.datasets.records import BadRecords
from twelvefold.progress import track
from twelvefold.schema import Evidence, ImageKey, Join, Split, TwelvefoldError, closest
from twelvefold.splits import own as own_sets
from twelvefold.splits.cleaning import POLICIES
from twelvefold.splits.evidence import KINDS, Gathered, gather
from twelvefold.splits.identity import Identity
from twelvefold.splits.overlap import LEARNT, Collection, Overlap, Part
from twelvefold.store import files
from twelvefold.store.prepared import Prepared
from twelvefold.store.regions import RegionStore

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
        from twelvefold.results.audit_page import render  # here, as only who wants a page should wait for templates
        from twelvefold.results.pictures import Album

        return render(msgspec.to_builtins(self.report), Album(self.material.pictures))

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
    steps: list[Join]
    held: dict[str, list[str]]

    def __str__(self) -> str:
        keys = {key: ", ".join(held) or "no set" for key, held in self.held.items()}
        verdict = "name one photograph" if self.same else "are not known to be one photograph"
        steps = [f"  {step.one} = {step.other}: {step.why} ({step.evidence})" for step in self.steps]
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
    named = {key for join in material.found.joins for key in (join.one, join.other)}
    steps = identity.why(one, other)
    held = {str(key): _holders(material.collections, key) for key in (one, *(step.other for step in steps), other)}
    for key in (one, other):
        if not held[str(key)] and key not in named:
            known = {str(k) for each in material.collections for part in each.parts.values() for k in part.images}
            raise TwelvefoldError(f"no set holds {key}, and nothing names it{closest(str(key), sorted(known)[:5000])}")
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
    that remembers compared pictures. ``processes``: that compare them.

    Raises:
        TwelvefoldError: nothing to look at, a task asked for that is not there, a name given twice, bad input.
    """
    bad, left_out = BadRecords(skip=skip_bad), dict[str, str]()
    listed = own_sets.AskedFile() if collections is None else own_sets.read_file(collections)
    sets = [own_sets.read(one) for one in [*own, *listed.collection]]
    found: list[Collection] = []
    if prepared is not None:
        opened = Prepared.open(prepared)
        kinds = _cleaned_by(opened) if kinds is None else kinds
        found += _prepared(opened, tasks)
    elif data is not None:
        found += _tasks(data, tasks, reader_options(data, tasks or datasets.NAMES, options), bad, left_out)
    kinds = KINDS if kinds is None else kinds
    pictures, hidden = _pictures(data, found, kinds)
    found += [each.collection for each in sets]
    _check(found, data, prepared, left_out)
    pictures |= {key: path for each in sets for key, path in each.pictures.items()}
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
    return Material(found, list(kinds), gathered, pictures, left_out, [str(refusal) for refusal in bad.listed])


def _tasks(
    data: Path,
    asked: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
    bad: BadRecords,
    left_out: dict[str, str],
) -> Iterator[Collection]:
    """The tasks whose files are there; what is absent goes to ``left_out``, unless it was asked for by name."""
    if not data.is_dir():
        raise TwelvefoldError(f"expected a data folder, got {data}, which is no folder")
    for name in track(asked or datasets.NAMES, what="tasks"):
        dataset, chosen = datasets.load(name), options.get(name, {})
        datasets.check_options(dataset, chosen)
        parts = {}
        for split in SPLITS:
            try:
                dataset.files(data, split, **chosen)
            except TwelvefoldError as error:
                if asked:
                    raise
                left_out[f"{dataset.TASK.name}, {split}"] = str(error)
                continue
            examples = dataset.read(data, split, bad=bad, **chosen)
            parts[split] = Part.of((pair.image, pair.text) for example in examples for pair in example.pairs)
        if parts:
            yield Collection(dataset.TASK.name, "task", parts)
        else:
            for split in SPLITS:
                reason = left_out.pop(f"{dataset.TASK.name}, {split}")
            left_out[dataset.TASK.name] = reason


def _cleaned_by(prepared: Prepared) -> Sequence[Evidence]:
    """The evidence that a prepared folder was cleaned by: what it could know."""
    policy = POLICIES.get(prepared.manifest.policy)
    return KINDS if policy is None or not policy.evidence else policy.evidence


def _prepared(prepared: Prepared, asked: Sequence[str]) -> Iterator[Collection]:
    """The tasks of a prepared folder."""
    tasks = [prepared.task(name) for name in asked] or prepared.tasks
    for task in track(tasks, what="tables"):
        tables = {split: prepared.table(task.name, split) for split in prepared.splits(task.name)}
        parts = {
            split: Part.of((pair.image, pair.text) for example in table for pair in example.pairs)
            for split, table in tables.items()
        }
        yield Collection(task.name, "task", parts)


def _pictures(
    data: Path | None, found: Sequence[Collection], kinds: Sequence[Evidence]
) -> tuple[dict[ImageKey, Path], list[str]]:
    """The files behind the pictures of collections in a data folder, and what their lack hides."""
    if data is None or not set(kinds) - {"ids"}:
        return {}, []
    if not (data / "images").is_dir():
        return {}, [f"{data / 'images'} is not there, so photographs that no id map joins can't be recognised"]
    keys = {key for each in found for part in each.parts.values() for key in part.images}
    there = {key: path for key, path in images.image_files(data).items() if key in keys}
    lacking = Counter(key.source for key in keys if key not in there)
    return there, [
        f"{count:,} pictures of {source} are not in {data / 'images'}, so they are recognised by id maps alone"
        for source, count in sorted(lacking.items())
    ]


def _check(found: Sequence[Collection], data: Path | None, prepared: Path | None, left_out: Mapping[str, str]) -> None:
    if prepared is not None and data is None:
        raise TwelvefoldError(f"{prepared} holds tables alone: give the data folder too, for its id maps and pictures")
    if not found:
        if data is None:
            raise TwelvefoldError(
                "nothing to audit: give a data folder or sets of your own (--own pets:test=pets/test)"
            )
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
    return caches / "twelvefold" / files.digest_value(str((data or Path()).resolve()))
