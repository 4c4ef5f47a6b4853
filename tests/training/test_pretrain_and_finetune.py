"""Pretraining with the training loop: it learns, resumes exactly, and other runs start from its weights."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor

from twelvefold import datasets
from twelvefold.batch import Batch
from twelvefold.cli import main
from twelvefold.config.finetuning import FinetuneConfig
from twelvefold.config.recipe import PretrainingConfig, Recipe
from twelvefold.data.masking import MaskedBatches
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_batches import TaskBatches
from twelvefold.demo import demo
from twelvefold.evaluate import evaluate
from twelvefold.finetune import finetune, single_task_recipe
from twelvefold.model import Model
from twelvefold.model.pretraining import accuracies
from twelvefold.pretrain import pretrain
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.prepared import Prepared
from twelvefold.train import train
from twelvefold.training import estimate
from twelvefold.training.event_log import read_events
from twelvefold.training.objectives import ZeroShotRetrievalEvaluator
from twelvefold.training.run_folder import TrainSummary

from .conftest import (
    Toy,
    assert_close,
    equal_tensors,
    kill_after,
    read_weights,
    start_training,
    timeless_events,
)


def captions_recipe(
    toy: Toy, *, pretraining: PretrainingConfig | None = None, dropout: float = 0.1, **training: Any
) -> Recipe:
    """Return a recipe that pretrains on the toy's captions."""
    recipe = toy.recipe(word_pieces="seen", **training)
    model = recipe.model | {"dropout": dropout}
    return msgspec.structs.replace(
        recipe,
        tasks=("flickr30k",),
        model=model,
        pretraining=pretraining or PretrainingConfig(retrieval_pool=6, token_mask_prob=0.3, region_mask_prob=0.3),
    )


def events(run: Path) -> list[dict[str, Any]]:
    return list(read_events(run / "events.jsonl"))


