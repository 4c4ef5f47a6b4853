"""A shortlist compares few pairs, scores them as an exact search does, and counts what it misses as misses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.conftest import Toy

from twelvefold.config.evaluation import EvaluationOptions
from twelvefold.data.retrieval_pool import RetrievalPool
from twelvefold.evaluate import evaluate
from twelvefold.evaluation.run_inputs import RunInputs
from twelvefold.evaluation.scores import TaskScore
from twelvefold.evaluation.shortlist import PoolShortlists, embed_captions, embed_images
from twelvefold.evaluation.train_twin import train_twin_encoder
from twelvefold.model import Model, save_load
from twelvefold.model.twin_encoder import FILE, TwinEncoder
from twelvefold.schema import TwelvefoldError
from twelvefold.train import train

TASK = "flickr30k"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of hardly any training, with a trained twin encoder."""
    run = tmp_path_factory.mktemp("shortlist") / "run"
    train(toy.recipe(iterations=1, eval_interval=0), toy.prepared, toy.regions, run)
    train_twin_encoder(run, iterations=30)
    return run


@pytest.fixture
def run(model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model, tmp_path / "run")


def evaluate_by(run: Path, size: int) -> TaskScore:
    options = EvaluationOptions(shortlist=size)
    return evaluate(run, options=options, split="train", tasks=[TASK], processes=1).tasks[TASK]


def open_pool(run: Path) -> tuple[RetrievalPool, Model, TwinEncoder]:
    inputs = RunInputs.open(run, prepared=None, regions=None, checkpoint="latest")
    network, _ = inputs.load_model()
    twin = TwinEncoder.read(inputs.checkpoint)
    assert twin is not None
    return RetrievalPool.with_all_captions(inputs.batches(network.tasks[TASK], "train"), 0, 0), network, twin


@pytest.mark.slow
def test_training_the_twin_encoder_changes_no_weight_of_the_model_and_ranks_own_images_first(
    model: Path, toy: Toy, tmp_path: Path
) -> None:
    run = shutil.copytree(model, tmp_path / "run")
    weights = run / "checkpoints" / "latest" / save_load.TENSORS
    before = weights.read_bytes()
    summary = train_twin_encoder(run, iterations=30)
    assert weights.read_bytes() == before
    assert (run / "checkpoints" / "latest" / FILE).read_bytes() == (
        model / "checkpoints" / "latest" / FILE
    ).read_bytes()
    share = summary.tasks[TASK]
    assert share.listed[1] > 2 * 100 / share.images  # twice chance; its captions name one object of four
    assert share.listed[256] == 100.0


@torch.inference_mode()
def test_listed_pairs_have_the_scores_of_an_exact_search_and_others_none(run: Path) -> None:
    pool, network, twin = open_pool(run)
    shortlists = PoolShortlists(pool, network, twin, 3, CPU)
    parts = [shortlists.score(rows) for rows in (range(7), range(7, len(pool.captions)))]
    images, texts = (torch.cat([getattr(part, name) for part in parts]) for name in ("images", "texts"))
    exact = torch.cat(
        [
            torch.cat([network.alignments(c, i) for i in pool.image_batches], dim=1)
            for c in pool.caption_batches(range(40))
        ]
    )
    for scores in (images, texts):
        torch.testing.assert_close(scores[scores.isfinite()], exact[scores.isfinite()], rtol=0, atol=1e-5)
    vectors = embed_captions(pool, network, twin, CPU) @ embed_images(pool, network, twin, CPU).T
    torch.testing.assert_close(images.isfinite().nonzero()[:, 1].view(-1, 3), vectors.topk(3).indices.sort().values)
    assert texts.isfinite().sum(dim=0).tolist() == [3] * len(pool.images)  # every image has three captions
    listed = (images.isfinite() | texts.isfinite()).sum()
    assert sum(part.num_pairs for part in parts) == listed


