"""``twelvefold extract``: detect the regions of every image of a folder and store them.

Two stores are written: ``detected/`` (the detected regions, best first) and ``given/`` (features of the candidate boxes
of Visual7W, GuessWhat ..., in their order). Paper: section 3.1, image region features; given boxes are the original
project's.

Images are divided into blocks (``features.block_plan``). A block has its own batches and is one shard on disk, so any
process can do any block, an interrupted extraction continues, and the resulting bytes are the same. Files with the same
content under several keys (an image in COCO and in Visual Genome) are processed once. When images were added, removed
or changed since the last extraction, only new and changed ones are processed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import torch

from twelvefold.config.extract import PATCHES, WORLD, ExtractConfig
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.detectors.interface import RegionDetector, RegionPair
from twelvefold.detectors.load import default_max_regions, load_detector
from twelvefold.detectors.world_detector.detector import ComputeDtype, fastest_cpu_dtype
from twelvefold.device import select_device
from twelvefold.features.block_plan import STORES, image_identity, prepare_folder, remove_unplanned
from twelvefold.features.image_list import ImageList, ListedImage, TaskOptions, concat_boxes, list_images, split_by_key
from twelvefold.image_folder import SkippedFile
from twelvefold.images import RGB, ImageError, image_size, open_image
from twelvefold.printable import printable_name
from twelvefold.schema import TwelvefoldError, escape_surrogates
from twelvefold.store.atomic_files import digest_value, lock_folder, read_json, write_json
from twelvefold.store.region_store import MANIFEST, RegionStore, ShardWriter, finish_store, read_shard
from twelvefold.store.steps import Step, StepCache, check_processes, run_steps

BLOCK = 256
"""Images per block: two to ten seconds of work, the most that an interruption loses."""
MAX_WAIT_SECONDS = 1800.0
"""How long rank 0 waits for another rank to finish its next block."""

SUMMARY_KEYS = {
    "num_images": "pictures",
    "num_regions": "regions",
    "num_given_regions": "given_regions",
    "num_processed": "looked_at",
    "dtype": "arithmetic",
}
"""Attribute of ``ExtractSummary`` -> key in the JSON of ``twelvefold extract``."""


class ExtractSummary(msgspec.Struct, frozen=True, kw_only=True, rename=SUMMARY_KEYS):
    """Result of an extraction.

    num_images, num_regions, num_given_regions: content of the stores. num_processed, seconds: images and duration of
    this call. unreadable: key or path -> reason. skipped: files in the folder that are no images. other_sizes: why
    given boxes were left out, by key. num_scaled: keys of resized copies whose given boxes were scaled.
    """

    detected: Path
    given: Path
    num_images: int = 0
    num_regions: int = 0
    num_given_regions: int = 0
    unreadable: Mapping[str, str] = {}
    skipped: Sequence[SkippedFile] = ()
    other_sizes: Mapping[str, str] = {}
    num_scaled: int = 0
    num_processed: int
    seconds: float
    dtype: str

    @property
    def images_per_second(self) -> float:
        return self.num_processed / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class ExtractJob:
    """What every process needs to know. ``digest``: of the detector, empty before it was first loaded."""

    root: Path
    out: Path
    config: ExtractConfig
    dtype: ComputeDtype
    device: str = "cpu"
    digest: str = field(default="", compare=False)


class ExtractedBlock(msgspec.Struct, frozen=True):
    """Record of a finished block. ``unreadable``: image key -> reason."""

    unreadable: dict[str, str]


@lru_cache(maxsize=1)
def _load_detector(job: ExtractJob) -> RegionDetector:
    """Load the detector once in each process.

    Raises:
        TwelvefoldError: the weight file has changed since the extraction began.
    """
    detector = load_detector(job.config, dtype=job.dtype, device=torch.device(job.device))
    if job.digest not in ("", detector.digest):
        raise TwelvefoldError("the detector's weight file changed during the extraction; repeat the call")
    return detector


def extract(
    images: Path,
    out: Path,
    config: ExtractConfig | None = None,
    *,
    processes: int = 2,
    boxes: Path | None = None,
    tasks: TaskOptions | None = None,
    resume: bool = True,
    skip_bad: bool = False,
) -> ExtractSummary:
    """Detect the regions of every image of a folder once, and store them. An interrupted call continues.

    A later call with the same settings processes images that are new or have changed, by the digest of their files, and
    takes images that are gone out of the stores. Unreadable images are left out and listed, with the reason, in
    ``unreadable.json`` and in the stores' ``info``. Under ``torchrun`` the ranks share the blocks, each with its own
    GPU, and rank 0 finishes the stores.

    Args:
        images: A data folder (docs/data.md shows the layout), or any folder of images.
        out: Folder for the stores ``detected`` and ``given``.
        config: Detector and its options. Default: the detector of the package.
        processes: Processes on this machine, each with its own detector (x152: 2 GB); under torchrun, per rank.
        boxes: JSON file of given boxes, ``{"boat.jpg": [[x1, y1, x2, y2]]}``. Default: the tasks' candidate boxes.
        tasks: Tasks whose candidate boxes are used, with the options of their readers. Default: all in the folder.
        resume: Continue an interrupted extraction; if false, start over.
        skip_bad: Skip malformed records of the tasks with candidate boxes.

    Raises:
        TwelvefoldError: there are no images, or ``out`` holds regions of another detector or other settings.
    """
    check_processes(processes)
    rank, num_ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    job = _make_job(Path(images), Path(out), config or ExtractConfig())
    detector = _load_detector(job)
    job = replace(job, digest=detector.digest)
    start = time.monotonic()
    listed = list_images(job.root, tasks, BadRecords(skip=skip_bad), boxes, scale_boxes=job.config.scale_boxes)
    by_identity = {image_identity(image): image for image in listed.images}
    records = StepCache(job.out / "blocks", ExtractedBlock)
    with lock_folder(job.out) if rank == 0 else nullcontext():
        settings = _settings_record(job, detector, listed.images)
        is_done = partial(_is_done, records)
        plan = prepare_folder(job.out, settings, by_identity, is_done, block_size=BLOCK, resume=resume)
        steps = [
            Step(name, (job, name, [by_identity[i] for i in block], plan.copies.get(name, "")), len(block))
            for name, block in list(plan.blocks.items())[rank::num_ranks]
            if not is_done(name)
        ]
        try:
            run_steps(extract_block, steps, description="images processed", store=records, processes=processes)
        finally:
            _load_detector.cache_clear()
        if rank == 0:
            unreadable = listed.unreadable | _wait_for_blocks(records, list(plan.blocks))
            _finish_stores(job.out, detector.categories, settings, list(plan.blocks), unreadable)
    num_processed = sum(step.size for step in steps if step.name not in plan.copies)
    return _summarize(job, listed, num_processed, time.monotonic() - start, is_main=rank == 0)


def _make_job(images: Path, out: Path, config: ExtractConfig) -> ExtractJob:
    if not images.is_dir():
        raise TwelvefoldError(f"expected a folder of images, got {images}, which is not a folder")
    device = select_device(config.device, int(os.environ.get("LOCAL_RANK", "0")))
    may_be_half = config.detector == WORLD or config.detector.startswith(PATCHES)
    dtype = fastest_cpu_dtype() if may_be_half and device.type == "cpu" else "float32"
    return ExtractJob(images, out, config, dtype, str(device))


def _is_done(records: StepCache[ExtractedBlock], name: str) -> bool:
    return records.load(name) is not None


def _settings_record(job: ExtractJob, detector: RegionDetector, images: Sequence[ListedImage]) -> dict[str, Any]:
    """Return what the regions depend on. It is stored, and compared before an extraction continues."""
    config = job.config
    keys = [[image.digest, *(str(key) for key in image.keys)] for image in images]
    boxes = [[None if b is None else b.tolist() for b in image.given_boxes] for image in images]
    packages = ["torch", "torchvision", "pillow", "numpy", *(["timm"] if config.detector.startswith(PATCHES) else [])]
    optional = {  # only if not the default, so that the records of earlier versions stay equal
        "detector_name": None if config.detector == WORLD else config.detector,
        "min_regions": config.min_regions,
        "confidence": config.confidence,
        "fc6": config.fc6,
        "device": None if job.device == "cpu" else torch.device(job.device).type,
    }
    return {
        **{name: value for name, value in optional.items() if value is not None},
        "detector": job.digest,
        "arithmetic": job.dtype,
        "max_regions": config.max_regions or default_max_regions(config.detector),
        "batch": detector.batch_size,
        "block": BLOCK,
        "pictures": digest_value(keys),
        "given_boxes": digest_value(boxes),
        "versions": {name: version(name) for name in packages},
    }


@contextmanager
def _single_thread() -> Iterator[None]:
    """Compute in one thread: the images are divided among processes, whose threads would compete for the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_single_thread()
