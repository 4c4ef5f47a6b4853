"""``twelvefold extract``: look at every picture of a folder once and keep what the detector saw.

Two stores come out: ``detected/`` (regions found, best first) and ``given/`` (features of the candidate boxes that
Visual7W, GuessWhat ... bring along, in their order). Paper: section 3, image regions; section 4.1 for given boxes.

Pictures are cut into blocks by their place in the sorted list, never by who is free: a block is a batch plan of its own
and one shard on disk, so any process may do it, an interrupted extraction goes on where it was, and the bytes come out
the same. Files of the same content under several keys (a photograph in COCO and in Visual Genome) are looked at once.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from twelvefold.datasets.reading.records import BadRecords
from twelvefold.detectors.interface import RegionDetector
from twelvefold.detectors.load import WORLD, load_detector
from twelvefold.detectors.world_detector.detector import MAX_REGIONS, ComputeDtype, fastest_cpu_dtype
from twelvefold.detectors.x152.detector import MAX_REGIONS as X152_MAX_REGIONS
from twelvefold.detectors.x152.detector import Fc6
from twelvefold.device import select_device
from twelvefold.features.image_list import Shot, Tasks, all_boxes, parts, plan
from twelvefold.images import PILLOW_ERRORS, RGB, ImageError, open_image
from twelvefold.progress import ProgressBar, progress_bar
from twelvefold.schema import Regions, TwelvefoldError
from twelvefold.store.atomic_files import digest_value, lock_folder, read_json, remove_leftovers, write_json
from twelvefold.store.region_store import MANIFEST, RegionStore, ShardWriter, finish_store, read_shard_header
from twelvefold.store.worker_pool import create_pool

BLOCK = 256
"""Pictures in a block: two to ten seconds of work, what a kill costs at most."""
PATIENCE_SECONDS = 1800.0
"""How long rank 0 waits for another rank to finish its next block."""
STORES = ("detected", "given")


@dataclass(frozen=True, slots=True)
class ExtractSummary:
    """What an extraction did. ``pictures`` and regions count what the stores hold; ``seconds`` and
    ``pictures_per_second`` are of this call, ``looked_at`` its pictures; ``unreadable``: key -> reason."""

    detected: Path
    given: Path
    pictures: int
    regions: int
    given_regions: int
    unreadable: Mapping[str, str]
    looked_at: int
    seconds: float
    arithmetic: str

    @property
    def pictures_per_second(self) -> float:
        return self.looked_at / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What every process needs to know, and what regions depend on. ``max_regions``: None takes the detector's own."""

    root: Path
    out: Path
    weights: Path | None
    max_regions: int | None
    arithmetic: ComputeDtype
    digest: str = ""
    name: str = WORLD
    min_regions: int | None = None
    confidence: float | None = None
    fc6: Fc6 | None = None
    device: str = "cpu"

    def detector(self) -> RegionDetector:
        """The detector, the same in every process.

        Raises: TwelvefoldError where the weight file is no longer the one that the extraction began with.
        """
        loaded = load_detector(
            self.name,
            self.weights,
            max_regions=self.max_regions,
            min_regions=self.min_regions,
            confidence=self.confidence,
            fc6=self.fc6,
            dtype=self.arithmetic,
            device=torch.device(self.device),
        )
        if self.digest not in ("", loaded.digest):
            raise TwelvefoldError("the detector's weight file was exchanged during the extraction; call it again")
        return loaded


def extract(
    images: Path,
    out: Path,
    *,
    processes: int = 2,
    detector: str = WORLD,
    weights: Path | None = None,
    tasks: Tasks | None = None,
    boxes: Path | None = None,
    max_regions: int | None = None,
    min_regions: int | None = None,
    confidence: float | None = None,
    fc6: Fc6 | None = None,
    device: Literal["auto", "cpu", "cuda"] = "cpu",
    resume: bool = True,
    skip_bad: bool = False,
) -> ExtractSummary:
    """Look at every picture of ``images`` and leave the stores ``detected`` and ``given`` in ``out``.

    ``images``: a data folder, or a plain folder of photographs. ``detector``, ``weights``: one of
    ``detectors.load.NAMES`` and its weight file; None takes the package's. ``tasks``: whose given boxes are kept
    (None: all), with the options of their readers. ``boxes``: a JSON file of boxes to be asked about instead
    (:func:`twelvefold.features.image_list.boxes_of_file`). ``min_regions``, ``confidence``, ``fc6``: options of the
    paper's detector.
    ``device``: under torchrun each rank has a GPU of its own; regions of a GPU differ from a CPU's in the last digits.
    ``skip_bad`` passes over malformed records of theirs. An interrupted call goes on when repeated; ``resume=False``
    begins anew. Under ``torchrun`` every rank takes its share of the blocks and rank 0 finishes. Unreadable pictures
    are left out and listed, with the reason, in ``unreadable.json`` and in the stores' ``info``.

    Raises: TwelvefoldError where there are no pictures, or ``out`` holds regions of other pictures or settings.
    """
    if processes < 1:
        raise TwelvefoldError(f"extraction needs at least one process, got processes={processes}")
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    where = select_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    arithmetic: ComputeDtype = fastest_cpu_dtype() if detector == WORLD and where.type == "cpu" else "float32"
    setting = Setting(
        Path(images),
        Path(out),
        weights,
        max_regions,
        arithmetic,
        name=detector,
        min_regions=min_regions,
        confidence=confidence,
        fc6=fc6,
        device=str(where),
    )
    ready = setting.detector()
    setting = replace(setting, digest=ready.digest)
    began = time.monotonic()
    shots = plan(setting.root, tasks, BadRecords(skip=skip_bad), boxes)
    blocks = [shots[i : i + BLOCK] for i in range(0, len(shots), BLOCK)]
    with lock_folder(setting.out) if rank == 0 else nullcontext():
        about = _about(setting, ready, shots)
        _settle(setting.out, about, first=rank == 0, resume=resume, ranks=ranks)
        todo = [n for n in range(rank, len(blocks), ranks) if not _mark(setting.out, n).exists()]
        _work(setting, ready, blocks, todo, processes)
        looked_at = sum(len(blocks[n]) for n in todo)
        if rank == 0:
            _wait_for_others(setting.out, len(blocks))
            return _finish(setting, ready.categories, about, len(blocks), looked_at, began)
    took = time.monotonic() - began
    return ExtractSummary(
        setting.out / "detected", setting.out / "given", 0, 0, 0, {}, looked_at, took, about["arithmetic"]
    )


