"""Decide which examples cleaning removes: every split of every task is read once, in the order test, val, train.

Only ids and images of all examples matter, not regions, answer lists or limits of a recipe, so the decision is a
function of the data and the policy, for any number of processes and any order of tasks. Paper: section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from twelvefold.datasets.reading import image_files
from twelvefold.datasets.reading.records import BadRecords, Rejection
from twelvefold.duplicates.evidence import CollectedEvidence, collect_evidence
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.schema import ImageKey, Split
from twelvefold.splits.id_lists import IdList
from twelvefold.splits.manifest import CleanedSplit, CleaningManifest, Reason, SplitDigester
from twelvefold.splits.policy import SPLIT_ORDER, Owner, Policy, ProtectedImages
from twelvefold.splits.split_source import SplitSource
from twelvefold.store import atomic_files, worker_pool
from twelvefold.store.relaxed_gc import relaxed_gc
from twelvefold.store.steps import Step, run_steps

VERSION = 1
"""Version of what this module computes. Increase it when a change gives other results: files made from it are then
made again."""

Sources = Mapping[str, Mapping[Split, SplitSource]]
"""By task (``TaskSpec.name``), then split."""


@dataclass(frozen=True, slots=True)
class SplitScan:
    """A split to read. ``protected``: keys of images that it must not contain. ``collect_images``: whether to return
    the images of the remaining examples. ``ids_dir``: folder for lists of kept and removed ids, or None."""

    task: str
    split: Split
    source: SplitSource
    protected: frozenset[ImageKey]
    collect_images: bool
    skip_bad: bool
    ids_dir: Path | None


@dataclass(slots=True)
class SplitScanResult:
    """``images``: of the remaining examples, if requested. ``rejected``: malformed records."""

    task: str
    cleaned: CleanedSplit
    images: set[ImageKey]
    rejected: list[Rejection]


def collect_policy_evidence(
    data: Path, policy: Policy, *, cache_dir: Path, bad: BadRecords, processes: int = 1
) -> CollectedEvidence:
    """Return the links of a data folder that ``policy`` accepts. Messages do not contain the folder's path."""
    needs_images = any(evidence != "ids" for evidence in policy.evidence)
    has_images = (data / "images").is_dir()
    images = image_files.image_files(data) if needs_images and has_images else {}
    found = collect_evidence(data, images, evidence=policy.evidence, cache_dir=cache_dir, bad=bad, processes=processes)
    limitations = [sentence.replace(f"{data}/", "") for sentence in found.limitations]
    if needs_images and not has_images:
        limitations.append("there are no images in images/, so duplicates that no id map links cannot be found")
    unreadable = {key: reason.replace(f"{data}/", "") for key, reason in sorted(found.unreadable.items())}
    return CollectedEvidence(found.links, unreadable, limitations)


def decide_removals(
    sources: Sources,
    policy: Policy,
    evidence: CollectedEvidence,
    *,
    bad: BadRecords,
    lists: Sequence[IdList] = (),
    processes: int = 1,
    ids_dir: Path | None = None,
) -> CleaningManifest:
    """Decide what ``policy`` removes from the splits in ``sources``.

    ``lists``: additional protected images. ``ids_dir``: folder for lists of ids, ``<task>-<split>-kept.txt`` and
    ``-removed.txt``.

    Raises:
        TwelvefoldError: a source file is missing or broken, or a record is malformed and may not be skipped.
    """
    groups = ImageGroups(evidence.links)
    images = dict[Owner, set[ImageKey]]()
    for id_list in lists:
        images.setdefault((id_list.info.file, "list"), set()).update(id_list.keys)
    protected, splits, reasons = ProtectedImages(images, groups), dict[str, dict[Split, CleanedSplit]](), {}
    with _split_scanner(processes, bad) as scan_all:
        for split in SPLIT_ORDER:
            keys = frozenset[ImageKey]() if split == "test" else protected.all_keys()
            scans = [
                SplitScan(task, split, splits_of_task[split], keys, split in policy.protects, bad.skip, ids_dir)
                for task, splits_of_task in sources.items()
            ]
            for result in scan_all(scans):
                splits.setdefault(result.task, {})[split] = result.cleaned
                if split != "train" and split in policy.protects:
                    images[result.task, split] = result.images
                for image in result.cleaned.removed:
                    protections = protected.protections_of(ImageKey.parse(image))
                    reasons[image] = [Reason.from_protection(protection) for protection in protections]
            protected = ProtectedImages(images, groups)
    return CleaningManifest(
        policy=policy,
        lists=sorted((id_list.info for id_list in lists), key=lambda info: (info.file, info.digest)),
        splits={task: {split: splits[task][split] for split in SPLIT_ORDER} for task in sorted(splits)},
        reasons={image: reasons[image] for image in sorted(reasons)},
        limitations=evidence.limitations,
        unreadable={str(key): reason for key, reason in evidence.unreadable.items()},
    )


def protected_test_images(
    sources: Sources, groups: ImageGroups, *, bad: BadRecords, processes: int = 1
) -> ProtectedImages:
    """Return the images of all test sets, without deciding any removals."""
    scans = [
        SplitScan(task, "test", splits["test"], frozenset(), True, bad.skip, None) for task, splits in sources.items()
    ]
    with _split_scanner(processes, bad) as scan_all:
        return ProtectedImages({(result.task, "test"): result.images for result in scan_all(scans)}, groups)


@relaxed_gc()
def scan_split(scan: SplitScan) -> SplitScanResult:
    """Read one split and decide which of its examples to remove."""
    digester, bad = SplitDigester(), BadRecords(skip=scan.skip_bad)
    removed, images = dict[str, list[str]](), set[ImageKey]()
    with ExitStack() as stack:
        id_files = dict[bool, IO[bytes]]()  # by whether the example is removed
        if scan.ids_dir is not None:
            for is_removed, name in ((False, "kept"), (True, "removed")):
                path = scan.ids_dir / f"{scan.task}-{scan.split}-{name}.txt"
                id_files[is_removed] = stack.enter_context(atomic_files.atomic_file(path))
        for id_, example_images in scan.source.rows(bad):
            digester.add(id_, example_images)
            match = next((image for image in example_images if image in scan.protected), None)
            if match is not None:
                removed.setdefault(str(match), []).append(id_)
            elif scan.collect_images:
                images.update(example_images)
            if id_files:
                id_files[match is not None].write(f"{id_}\n".encode())
    source = digester.digest()
    kept = source.examples - sum(map(len, removed.values()))
    removed_by_image = {image: sorted(removed[image]) for image in sorted(removed)}
    return SplitScanResult(scan.task, CleanedSplit(source, kept, removed_by_image), images, bad.rejected)


@contextmanager
def _split_scanner(processes: int, bad: BadRecords) -> Iterator[Callable[[Sequence[SplitScan]], list[SplitScanResult]]]:
    """Give a function that scans splits in worker processes, which stay for later calls. ``bad`` collects the malformed
    records."""
    pool = worker_pool.create_pool(processes) if processes > 1 else None

    def scan_all(scans: Sequence[SplitScan]) -> list[SplitScanResult]:
        steps = [Step(f"{scan.task}-{scan.split}", (scan,)) for scan in scans]
        description = f"{scans[0].split} sets read for cleaning" if scans else ""
        results = run_steps(scan_split, steps, description=description, processes=processes, executor=pool)
        bad.rejected += [rejection for result in results.values() for rejection in result.rejected]
        return list(results.values())

    try:
        yield scan_all
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
