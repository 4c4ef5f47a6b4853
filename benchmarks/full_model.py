"""Run all commands of the paper's pipeline at its model sizes, on a hundred images, and print time and memory.

    python -m benchmarks.full_model FOLDER

Six tasks, one for each head. The regions of the world's images have 2,048 random features and 1,601 random class
probabilities, in LMDB files as vilbert-multi-task writes them, so that every file has its real shape. Updates are few
and batches small; scores are meaningless. Prints elapsed seconds, processor seconds and peak memory of each command.
FOLDER is kept (about 13 GB).
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

FEATURE_SIZE, NUM_CLASSES = 2048, 1601
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
"""One task for each of the six heads."""
MULTI_TASK = f"""extends = "paper/multi_task"
name = "multi-task-small"
tasks = {list(TASKS)}

[data]
min_count = 1
{SMALL}""" + "".join(f"[per_task.{name}]\nbatch_size = 2\n" for name in TASKS)


def run_command(words: list[str]) -> None:
    """Run one command and print its time and memory; exit if it fails."""
    started = time.monotonic()
    process = subprocess.Popen([*TWELVEFOLD, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603 - this program
    output = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"twelvefold {' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}:\n{output}")
    shown_command = " ".join(Path(word).name if os.sep in word else word for word in words)
    processor, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20
    print(
        f"| `{shown_command}` | {time.monotonic() - started:.0f} s | {processor:.0f} s | {memory:.1f} GB |", flush=True
    )


def write_features(small: Path, out: Path, store_name: str) -> dict[str, Path]:
    """Write LMDB files by image source: boxes of the package's detector with random features of the paper's size."""
    rng, store, environments = np.random.default_rng(0), RegionStore.open(small / store_name), {}
    records: dict[str, dict[str, bytes]] = {}
    for key in store.keys():  # noqa: SIM118 - no dictionary
        regions = store[key]
        count = len(regions.boxes_px)
        probabilities = rng.random((count, NUM_CLASSES), dtype=np.float32)
        record = {
            "image_id": key.id,
            "image_h": regions.height,
            "image_w": regions.width,
            "num_boxes": count,
            "boxes": regions.boxes_px,
            "features": rng.random((count, FEATURE_SIZE), dtype=np.float32),
            "cls_prob": probabilities / probabilities.sum(axis=1, keepdims=True),
        }
        records.setdefault(key.source, {})[key.id] = pickle.dumps(record, protocol=3)
    for source, by_id in records.items():
        folder = environments[source] = out / f"{source}-{store_name}.lmdb"
        with lmdb.open(str(folder), map_size=1 << 34) as environment, environment.begin(write=True) as transaction:
            for name, value in by_id.items():
                transaction.put(name.encode(), value)
            transaction.put(b"keys", pickle.dumps([name.encode() for name in by_id]))
    return environments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    root: Path = parser.parse_args().folder.resolve()
    root.mkdir(parents=True)
    paths = {name: str(root / name) for name in ("world", "small", "regions", "prepared", "captions", "runs", "back")}
    (root / "pretraining.toml").write_text(PRETRAINING)
    (root / "multi_task.toml").write_text(MULTI_TASK)
    run_command(["world", paths["world"], "--images", "100"])
    run_command(["extract", paths["world"], paths["small"]])
    for store_name in ("detected", "given"):
        for source, file in write_features(root / "small", root, store_name).items():
            given = ["--given"] if store_name == "given" else []
            run_command(
                ["features", "import", str(file), paths["regions"], "--source", source, "--class-probs", *given]
            )
    pretrained, multi_task, nlvr2 = (str(root / "runs" / name) for name in ("pretrained", "multi_task", "nlvr2"))
    recipes = str(root / "pretraining.toml"), str(root / "multi_task.toml")
    run_command(["prepare", paths["world"], paths["regions"], paths["captions"], "--recipe", recipes[0]])
    run_command(["prepare", paths["world"], paths["regions"], paths["prepared"], "--recipe", recipes[1]])
    pretraining_data = ["--prepared", paths["captions"], "--regions", paths["regions"]]
    task_data = ["--prepared", paths["prepared"], "--regions", paths["regions"]]
    run_command(["pretrain", recipes[0], pretrained, *pretraining_data])
    run_command(["train", recipes[1], multi_task, "--initial", pretrained, *task_data])
    run_command(["evaluate", multi_task, *task_data])
    run_command(["submit", multi_task, "--task", "nlvr2", "--data", paths["world"], "--out", str(root / "nlvr2.csv")])
    run_command(["finetune", multi_task, "nlvr2", nlvr2, "--epochs", "1", *task_data])
    checkpoint = str(root / "multi_task_model.bin")
    # multi_task can't be exported: its SNLI-VE head has another form than the published one.
    run_command(["weights", "export", nlvr2, checkpoint])
    run_command(["weights", "import", checkpoint, "--out", paths["back"], "--pad-answers"])
    run_command(["weights", "export", paths["back"], str(root / "again.bin")])
    run_command(["weights", "export", multi_task, "--hub", str(root / "hub"), "--name", "me/published"])
    run_command(["weights", "onnx", multi_task, "--task", "vqav2", "--out", str(root / "vqa.onnx")])


if __name__ == "__main__":
    main()
