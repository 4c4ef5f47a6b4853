"""Baselines of every task: chance, majority, and a small network for each modality.

A task that can be solved from its text alone or from its image alone does not measure vision and language. Four
baselines are scored on the examples and by the code of the model's score:

=============== ===============================================================================================
``chance``      expected score of a uniform guess
``majority``    the most frequent training answer, class or candidate index; else the first region
``text_only``   a network that reads words and word pairs
``image_only``  a network that reads region features and locations
=============== ===============================================================================================

The two networks train in a few seconds each. Training the whole model without one modality is stricter and slower: a
recipe's ``[model] modality = "text"`` or ``"image"``.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from twelvefold.batch import Batch
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_batches import TaskBatches
from twelvefold.device import select_device
from twelvefold.evaluation.per_task import run_per_task
from twelvefold.evaluation.run_inputs import RunInputs
from twelvefold.evaluation.score import CPU, ScoredModel, score_task, scored_indices
from twelvefold.evaluation.scores import Baselines, Scores, TaskBaselines, read_scores, write_scores
from twelvefold.families import load_family
from twelvefold.schema import HeadSpec, TaskSpec
from twelvefold.store.prepared import Prepared

Modality = Literal["text", "image"]

VERSION = 3
"""Raise it when a change here changes scores."""

HIDDEN_SIZE = 128
WORD_BUCKETS = 1 << 14
"""Rows of the word embedding, shared by word pieces and hashed pairs of adjacent word pieces."""

MAX_CANDIDATES = 64
"""Rows of the embedding of candidate indices; later candidates share the last row."""

TRAIN_STEPS = 400
EVAL_INTERVAL = 80
"""Training steps between validations; the best weights are kept, so that a small task does not overfit."""

VALIDATION_EXAMPLES = 1000

LR: dict[Modality, float] = {"text": 1e-2, "image": 3e-3}
"""Chosen on validation splits of the demo's world: with 300 steps at 3e-3 text-only answers had 2 to 7 points less."""

BATCH_SIZE = 128