def extract_block(job: ExtractJob, name: str, images: Sequence[ListedImage], source: str = "") -> ExtractedBlock:
    """Extract the images of a block and write its two shards. ``source``: the earlier block that has their regions."""
    detector = _load_detector(job)
    if source:
        return _copy_block(job, detector, name, images, source)
    unreadable: dict[str, str] = {}
    regions: dict[int, RegionPair] = {}
    for batch in _make_batches(images, detector):
        readable: list[tuple[int, RGB]] = []
        for i in batch:
            try:
                readable.append((i, open_image(images[i].path)))
            except ImageError as error:
                reason = printable_name(str(error).replace(escape_surrogates(f"{job.root}{os.sep}"), ""))
                unreadable.update({str(key): reason for key in images[i].keys})
        if readable:
            given_boxes = [concat_boxes(images[i], (rgb.shape[1], rgb.shape[0])) for i, rgb in readable]
            pairs = detector.extract_regions([image for _, image in readable], given_boxes)
            regions.update({i: pair for (i, _), pair in zip(readable, pairs, strict=True)})
    writers = _shard_writers(job, detector, name)
    with writers[0] as detected_writer, writers[1] as given_writer:
        for i in sorted(regions):
            detected, at_boxes = regions[i]
            for key, at_boxes_of_key in zip(images[i].keys, split_by_key(images[i], at_boxes), strict=True):
                detected_writer.add(key, detected)
                if at_boxes_of_key is not None:
                    given_writer.add(key, at_boxes_of_key)
    return ExtractedBlock(dict(sorted(unreadable.items())))


