"""A toy of prepared data in the real formats: five tasks, of each family one and of grounding both kinds.

A picture holds four things of six kinds; a region's feature shows its kind, and a word names a kind, so that all
tasks can be learnt in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from twelvefold import datasets
from twelvefold.config.recipe import Recipe
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
from twelvefold.store.example_table import write_table
from twelvefold.store.prepared import MANIFEST, FileEntry, PreparedManifest
from twelvefold.store.region_store import ShardWriter, finish_store

TASKS = ("vqav2", "flickr30k", "refcoco", "visual7w", "nlvr2")
KINDS = ("ant", "bee", "cat", "dog", "elk", "fox")
PLACES: tuple[Box, ...] = ((0, 0, 40, 40), (60, 0, 100, 40), (0, 60, 40, 100), (60, 60, 100, 100))
PICTURES = 24
SIZES: dict[Split, int] = {"train": 40, "val": 12}

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
    """Where the toy's prepared data and regions lie, and recipes for it."""

    def __init__(self, root: Path) -> None:
        self.prepared = root / "prepared"
        self.regions = root / "regions"

    def recipe(self, **training: bool | int | float | str) -> Recipe:
        """The toy's recipe with some values of ``[training]`` changed."""
        recipe = Recipe.parse(RECIPE)
        return msgspec.structs.replace(recipe, training=msgspec.structs.replace(recipe.training, **training))


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    made = Toy(tmp_path_factory.mktemp("toy"))
    random = np.random.default_rng(0)
    shown = [random.choice(len(KINDS), len(PLACES), replace=False) for _ in range(PICTURES)]
    write_regions(made.regions, shown, random)
    write_prepared(made.prepared, shown, random)
    return made


def write_regions(folder: Path, shown: list[np.ndarray], random: np.random.Generator) -> None:
    for store in ("detected", "given"):
        with ShardWriter(folder / store / "0.regions", feature_size=len(KINDS), num_categories=len(KINDS)) as shard:
            for number, kinds in enumerate(shown):
                features = np.eye(len(KINDS))[kinds] * 3 + 0.1 * random.standard_normal((len(PLACES), len(KINDS)))
                boxes = np.array(PLACES, dtype=np.float32)
                told = (0.9 * np.eye(len(KINDS)) + 0.1 / len(KINDS))[kinds].astype(np.float16)
                shard.add(key(number), Regions(boxes, features.astype(np.float16), 100, 100, told))
        finish_store(folder / store, ["0.regions"], info={"detector": "toy's", "max_regions": 4}, categories=KINDS)


def write_prepared(folder: Path, shown: list[np.ndarray], random: np.random.Generator) -> None:
    def entry(file: str, count: int) -> FileEntry:
        return FileEntry(file, (folder / file).stat().st_size, count, "toy")

    makers: dict[str, Callable[[int, int], tuple[tuple[Pair, ...], Label]]] = {
        "vqav2": lambda i, k: ((pair(i, "which"),), SoftAnswers({KINDS[shown[i][0]]: 1.0})),
        "flickr30k": lambda i, k: ((pair(i, " ".join(KINDS[s] for s in shown[i])),), PositivePair()),
        "refcoco": lambda i, k: ((pair(i, KINDS[shown[i][k]]),), TargetBox(PLACES[k])),
        "visual7w": lambda i, k: ((Pair(key(i), KINDS[shown[i][k]], PLACES),), Candidate(k)),
        "nlvr2": lambda i, k: (
            (pair(i, KINDS[k]), pair((i + 1) % PICTURES, KINDS[k])),
            ClassName(str(bool(k in shown[i]))),
        ),
    }

    def examples(task: str, count: int) -> Iterator[Example]:
        for n in range(count):
            pairs, label = makers[task](int(random.integers(PICTURES)), int(random.integers(len(PLACES))))
            yield Example(f"{task}-{n}", pairs, label)

    tables: dict[str, dict[str, FileEntry]] = {task: {} for task in TASKS}
    for task in TASKS:
        for split, count in SIZES.items():
            file = f"tables/{task}-{split}.arrow"
            write_table(folder / file, examples(task, count), words, digest="toy")
            tables[task][split] = entry(file, count)
    atomic_files.write_json(folder / "vocabularies/vqav2.json", list(KINDS))
    manifest = PreparedManifest(
        clean=True,
        regions="",
        tasks=[datasets.load_dataset(task).TASK for task in TASKS],
        tables=tables,
        counts={},
        vocabularies={"vqav2": entry("vocabularies/vqav2.json", len(KINDS))},
    )
    atomic_files.write_json(folder / MANIFEST, msgspec.to_builtins(manifest))


def key(number: int) -> ImageKey:
    return ImageKey("coco", str(number))


def pair(picture: int, text: str) -> Pair:
    return Pair(key(picture), text)


def words(texts: Sequence[str]) -> list[list[int]]:
    names = [*KINDS, "which"]
    return [[1000 + names.index(word) for word in text.split()] for text in texts]