class SingleModalityNetwork(nn.Module):
    """Logits of one task from its text alone or from its images alone.

    Text: mean of word and word-pair embeddings; for grounding, multiplied by the embedding of each candidate's index,
    which is all that remains of a candidate without box and features. Image: an MLP of each region's feature and
    location; mean and maximum over regions where one vector per image is needed.
    """

    def __init__(self, task: TaskSpec, head: HeadSpec, feature_size: int, modality: Modality) -> None:
        super().__init__()
        self.family, self.modality = load_family(task.family), modality
        self.pairs_per_vector = head.pairs_per_example if self.family.head_kind == "classifier" else 1
        if modality == "text":
            self.words = nn.EmbeddingBag(WORD_BUCKETS, HIDDEN_SIZE, mode="mean", padding_idx=0)
            self.candidates = nn.Embedding(MAX_CANDIDATES, HIDDEN_SIZE)
        else:
            self.regions = nn.Sequential(
                nn.Linear(feature_size + 5, HIDDEN_SIZE), nn.GELU(), nn.Linear(HIDDEN_SIZE, HIDDEN_SIZE)
            )
        width = HIDDEN_SIZE if modality == "text" or self.family.chooses_region else 2 * HIDDEN_SIZE
        self.head = nn.Sequential(
            nn.Linear(width * self.pairs_per_vector, 2 * HIDDEN_SIZE),
            nn.GELU(),
            nn.Linear(2 * HIDDEN_SIZE, max(1, len(head.outputs))),
        )

    def forward(self, batch: Batch) -> Tensor:
        """Return logits of the family's shape."""
        if self.family.chooses_region:
            rows = self._regions(batch) if self.modality == "image" else self._text(batch)[:, None] * self._slots(batch)
            scores: Tensor = self.head(rows)  # (P, R, 1)
            return scores.squeeze(-1)
        pooled = self._text(batch) if self.modality == "text" else self._image(batch)
        logits: Tensor = self.head(pooled.view(-1, self.pairs_per_vector * pooled.shape[-1]))
        return logits.view(-1, batch.pairs_per_example) if self.family.head_kind == "pair_score" else logits

    def alignments(self, captions: Batch, images: Batch) -> Tensor:
        """Return (N, M) scores of all pairs: equal for all images (text) or for all captions (image)."""
        if self.modality == "text":
            scores: Tensor = self.head(self._text(captions))
            return scores.expand(-1, len(images.region_mask))
        scores = self.head(self._image(images))
        return scores.view(1, -1).expand(len(captions.token_ids), -1)

    def _text(self, batch: Batch) -> Tensor:
        ids = batch.token_ids
        pairs = (ids[:, :-1] * 40_503 + ids[:, 1:] * 2_654_435) % (WORD_BUCKETS - 1) + 1
        pair_mask = batch.token_mask[:, :-1] & batch.token_mask[:, 1:]
        words = (ids % (WORD_BUCKETS - 1) + 1) * batch.token_mask
        vectors: Tensor = self.words(torch.cat([words, pairs * pair_mask], dim=1))
        return vectors

    def _slots(self, batch: Batch) -> Tensor:
        indices = (batch.candidate_mask.cumsum(dim=1) - 1).clamp(0, MAX_CANDIDATES - 1)
        vectors: Tensor = self.candidates(indices)
        return vectors

    def _regions(self, batch: Batch) -> Tensor:
        return batch.pad_regions(self.regions(torch.cat([batch.features, batch.locations], dim=-1)))

    def _image(self, batch: Batch) -> Tensor:
        rows, mask = self._regions(batch), batch.region_mask[..., None]
        mean = (rows * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return torch.cat([mean, rows.masked_fill(~mask, -1e4).amax(dim=1)], dim=-1)


@dataclasses.dataclass(slots=True)
class _Training:
    """A network in training. ``best_weights``: those with the best validation score so far."""

    network: SingleModalityNetwork
    optimizer: torch.optim.Optimizer
    best_score: float
    best_weights: Mapping[str, Tensor]


def train_networks(
    task: TaskSpec,
    modalities: Sequence[Modality],
    train: TaskBatches,
    val: TaskBatches,
    *,
    seed: int = 0,
    device: torch.device = CPU,
) -> dict[Modality, SingleModalityNetwork]:
    """Train a network for each modality on the same batches; return those with the best validation score."""
    family = load_family(task.family)
    val_batches = [batch.to(device) for batch in val.eval_batches(BATCH_SIZE)]
    trainings = {modality: _start_training(task, modality, train, seed, device) for modality in modalities}
    for step in range(TRAIN_STEPS):
        batch = train.train_batch(step).to(device)
        for modality, training in trainings.items():
            for group in training.optimizer.param_groups:
                group["lr"] = LR[modality] * (1 - step / TRAIN_STEPS)
            training.optimizer.zero_grad()
            torch.autograd.backward(family.loss(training.network(batch), batch))
            training.optimizer.step()
            if (step + 1) % EVAL_INTERVAL == 0:
                score = _mean_score(training.network, val.task, val_batches)
                if score > training.best_score:
                    training.best_score = score
                    training.best_weights = copy.deepcopy(training.network.state_dict())
    for training in trainings.values():
        training.network.load_state_dict(training.best_weights)
    return {modality: training.network for modality, training in trainings.items()}


def _start_training(
    task: TaskSpec, modality: Modality, train: TaskBatches, seed: int, device: torch.device
) -> _Training:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SingleModalityNetwork(task, train.head, train.source.feature_size, modality).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR[modality], weight_decay=0.01, fused=True)
    return _Training(network, optimizer, -1.0, copy.deepcopy(network.state_dict()))


@torch.inference_mode()
def _mean_score(network: SingleModalityNetwork, task: TaskSpec, batches: Sequence[Batch]) -> float:
    family = load_family(task.family)
    return float(torch.cat([family.score(network(batch), batch) for batch in batches]).mean())


class MajorityBaseline:
    """Always predict the most frequent training label: answer, class or candidate index; else the first region.

    For retrieval, always the first image.
    """

    def __init__(self, train: TaskBatches) -> None:
        self.head, self.family, self.first_image = train.head, load_family(train.task.family), ""
        totals: defaultdict[int, float] = defaultdict(float)
        for example in train.table:
            if example.label is not None:
                for index, weight in self.family.votes(example.label, self.head):
                    totals[index] += weight
        self.most_frequent = max(totals, key=totals.__getitem__, default=0)

    def __call__(self, batch: Batch) -> Tensor:
        return self.family.constant_logits(self.most_frequent, batch, self.head)

    def alignments(self, captions: Batch, images: Batch) -> Tensor:
        self.first_image = self.first_image or images.example_ids[0]  # of the pool, whose images come in batches
        scores = torch.zeros(len(captions.token_ids), len(images.region_mask))
        scores[:, 0] = float(images.example_ids[0] == self.first_image)
        return scores


def chance_score(test: TaskBatches, indices: Sequence[int], pool: int) -> float | None:
    """Return the expected score, in 0..1, of a uniform guess over all outputs, candidates or images of the pool.

    ``indices``: of examples with a label; without any the result is None.
    """
    family = load_family(test.task.family)
    if family.searches_images:
        return 1 / (pool or len(test.table.first_images()[0]))
    expected: list[float] = []
    for start in range(0, len(indices), BATCH_SIZE):
        expected += family.chance(test.batch(indices[start : start + BATCH_SIZE]), test.head)
    return float(np.mean(expected)) if expected else None


