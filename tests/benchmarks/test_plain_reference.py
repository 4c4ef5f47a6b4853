"""The plain reference of the benchmarks computes what the package computes, from the same weights.

Its formulas are those of the original project, with its padding and its masks of -10000.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from benchmarks.plain_reference import PaddedInputs, PlainVilbert, copy_weights, pad_inputs
from tests.vilbert_checkpoints import PUBLISHED, shapes
from torch import Tensor, nn

from benchmarks import plain_programs, workload
from twelvefold.batch import Batch
from twelvefold.config.training import TrainingConfig
from twelvefold.data.collate import make_batch
from twelvefold.data.region_inputs import assemble_rows
from twelvefold.families import load_family
from twelvefold.model import Model, preset
from twelvefold.schema import Regions
from twelvefold.training import vilbert_mt

TOLERANCE = 4e-6
PAIRS = [(3, 10), (9, 38), (18, 100), (5, 77)]
"""Words and regions of four pairs."""


@pytest.fixture(scope="module")
def model() -> Model:
    return workload.make_model("small", dropout=0.0)


def padded(model: Model, batch: Batch) -> PaddedInputs:
    spec = model.tasks[batch.task]
    return pad_inputs(batch, spec.max_tokens, spec.max_regions, model.task_tokens.index(spec.name))


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())


def test_the_reference_has_the_published_parameters() -> None:
    with torch.device("meta"):
        reference = PlainVilbert(preset("vilbert_base", num_region_categories=1601), 20, (3129, 1533))
    assert {name: tuple(p.shape) for name, p in reference.state_dict().items()} == shapes(
        PUBLISHED, "tokens", (3129, 1533)
    )
    assert sum(p.numel() for p in reference.parameters()) == 268_028_859


@pytest.mark.parametrize("task", workload.TASKS)
@pytest.mark.parametrize("fused_norm", [True, False])
def test_logits_of_every_task_agree(model: Model, task: str, fused_norm: bool) -> None:
    reference, batch = copy_weights(model, fused_norm=fused_norm), workload.random_batch(model, task, PAIRS)
    with torch.inference_mode():
        logits, expected = model(batch), reference(padded(model, batch))[model.tasks[task].head]
    expected = expected.view(len(logits), -1)
    if load_family(model.tasks[task].family).chooses_region:
        mask = batch.region_mask
        logits, expected = logits[mask], expected[:, : mask.shape[1]][mask]
    assert difference(logits, expected) < TOLERANCE


def test_pretraining_logits_agree(model: Model) -> None:
    batch = workload.random_batch(model, "vqav2", PAIRS)
    with torch.inference_mode():
        logits, expected = model.pretraining_logits(batch), copy_weights(model)(padded(model, batch))
        words = model.word_scores(batch)
    text_mask = torch.nn.functional.pad(batch.token_mask, (1, 0), value=True)
    length, regions = text_mask.shape[1], batch.region_mask.shape[1]
    assert difference(logits.tokens[text_mask], expected["words"][:, :length][text_mask]) < TOLERANCE
    assert difference(words[text_mask], expected["word_score"][:, :length, 0][text_mask]) < TOLERANCE
    in_images = batch.region_mask
    assert difference(logits.regions[in_images], expected["regions"][:, :regions][in_images]) < TOLERANCE
    assert difference(logits.alignment, expected["alignment"]) < TOLERANCE


def test_training_steps_agree_over_tasks_with_different_heads() -> None:
    """The second step of a task also applies the momentum and decay of the other task's step in between."""
    model = workload.make_model("small", dropout=0.0).train()
    reference = copy_weights(model)
    ours = vilbert_mt.build_optimizer(
        model, TrainingConfig(iterations=1, optimization="vilbert_mt", adam_beta2=0.999, adam_eps=1e-6), 2e-5
    )
    theirs = plain_programs.LoopAdamW(reference, 2e-5)
    for step, task in enumerate(["vqav2", "gqa", "vqav2"]):
        spec, batch = model.tasks[task], workload.random_batch(model, task, PAIRS, seed=step)
        batch.target = workload.random_target(model, batch)
        loss = load_family(spec.family).loss(model(batch), batch)
        torch.autograd.backward(loss)
        ours.step()
        ours.zero_grad()
        expected = plain_programs.train_step(reference, theirs, padded(model, batch), spec.head, batch.target)
        assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    updated, expected_weights = copy_weights(model).state_dict(), reference.state_dict()
    assert max(difference(updated[name], expected_weights[name]) for name in updated) < TOLERANCE


def test_search_scores_every_caption_with_every_image(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_programs, "IMAGES_AT_ONCE", 3)
    captions, images = workload.random_batch(model, "coco", PAIRS[:2]), workload.random_batch(model, "coco", PAIRS)
    with torch.inference_mode():
        scores = model.alignments(captions, images)
        expected = plain_programs.search(copy_weights(model), padded(model, captions), padded(model, images))
    assert scores.shape == (2, 4)
    assert difference(scores, expected) < TOLERANCE


def test_features_are_read_as_the_package_reads_them(tmp_path: Path) -> None:
    rng, regions = np.random.default_rng(0), dict[str, Regions]()
    with lmdb.open(str(tmp_path), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for name, count in (("7", 12), ("8", 30)):
            half = workload.random_regions(count, 16, rng)
            record = regions[name] = Regions(half.boxes_px, half.features.astype(np.float32), 640, 480)
            content = {
                "image_id": name, "image_w": 640, "image_h": 480, "num_boxes": count,
                "boxes": record.boxes_px, "features": record.features,
            }  # fmt: skip
            transaction.put(name.encode(), pickle.dumps(content))
        transaction.put(b"keys", pickle.dumps([b"7", b"8"]))
    features, locations, mask = plain_programs.FeatureReader(tmp_path).batch(["8", "7"], 21)
    rows = [assemble_rows(r, r.features.mean(axis=0)[None], 21) for r in (regions["8"], regions["7"])]
    batch = make_batch(workload.task_spec("vqav2"), ["8", "7"], [[5], [6]], rows, 16)
    assert features.dtype == locations.dtype == torch.float32
    assert torch.equal(mask.bool(), batch.region_mask)
    for read, expected in ((features, batch.features), (locations, batch.locations)):
        packed = expected if expected.ndim == 2 else expected[batch.region_mask]
        assert difference(read[mask.bool()], packed) < 1e-6


def test_weights_without_a_parameter_of_the_reference_are_refused(model: Model) -> None:
    model = workload.make_model("small")
    model.extra = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="no parameters for extra"):
        copy_weights(model)
