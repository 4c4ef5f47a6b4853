"""Decide which examples cleaning removes: every split of every task is read once, in the order test, val, train.

Only ids and images of all examples matter, not regions, answer lists or limits of a recipe, so the decision is a
function of the data and the policy, for any number of processes and any order of tasks. Paper: section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twelvefold.datasets.reading import image_files
from twelvefold.datasets.reading.image_headers import ImageHeaders
from twelvefold.datasets.reading.records import BadRecords, Rejection
from twelvefold.duplicates.evidence import CollectedEvidence, collect_evidence
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.schema import ImageKey, Split
from twelvefold.splits.id_lists import IdList
from twelvefold.splits.manifest import CleanedSplit, CleaningManifest, SplitDigester
from twelvefold.splits.policy import SPLIT_ORDER, Owner, Policy, ProtectedImages
from twelvefold.splits.split_source import SplitSource, TableSource
from twelvefold.store import atomic_files, worker_pool
from twelvefold.store.relaxed_gc import relaxed_gc
from twelvefold.store.steps import Step, run_steps

VERSION = 2
"""Version of what this module computes. Increase it when a change gives other results: files made from it are then
made again."""

Sources = Mapping[str, Mapping[Split, SplitSource]]
"""By task (``TaskSpec.name``), then split."""


@dataclass(frozen=True, slots=True)
class SplitScan:
    """The result of reading a split. ``images``: of the remaining examples, if requested. ``rejected``: malformed
    records."""

    cleaned: CleanedSplit
    images: set[ImageKey]
    rejected: list[Rejection]


def collect_policy_evidence(
    data: Path,
    policy: Policy,
    *,
    cache_dir: Path,
    bad: BadRecords,
    processes: int = 1,
    sources: Collection[str] = (),
) -> CollectedEvidence:
    """Return the links of a data folder that ``policy`` accepts. Messages do not contain the folder's path.

    ``sources``: of the images that the tasks and id lists use (:func:`image_sources`), which decide what missing
    evidence is a limitation.
    """
    needs_images = any(evidence != "ids" for evidence in policy.evidence)
    has_images = (data / "images").is_dir()
    content = image_files.ImageFiles()
    if needs_images and has_images:
        with ImageHeaders.open(data, cache_dir) as headers:
            content = headers.scan()
    collected = collect_evidence(
        data,
        content.files,
        evidence=policy.evidence,
        cache_dir=cache_dir,
        bad=bad,
        processes=processes,
        sources=sources,
    )
    limitations = [sentence.replace(f"{data}/", "") for sentence in collected.limitations]
    if needs_images and not has_images:
        limitations.append("there are no images in images/, so duplicates that no id map links cannot be found")
    collected.unreadable.update({ImageKey.parse(name): reason for name, reason in content.unreadable.items()})
    unreadable = {key: reason.replace(f"{data}/", "") for key, reason in sorted(collected.unreadable.items())}
    return CollectedEvidence(collected.links, unreadable, limitations)


def image_sources(tables: Mapping[str, Mapping[Split, TableSource]], lists: Sequence[IdList] = ()) -> set[str]:
    """Return the sources of the images of all examples and id lists."""
    used = (table.image_sources() for splits in tables.values() for table in splits.values())
    return {key.source for id_list in lists for key in id_list.keys}.union(*used)


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
    with _split_scanner(sources, processes, bad) as scan:
        for split in SPLIT_ORDER:
            keys = frozenset[ImageKey]() if split == "test" else protected.all_keys()
            similar = keys & protected.similar_keys()
            for task, result in scan(split, keys, similar, split in policy.protects, ids_dir).items():
                splits.setdefault(task, {})[split] = result.cleaned
                if split != "train" and split in policy.protects:
                    images[task, split] = result.images
                for image in result.cleaned.removed:
                    reasons[image] = protected.reasons(ImageKey.parse(image))
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
    with _split_scanner(sources, processes, bad) as scan:
        results = scan("test", frozenset(), frozenset(), True, None)
    return ProtectedImages({(task, "test"): result.images for task, result in results.items()}, groups)


@relaxed_gc()
def scan_split(
    name: str,
    source: SplitSource,
    protected: frozenset[ImageKey],
    similar: frozenset[ImageKey],
    collect_images: bool,
    ids_dir: Path | None,
    skip_bad: bool,
) -> SplitScan:
    """Read one split and decide which of its examples to remove.

    ``protected``: keys of images that it must not contain. ``similar``: those that are protected by similarity alone;
    an example with several protected images is removed because of another one. ``collect_images``: return the images
    of the remaining examples. ``ids_dir``: folder for the lists of ids, named after ``name``.
    """
    digester, bad = SplitDigester(), BadRecords(skip=skip_bad)
    removed, images = dict[str, list[str]](), set[ImageKey]()
    with ExitStack() as stack:
        id_files = {  # by whether the example is removed
            is_removed: stack.enter_context(atomic_files.atomic_file(ids_dir / f"{name}-{outcome}.txt"))
            for is_removed, outcome in ((False, "kept"), (True, "removed"))
            if ids_dir is not None
        }
        for id_, example_images in source.rows(bad):
            digester.add(id_, example_images)
            matches = [image for image in example_images if image in protected]
            match = min(matches, key=similar.__contains__) if matches else None
            if match is not None:
                removed.setdefault(str(match), []).append(id_)
            elif collect_images:
                images.update(example_images)
            if id_files:
                id_files[match is not None].write(f"{id_}\n".encode())
    digest = digester.digest()
    kept = digest.examples - sum(map(len, removed.values()))
    removed_by_image = {image: sorted(removed[image]) for image in sorted(removed)}
    return SplitScan(CleanedSplit(digest, kept, removed_by_image), images, bad.rejected)


@contextmanager
def _split_scanner(sources: Sources, processes: int, bad: BadRecords) -> Iterator[Callable[..., dict[str, SplitScan]]]:
    """Give a function that reads one split of every task in worker processes, which stay for later calls.

    It takes the split and the arguments of :func:`scan_split` from ``protected`` to ``ids_dir``. ``bad`` collects the
    malformed records.
    """
    with worker_pool.create_pool(processes) if processes > 1 else nullcontext() as pool:

        def scan(split: Split, *arguments: Any) -> dict[str, SplitScan]:
            steps = [
                Step(task, (f"{task}-{split}", splits[split], *arguments, bad.skip)) for task, splits in sources.items()
            ]
            description = f"{split} sets read for cleaning"
            results = run_steps(scan_split, steps, description=description, processes=processes, executor=pool)
            bad.rejected += [rejection for result in results.values() for rejection in result.rejected]
            return results

        yield scan
