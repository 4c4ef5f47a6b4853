"""How fast features are imported, beside a plain copy of the same file on the same disk.

    python experiments/import_speed.py --records 1000

Writes a synthetic LMDB and a table of as many pictures as asked for (100 regions of 2,048 numbers each, 0.8 MB),
copies each with ``cp`` (and flushes it), imports it, and takes all of it away again. The kernel is told to forget a
file before it is read, so that the disk is read and not memory. Prints megabytes read and written per second, and the
processor seconds that a gigabyte takes: on a machine that does other things only those say much.
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

from twelvefold.features.import_features import import_features

REGIONS, WIDTH = 100, 2048


def main() -> None:
    """Measure both formats and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=None, help="where to write; needs 2 MB a record")
    asked = parser.parse_args()
    for kind, write in (("lmdb", write_lmdb), ("tsv", write_table)):
        folder = Path(tempfile.mkdtemp(dir=asked.folder))
        try:
            measure(kind, write(folder, asked.records), folder)
        finally:
            shutil.rmtree(folder)


def measure(kind: str, path: Path, folder: Path) -> None:
    """One format: copy, then import."""
    file = path / "data.mdb" if path.is_dir() else path
    size = file.stat().st_size / 1e6
    forget(file)
    began = time.perf_counter()
    subprocess.run(["cp", file, folder / "copy"], check=True)  # noqa: S603, S607 - what to compare with
    flush(folder / "copy")
    copied = time.perf_counter() - began
    (folder / "copy").unlink()
    forget(file)
    began, worked = time.perf_counter(), time.process_time()
    done = import_features(path, folder / "out", source="coco")
    took, worked = time.perf_counter() - began, time.process_time() - worked
    written = done.bytes_written / 1e6
    print(
        f"{kind}: {done.pictures} pictures, {size:.0f} MB; cp {size / copied:.0f} MB/s; import reads {size / took:.0f} "
        f"and writes {written / took:.0f} MB/s, {done.pictures / took:.0f} pictures/s; {worked / took:.0%} of a core, "
        f"{1000 * worked / size:.1f} s of processor time for a GB read; load {os.getloadavg()[0]:.0f} on "
        f"{os.cpu_count()} cores"
    )


def forget(file: Path) -> None:
    """Have the kernel drop a file from its cache."""
    flush(file)
    with file.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def flush(file: Path) -> None:
    """Have the disk hold a file."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def write_lmdb(folder: Path, count: int) -> Path:
    """As the original project writes it."""
    path, rng = folder / "some.lmdb", np.random.default_rng(0)
    with lmdb.open(str(path), map_size=1 << 40) as env, env.begin(write=True) as txn:
        for n in range(count):
            boxes, features = arrays(rng)
            sizes = {"image_id": str(n), "image_h": 480, "image_w": 640, "num_boxes": REGIONS}
            txn.put(str(n).encode(), pickle.dumps({**sizes, "boxes": boxes, "features": features}, protocol=3))
    return path


def write_table(folder: Path, count: int) -> Path:
    """As bottom-up attention writes it."""
    path, rng = folder / "some.tsv", np.random.default_rng(0)
    with path.open("wb") as file:
        for n in range(count):
            texts = [base64.b64encode(part.tobytes()) for part in arrays(rng)]
            file.write(b"\t".join([str(n).encode(), b"640", b"480", str(REGIONS).encode(), *texts]) + b"\n")
    return path


def arrays(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and features of one picture."""
    low = rng.uniform(0, 400, (REGIONS, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 80, (REGIONS, 2))], axis=1).astype(np.float32)
    return boxes, rng.random((REGIONS, WIDTH), dtype=np.float32)


if __name__ == "__main__":
    main()