def _shard_writers(job: ExtractJob, detector: RegionDetector, name: str) -> list[ShardWriter]:
    return [
        ShardWriter(
            job.out / store / _shard_name(name),
            feature_size=detector.feature_size,
            num_categories=len(detector.categories),
        )
        for store in STORES
    ]


def _copy_block(
    job: ExtractJob, detector: RegionDetector, name: str, images: Sequence[ListedImage], source: str
) -> ExtractedBlock:
    """Write the shards of a block whose regions an earlier block has."""
    keys = {key for image in images for key in image.keys}
    for store, writer in zip(STORES, _shard_writers(job, detector, name), strict=True):
        with writer:
            for key, regions in read_shard(job.out / store / _shard_name(source)):
                if key in keys:
                    writer.add(key, regions)
    record = StepCache(job.out / "blocks", ExtractedBlock).load(source)
    unreadable = {} if record is None else record.unreadable
    names = set(map(str, keys))
    return ExtractedBlock({key: reason for key, reason in unreadable.items() if key in names})


def _make_batches(images: Sequence[ListedImage], detector: RegionDetector) -> Iterator[list[int]]:
    """Yield indices of images with the same input size; they depend on the block's files only."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for i, image in enumerate(images):
        by_size.setdefault(_input_size_on_disk(image.path, detector), []).append(i)
    for _, indices in sorted(by_size.items()):
        for start in range(0, len(indices), detector.batch_size):
            yield indices[start : start + detector.batch_size]


def _input_size_on_disk(path: Path, detector: RegionDetector) -> tuple[int, int]:
    """Return the input size according to the file's header, or (0, 0) if it cannot be read."""
    try:
        return detector.input_size(*image_size(path))
    except ImageError:
        return (0, 0)


def _wait_for_blocks(records: StepCache[ExtractedBlock], names: Sequence[str]) -> dict[str, str]:
    """Wait until the other ranks have finished all blocks, and return the unreadable images of all.

    Raises:
        TwelvefoldError: no block was finished for half an hour.
    """
    num_missing, since = len(names), time.monotonic()
    while True:
        blocks = [block for block in map(records.load, names) if block is not None]
        if len(blocks) == len(names):
            return {key: reason for block in blocks for key, reason in block.unreadable.items()}
        if len(names) - len(blocks) < num_missing:
            num_missing, since = len(names) - len(blocks), time.monotonic()
        elif time.monotonic() - since > MAX_WAIT_SECONDS:
            raise TwelvefoldError(
                f"{num_missing} of {len(names)} blocks in {records.folder} are not finished, and no other rank works "
                "on them"
            )
        time.sleep(0.2)


def _finish_stores(
    out: Path,
    categories: tuple[str, ...],
    settings: Mapping[str, Any],
    names: Sequence[str],
    unreadable: Mapping[str, str],
) -> None:
    """Write the stores' manifests and the list of unreadable images, unless nothing has changed; then remove the files
    of blocks that are no longer used."""
    shards, info = [_shard_name(name) for name in names], {**settings, "unreadable": dict(unreadable)}
    folders = [out / name for name in STORES]
    write_json(out / "unreadable.json", unreadable)
    for folder in folders:
        folder.mkdir(exist_ok=True)
        manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).exists() else None
        if manifest is None or ([each["file"] for each in manifest["shards"]], manifest["info"]) != (shards, info):
            finish_store(folder, shards, info=info, categories=categories)
    remove_unplanned([*folders, out / "blocks"], names)


def _summarize(
    job: ExtractJob, listed: ImageList, num_processed: int, seconds: float, *, is_main: bool
) -> ExtractSummary:
    """Return the summary; ranks other than 0 do not read the stores."""
    folders = [job.out / name for name in STORES]
    summary = ExtractSummary(
        detected=folders[0],
        given=folders[1],
        skipped=listed.skipped,
        other_sizes=listed.other_sizes,
        num_scaled=listed.num_scaled,
        num_processed=num_processed,
        seconds=seconds,
        dtype=job.dtype,
    )
    if not is_main:
        return summary
    detected, at_boxes = map(RegionStore.open, folders)
    return msgspec.structs.replace(
        summary,
        num_images=len(detected),
        num_regions=detected.num_regions,
        num_given_regions=at_boxes.num_regions,
        unreadable=detected.info["unreadable"],
    )


def _shard_name(block: str) -> str:
    return f"{block}.regions"