def _about(setting: Setting, ready: RegionDetector, shots: Sequence[Shot]) -> dict[str, Any]:
    """What the regions depend on: kept in the stores, and compared before an extraction goes on."""
    pictures = [[shot.digest, *(str(key) for key in shot.keys)] for shot in shots]
    boxes = [[None if b is None else b.tolist() for b in shot.asked] for shot in shots]
    default = MAX_REGIONS if setting.name == WORLD else X152_MAX_REGIONS
    said = {  # what is not as it always was: stores of before stay the same
        "detector_name": None if setting.name == WORLD else setting.name,
        "min_regions": setting.min_regions,
        "confidence": setting.confidence,
        "fc6": setting.fc6,
        "device": None if setting.device == "cpu" else torch.device(setting.device).type,
    }
    return {
        **{name: value for name, value in said.items() if value is not None},
        "detector": setting.digest,
        "arithmetic": setting.arithmetic,
        "max_regions": default if setting.max_regions is None else setting.max_regions,
        "batch": ready.batch_size,
        "block": BLOCK,
        "pictures": digest_value(pictures),
        "given_boxes": digest_value(boxes),
        "versions": {name: version(name) for name in ("torch", "torchvision", "pillow", "numpy")},
    }


def _settle(out: Path, about: Mapping[str, Any], *, first: bool, resume: bool, ranks: int) -> None:
    """See to it that ``out`` holds parts of this very extraction or nothing.

    Raises: TwelvefoldError where it holds another one.
    """
    path = out / "extract.json"
    if not resume:
        if ranks > 1:
            raise TwelvefoldError("under torchrun an extraction can't begin anew: remove the folder first")
        for name in (*STORES, "blocks"):
            shutil.rmtree(out / name, ignore_errors=True)
        path.unlink(missing_ok=True)
    if first and not path.exists():
        write_json(path, about)
    deadline = time.monotonic() + 60.0
    while not path.exists() and time.monotonic() < deadline:  # rank 0 writes it
        time.sleep(0.2)
    before = read_json(path)
    changed = [name for name in {**about, **before} if before.get(name) != about.get(name)]
    if changed:
        raise TwelvefoldError(
            f"{out} holds regions of another extraction, which differs in: {', '.join(changed)}; "
            "begin anew (resume=False, --no-resume) or choose another folder"
        )
    if first:
        for folder in (out, *(out / name for name in (*STORES, "blocks"))):
            remove_leftovers(folder)


def _work(
    setting: Setting, ready: RegionDetector, blocks: Sequence[Sequence[Shot]], todo: Sequence[int], processes: int
) -> None:
    """Do the blocks of ``todo``, in this process or in several."""
    with progress_bar(description="pictures looked at", total=sum(len(blocks[n]) for n in todo)) as bar:
        if processes == 1 or len(todo) < 2:
            with _one_thread():
                for number in todo:
                    extract_block(setting, ready, number, blocks[number])
                    bar.advance(len(blocks[number]))
        else:
            _work_in_pool(setting, blocks, todo, min(processes, len(todo)), bar)


