"""Toy training data in the real formats, and helpers to train on it in other processes.

There are five tasks: one of each family, and for grounding one with and one without candidates. An image shows four
objects of six categories. A region's feature encodes its category and a word names one, so all tasks can be learned
in seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from twelvefold import datasets
from twelvefold.config.recipe import Recipe
from twelvefold.data.write_table import write_table
from twelvefold.schema import (
    Box,
    Candidate,
    ClassName,
    Example,
    ImageKey,
    Label,
    Pair,
    PositivePair,
    Regions,
    SoftAnswers,
    Split,
    TargetBox,
)
from twelvefold.store import atomic_files
from twelvefold.store.prepared import MANIFEST, FileEntry, PreparedManifest
from twelvefold.store.region_store import ShardWriter, finish_store
from twelvefold.train import train
from twelvefold.training.event_log import read_events
from twelvefold.training.signals import GracefulShutdown, Interrupted

TASKS = ("vqav2", "flickr30k", "refcoco", "visual7w", "nlvr2")
CATEGORIES = ("ant", "bee", "cat", "dog", "elk", "fox")
BOXES: tuple[Box, ...] = ((0, 0, 40, 40), (60, 0, 100, 40), (0, 60, 40, 100), (60, 60, 100, 100))
NUM_IMAGES = 24
NUM_EXAMPLES: dict[Split, int] = {"train": 40, "val": 12}

MAX_WAIT = 120.0
"""Seconds that a test waits for another process."""

RECIPE = """
name = "toy"
tasks = ["vqav2", "flickr30k", "refcoco", "visual7w", "nlvr2"]

[model]
preset = "small"
text_hidden_size = 16
image_hidden_size = 16
bi_hidden_size = 16
text_ffn_dim = 16
image_ffn_dim = 16
head_hidden_size = 16
vocab_size = 2000
max_position_embeddings = 32
dropout = 0.1

[training]
iterations = 6
lr_factor = 100.0
warmup_fraction_of = "iterations"
max_grad_norm = 1.0
checkpoint_interval = 2
eval_interval = 3
tensorboard = false
device = "cpu"
precision = "fp32"

[every_task]
batch_size = 8
"""


class Toy:
    """Folders of the toy's tables and regions, and recipes for them."""

    def __init__(self, root: Path) -> None:
        self.prepared = root / "prepared"
        self.regions = root / "regions"

    def recipe(self, **training: bool | int | float | str) -> Recipe:
        """The toy's recipe with some values of ``[training]`` changed."""
        recipe = Recipe.parse(RECIPE)
        return msgspec.structs.replace(recipe, training=msgspec.structs.replace(recipe.training, **training))


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    toy = Toy(tmp_path_factory.mktemp("toy"))
    random = np.random.default_rng(0)
    image_categories = [random.choice(len(CATEGORIES), len(BOXES), replace=False) for _ in range(NUM_IMAGES)]
    write_regions(toy.regions, image_categories, random)
    write_prepared(toy.prepared, image_categories, random)
    return toy


def write_regions(folder: Path, image_categories: list[np.ndarray], random: np.random.Generator) -> None:
    size = len(CATEGORIES)
    for store in ("detected", "given"):
        with ShardWriter(folder / store / "0.regions", feature_size=size, num_categories=size) as shard:
            for number, categories in enumerate(image_categories):
                noise = 0.1 * random.standard_normal((len(BOXES), len(CATEGORIES)))
                features = np.eye(len(CATEGORIES))[categories] * 3 + noise
                boxes = np.array(BOXES, dtype=np.float32)
                probabilities = (0.9 * np.eye(len(CATEGORIES)) + 0.1 / len(CATEGORIES))[categories].astype(np.float16)
                shard.add(key(number), Regions(boxes, features.astype(np.float16), 100, 100, probabilities))
        finish_store(folder / store, ["0.regions"], info={"detector": "toy's", "max_regions": 4}, categories=CATEGORIES)