@pytest.fixture(scope="module")
def uninterrupted(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining run without interruption."""
    run = tmp_path_factory.mktemp("pretrained")
    pretrain(captions_recipe(toy), toy.prepared, toy.regions, run)
    return run


@pytest.mark.slow
def test_it_learns_masked_words_and_regions(toy: Toy, tmp_path: Path) -> None:
    recipe = captions_recipe(toy, dropout=0.0, iterations=120, lr_factor=300.0, eval_interval=0)
    summary = pretrain(recipe, toy.prepared, toy.regions, tmp_path)
    losses = [event["losses"]["flickr30k"] for event in events(tmp_path) if event["event"] == "step"]
    assert sum(losses[-20:]) < 0.75 * sum(losses[:20])
    metrics = summary.metrics["flickr30k"]
    assert list(metrics) == ["words", "regions", "alignment", "recall_at_1", "recall_at_5", "recall_at_10"]
    word_accuracy, region_accuracy = training_accuracies(toy, recipe, Model.load(summary.checkpoint))
    assert word_accuracy > 0.3  # chance is 1/6; a caption names the image's objects in the order of their boxes
    assert region_accuracy > 0.3  # chance is 1/6
    assert atomic_files.read_json(tmp_path / "pretraining.json")["metrics"]["flickr30k"] == metrics
    last = [event for event in events(tmp_path) if event["event"] == "eval"][-1]
    assert last["metrics"] == metrics
    assert last["score"] == pytest.approx(sum(metrics[name] for name in ("words", "regions", "alignment")) / 3)


def test_a_model_with_all_word_pieces_can_be_pretrained(toy: Toy, tmp_path: Path) -> None:
    config = PretrainingConfig(retrieval_pool=6, token_mask_prob=0.9)  # so high that some tokens become random ones
    recipe = captions_recipe(toy, iterations=2, pretraining=config)
    all_pieces = msgspec.structs.replace(recipe.training, word_pieces="all")
    summary = pretrain(msgspec.structs.replace(recipe, training=all_pieces), toy.prepared, toy.regions, tmp_path)
    assert Model.load(summary.checkpoint).word_pieces == ()
    assert summary.metrics["flickr30k"]["words"] <= 1


def training_accuracies(toy: Toy, recipe: Recipe, model: Model) -> list[float]:
    """Return the accuracies of masked words and regions in training batches."""
    prepared, regions = Prepared.open(toy.prepared), RegionSource.open(toy.regions)
    (spec,) = recipe.task_specs(lambda name: datasets.load_dataset(name).TASK)
    config = PretrainingConfig(token_mask_prob=0.3, region_mask_prob=0.3)
    batches = MaskedBatches.open(prepared, regions, spec, model.embedded_pieces, config)
    entries: list[list[Tensor]] = [[], []]
    with torch.inference_mode():
        for batch in (batches.train_batch(step) for step in range(20)):
            logits = model.pretraining_logits(batch, batch.predict_tokens, batch.predict_regions)
            rows = model.trunk.text_embeddings.token_to_row[batch.token_labels]
            for metric, accuracy in zip(entries, accuracies(logits, batch, rows)[:2], strict=True):
                metric.append(accuracy)
    return [torch.cat(metric).mean().item() for metric in entries]


@pytest.mark.slow
def test_killed_pretraining_resumes_bit_for_bit(toy: Toy, uninterrupted: Path, tmp_path: Path) -> None:
    kill_after(start_training(toy, captions_recipe(toy), tmp_path), tmp_path, 3)
    assert pretrain(captions_recipe(toy), toy.prepared, toy.regions, tmp_path).iterations == 6
    assert equal_tensors(read_weights(tmp_path), read_weights(uninterrupted))
    assert timeless_events(tmp_path) == timeless_events(uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize(
    "shared", [{"gradient_accumulation_steps": 3}, {"processes": 2}], ids=["micro_batches", "ranks"]
)
def test_parts_of_a_batch_make_the_update_of_the_whole_batch(toy: Toy, tmp_path: Path, shared: dict[str, int]) -> None:
    plain = captions_recipe(toy, dropout=0.0, iterations=2, eval_interval=0)
    split = msgspec.structs.replace(plain, training=msgspec.structs.replace(plain.training, **shared))
    for name, recipe in (("plain", plain), ("split", split)):
        pretrain(recipe, toy.prepared, toy.regions, tmp_path / name)
    assert_close(read_weights(tmp_path / "plain"), read_weights(tmp_path / "split"))
    metrics = [
        [e["metrics"] for e in timeless_events(tmp_path / run) if e["event"] == "eval"] for run in ("plain", "split")
    ]
    assert metrics[0][-1] == pytest.approx(metrics[1][-1])


def test_the_papers_two_changes_affect_training_and_not_validation(
    toy: Toy, uninterrupted: Path, tmp_path: Path
) -> None:
    for change in ({"mask_overlapping": False}, {"predict_on_mismatched": True}):
        config = PretrainingConfig(retrieval_pool=6, token_mask_prob=0.3, region_mask_prob=0.3, **change)
        run = tmp_path / next(iter(change))
        pretrain(captions_recipe(toy, pretraining=config, iterations=1, lr_factor=1e-9), toy.prepared, toy.regions, run)
    runs = (uninterrupted, *tmp_path.iterdir())
    counts = [next(e["examples"] for e in timeless_events(run) if e["event"] == "eval") for run in runs]
    assert len(set(counts)) == 1
    steps = [
        next(e for e in timeless_events(run) if e["event"] == "step")
        for run in (uninterrupted, tmp_path / "predict_on_mismatched")
    ]
    assert steps[0]["losses"] != steps[1]["losses"]


def test_zero_shot_retrieval_counts_ranks(toy: Toy) -> None:
    prepared, regions = Prepared.open(toy.prepared), RegionSource.open(toy.regions)
    data = TaskBatches.open(prepared, regions, prepared.task("flickr30k"), "val")
    evaluator = ZeroShotRetrievalEvaluator(data, 5)
    pool = list(evaluator.batches(4, 0, 1))
    assert [len(batch.example_ids) for batch in pool] == [4, 1]
    shared = [id_ for rank in range(2) for batch in evaluator.batches(4, rank, 2) for id_ in batch.example_ids]
    assert shared == [id_ for batch in pool for id_ in batch.example_ids]

    class FixedScores:
        """Rank a caption's image second, after the image before it in the pool."""

        def zero_shot_alignments(self, captions: Batch, images: Batch) -> Tensor:
            assert captions.target is not None
            target = captions.target
            caption_features, pool_features = (each.with_padded_regions().features for each in (captions, images))
            assert torch.equal(caption_features, pool_features[target, : caption_features.shape[1]])
            scores = torch.zeros(len(target), len(images.example_ids))
            scores[torch.arange(len(target)), target] = 1.0
            not_first = target > 0
            scores[torch.nonzero(not_first).flatten(), target[not_first] - 1] = 2.0
            return scores

    scores = [evaluator.score(FixedScores(), batch) for batch in pool]  # type: ignore[arg-type]
    recalls = [torch.cat(recall).tolist() for recall in zip(*scores, strict=True)]
    assert recalls == [[1, 0, 0, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]


def test_tasks_start_from_a_pretraining_run_and_resume_alone(toy: Toy, uninterrupted: Path, tmp_path: Path) -> None:
    pretrained = tmp_path / "pretrained"
    pretrained.symlink_to(uninterrupted)
    recipe = toy.recipe(word_pieces="seen").with_initial(pretrained)
    run = tmp_path / "run"
    train(recipe, toy.prepared, toy.regions, run)
    report = events(run)[0]["warm_start"]
    assert report["folder"] == str(pretrained / "checkpoints" / "latest")
    assert report["unused"]
    assert all(name.startswith("pretraining.") for name in report["unused"])
    assert any(name.startswith("heads.vqa.") for name in report["initialized"])
    assert Recipe.parse(recipe.to_toml()) == recipe
    restarted = tmp_path / "restarted"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twelvefold.train.train_loop", lambda state, services: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(recipe, toy.prepared, toy.regions, restarted)
    train(recipe, toy.prepared, toy.regions, restarted)
    assert equal_tensors(read_weights(restarted), read_weights(run))
    pretrained.unlink()  # a run with a checkpoint no longer needs it
    (run / "checkpoints/latest/state.json").write_text(
        (run / "checkpoints/latest/state.json").read_text().replace('"iteration": 6', '"iteration": 5')
    )
    assert train(recipe, toy.prepared, toy.regions, run).iterations == 6


def test_the_first_loss_differs_from_that_of_random_weights(toy: Toy, uninterrupted: Path, tmp_path: Path) -> None:
    def first_loss(recipe: Recipe, name: str) -> float:
        train(recipe, toy.prepared, toy.regions, tmp_path / name)
        return float(next(e["losses"]["flickr30k"] for e in events(tmp_path / name) if e["event"] == "step"))

    scratch = toy.recipe(word_pieces="seen", iterations=1)
    assert first_loss(scratch, "scratch") != first_loss(scratch.with_initial(uninterrupted), "warm")


@pytest.fixture(scope="module")
def multi_task(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all of the toy's tasks."""
    run = tmp_path_factory.mktemp("multi_task")
    train(toy.recipe(), toy.prepared, toy.regions, run)
    return run


def test_the_command_finetune_trains_one_task_of_a_multi_task_run(toy: Toy, multi_task: Path, tmp_path: Path) -> None:
    run = tmp_path / "single"
    data = ["--prepared", str(toy.prepared), "--regions", str(toy.regions)]
    with pytest.raises(SystemExit) as end:
        main(["finetune", str(multi_task), "refcoco", str(run), "--epochs", "2", "--json", *data])
    assert end.value.code in (0, None)
    start = events(run)[0]
    assert (start["tasks"], start["iterations"]) == (["refcoco"], 10)  # two epochs of five batches
    assert start["warm_start"]["initialized"] == []
    losses = [[e["losses"]["refcoco"] for e in events(r) if e["event"] == "step"] for r in (run, multi_task)]
    assert losses[0][0] < losses[1][0]
    assert Model.load(run / "checkpoints/latest").task_tokens == ("refcoco",)
    steps = {n: int(v) for n, v in read_weights(run).items() if n.endswith("grounding.last.weight.step")}
    assert set(steps.values()) == {10}  # a new optimizer


@pytest.mark.slow
def test_fine_tuning_in_parts_makes_the_updates_of_whole_batches(toy: Toy, multi_task: Path, tmp_path: Path) -> None:
    recipe = toy.recipe(eval_interval=0)
    recipe = msgspec.structs.replace(recipe, model=recipe.model | {"dropout": 0.0})
    data = {"prepared": toy.prepared, "regions": toy.regions}

    def run(name: str, **options: int) -> TrainSummary:
        settings = FinetuneConfig(epochs=1, **options)
        return finetune(multi_task, "refcoco", tmp_path / name, **data, recipe=recipe, options=settings)

    run("whole")
    run("parts", accumulation_steps=3)
    run("ranks", processes=2, accumulation_steps=2)
    (tmp_path / "toy.toml").write_text(recipe.to_toml())
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29518"]
    command += ["-m", "twelvefold", "finetune", str(multi_task), "refcoco", "--recipe", str(tmp_path / "toy.toml")]
    command += ["--prepared", str(toy.prepared), "--regions", str(toy.regions), "--epochs", "1"]
    subprocess.run([*command, "--out", str(tmp_path / "torchrun")], check=True)
    for name in ("parts", "ranks", "torchrun"):
        assert_close(read_weights(tmp_path / "whole"), read_weights(tmp_path / name))
    assert run("whole", accumulation_steps=4).iterations == 5  # parts may change when a run is resumed


def test_a_disk_that_cannot_hold_the_checkpoints_is_refused(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(TwelvefoldError, match=r"this training writes up to \d+ MB .* its disk has 1 MB free"):
        train(toy.recipe(), toy.prepared, toy.regions, tmp_path / "run")
    assert not (tmp_path / "run/checkpoints").exists()


@pytest.mark.slow
def test_an_estimate_of_the_time_changes_no_weight(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(toy.recipe(), toy.prepared, toy.regions, tmp_path / "untimed")
    assert "without validations" not in capsys.readouterr().err
    monkeypatch.setattr(estimate, "MIN_ITERATIONS", 1)
    train(toy.recipe(), toy.prepared, toy.regions, tmp_path / "timed")
    assert "6 iterations of 5 tasks, about 0:0" in capsys.readouterr().err
    assert equal_tensors(read_weights(tmp_path / "untimed"), read_weights(tmp_path / "timed"))


def test_the_commands_pretrain_and_train_initial(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "captions.toml").write_text(captions_recipe(toy, iterations=2).to_toml())
    (tmp_path / "tasks.toml").write_text(toy.recipe(iterations=2).to_toml())
    data = ["--prepared", str(toy.prepared), "--regions", str(toy.regions)]

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as end:
            main([*arguments, *data])
        return int(end.value.code or 0)

    pretrained, tasks = str(tmp_path / "pretrained"), str(tmp_path / "tasks")
    assert run("pretrain", str(tmp_path / "captions.toml"), pretrained) == 0
    assert "flickr30k: words " in capsys.readouterr().out
    assert run("train", str(tmp_path / "tasks.toml"), tasks, "--initial", pretrained) == 0
    assert events(Path(tasks))[0]["warm_start"]["folder"] == f"{pretrained}/checkpoints/latest"
    assert run("train", str(tmp_path / "captions.toml"), str(tmp_path / "x")) == 2  # needs `pretrain`
    with pytest.raises(TwelvefoldError, match="a demo trains tasks"):
        demo(tmp_path / "x", recipe=Recipe.load("pretrain_world"))


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"lr_factor": -1.0},
        {"lr_factor": float("nan")},
        {"processes": 0},
        {"accumulation_steps": -1},
    ],
    ids=str,
)
def test_a_fine_tuning_without_updates_or_with_senseless_ones_is_refused(toy: Toy, values: Any) -> None:
    with pytest.raises(TwelvefoldError, match=next(iter(values))):
        single_task_recipe(toy.recipe(), "nlvr2", FinetuneConfig(**values))


def test_a_single_task_recipe_keeps_the_values_of_its_task(toy: Toy) -> None:
    recipe = Recipe.parse(toy.recipe(curriculum="easy_first").to_toml() + "\n[per_task.nlvr2]\nlr = 0.01\nepochs = 3\n")
    single = single_task_recipe(recipe, "nlvr2", FinetuneConfig(lr_factor=2.0))
    config = single.task_config("nlvr2")
    assert (single.tasks, config.lr, config.epochs) == (("nlvr2",), 0.01, 3)
    assert (single.training.lr_factor, single.training.curriculum, single.training.iterations) == (2.0, "none", 0)
    assert Recipe.parse(single.to_toml()) == single


def test_invalid_requests_are_refused(toy: Toy, uninterrupted: Path, multi_task: Path, tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"has no task 'vqa2'.*did you mean 'vqav2'"):
        finetune(multi_task, "vqa2", tmp_path / "a", prepared=toy.prepared, regions=toy.regions)
    with pytest.raises(TwelvefoldError, match=r"is a pretraining run and has no tasks; train tasks from it"):
        finetune(uninterrupted, "flickr30k", tmp_path / "a", prepared=toy.prepared, regions=toy.regions)
    with pytest.raises(TwelvefoldError, match=r"has no recipe\.toml, so it is not a run"):
        finetune(Path("shipped"), "vqav2", tmp_path / "a", prepared=toy.prepared, regions=toy.regions)
    with pytest.raises(TwelvefoldError, match=r"recipe toy trains tasks: use `twelvefold train`"):
        pretrain(toy.recipe(), toy.prepared, toy.regions, tmp_path / "a")
    with pytest.raises(TwelvefoldError, match=r"is a pretraining run and has no tasks to score"):
        evaluate(uninterrupted, prepared=toy.prepared, regions=toy.regions)
    no_captions = msgspec.structs.replace(captions_recipe(toy), tasks=("nlvr2",))
    with pytest.raises(TwelvefoldError, match=r"'nlvr2': it has no captions \(its family is verification\)"):
        pretrain(no_captions, toy.prepared, toy.regions, tmp_path / "b")
    with pytest.raises(TwelvefoldError, match=r"\[model\] preset and initial both set"):
        Recipe.parse(toy.recipe().to_toml().replace('preset = "small"', 'preset = "small"\ninitial = "x"'))
    with pytest.raises(TwelvefoldError, match=r"text_hiden_size does not exist.*did you mean 'text_hidden_size'"):
        Recipe.parse('name = "x"\ntasks = ["gqa"]\n[model]\ninitial = "x"\ntext_hiden_size = 4\n')
    wide = msgspec.structs.replace(toy.recipe(), model={"initial": str(multi_task), "text_ffn_dim": 32})
    with pytest.raises(TwelvefoldError, match=r"can't start from .*\n.*shape: trunk\.text_layers"):
        train(wide, toy.prepared, toy.regions, tmp_path / "c")
