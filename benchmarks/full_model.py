"""All that the paper did, at its sizes, by the commands that a user would type, on a hundred pictures.

    python -m benchmarks.full_model FOLDER

Six tasks, one for each head. A world's pictures get regions of 2,048 random numbers and 1,601 random probabilities,
written as the original project writes them (LMDB), so that every file has its true shape; updates are few and batches
small. What is learnt means nothing. Each command is shown with its seconds by the clock and of the processor, and the
most memory that it held. FOLDER is left behind (some 13 GB).
"""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import lmdb
import numpy as np

from twelvefold.store.region_store import RegionStore

FEATURES, KINDS = 2048, 1601
TWELVEFOLD = [sys.executable, "-m", "twelvefold"]

SMALL = """
[training]
iterations = 1
validation_examples = 2
num_workers = 0

[every_task]
batch_size = 2
max_examples = 12

[evaluation]
max_examples = 48
retrieval_pool = 8
batch_size = 4
bootstrap_samples = 10
"""
PRETRAINING = f"""extends = "paper/pretraining"
name = "pretraining-small"
tasks = ["coco"]

[pretraining]
retrieval_pool = 8
{SMALL}"""
TASKS = ("vqav2", "gqa", "flickr30k", "refcoco", "nlvr2", "snli_ve")
"""One for each of the six heads."""
MULTI_TASK = f"""extends = "paper/multi_task"
name = "multi-task-small"
tasks = {list(TASKS)}

[data]
min_count = 1
{SMALL}""" + "".join(f"[per_task.{name}]\nbatch_size = 2\n" for name in TASKS)


def command(words: list[str]) -> None:
    """Run one command and print what it took; stop where it fails."""
    started = time.monotonic()
    process = subprocess.Popen([*TWELVEFOLD, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603 - this program
    said = process.stdout.read() if process.stdout else ""
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"twelvefold {' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}:\n{said}")
    told = " ".join(Path(word).name if os.sep in word else word for word in words)
    busy, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    print(f"| `{told}` | {time.monotonic() - started:.0f} s | {busy:.0f} s | {memory:.1f} GB |", flush=True)


def features(small: Path, out: Path, kind: str) -> dict[str, Path]:
    """Official LMDBs by source: the boxes that the package's detector found, with features of the paper's sizes."""
    rng, store, environments = np.random.default_rng(0), RegionStore.open(small / kind), {}
    records: dict[str, dict[str, bytes]] = {}
    for key in store.keys():  # noqa: SIM118 - no dictionary
        seen = store[key]
        count = len(seen.boxes_px)
        probabilities = rng.random((count, KINDS), dtype=np.float32)
        record = {
            "image_id": key.id,
            "image_h": seen.height,
            "image_w": seen.width,
            "num_boxes": count,
            "boxes": seen.boxes_px,
            "features": rng.random((count, FEATURES), dtype=np.float32),
            "cls_prob": probabilities / probabilities.sum(axis=1, keepdims=True),
        }
        records.setdefault(key.source, {})[key.id] = pickle.dumps(record, protocol=3)
    for source, own in records.items():
        folder = environments[source] = out / f"{source}-{kind}.lmdb"
        with lmdb.open(str(folder), map_size=1 << 34) as environment, environment.begin(write=True) as transaction:
            for name, value in own.items():
                transaction.put(name.encode(), value)
            transaction.put(b"keys", pickle.dumps([name.encode() for name in own]))
    return environments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    root: Path = parser.parse_args().folder.resolve()
    root.mkdir(parents=True)
    at = {name: str(root / name) for name in ("world", "small", "regions", "prepared", "captions", "runs", "back")}
    (root / "pretraining.toml").write_text(PRETRAINING)
    (root / "multi_task.toml").write_text(MULTI_TASK)
    command(["world", at["world"], "--images", "100"])
    command(["extract", at["world"], at["small"]])
    for kind in ("detected", "given"):
        for source, file in features(root / "small", root, kind).items():
            given = ["--given"] if kind == "given" else []
            command(["features", "import", str(file), at["regions"], "--source", source, "--class-probs", *given])
    pretrained, together, alone = (str(root / "runs" / name) for name in ("pretrained", "multi_task", "nlvr2"))
    recipes = str(root / "pretraining.toml"), str(root / "multi_task.toml")
    command(["prepare", at["world"], at["regions"], at["captions"], "--recipe", recipes[0]])
    command(["prepare", at["world"], at["regions"], at["prepared"], "--recipe", recipes[1]])
    captions = ["--prepared", at["captions"], "--regions", at["regions"]]
    twelve = ["--prepared", at["prepared"], "--regions", at["regions"]]
    command(["pretrain", recipes[0], pretrained, *captions])
    command(["train", recipes[1], together, "--initial", pretrained, *twelve])
    command(["evaluate", together, *twelve])
    command(["submit", together, "--task", "nlvr2", "--data", at["world"], "--out", str(root / "nlvr2.csv")])
    command(["finetune", together, "nlvr2", alone, "--epochs", "1", *twelve])
    official = str(root / "multi_task_model.bin")
    command(["weights", "export", alone, official])  # the official SNLI-VE head has another form than the paper's
    command(["weights", "import", official, "--out", at["back"], "--pad-answers"])
    command(["weights", "export", at["back"], str(root / "again.bin")])
    command(["weights", "export", together, "--hub", str(root / "hub"), "--name", "me/published"])
    command(["weights", "onnx", together, "--task", "vqav2", "--out", str(root / "vqa.onnx")])


if __name__ == "__main__":
    main()