def test_a_list_of_all_images_gives_the_exact_scores(run: Path) -> None:
    exact, listed = evaluate_by(run, 0), evaluate_by(run, 1000)
    assert exact.shortlist is None
    assert listed.shortlist is not None
    assert (listed.score, listed.extra_metrics, listed.ci95) == (exact.score, exact.extra_metrics, exact.ci95)
    assert listed.text_retrieval == exact.text_retrieval
    assert listed.shortlist.listed == 100.0
    assert listed.shortlist.pairs == listed.shortlist.all_pairs


def test_captions_whose_own_image_is_not_listed_are_misses_and_the_result_says_so(run: Path) -> None:
    train_twin_encoder(run, iterations=1)  # it knows nothing
    scored = evaluate_by(run, 2)
    assert scored.shortlist is not None
    assert scored.shortlist.size == 2
    assert scored.shortlist.pairs < scored.shortlist.all_pairs / 2
    assert scored.shortlist.listed < 100
    assert scored.extra_metrics["recall_at_5"] == scored.shortlist.listed  # nothing behind the list is a hit
    [sentence] = scored.limitations
    assert "shortlists of 2" in sentence
    content = json.loads((run / "scores-train.json").read_text())["tasks"][TASK]
    assert content["shortlist"]["listed"] == scored.shortlist.listed
    predictions = (run / "predictions-train" / f"{TASK}.jsonl").read_text().splitlines()
    assert {len(json.loads(line)["ranked"]) for line in predictions} == {2}


def test_an_exact_evaluation_replaces_one_by_shortlists_and_another_twin_encoder_scores_again(run: Path) -> None:
    listed = evaluate_by(run, 2)
    assert evaluate_by(run, 0).shortlist is None
    train_twin_encoder(run, iterations=1, seed=1)
    again = evaluate_by(run, 2)
    assert listed.shortlist is not None
    assert again.shortlist is not None
    assert again.shortlist.twin_digest != listed.shortlist.twin_digest


def test_a_shortlist_without_a_twin_encoder_or_retrieval_task_is_refused(run: Path) -> None:
    with pytest.raises(TwelvefoldError, match="none of vqav2 searches images"):
        evaluate(run, options=EvaluationOptions(shortlist=2), split="train", tasks=["vqav2"], processes=1)
    with pytest.raises(TwelvefoldError, match="0 for all of them; got -1"):
        evaluate_by(run, -1)
    (run / "checkpoints" / "latest" / FILE).unlink()
    with pytest.raises(TwelvefoldError, match="twelvefold index train"):
        evaluate_by(run, 2)


def test_a_twin_encoder_of_other_weights_is_refused(run: Path) -> None:
    folder = run / "checkpoints" / "latest"
    network = Model.load(folder)
    network.requires_grad_(False)
    next(network.parameters()).add_(1.0)
    network.save(folder)
    with pytest.raises(TwelvefoldError, match=r"goes with weights of digest \w+, but model.safetensors has"):
        evaluate_by(run, 2)


def test_a_damaged_twin_encoder_is_refused_by_name(run: Path) -> None:
    folder = run / "checkpoints" / "latest"
    twin = TwinEncoder.read(folder)
    assert twin is not None
    del twin.image.gate
    twin.write(folder)
    with pytest.raises(TwelvefoldError, match=r"missing: image\.gate"):
        TwinEncoder.read(folder)


def test_vectors_do_not_depend_on_the_other_sequences_of_a_batch(run: Path) -> None:
    pool, network, twin = open_pool(run)
    with torch.inference_mode():
        together = embed_captions(pool, network, twin, CPU)
        alone = RetrievalPool(pool.data, np.arange(len(pool.images)), pool.captions[5:6])
        torch.testing.assert_close(embed_captions(alone, network, twin, CPU), together[5:6], rtol=0, atol=1e-5)
    assert torch.allclose(together.norm(dim=1), torch.ones(len(together)), atol=1e-5)
