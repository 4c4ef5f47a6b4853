"""Measure an audit by id in a new process: ten sets over 263,147 images, as many as the sources have.

    python -m benchmarks.audit OUT

Writes id lists (NumPy) and a collections file to OUT, runs ``twelvefold audit`` on them, and prints seconds, processor
seconds and peak memory. COCO has 123,287 images, Visual Genome 108,077, of which 51,208 are COCO's, Flickr30k 31,783. A
twentieth of each set is for testing, as many are for validation, and a tenth of the test images are in train too.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SIZES = {"coco": 123_287, "vg": 108_077, "flickr30k": 31_783}
NUM_SHARED = 51_208
SETS = {"coco": ("vqav2", "coco", "refcoco", "refcocog", "guesswhat"), "vg": ("vgqa", "gqa", "visual7w")} | {
    "flickr30k": ("flickr30k", "snli_ve")
}


def write_sets(out: Path) -> None:
    rng, sections = np.random.default_rng(0), []
    ids = {source: 1 + rng.choice(20 * size, size, replace=False) for source, size in SIZES.items()}
    for source, names in SETS.items():
        for name in names:
            shuffled = rng.permutation(ids[source])
            fold = len(shuffled) // 20
            splits = {"test": shuffled[:fold], "val": shuffled[fold : 2 * fold], "train": shuffled[2 * fold :]}
            splits["train"] = np.concatenate([splits["train"], shuffled[: fold // 10]])
            sections.append(f'[[collection]]\nname = "{name}"\nsource = "{source}"')
            for split, split_ids in splits.items():
                np.save(out / f"{name}-{split}.npy", split_ids)
                sections.append(f'{split} = "{name}-{split}.npy"')
    pairs = zip(ids["vg"][:NUM_SHARED].tolist(), ids["coco"][:NUM_SHARED].tolist(), strict=True)
    (out / "map.csv").write_text("vg,coco\n" + "".join(f"{vg},{coco}\n" for vg, coco in pairs))
    sections.append('[[map]]\nfile = "map.csv"\ncolumns = ["vg", "coco"]\nsources = ["vg", "coco"]')
    (out / "sets.toml").write_text("\n".join(sections))


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    write_sets(out)
    started = time.monotonic()
    command = [sys.executable, "-m", "twelvefold", "audit", "--collections", str(out / "sets.toml"), "--json"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # noqa: S603 - our own program
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{time.monotonic() - started:.1f} s, {usage.ru_utime + usage.ru_stime:.1f} s of processor time, ", end="")
    print(f"{usage.ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
