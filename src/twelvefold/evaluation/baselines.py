"""What a task gives away to somebody who sees only half of it: chance, the majority, and two blind models.

A task that can be solved from its text alone, or from its picture alone, measures habit and not sight. For every
task four figures are found on the very examples that the model is scored on, by the very same code:

============== ================================================================================================
``chance``     the expected score of a uniform guess
``majority``   the commonest training answer or class; the commonest place among given boxes; the first region
``blind_text`` a network that reads the words (and pairs of neighbouring words) and no picture
``blind_image`` a network that sees regions and their places and no text
============== ================================================================================================

The two networks are small on purpose, a few seconds each. The whole network with one side hidden is a recipe's
``[model] sees = "text"`` or ``"image"``: the stricter and slower way to ask the same.
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

from twelvefold import datasets, families
from twelvefold.batch import Batch
from twelvefold.config.recipe import EvaluationConfig, Recipe
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_loader import TaskBatches
from twelvefold.evaluation import scores as score_files
from twelvefold.evaluation.per_task import made_from, per_task
from twelvefold.evaluation.score import Answerer, score_task, scored_places
from twelvefold.evaluation.scores import BlindScore, BlindScores, Scores
from twelvefold.families import grounding
from twelvefold.schema import Candidate, ClassName, HeadSpec, SoftAnswers, TaskSpec
from twelvefold.store.prepared import Prepared

Sight = Literal["text", "image"]

VERSION = 2
"""Raise it when a change here changes figures."""

WIDTH = 128
BUCKETS = 1 << 14
"""Rows of the word table: single pieces and hashed pairs of neighbours share them."""

SLOTS = 64
"""Places of a row among the rows; later ones share the last."""

STEPS = 400
PATIENCE_STEPS = 80
"""Steps between two looks at the validation split; the best look is kept, so that a small task can't overfit."""

VALIDATION = 1000
"""Validation examples behind each look."""

LR: dict[Sight, float] = {"text": 1e-2, "image": 3e-3}
"""Chosen on validation splits of the demo's world: with 300 steps at 3e-3 text-only answers lay 2 to 7 points lower."""

BATCH = 128