def write_prepared(folder: Path, image_categories: list[np.ndarray], random: np.random.Generator) -> None:
    def entry(file: str, count: int) -> FileEntry:
        return FileEntry(file, (folder / file).stat().st_size, count, "toy")

    makers: dict[str, Callable[[int, int], tuple[tuple[Pair, ...], Label]]] = {
        "vqav2": lambda i, k: ((pair(i, "which"),), SoftAnswers({CATEGORIES[image_categories[i][0]]: 1.0})),
        "flickr30k": lambda i, k: ((pair(i, " ".join(CATEGORIES[s] for s in image_categories[i])),), PositivePair()),
        "refcoco": lambda i, k: ((pair(i, CATEGORIES[image_categories[i][k]]),), TargetBox(BOXES[k])),
        "visual7w": lambda i, k: ((Pair(key(i), CATEGORIES[image_categories[i][k]], BOXES),), Candidate(k)),
        "nlvr2": lambda i, k: (
            (pair(i, CATEGORIES[k]), pair((i + 1) % NUM_IMAGES, CATEGORIES[k])),
            ClassName(str(bool(k in image_categories[i]))),
        ),
    }

    def examples(task: str, count: int) -> Iterator[Example]:
        for n in range(count):
            pairs, label = makers[task](int(random.integers(NUM_IMAGES)), int(random.integers(len(BOXES))))
            yield Example(f"{task}-{n}", pairs, label)

    tables: dict[str, dict[str, FileEntry]] = {task: {} for task in TASKS}
    for task in TASKS:
        for split, count in NUM_EXAMPLES.items():
            file = f"tables/{task}-{split}.arrow"
            write_table(folder / file, examples(task, count), encode_words, digest="toy")
            tables[task][split] = entry(file, count)
    atomic_files.write_json(folder / "vocabularies/vqav2.json", list(CATEGORIES))
    manifest = PreparedManifest(
        clean=True,
        regions="",
        tasks=[datasets.load_dataset(task).TASK for task in TASKS],
        tables=tables,
        counts={},
        vocabularies={"vqav2": entry("vocabularies/vqav2.json", len(CATEGORIES))},
    )
    atomic_files.write_json(folder / MANIFEST, msgspec.to_builtins(manifest))


def start_training(toy: Toy, recipe: Recipe, run: Path) -> subprocess.Popen[bytes]:
    """Train in another process."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.toml").write_text(recipe.to_toml())
    command = [sys.executable, "-m", "twelvefold.train", str(toy.prepared), str(toy.regions), str(run)]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)


def kill_after(process: subprocess.Popen[bytes], run: Path, iteration: int) -> None:
    """Kill the process when the log of its run has a step of ``iteration``."""
    log, deadline = run / "events.jsonl", time.monotonic() + MAX_WAIT
    try:
        while not (
            log.exists() and any(e["event"] == "step" and e["iteration"] >= iteration for e in read_events(log))
        ):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, f"no step of iteration {iteration} within {MAX_WAIT} s"
            time.sleep(0.005)
    finally:
        process.kill()
        process.communicate()


def read_weights(run: Path, checkpoint: str = "latest") -> dict[str, Tensor]:
    """Return everything in a checkpoint that training changes."""
    folder = run / "checkpoints" / checkpoint
    return load_file(folder / "model.safetensors") | load_file(folder / "optimizer.safetensors")


def equal_tensors(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def assert_close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    """Assert that tensors are equal except for rounding."""
    assert a.keys() == b.keys()
    assert not [name for name in a if not torch.allclose(a[name], b[name], rtol=1e-3, atol=1e-5)]


def timeless_events(run: Path) -> list[dict[str, Any]]:
    """Return a run's events without times, and without those that say where a part of it began and ended."""
    events = [e for e in read_events(run / "events.jsonl") if e["event"] not in ("start", "resume", "interrupted")]
    return [{k: v for k, v in e.items() if k not in ("seconds", "peak_memory_gb")} for e in events]


def key(number: int) -> ImageKey:
    return ImageKey("coco", str(number))


def pair(image: int, text: str) -> Pair:
    return Pair(key(image), text)


def encode_words(texts: Sequence[str]) -> list[list[int]]:
    names = [*CATEGORIES, "which"]
    return [[1000 + names.index(word) for word in text.split()] for text in texts]


def train_one_iteration(toy: Toy, recipe: Recipe, run: Path) -> None:
    """Train until the first iteration is saved."""

    def request_at_once(shutdown: GracefulShutdown) -> GracefulShutdown:
        shutdown.requested = True
        return shutdown

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GracefulShutdown, "__enter__", request_at_once)
        with pytest.raises(Interrupted):
            train(recipe, toy.prepared, toy.regions, run)
