"""Time reading region features: from the page cache to the float32 rows of a batch.

    python -m benchmarks.feature_reading                 # 100 regions of 2,048 numbers: a minute, 0.4 GB of disk
    python -m benchmarks.feature_reading --size small    # 256 numbers

The plain reference reads pickled records from LMDB and pads them, as the original does; the package reads a region
store. Both hold the same float16 numbers, which the reference stores as float32. Images have 100 regions, or 38 on
average. Cases: into new memory (as without worker processes) and into memory that is used again (as in a worker); and
whole batches from a worker process, against ``DataLoader``'s own way of sending them, in processor
time of both processes. The floor is the time in which the stored bytes are read once and the rows are written once.
"""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from benchmarks.plain_programs import FeatureReader
from benchmarks.side_by_side import Phase, Report, Work, argument_parser
from benchmarks.workload import MAX_REGIONS, draw_lengths, random_regions, task_spec
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from twelvefold.batch import Batch
from twelvefold.data.collate import make_batch
from twelvefold.data.prefetch import BatchLoader
from twelvefold.data.region_inputs import RegionRows, RegionSource, empty_features, features_in, fill_features
from twelvefold.schema import ImageKey, Pair
from twelvefold.store.region_store import RegionStore, ShardWriter, finish_store

TASK, NUM_IMAGES, BLOCK, BATCH, STEPS = "vqav2", 192, 64, 64, 8
FEATURE_SIZES = {"published": 2048, "small": 256}
ROWS = MAX_REGIONS + 1
LENGTHS = {"full": "100 regions", "real": "38 regions on average"}


def write_images(folder: Path, counts: Sequence[int], feature_size: int) -> None:
    """Write the same random regions as an LMDB file of the original's records and as a region store."""
    rng, names = np.random.default_rng(0), []
    environment = lmdb.open(str(folder / "lmdb"), map_size=1 << 33)
    with environment.begin(write=True) as transaction:
        for start in range(0, len(counts), BLOCK):
            names.append(f"{start:06d}.regions")
            with ShardWriter(folder / "store" / names[-1], feature_size=feature_size) as shard:
                for image in range(start, min(start + BLOCK, len(counts))):
                    regions = random_regions(counts[image], feature_size, rng)
                    shard.add(ImageKey("coco", str(image)), regions)
                    record: dict[str, Any] = {"image_id": str(image), "image_w": 640, "image_h": 480}
                    record |= {"features": regions.features.astype(np.float32), "boxes": regions.boxes_px}
                    transaction.put(str(image).encode(), pickle.dumps(record))
        transaction.put(b"keys", pickle.dumps([str(image).encode() for image in range(len(counts))]))
    environment.close()
    finish_store(folder / "store", names, info={})


class Reader:
    """Reads batches of 64 images, in another random order at every call."""

    def __init__(self, folder: Path, feature_size: int) -> None:
        self.reference = FeatureReader(folder / "lmdb")
        self.source = RegionSource(RegionStore.open(folder / "store"))
        self.feature_size = feature_size
        self.memory = np.zeros(BATCH * ROWS * feature_size * 4, dtype=np.uint8)
        self._rng = np.random.default_rng(1)

    def draw_images(self) -> list[int]:
        return [int(image) for image in self._rng.permutation(NUM_IMAGES)[:BATCH]]

    def read_reference(self) -> Tensor:
        """Return (P, R, D) float32, padded."""
        features, _, _ = self.reference.batch([str(image) for image in self.draw_images()], ROWS)
        return features

    def rows(self, images: Sequence[int]) -> list[RegionRows]:
        return [self.source.rows(Pair(ImageKey("coco", str(image)), ""), ROWS) for image in images]

    def read(self) -> Tensor:
        """Return (N, D) float32, in new memory."""
        rows = self.rows(self.draw_images())
        features = empty_features(sum(map(len, rows)), self.feature_size)
        fill_features(rows, features)
        return features

    def read_again(self) -> Tensor:
        """Return (N, D) float32, in the same memory at every call."""
        with features_in(self.memory):
            return self.read()

    def make_step(self, half: bool, task: str, step: int) -> list[Batch]:
        """Return a batch of 64 questions of nine words, as a loader's process makes it."""
        images = np.random.default_rng(step).permutation(NUM_IMAGES)[:BATCH].tolist()
        ids, words = [str(image) for image in images], [[5] * 9] * BATCH
        return [make_batch(task_spec(task), ids, words, self.rows(images), self.feature_size, half=half)]

    def check(self) -> float:
        """Return the largest difference between what both read; stop if it is more than the rounding of a mean."""
        images = list(range(BATCH))
        padded, _, mask = self.reference.batch([str(image) for image in images], ROWS)
        rows = self.rows(images)
        features = empty_features(sum(map(len, rows)), self.feature_size)
        fill_features(rows, features)
        difference = float((padded[mask.bool()] - features).abs().max())
        if difference > 1e-6:
            raise SystemExit(f"the features differ by {difference:.2g}: the times would be those of different work")
        return difference


