"""Measure how fast features are imported, compared with a plain copy of the same file on the same disk.

    python experiments/import_speed.py --records 1000

Writes a synthetic LMDB and a table of 1,000 images (100 regions of 2,048 numbers each, 0.8 MB), copies each with ``cp``
and flushes it, imports it, and removes everything. The page cache is dropped before a file is read, so that the disk is
measured and not memory. Prints megabytes read and written per second, and processor seconds per gigabyte, which are the
meaningful figure on a busy machine.
"""

from __future__ import annotations

import argparse
import base64
import os
import pickle
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import lmdb
import numpy as np

from twelvefold.config.extract import ImportConfig
from twelvefold.features.import_features import import_features

NUM_REGIONS, FEATURE_SIZE = 100, 2048


def main() -> None:
    """Measure both formats and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=None, help="where to write; needs 2 MB per record")
    args = parser.parse_args()
    for format_name, write in (("lmdb", write_lmdb), ("tsv", write_table)):
        folder = Path(tempfile.mkdtemp(dir=args.folder))
        try:
            measure(format_name, write(folder, args.records), folder)
        finally:
            shutil.rmtree(folder)


def measure(format_name: str, path: Path, folder: Path) -> None:
    """Copy and import a file, and print the speeds."""
    file = path / "data.mdb" if path.is_dir() else path
    megabytes = file.stat().st_size / 1e6
    drop_from_cache(file)
    start = time.perf_counter()
    subprocess.run(["cp", file, folder / "copy"], check=True)  # noqa: S603, S607 - what to compare with
    flush(folder / "copy")
    copy_seconds = time.perf_counter() - start
    (folder / "copy").unlink()
    drop_from_cache(file)
    start, cpu_start = time.perf_counter(), time.process_time()
    summary = import_features(path, folder / "out", ImportConfig(source="coco"))
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    written = summary.bytes_written / 1e6
    print(
        f"{format_name}: {summary.num_images} images, {megabytes:.0f} MB; cp {megabytes / copy_seconds:.0f} MB/s; "
        f"import reads {megabytes / seconds:.0f} and writes {written / seconds:.0f} MB/s, "
        f"{summary.num_images / seconds:.0f} images/s; {cpu_seconds / seconds:.0%} of a core, "
        f"{1000 * cpu_seconds / megabytes:.1f} processor seconds per GB read; load {os.getloadavg()[0]:.0f} on "
        f"{os.cpu_count()} cores"
    )


def drop_from_cache(file: Path) -> None:
    """Remove a file from the kernel's page cache."""
    flush(file)
    with file.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def flush(file: Path) -> None:
    """Flush a file to the disk."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def write_lmdb(folder: Path, num_records: int) -> Path:
    """Write an LMDB like the original project's."""
    path, rng = folder / "some.lmdb", np.random.default_rng(0)
    with lmdb.open(str(path), map_size=1 << 40) as env, env.begin(write=True) as txn:
        for n in range(num_records):
            boxes, features = random_regions(rng)
            sizes = {"image_id": str(n), "image_h": 480, "image_w": 640, "num_boxes": NUM_REGIONS}
            txn.put(str(n).encode(), pickle.dumps({**sizes, "boxes": boxes, "features": features}, protocol=3))
    return path


def write_table(folder: Path, num_records: int) -> Path:
    """Write a table like bottom-up attention's."""
    path, rng = folder / "some.tsv", np.random.default_rng(0)
    with path.open("wb") as file:
        for n in range(num_records):
            texts = [base64.b64encode(array.tobytes()) for array in random_regions(rng)]
            file.write(b"\t".join([str(n).encode(), b"640", b"480", str(NUM_REGIONS).encode(), *texts]) + b"\n")
    return path


def random_regions(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes and features of one image."""
    low = rng.uniform(0, 400, (NUM_REGIONS, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 80, (NUM_REGIONS, 2))], axis=1).astype(np.float32)
    return boxes, rng.random((NUM_REGIONS, FEATURE_SIZE), dtype=np.float32)


if __name__ == "__main__":
    main()