class BlindNetwork(nn.Module):
    """Logits of one task from its text alone or from its pictures alone.

    ``text``: mean of word and word-pair vectors; for pointing, joined with the place of each row in the list, all
    that is left of a candidate whose box and look are hidden. ``image``: each region's feature and location
    through an MLP; mean and maximum over regions where one vector is wanted.
    """

    def __init__(self, task: TaskSpec, head: HeadSpec, feature_size: int, sight: Sight) -> None:
        super().__init__()
        self.family, self.sight, self.pairs = task.family, sight, head.pairs_per_example
        if sight == "text":
            self.words = nn.EmbeddingBag(BUCKETS, WIDTH, mode="mean", padding_idx=0)
            self.slots = nn.Embedding(SLOTS, WIDTH)
        else:
            self.regions = nn.Sequential(nn.Linear(feature_size + 5, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        width = WIDTH if sight == "text" or task.family == "grounding" else 2 * WIDTH
        outputs = max(1, len(head.outputs))
        self.out = nn.Sequential(
            nn.Linear(width * head.pairs_per_example, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, outputs)
        )

    def forward(self, batch: Batch) -> Tensor:
        """Logits of the family's shape, as the full model gives them."""
        if self.family == "grounding":
            rows = self._rows(batch) if self.sight == "image" else self._said(batch)[:, None] * self._slots(batch)
            scores: Tensor = self.out(rows)
            return scores.squeeze(-1)
        seen = self._said(batch) if self.sight == "text" else self._looked(batch)
        logits: Tensor = self.out(seen.view(-1, self.pairs * seen.shape[-1]))
        return logits.view(-1, batch.pairs_per_example) if self.family == "retrieval" else logits

    def alignments(self, captions: Batch, images: Batch) -> Tensor:
        """Every caption against every picture: the same for all pictures (text) or for all captions (image)."""
        if self.sight == "text":
            each: Tensor = self.out(self._said(captions))
            return each.expand(-1, len(images.features))
        each = self.out(self._looked(images))
        return each.view(1, -1).expand(len(captions.token_ids), -1)

    def _said(self, batch: Batch) -> Tensor:
        ids = batch.token_ids
        pairs = (ids[:, :-1] * 40_503 + ids[:, 1:] * 2_654_435) % (BUCKETS - 1) + 1
        both = batch.token_mask[:, :-1] & batch.token_mask[:, 1:]
        single = (ids % (BUCKETS - 1) + 1) * batch.token_mask
        vectors: Tensor = self.words(torch.cat([single, pairs * both], dim=1))
        return vectors

    def _slots(self, batch: Batch) -> Tensor:
        place = (batch.candidate_mask.cumsum(dim=1) - 1).clamp(0, SLOTS - 1)
        vectors: Tensor = self.slots(place)
        return vectors

    def _rows(self, batch: Batch) -> Tensor:
        vectors: Tensor = self.regions(torch.cat([batch.features, batch.locations], dim=-1))
        return vectors

    def _looked(self, batch: Batch) -> Tensor:
        rows, mask = self._rows(batch), batch.region_mask[..., None]
        mean = (rows * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return torch.cat([mean, rows.masked_fill(~mask, -1e4).amax(dim=1)], dim=-1)


@dataclasses.dataclass(slots=True)
class Learner:
    """A blind network while it is learnt. ``kept``: the weights that did best on the validation split so far."""

    network: BlindNetwork
    optimiser: torch.optim.Optimizer
    best: float
    kept: Mapping[str, Tensor]


def fit(
    task: TaskSpec, sights: Sequence[Sight], train: TaskBatches, val: TaskBatches, *, seed: int = 0
) -> dict[Sight, BlindNetwork]:
    """Train a blind network for each of ``sights`` on the same batches of a task's training split.

    Each ends with the weights that did best on the validation split.
    """
    family = families.of(task.family)
    looks = list(val.eval_batches(BATCH))
    learners = {sight: _learner(task, sight, train, seed) for sight in sights}
    for step in range(STEPS):
        batch = train.train_batch(step)
        for sight, learner in learners.items():
            for group in learner.optimiser.param_groups:
                group["lr"] = LR[sight] * (1 - step / STEPS)
            learner.optimiser.zero_grad()
            torch.autograd.backward(family.loss(learner.network(batch), batch))
            learner.optimiser.step()
            if (step + 1) % PATIENCE_STEPS == 0:
                found = _mean_score(learner.network, val.task, looks)
                if found > learner.best:
                    learner.best, learner.kept = found, copy.deepcopy(learner.network.state_dict())
    for learner in learners.values():
        learner.network.load_state_dict(learner.kept)
    return {sight: learner.network for sight, learner in learners.items()}


def _learner(task: TaskSpec, sight: Sight, train: TaskBatches, seed: int) -> Learner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = BlindNetwork(task, train.head, train.source.feature_size, sight)
    optimiser = torch.optim.AdamW(network.parameters(), lr=LR[sight], weight_decay=0.01, fused=True)
    return Learner(network, optimiser, -1.0, copy.deepcopy(network.state_dict()))


@torch.inference_mode()
def _mean_score(network: BlindNetwork, task: TaskSpec, looks: Sequence[Batch]) -> float:
    family = families.of(task.family)
    given = [family.score(network(batch), batch) for batch in looks]
    return float(torch.cat(given).mean())


class Majority:
    """Always the commonest training label: answer, class, or place among the given boxes (else the first region).

    For retrieval always the same picture.
    """

    def __init__(self, train: TaskBatches) -> None:
        self.head, self.family = train.head, train.task.family
        outputs = {name: place for place, name in enumerate(self.head.outputs)}
        votes: defaultdict[int, float] = defaultdict(float)
        for example in train.table:
            label = example.label
            if isinstance(label, SoftAnswers):
                for answer, score in label.scores.items():
                    votes[outputs.get(answer, -1)] += score
            elif isinstance(label, ClassName):
                votes[outputs.get(label.name, -1)] += 1
            elif isinstance(label, Candidate):
                votes[label.index] += 1
        votes.pop(-1, None)  # outside the vocabulary: nobody can say it
        self.commonest = max(votes, key=votes.__getitem__, default=0)

    def __call__(self, batch: Batch) -> Tensor:
        if self.family == "grounding":
            place = batch.candidate_mask.cumsum(dim=1) - 1
            return (place == self.commonest).float()
        logits = torch.zeros(len(batch.example_ids), max(1, len(self.head.outputs)))
        logits[:, self.commonest] = 1.0
        return logits

    def alignments(self, captions: Batch, images: Batch) -> Tensor:
        scores = torch.zeros(len(captions.token_ids), len(images.features))
        scores[:, 0] = 1.0
        return scores


def chance(test: TaskBatches, places: Sequence[int], pool: int) -> float:
    """The expected score, 0..1, of a guess that is equally likely to fall on every output, candidate or picture."""
    family = test.task.family
    if family == "retrieval":
        return 1 / (pool or len(test.table.images()[0]))
    if family == "verification":
        return 1 / len(test.head.outputs)
    worth: list[float] = []
    for start in range(0, len(places), BATCH):
        batch = test.batch(places[start : start + BATCH])
        if batch.target is None:
            continue
        if family == "answers":
            worth += batch.target.mean(dim=1).tolist()
        else:
            hits = (batch.target[..., 1] >= grounding.KEEP) & batch.candidate_mask
            worth += (hits.sum(dim=1) / batch.candidate_mask.sum(dim=1).clamp(min=1)).tolist()
    return float(np.mean(worth)) if worth else float("nan")


def blind_task(
    prepared: Prepared, source: RegionSource, task: TaskSpec, *, seed: int = 0, max_examples: int = 0, pool: int = 0
) -> BlindScore:
    """The four figures of one task, on the test examples that ``evaluate`` scores with the same limits."""
    spec = dataclasses.replace(task, batch_size=BATCH // max(1, 4 * (task.family == "retrieval")))
    train = TaskBatches.open(prepared, source, spec, "train", seed=seed)
    val = TaskBatches.open(prepared, source, spec, "val", limit=VALIDATION)
    test = TaskBatches.open(prepared, source, spec, "test")

    def scored(answerer: Answerer) -> float:
        right = score_task(answerer, test, max_examples=max_examples, pool=pool).right
        return round(100 * float(right.mean()), 2) if len(right) else float("nan")

    places = scored_places(test, max_examples)
    guess = 100 * chance(test, places, pool)
    majority = scored(Majority(train))
    # One caption gives every picture of a pool the same score when no picture is seen: that is a guess.
    sights: tuple[Sight, ...] = ("image",) if task.family == "retrieval" else ("text", "image")
    networks = fit(spec, sights, train, val, seed=seed)
    text = scored(networks["text"]) if "text" in networks else guess
    return BlindScore(round(guess, 2), majority, round(text, 2), scored(networks["image"]), len(places))


def blind(
    run: Path, *, prepared: Path | None = None, regions: Path | None = None, seed: int = 0, processes: int = 2
) -> BlindScores:
    """Find what every task of a run gives away, and leave it in ``blind.json``.

    Needs the run's recipe and data only, not its model. A task whose figures are there already, from the same data
    and limits, is not done again.

    Raises:
        TwelvefoldError: the run, its prepared folder or its regions are missing.
    """
    started = time.monotonic()
    prepared, regions = prepared or run / "prepared", regions or run / "regions"
    recipe = Recipe.load(run / "recipe.toml")
    limits = recipe.evaluation
    specs = recipe.specs(lambda name: datasets.load(name).TASK)
    found = per_task(
        blind_one,
        {spec.name: (prepared, regions, spec, seed, limits) for spec in specs},
        kind=BlindScore,
        folder=run / "scores" / "blind",
        made_from=made_from(prepared, regions, limits.max_examples, limits.pool, seed, VERSION),
        processes=processes,
        what="tasks tried blind",
    )
    scores = BlindScores(found, round(time.monotonic() - started, 1))
    score_files.write(run / "blind.json", scores)
    return scores


def blind_one(prepared: Path, regions: Path, spec: TaskSpec, seed: int, limits: EvaluationConfig) -> BlindScore:
    """The figures of one task; runs in a process of its own."""
    torch.set_num_threads(1)
    return blind_task(
        Prepared.open(prepared),
        RegionSource.open(regions),
        spec,
        seed=seed,
        max_examples=limits.max_examples,
        pool=limits.pool,
    )


def solved_blind(run: Path, figures: BlindScores) -> list[str]:
    """A sentence for every task whose test score is not surely above every blind figure; none before ``evaluate``."""
    path = run / "scores.json"
    if not path.exists():
        return []
    sentences = []
    for name, score in score_files.read(path, Scores).tasks.items():
        least = score.ci95[0]
        if name in figures.tasks and not least > figures.tasks[name].best:
            sentences.append(
                f"{name}: the score's interval begins at {least:.1f}, the best blind figure is "
                f"{figures.tasks[name].best:.1f}"
            )
    return sentences