class Steps(Dataset[list[Batch]]):
    """Batches by number, which ``DataLoader`` sends in its own way: each array as a shared file."""

    def __init__(self, make_step: Callable[[str, int], list[Batch]]) -> None:
        self.make_step = make_step

    def __getitem__(self, step: int) -> list[Batch]:
        return self.make_step(TASK, step)


def receive(batches: Iterator[list[Batch]]) -> None:
    """Take some batches and read a number of every page, as a trainer that uses them."""
    for batch in (batch for step in islice(batches, STEPS) for batch in step):
        batch.features.view(-1)[::1024].sum()


def processor_seconds(process: int) -> float:
    """Return the processor time of all threads of another process."""
    threads = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def time_processes(report: Report, case: str, reader: Reader, phases: tuple[Phase, ...]) -> None:
    """Measure a worker process and the trainer that uses its batches: the processor time of both."""
    full, half = (partial(reader.make_step, half) for half in (False, True))
    sources: dict[str, Callable[[], Iterator[list[Batch]]]] = {
        "DataLoader": lambda: iter(DataLoader(Steps(full), batch_size=None, sampler=count(), num_workers=1)),
        "BatchLoader": lambda: BatchLoader(full, {TASK: 0}, lambda _: cycle([TASK]), 1).iterate(TASK),
        "BatchLoader, float16 for a GPU": lambda: BatchLoader(half, {TASK: 0}, lambda _: cycle([TASK]), 1).iterate(
            TASK
        ),
    }
    batches, workers = {}, {}
    for name, start in sources.items():
        earlier = {child.pid for child in multiprocessing.active_children()}
        batches[name] = start()
        receive(batches[name])
        workers[name] = next(c.pid for c in multiprocessing.active_children() if c.pid not in earlier) or 0
    seconds: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(report.rounds):
        for name, worker in workers.items():
            before = processor_seconds(worker) + time.process_time()
            receive(batches[name])
            seconds[name].append(processor_seconds(worker) + time.process_time() - before)
    report.add_measured(case, [Work(name, lambda: None, STEPS * BATCH, phases) for name in sources], seconds)


def main() -> None:
    arguments = argument_parser(__doc__, rounds=15).parse_args()
    report, feature_size = Report("feature_reading", arguments, unit="image"), FEATURE_SIZES[arguments.size]
    for lengths, name in LENGTHS.items():
        counts = [regions for _, regions in draw_lengths(lengths, NUM_IMAGES, 16, np.random.default_rng(0))]
        with tempfile.TemporaryDirectory() as folder:
            write_images(Path(folder), counts, feature_size)
            reader = Reader(Path(folder), feature_size)
            report.largest_difference = max(report.largest_difference, reader.check())
            numbers = float(np.mean(counts)) * BATCH * feature_size
            padded = float(BATCH * ROWS * feature_size)
            phases, plain = (Phase(bytes_moved=(2 + 4) * numbers),), (Phase(bytes_moved=4 * (numbers + padded)),)
            report.add(
                name,
                [
                    Work("plain reference", reader.read_reference, BATCH, plain),
                    Work("twelvefold, new memory", reader.read, BATCH, phases),
                    Work("twelvefold, memory used again", reader.read_again, BATCH, phases),
                ],
            )
            stored = 2 * numbers / BATCH / 1e6
            step = (Phase(bytes_moved=STEPS * 6 * numbers),)
            time_processes(report, f"{name}, through a worker process ({stored:.2f} MB stored)", reader, step)
    report.write()


if __name__ == "__main__":
    main()