def score_task_baselines(inputs: RunInputs, task: TaskSpec, seed: int) -> TaskBaselines:
    """Score the baselines of one task on the test examples that ``evaluate`` scores. Runs in a process of its own.

    They are unknown if the labels of all test examples are withheld.
    """
    torch.set_num_threads(1)
    prepared, source, device = Prepared.open(inputs.prepared), RegionSource.open(inputs.regions), select_device("cpu")
    limits = inputs.recipe.evaluation
    task = dataclasses.replace(task, batch_size=BATCH_SIZE // (4 if load_family(task.family).searches_images else 1))
    test = TaskBatches.open(prepared, source, task, "test")

    def score(model: ScoredModel, device: torch.device = CPU) -> float:
        result = score_task(model, test, max_examples=limits.max_examples, pool=limits.retrieval_pool, device=device)
        return _percent(float(result.example_scores.mean()))

    indices = scored_indices(test, limits.max_examples)
    if not load_family(task.family).searches_images:  # there every caption has its image
        is_labeled = test.table.is_labeled()
        indices = [i for i in indices if is_labeled[i]]
    share = chance_score(test, indices, limits.retrieval_pool)
    if not indices or share is None:
        return TaskBaselines(None, None, None, None, n=0)
    chance = _percent(share)
    train = TaskBatches.open(prepared, source, task, "train", seed=seed)
    val = TaskBatches.open(prepared, source, task, "val", limit=VALIDATION_EXAMPLES)
    majority = score(MajorityBaseline(train))
    # Images that compete for one text have equal scores without the images, and texts for one image without the texts:
    # that is chance.
    family = load_family(task.family)
    fixed: dict[Modality, bool] = {"text": family.searches_images, "image": family.chooses_text}
    networks = train_networks(task, [each for each in fixed if not fixed[each]], train, val, seed=seed, device=device)
    single = {each: score(networks[each], device) if each in networks else chance for each in fixed}
    return TaskBaselines(chance, majority, single["text"], single["image"], len(indices))


def _percent(share: float) -> float:
    return round(100 * share, 2)


def baselines(
    run: Path, *, prepared: Path | None = None, regions: Path | None = None, seed: int = 0, processes: int = 2
) -> Baselines:
    """Score the baselines of every task of a run and write them to ``blind.json``.

    Needs the run's recipe and data, but not its model. Baselines that were scored before with the same data and
    limits are kept. Those of a task whose labels are withheld are unknown (None). A task without test examples has
    none.

    Args:
        run: Folder of the run.
        prepared: Folder that ``prepare`` wrote; by default the one that the run remembers.
        regions: Folder that ``extract`` wrote; by default the one that the run remembers.
        seed: Seed of the weights and batches of the text-only and image-only networks.
        processes: Number of tasks scored at the same time.

    Raises:
        TwelvefoldError: the run, its prepared folder or its regions are missing.
    """
    started = time.monotonic()
    inputs = RunInputs.open(run, prepared=prepared, regions=regions)
    limits = inputs.recipe.evaluation
    tasks = run_per_task(
        score_task_baselines,
        {task.name: (inputs, task, seed) for task in inputs.tasks_with_examples("test")},
        type_=TaskBaselines,
        folder=run / "scores" / "blind",
        inputs_digest=inputs.digest(limits.max_examples, limits.retrieval_pool, seed, VERSION),
        processes=processes,
        description="baselines",
    )
    result = Baselines(tasks, round(time.monotonic() - started, 1))
    write_scores(run / "blind.json", result)
    return result


def compare_with_baselines(run: Path, results: Baselines) -> list[str]:
    """Return a sentence for every task whose 95 % interval does not lie above all baselines.

    The list is empty if the run has no ``scores.json``; :func:`list_uncompared` names the tasks without a score.
    """
    path = run / "scores.json"
    if not path.exists():
        return []
    sentences = []
    for name, score in read_scores(path, Scores).tasks.items():
        best = results.tasks[name].best if name in results.tasks else None
        if best is not None and score.ci95 is not None and not score.ci95[0] > best:
            low = score.ci95[0]
            sentences.append(f"{name}: the 95 % interval begins at {low:.1f}; the best baseline has {best:.1f}")
    return sentences


def list_uncompared(run: Path, results: Baselines) -> list[str]:
    """Return the tasks that have baselines but no test score in ``scores.json`` to compare them with."""
    path = run / "scores.json"
    scores = read_scores(path, Scores).tasks if path.exists() else {}
    return [name for name, task in results.tasks.items() if task.n and name not in scores]