def _work_in_pool(
    setting: Setting, blocks: Sequence[Sequence[Shot]], todo: Sequence[int], processes: int, bar: ProgressBar
) -> None:
    """Several processes, each with a detector of its own.

    Raises: TwelvefoldError where one of them was killed.
    """
    workers = create_pool(processes, _begin, setting)
    try:
        tasks = {workers.submit(_block_of_mine, number, blocks[number]): number for number in todo}
        for task in as_completed(tasks):
            task.result()
            bar.advance(len(blocks[tasks[task]]))
    except BrokenProcessPool as error:
        raise TwelvefoldError(
            "a process that looked at pictures was killed (too little memory?); finished blocks are kept: "
            "the same call goes on from them, with fewer processes if need be"
        ) from error
    finally:
        workers.shutdown(cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread: pictures are shared out among processes, and threads would get in each other's way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_mine: tuple[Setting, RegionDetector] | None = None
"""Setting and detector of a worker process, made once when it begins."""


def _begin(setting: Setting) -> None:
    global _mine
    torch.set_num_threads(1)
    _mine = (setting, setting.detector())


def _block_of_mine(number: int, shots: Sequence[Shot]) -> None:
    if _mine is None:
        raise RuntimeError("a worker process works before it has begun")
    extract_block(*_mine, number, shots)


def extract_block(setting: Setting, detector: RegionDetector, number: int, shots: Sequence[Shot]) -> None:
    """Look at the pictures of one block and write its two shards, then the mark that says it is done."""
    unreadable: dict[str, str] = {}
    seen: dict[int, tuple[Regions, Regions]] = {}
    for batch in _batches(shots, detector):
        readable: list[tuple[int, RGB]] = []
        for i in batch:
            try:
                readable.append((i, open_image(shots[i].path)))
            except ImageError as error:
                reason = str(error).replace(f"{setting.root}{os.sep}", "")
                unreadable.update({str(key): reason for key in shots[i].keys})
        if readable:
            asked = [all_boxes(shots[i]) for i, _ in readable]
            answers = detector.extract_regions([picture for _, picture in readable], asked)
            seen.update({i: pair for (i, _), pair in zip(readable, answers, strict=True)})
    kinds = len(detector.categories)
    writers = [
        ShardWriter(setting.out / store / _shard(number), feature_size=detector.feature_size, num_categories=kinds)
        for store in STORES
    ]
    with writers[0] as found, writers[1] as given:
        for i in sorted(seen):
            for key, part in zip(shots[i].keys, parts(shots[i], seen[i][1]), strict=True):
                found.add(key, seen[i][0])
                if part is not None:
                    given.add(key, part)
    write_json(_mark(setting.out, number), {"unreadable": dict(sorted(unreadable.items()))})


def _batches(shots: Sequence[Shot], detector: RegionDetector) -> Iterator[list[int]]:
    """Places of pictures that share a working size, a pass at a time: a function of the block's files alone."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for i, shot in enumerate(shots):
        by_size.setdefault(_size_on_disk(shot.path, detector), []).append(i)
    for _, places in sorted(by_size.items()):
        for start in range(0, len(places), detector.batch_size):
            yield places[start : start + detector.batch_size]


def _size_on_disk(path: Path, detector: RegionDetector) -> tuple[int, int]:
    """The working size that the file's header promises; (0, 0) where it can't be read, to be found out later."""
    try:
        with Image.open(path) as picture:
            return detector.input_size(*picture.size)
    except (*PILLOW_ERRORS, Image.DecompressionBombError):
        return (0, 0)


def _wait_for_others(out: Path, blocks: int) -> None:
    """Go on when every block is there.

    Raises: TwelvefoldError where none is added for half an hour.
    """
    missing, since = blocks, time.monotonic()
    while missing:
        left = sum(not _mark(out, number).exists() for number in range(blocks))
        if left < missing:
            missing, since = left, time.monotonic()
        elif time.monotonic() - since > PATIENCE_SECONDS:
            raise TwelvefoldError(f"{left} of {blocks} blocks in {out} are not done, and no other rank works on them")
        else:
            time.sleep(0.2)


def _finish(
    setting: Setting, kinds: tuple[str, ...], about: dict[str, Any], blocks: int, looked_at: int, began: float
) -> ExtractSummary:
    """Write the stores' manifests and the list of unreadable pictures."""
    unreadable: dict[str, str] = {}
    for number in range(blocks):
        unreadable.update(read_json(_mark(setting.out, number))["unreadable"])
    shards = [_shard(number) for number in range(blocks)]
    info = {**about, "unreadable": unreadable}
    folders = [setting.out / name for name in STORES]
    if looked_at or not all((folder / MANIFEST).exists() for folder in folders):
        write_json(setting.out / "unreadable.json", unreadable)
        for folder in folders:
            finish_store(folder, shards, info=info, categories=kinds)
    stores = [RegionStore.open(folder) for folder in folders]
    regions = [sum(read_shard_header(store.folder / shard).num_regions for shard in shards) for store in stores]
    return ExtractSummary(
        detected=setting.out / "detected",
        given=setting.out / "given",
        pictures=len(stores[0]),
        regions=regions[0],
        given_regions=regions[1],
        unreadable=unreadable,
        looked_at=looked_at,
        seconds=time.monotonic() - began,
        arithmetic=about["arithmetic"],
    )


def _shard(number: int) -> str:
    return f"{number:06d}.regions"


def _mark(out: Path, number: int) -> Path:
    return out / "blocks" / f"{number:06d}.json"
