"""Estimate the arithmetic, time and disk space of the paper's trainings at the published size. Nothing is trained.

``python -m benchmarks.training_time`` prints the tables of docs/table-2.md. A forward pass counts two operations for
each multiplication and addition of matrices; a training step is three forward passes. Texts have the longest length of
their task and images 101 rows, as if every batch were full, and a task that stop-and-go has stopped counts in full too:
both make the estimate too high. Validation, waiting for data and communication are not counted, which makes it too low.
"""

from __future__ import annotations

from dataclasses import dataclass

from twelvefold.config.model import ModelConfig, preset
from twelvefold.config.recipe import Recipe
from twelvefold.datasets import load_dataset, paper_task_names
from twelvefold.datasets.reading.cards import dataset_cards
from twelvefold.families import load_family
from twelvefold.schema import TaskSpec

TRAINING_PAIRS = 4
"""Pairs of a retrieval example in training: the true one and three wrong ones."""
CAPTIONS = 3_119_449
"""Training captions of Conceptual Captions whose images the original project still found."""


@dataclass(frozen=True)
class Machine:
    """``tflops``: peak of one GPU in 10^12 operations per second. ``utilization``: the share of it that is assumed."""

    name: str
    tflops: float
    utilization: float


MACHINES = (
    Machine("A100, float32 (19.5 TFLOP/s, 60 % used)", 19.5, 0.6),
    Machine("A100, bfloat16 (312 TFLOP/s, 25 % used)", 312.0, 0.25),
)
"""The peaks are NVIDIA's for dense matrices; the shares are assumptions."""
GPUS = (1, 8)
GROUPS = ("answers", "retrieval", "grounding", "verification")

STORE_BYTES = 100 * 2048 * 2 + 100 * 4 * 4
LMDB_BYTES = 823_000
"""Bytes of an image: regions in half precision here; in the original's LMDB (its COCO file divided by its images)."""
IMAGES = {
    "COCO train2014 and val2014": (123_287, "vqav2, coco, refcoco, refcoco+, refcocog, guesswhat"),
    "COCO test2015": (81_434, "the test set of vqav2"),
    "Visual Genome": (108_249, "vgqa, visual7w, and train and val of gqa"),
    "GQA, all": (148_854, "testdev of gqa; its train and val are Visual Genome's"),
    "Flickr30k": (31_783, "flickr30k, snli_ve"),
    "NLVR2": (119_000, "nlvr2; about"),
}


def forward_operations(config: ModelConfig, tokens: int, rows: int) -> float:
    """Return the operations of one pair in one forward pass: ``tokens`` with special ones and task token, ``rows``."""
    text, image, both = config.text_hidden_size, config.image_hidden_size, config.bi_hidden_size
    text_layer = tokens * (4 * text**2 + 2 * text * config.text_ffn_dim) + 2 * tokens**2 * text
    image_layer = rows * (4 * image**2 + 2 * image * config.image_ffn_dim) + 2 * rows**2 * image
    co_attention = rows * (4 * image * both + 2 * image * config.image_ffn_dim)
    co_attention += tokens * (4 * text * both + 2 * text * config.text_ffn_dim) + 4 * tokens * rows * both
    blocks = config.num_coattention_layers
    text_layers, image_layers = config.num_text_layers + blocks, config.num_image_layers + blocks
    layers = text_layers * text_layer + image_layers * image_layer + blocks * co_attention
    return 2.0 * (layers + rows * config.feature_size * image + (text + image) * both)


def train_examples(task: TaskSpec) -> int:
    """Return the number of training examples after cleaning (the original project's)."""
    original = dataset_cards()[task.name].original_counts
    return original.cleaned if original else 0


def steps_per_epoch(task: TaskSpec) -> int:
    """Return the batches of one epoch of a task."""
    return -(-train_examples(task) // task.batch_size)


def step_operations(config: ModelConfig, task: TaskSpec) -> float:
    """Return the operations of one update of a task: forward and backward passes of a batch."""
    pairs = TRAINING_PAIRS if load_family(task.family).searches_images else task.pairs_per_example
    return 3.0 * task.batch_size * pairs * forward_operations(config, task.max_tokens + 1, task.max_regions)


def recipe_operations(name: str, iterations: int = 0) -> tuple[int, float]:
    """Return the rounds of a recipe's training, by default those of its longest task, and the operations of all."""
    recipe = Recipe.load(name)
    tasks = recipe.task_specs(lambda task: load_dataset(task).TASK)
    rounds = iterations or max(task.epochs * steps_per_epoch(task) for task in tasks)
    return rounds, rounds * sum(step_operations(preset("vilbert_base"), task) for task in tasks)


def pretraining_operations() -> tuple[int, float]:
    """Return the updates of ``paper/pretraining`` and their operations, without those of its three small heads."""
    recipe = Recipe.load("paper/pretraining")
    config = recipe.every_task
    batch, epochs = config.batch_size or 0, config.epochs or 0
    updates = epochs * (CAPTIONS // batch)
    forward = forward_operations(preset("vilbert_base"), config.max_tokens or 0, config.max_regions or 0)
    return updates, 3.0 * updates * batch * forward


def time_table() -> str:
    """Return the table of trainings as Markdown."""
    single = [recipe_operations(f"paper/single/{task.replace('+', '_plus')}") for task in paper_task_names()]
    groups = [
        recipe_operations(f"paper/group/{name}") for name in ("answers", "retrieval", "grounding", "verification")
    ]
    total_single, total_groups = sum(each for _, each in single), sum(each for _, each in groups)
    rows = [
        ("pretraining on Conceptual Captions", *pretraining_operations()),
        ("row 4: all tasks, N rounds", *recipe_operations("paper/multi_task")),
        ("row 4: all tasks, 40,000 rounds as in Fig. 2", *recipe_operations("paper/multi_task", 40_000)),
        ("row 5: all tasks but G4, N rounds", *recipe_operations("paper/multi_task_without_verification")),
        ("row 3: four groups", sum(rounds for rounds, _ in groups), total_groups),
        ("row 2, and each of rows 6 and 7: twelve single tasks", sum(rounds for rounds, _ in single), total_single),
    ]
    columns = [f"{machine.name}: {gpus} GPU{'s' * (gpus > 1)}" for machine in MACHINES for gpus in GPUS]
    lines = [
        f"| training | rounds | operations | {' | '.join(columns)} |",
        "|---" * (3 + len(columns)) + "|",
    ]
    for name, rounds, operations in rows:
        cells = [
            describe_time(operations / (machine.tflops * 1e12 * machine.utilization * gpus))
            for machine in MACHINES
            for gpus in GPUS
        ]
        lines.append(f"| {name} | {rounds:,} | {operations:.1e} | {' | '.join(cells)} |")
    return "\n".join(lines)


def disk_table() -> str:
    """Return the table of feature files as Markdown."""
    lines = ["| images | number | for | the original's LMDB | region store here |", "|---|---|---|---|---|"]
    for name, (images, tasks) in IMAGES.items():
        sizes = (f"{images * size / 1e9:.0f} GB" for size in (LMDB_BYTES, STORE_BYTES))
        lines.append(f"| {name} | {images:,} | {tasks} | {' | '.join(sizes)} |")
    return "\n".join(lines)


def describe_time(seconds: float) -> str:
    """Return hours below two days, and days above."""
    hours = seconds / 3600
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"


if __name__ == "__main__":
    print(f"{time_table()}\n\n{disk_table()}")
