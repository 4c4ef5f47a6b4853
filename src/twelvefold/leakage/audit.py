"""Audit collections: find test images that are in the training sets of other collections. Paper: section 2.2, Table 1.

``audit(collect_inputs(Path("data/world")))`` reads whichever of the twelve tasks are present, together with your own
datasets, pretraining sets and detector sets; groups the keys that name the same image; and counts. It changes nothing
and never imports PyTorch. ``docs/audit.md`` is the guide.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import msgspec

from twelvefold import datasets
from twelvefold.datasets.reading import image_files
from twelvefold.datasets.reading.examples import read_examples
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.datasets.reading.shared_files import share_decoded_files
from twelvefold.duplicates.evidence import DEFAULT_EVIDENCE, CollectedEvidence, collect_evidence
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.image_folder import UNEXAMINED, SkippedFile
from twelvefold.leakage.custom_sets import (
    CollectionsFile,
    CustomSet,
    read_collections_file,
    read_custom_set,
    zero_padding_limitations,
)
from twelvefold.leakage.overlap import TRAINED_SPLITS, Collection, Overlap, SplitContent
from twelvefold.leakage.report import AuditReport, collection_summaries, make_findings, near_duplicate_pairs, to_csv
from twelvefold.leakage.unmatched import unmatched_lists
from twelvefold.preparation.jobs import TaskRequest, find_table
from twelvefold.progress import track
from twelvefold.schema import Evidence, Example, ImageKey, SameImageLink, Split, TwelvefoldError, did_you_mean
from twelvefold.splits.policy import POLICIES
from twelvefold.store import atomic_files
from twelvefold.store.prepared import Prepared
from twelvefold.store.region_store import RegionStore
from twelvefold.store.relaxed_gc import relaxed_gc
from twelvefold.store.steps import Step, run_steps

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """What an audit reads.

    Attributes:
        tasks: Tasks of the data folder, which must then be present; default: those of the twelve that are.
        options: Keyword arguments of readers, by task. A drawn world states its own.
        collections: A TOML or JSON file of sets without a reader (``leakage.custom_sets``).
        custom_sets: More sets without a reader.
        prepared: A prepared folder. Its tables are audited instead of the official files, as they are after cleaning.
        tables: A prepared folder. Its tables, with all examples, are read instead of files that have not changed since.
        evidence: The evidence that counts; default: what the prepared folder was cleaned by, else
            ``DEFAULT_EVIDENCE``.
        regions: The result of ``extract``, for evidence by features.
        cache_dir: Folder that keeps comparisons of images; default: among the user's caches.
        skip_bad: List malformed records and go on, instead of stopping at the first.
        processes: Number of processes that read tasks and compare images.
    """

    tasks: Sequence[str] = ()
    options: Mapping[str, Mapping[str, Any]] | None = None
    collections: Path | None = None
    custom_sets: Sequence[CustomSet] = ()
    prepared: Path | None = None
    tables: Path | None = None
    evidence: Sequence[Evidence] = ()
    regions: Path | None = None
    cache_dir: Path | None = None
    skip_bad: bool = False
    processes: int = 1


@dataclass(frozen=True, slots=True)
class AuditInputs:
    """Everything that an audit counts. ``evidence``: the requested evidence. ``collected``: the links it gave.
    ``images``: the available files. ``left_out``: absent tasks and splits, with the reason. ``problems``: malformed
    records that were skipped, lists that match nothing, and sentences about missing image files. ``skipped``: files in
    the folders that are no images."""

    collections: list[Collection]
    evidence: list[Evidence]
    collected: CollectedEvidence
    images: dict[ImageKey, Path]
    left_out: dict[str, str]
    problems: list[str]
    skipped: list[SkippedFile] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AuditResult:
    """``report``: all results, to be written as JSON. ``overlap``: for further questions. ``inputs``: what was
    counted."""

    report: AuditReport
    overlap: Overlap
    inputs: AuditInputs

    def html(self) -> str:
        """Return a page of HTML with heat maps, findings and near-duplicate images."""
        from twelvefold.leakage.html import render_audit  # only a page needs the time to import templates
        from twelvefold.reporting.thumbnails import Thumbnails

        return render_audit(msgspec.to_builtins(self.report), Thumbnails(self.inputs.images))

    def shared_images_csv(self) -> str:
        """Return every shared image as CSV, one a line: what to remove from a train set or from a test set."""
        lines: list[tuple[object, ...]] = [("row", "split", "column", "key", "key_in_column", "evidence")]
        for cell in (cell for cell in [*self.overlap.tests, *self.overlap.vals] if cell.count):
            for image in self.overlap.shared_images(cell.row, cell.column, cell.split):
                lines.append((cell.row, cell.split, cell.column, image.key, image.other, image.evidence))
        return to_csv(lines)


class LinkExplanation(
    msgspec.Struct, frozen=True, rename={"first": "one", "second": "other", "is_same": "same", "holders": "held"}
):
    """Why two keys name the same image. ``steps``: the path of links between them; empty where the keys are equal or
    name different images. ``holders``: for each key on the path, the sets that contain it."""

    first: ImageKey
    second: ImageKey
    is_same: bool
    steps: list[SameImageLink]
    holders: dict[str, list[str]]

    def __str__(self) -> str:
        verdict = "name the same image" if self.is_same else "are not known to name the same image"
        steps = [f"  {step.first} = {step.second}: {step.reason} ({step.evidence})" for step in self.steps]
        holders = [f"{key}: {', '.join(sets) or 'in no set'}" for key, sets in self.holders.items()]
        return "\n".join([f"{self.first} and {self.second} {verdict}", *steps, *holders])


def check_threshold(threshold: float) -> None:
    """Raises: TwelvefoldError if it is not a percentage: nothing would ever be a leak above NaN or 200 %."""
    if not 0 <= threshold <= 100:
        raise TwelvefoldError(f"threshold: expected percent of a test set, from 0 to 100, got {threshold:g}")


def audit(
    inputs: AuditInputs, *, threshold: float = 0.0, val: bool = False, allow_uncompared: bool = False
) -> AuditResult:
    """Count the images of every test and val set that other collections learn from.

    ``threshold``: percent of a test set (with ``val``, of a val set too) above which a finding is a leak.
    ``allow_uncompared``: call the audit complete although images were only compared by ids, bytes and pixels, as they
    have too little detail to be compared by looks.

    Raises:
        TwelvefoldError: ``threshold`` is not from 0 to 100.
    """
    check_threshold(threshold)
    overlap, collected = Overlap(inputs.collections, inputs.collected.links), inputs.collected
    findings = make_findings(overlap, inputs.collections, threshold=threshold, val=val)
    is_hiding = any(each.kind in UNEXAMINED for each in inputs.skipped)
    is_uncompared = bool(collected.uncompared) and not allow_uncompared
    report = AuditReport(
        sets=collection_summaries(overlap, inputs.collections),
        num_images=overlap.num_images,
        threshold=threshold,
        evidence=list(inputs.evidence),
        tests=overlap.tests,
        vals=overlap.vals,
        texts=overlap.texts,
        findings=findings,
        near_duplicates=near_duplicate_pairs(overlap, findings, collected.links),
        left_out=dict(inputs.left_out),
        limitations=list(collected.limitations),
        unreadable={str(key): reason for key, reason in sorted(collected.unreadable.items())},
        uncompared={str(key): reason for key, reason in sorted(collected.uncompared.items())},
        problems=list(inputs.problems),
        skipped=list(inputs.skipped),
        is_complete=not (collected.unreadable or inputs.problems or is_hiding or is_uncompared),
    )
    return AuditResult(report, overlap, inputs)


def explain_link(inputs: AuditInputs, first: ImageKey, second: ImageKey) -> LinkExplanation:
    """Return why two keys name the same image, or that they are not known to.

    Raises:
        TwelvefoldError: a key is in no set and has no link.
    """
    groups = ImageGroups(inputs.collected.links)
    linked = set(groups.linked_keys())
    steps = groups.shortest_path(first, second)
    path = (first, *(step.second for step in steps), second)
    holders = {str(key): _sets_with(inputs.collections, key) for key in path}
    for key in (first, second):
        if not holders[str(key)] and key not in linked:
            known = {str(known_key) for each in inputs.collections for known_key in each.images()}
            raise TwelvefoldError(
                f"no set contains {key}, and no link leads to it{did_you_mean(str(key), sorted(known)[:5000])}"
            )
    return LinkExplanation(first, second, groups.is_same(first, second), steps, holders)


def collect_inputs(data: Path | None = None, config: AuditConfig | None = None) -> AuditInputs:
    """Read everything that an audit counts. ``data``: a data folder, or None to audit custom sets only.

    Raises:
        TwelvefoldError: there is nothing to audit, a requested task is absent, a name is used twice, or an input is
            invalid.
    """
    config = config or AuditConfig()
    if config.prepared is not None and data is None:
        raise TwelvefoldError(
            f"{config.prepared} only contains tables: give the data folder too, for its id maps and images"
        )
    listed = CollectionsFile() if config.collections is None else read_collections_file(config.collections)
    custom_sets = [
        read_custom_set(each) for each in track([*config.custom_sets, *listed.collections], description="sets")
    ]
    tables, evidence = _read_tables(data, config)
    tasks = [Collection(each.name, "task", each.splits) for each in tables if each.splits]
    collections = [*tasks, *(each.collection for each in custom_sets)]
    left_out = {name: reason for each in tables for name, reason in each.left_out().items()}
    _check_collections(collections, data, left_out)
    folder = _find_images(data, tasks, evidence)
    images = folder.files | {key: path for each in custom_sets for key, path in each.files.items()}
    bad = BadRecords(skip=config.skip_bad)
    collected = collect_evidence(
        data or Path(),
        images if set(evidence) - {"ids"} else {},
        evidence=[name for name in evidence if data is not None or name != "ids"],
        cache_dir=config.cache_dir or _default_cache_dir(data),
        bad=bad,
        processes=config.processes,
        store=None if config.regions is None else RegionStore.open(config.regions / "detected"),
        sources={key.source for each in collections for key in each.images()},
    )
    collected.limitations.extend([*folder.limitations, *zero_padding_limitations(collections)])
    collected.limitations.extend(sentence for each in custom_sets for sentence in each.limitations)
    collected.unreadable.update(folder.unreadable)
    collected.unreadable.update({key: reason for each in custom_sets for key, reason in each.unreadable.items()})
    if "ids" in evidence:
        collected.links.extend(link for id_map in listed.maps for link in id_map.read_links())
    id_lists = [id_list for each in custom_sets for id_list in each.id_lists]
    problems = [*(problem for each in tables for problem in each.problems), *map(str, bad.rejected), *folder.missing]
    problems += unmatched_lists(id_lists, collections, collected.links, images)
    skipped = [*folder.skipped, *(file for each in custom_sets for file in each.skipped)]
    return AuditInputs(collections, list(evidence), collected, images, left_out, problems, skipped)


@dataclass(frozen=True, slots=True)
class TaskContent:
    """One task. ``splits`` is empty where nothing of it is present. ``absent``: splits that are not, with the reason.
    ``problems``: malformed records that were skipped."""

    name: str
    splits: dict[Split, SplitContent] = field(default_factory=dict)
    absent: dict[Split, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def left_out(self) -> dict[str, str]:
        """Return the names of what is absent, the task or some of its splits, with the reason."""
        if not self.splits:
            return {self.name: next(iter(self.absent.values()))}
        return {f"{self.name}, {split}": reason for split, reason in self.absent.items()}


@relaxed_gc()
def read_task(
    data: Path,
    name: str,
    options: Mapping[str, Any],
    *,
    require_all: bool,
    skip_bad: bool,
    tables: Path | None = None,
) -> TaskContent:
    """Read the images and texts of every split of a task whose files exist; with ``require_all`` all must.

    ``tables``: a prepared folder, whose tables are read instead of files that have not changed since.

    Raises:
        TwelvefoldError: unknown task or option, a broken file, or a malformed record that may not be skipped.
    """
    dataset, bad = datasets.load_dataset(name), BadRecords(skip=skip_bad)
    datasets.check_options(dataset, options)
    content = TaskContent(dataset.TASK.name)
    request = TaskRequest(name, dataset.TASK, options)
    with share_decoded_files():
        for split in SPLITS:
            try:
                dataset.files(data, split, **options)
            except TwelvefoldError as error:
                if require_all:
                    raise
                content.absent[split] = str(error)
                continue
            table, entry = (tables and find_table(tables, request, split, data)) or (None, None)
            if table is None or entry is None or (entry.problems and not skip_bad):
                content.splits[split] = _split_content(read_examples(dataset, data, split, bad=bad, **options))
            else:
                content.splits[split] = _split_content(table)
                content.problems.extend(entry.problems)
    content.problems.extend(map(str, bad.rejected))
    return content


def _read_tables(data: Path | None, config: AuditConfig) -> tuple[list[TaskContent], Sequence[Evidence]]:
    """Return the tasks of the data folder or of the prepared folder, and the evidence that counts."""
    if config.prepared is None:
        return [] if data is None else _read_tasks(data, config), config.evidence or DEFAULT_EVIDENCE
    prepared, contents = Prepared.open(config.prepared), []
    known = [task.name for task in prepared.tasks]
    names = [datasets.task_name(name) if "." in name and name not in known else name for name in config.tasks]
    for task in track([prepared.task(name) for name in names] or prepared.tasks, description="tables"):
        splits = {split: _split_content(prepared.table(task.name, split)) for split in prepared.splits(task.name)}
        contents.append(TaskContent(task.name, splits))
    policy = POLICIES.get(prepared.manifest.policy)
    return contents, config.evidence or (policy.evidence if policy else ()) or DEFAULT_EVIDENCE


def _read_tasks(data: Path, config: AuditConfig) -> list[TaskContent]:
    """Return the tasks of a data folder, read by ``config.processes`` processes."""
    if not data.is_dir():
        raise TwelvefoldError(f"expected a data folder, got {data}, which is not a folder")
    options = reader_options(data, config.tasks or datasets.paper_task_names(), config.options)
    read = partial(read_task, data, require_all=bool(config.tasks), skip_bad=config.skip_bad, tables=config.tables)
    steps = [Step(name, (name, own)) for name, own in options.items()]
    return list(run_steps(read, steps, description="tasks", processes=config.processes).values())


def _split_content(examples: Iterable[Example]) -> SplitContent:
    return SplitContent.from_pairs((pair.image, pair.text) for example in examples for pair in example.pairs)


@dataclass(frozen=True, slots=True)
class TaskImages:
    """The image files of the tasks of a data folder. ``missing``: sentences about files that are not there, although
    others of their source are. ``limitations``: sentences about sources without any file."""

    files: dict[ImageKey, Path] = field(default_factory=dict)
    unreadable: dict[ImageKey, str] = field(default_factory=dict)
    skipped: list[SkippedFile] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    limitations: list[str] = field(default_factory=list)


def _find_images(data: Path | None, collections: Sequence[Collection], evidence: Sequence[Evidence]) -> TaskImages:
    """Return the image files of the collections in a data folder."""
    if data is None or not set(evidence) - {"ids"}:
        return TaskImages()
    folder = data / "images"
    if not folder.is_dir():
        return TaskImages(limitations=[f"{folder} does not exist, so duplicates that no id map links cannot be found"])
    keys = {key for each in collections for key in each.images()}
    content = image_files.scan_image_files(data)
    result = TaskImages({key: path for key, path in content.files.items() if key in keys}, skipped=content.skipped)
    for name, reason in content.unreadable.items():
        key = ImageKey.parse(name)
        if key in keys or key not in content.files:
            result.unreadable[key] = reason
    sources = {key.source for key in result.files}
    for source, count in sorted(Counter(key.source for key in keys if key not in result.files).items()):
        sentences = result.missing if source in sources else result.limitations
        sentences.append(
            f"{count:,} images of {source} are not in {folder}, so their duplicates are only found by id maps"
        )
    return result


def _check_collections(collections: Sequence[Collection], data: Path | None, left_out: Mapping[str, str]) -> None:
    """Raise unless there are collections with distinct names and splits to compare."""
    if not collections and data is None:
        raise TwelvefoldError("nothing to audit: give a data folder or sets of your own (--own pets:test=pets/test)")
    if not collections:
        reasons = "\n".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise TwelvefoldError(f"{data} contains none of the twelve tasks:\n{reasons}")
    names = [each.name for each in collections]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise TwelvefoldError(f"two sets have the name {repeated[0]!r}; give each its own name")
    splits = {split for each in collections for split in each.splits}
    if not any(split in splits and splits & set(trained) for split, trained in TRAINED_SPLITS.items()):
        raise TwelvefoldError(
            f"nothing to compare: expected a test set and a train or val set (or a val set and a train set), "
            f"got only {', '.join(sorted(splits))} of {', '.join(names)}"
        )


def _sets_with(collections: Sequence[Collection], key: ImageKey) -> list[str]:
    return [f"{each.name} {split}" for each in collections for split, part in each.splits.items() if key in part.images]


def _default_cache_dir(data: Path | None) -> Path:
    """Return a folder among the user's caches, as the data folder may be read-only."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "twelvefold" / atomic_files.digest_value(str((data or Path()).resolve()))
