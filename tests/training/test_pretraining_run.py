"""Pretraining through the loop: it learns, goes on exactly, is the same in parts; and what starts from another run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from twelvefold import datasets
from twelvefold.batch import Batch
from twelvefold.cli import main
from twelvefold.config.recipe import PretrainingConfig, Recipe
from twelvefold.data.masking import MaskedBatches
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_loader import TaskBatches
from twelvefold.demo import demo
from twelvefold.evaluate import evaluate
from twelvefold.finetune import finetune, only
from twelvefold.model import Model
from twelvefold.model.pretraining import accuracies
from twelvefold.pretrain import pretrain
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.prepared import Prepared
from twelvefold.train import train
from twelvefold.training.event_log import read_events
from twelvefold.training.objectives import search

from .conftest import Toy

SETS = ("flickr30k",)


def captions(
    toy: Toy, *, pretraining: PretrainingConfig | None = None, dropout: float = 0.1, **training: Any
) -> Recipe:
    """The toy's captions to pretrain on."""
    recipe = toy.recipe(word_pieces="seen", **training)
    model = recipe.model | {"dropout": dropout}
    return msgspec.structs.replace(
        recipe,
        tasks=SETS,
        model=model,
        pretraining=pretraining
        or PretrainingConfig(retrieval_pool=6, token_mask_prob=0.3, region_mask_prob=0.3),
    )


def weights(run: Path) -> dict[str, Tensor]:
    folder = run / "checkpoints" / "latest"
    return load_file(folder / "model.safetensors") | load_file(folder / "optimiser.safetensors")


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def happened(run: Path) -> list[dict[str, Any]]:
    untimed = [{k: v for k, v in e.items() if k not in ("seconds", "peak_memory_gb")} for e in events(run)]
    return [e for e in untimed if e["event"] not in ("start", "resume")]


def events(run: Path) -> list[dict[str, Any]]:
    return list(read_events(run / "events.jsonl"))


@pytest.fixture(scope="module")
def whole(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("pretrained")
    pretrain(captions(toy), toy.prepared, toy.regions, run)
    return run


def test_it_learns_words_and_regions(toy: Toy, tmp_path: Path) -> None:
    recipe = captions(toy, dropout=0.0, iterations=120, lr_factor=300.0, checkpoint_interval=120, eval_interval=0)
    summary = pretrain(recipe, toy.prepared, toy.regions, tmp_path)
    losses = [event["losses"]["flickr30k"] for event in events(tmp_path) if event["event"] == "step"]
    assert sum(losses[-20:]) < 0.75 * sum(losses[:20])
    measures = summary.measures["flickr30k"]
    assert list(measures) == ["words", "regions", "alignment", "recall_at_1", "recall_at_5", "recall_at_10"]
    told = rightness_on_training(toy, recipe, Model.load(summary.checkpoint))
    assert told[0] > 0.3  # of six words; a caption names the picture's things in the order of their places
    assert told[1] > 0.3  # of six kinds
    assert atomic_files.read_json(tmp_path / "pretraining.json")["measures"]["flickr30k"] == measures
    last = [event for event in events(tmp_path) if event["event"] == "eval"][-1]
    assert last["measures"] == measures
    assert last["score"] == pytest.approx(sum(measures[name] for name in ("words", "regions", "alignment")) / 3)


def test_a_model_of_all_word_pieces_pretrains_as_the_papers_does(toy: Toy, tmp_path: Path) -> None:
    recipe = captions(
        toy, iterations=2, pretraining=PretrainingConfig(retrieval_pool=6, token_mask_prob=0.9)
    )  # so that some words change
    all_pieces = msgspec.structs.replace(recipe.training, word_pieces="all")
    summary = pretrain(msgspec.structs.replace(recipe, training=all_pieces), toy.prepared, toy.regions, tmp_path)
    assert Model.load(summary.checkpoint).word_pieces == ()
    assert summary.measures["flickr30k"]["words"] <= 1


def rightness_on_training(toy: Toy, recipe: Recipe, model: Model) -> list[float]:
    """Shares of words and regions that a model tells right in batches that it has learnt from."""
    prepared, regions = Prepared.open(toy.prepared), RegionSource.open(toy.regions)
    (spec,) = recipe.task_specs(lambda name: datasets.load_dataset(name).TASK)
    batches = MaskedBatches.open(
        prepared,
        regions,
        spec,
        model.embedded_pieces,
        PretrainingConfig(token_mask_prob=0.3, region_mask_prob=0.3),
    )
    found: list[list[Tensor]] = [[], []]
    with torch.inference_mode():
        for batch in (batches.train_batch(step) for step in range(20)):
            logits = model.pretraining_logits(batch, batch.predict_tokens, batch.predict_regions)
            rows = model.trunk.text_embeddings.token_to_row[batch.token_labels]
            for all_, some in zip(found, accuracies(logits, batch, rows)[:2], strict=True):
                all_.append(some)
    return [torch.cat(one).mean().item() for one in found]


def test_killed_pretraining_goes_on_bit_for_bit(toy: Toy, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(captions(toy).to_toml())
    command = [sys.executable, "-m", "twelvefold.train", str(toy.prepared), str(toy.regions), str(tmp_path)]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    log = tmp_path / "events.jsonl"
    while process.poll() is None and not (
        log.exists() and any(e["event"] == "step" and e["iteration"] >= 3 for e in read_events(log))
    ):
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert pretrain(captions(toy), toy.prepared, toy.regions, tmp_path).iterations == 6
    assert same(weights(tmp_path), weights(whole))
    assert happened(tmp_path) == happened(whole)


@pytest.mark.parametrize("shared", [{"gradient_accumulation_steps": 3}, {"processes": 2}], ids=["parts", "ranks"])
def test_shares_of_a_batch_make_the_update_of_the_whole(toy: Toy, tmp_path: Path, shared: dict[str, int]) -> None:
    plain = captions(toy, dropout=0.0, iterations=2, eval_interval=0)
    cut = msgspec.structs.replace(plain, training=msgspec.structs.replace(plain.training, **shared))
    for name, recipe in (("one", plain), ("shared", cut)):
        pretrain(recipe, toy.prepared, toy.regions, tmp_path / name)
    one, other = weights(tmp_path / "one"), weights(tmp_path / "shared")
    assert not [name for name in one if not torch.allclose(one[name], other[name], rtol=1e-3, atol=1e-5)]
    measures = [[e["measures"] for e in happened(tmp_path / run) if e["event"] == "eval"] for run in ("one", "shared")]
    assert measures[0][-1] == pytest.approx(measures[1][-1])


def test_the_two_changes_are_told_apart_by_what_is_learnt_not_by_what_is_measured(
    toy: Toy, whole: Path, tmp_path: Path
) -> None:
    for change in ({"mask_overlapping": False}, {"predict_on_mismatched": True}):
        choice = PretrainingConfig(retrieval_pool=6, token_mask_prob=0.3, region_mask_prob=0.3, **change)
        run = tmp_path / next(iter(change))
        pretrain(captions(toy, pretraining=choice, iterations=1, lr_factor=1e-9), toy.prepared, toy.regions, run)
    runs = (whole, *tmp_path.iterdir())
    counts = [next(e["examples"] for e in happened(run) if e["event"] == "eval") for run in runs]
    assert len(set(counts)) == 1
    steps = [
        next(e for e in happened(run) if e["event"] == "step") for run in (whole, tmp_path / "predict_on_mismatched")
    ]
    assert steps[0]["losses"] != steps[1]["losses"]


def test_zero_shot_search_counts_ranks(toy: Toy) -> None:
    prepared, regions = Prepared.open(toy.prepared), RegionSource.open(toy.regions)
    found = search(TaskBatches.open(prepared, regions, prepared.task("flickr30k"), "val"), 5)
    pool = list(found.batches(4, 0, 1))
    assert [len(batch.example_ids) for batch in pool] == [4, 1]
    shared = [id_ for rank in range(2) for batch in found.batches(4, rank, 2) for id_ in batch.example_ids]
    assert shared == [id_ for batch in pool for id_ in batch.example_ids]

    class Told:
        """Scores that are known: a caption's own picture comes second to the one before it in the pool."""

        def zero_shot_alignments(self, few: Batch, images: Batch) -> Tensor:
            place = {id_: i for i, id_ in enumerate(images.example_ids)}
            own = torch.tensor([place[id_] for id_ in few.example_ids])
            scores = torch.zeros(len(own), len(images.example_ids))
            scores[torch.arange(len(own)), own] = 1.0
            before = own > 0
            scores[torch.nonzero(before).flatten(), own[before] - 1] = 2.0
            return scores

    right = [torch.cat(one) for one in zip(*(found.score(Told(), batch) for batch in pool), strict=True)]  # type: ignore[arg-type]
    assert [one.tolist() for one in right] == [[1, 0, 0, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]


def test_tasks_start_from_a_pretraining_and_go_on_without_it(toy: Toy, whole: Path, tmp_path: Path) -> None:
    pretrained = tmp_path / "pretrained"
    pretrained.symlink_to(whole)
    recipe = toy.recipe(word_pieces="seen").with_initial(pretrained)
    run = tmp_path / "run"
    train(recipe, toy.prepared, toy.regions, run)
    said = events(run)[0]["initial"]
    assert said["folder"] == str(pretrained / "checkpoints" / "latest")
    assert all(name.startswith("pretraining.") for name in said["unused"])
    assert any(name.startswith("heads.vqa.") for name in said["initialized"])
    first = Recipe.parse(recipe.to_toml())
    assert first == recipe
    again = tmp_path / "again"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twelvefold.train.learn", lambda work: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(recipe, toy.prepared, toy.regions, again)
    train(recipe, toy.prepared, toy.regions, again)
    assert same(weights(again), weights(run))
    pretrained.unlink()  # a run that goes on needs its start no more
    (run / "checkpoints/latest/state.json").write_text(
        (run / "checkpoints/latest/state.json").read_text().replace('"iteration": 6', '"iteration": 5')
    )
    assert train(recipe, toy.prepared, toy.regions, run).iterations == 6


def test_first_loss_from_a_start_is_not_that_from_scratch(toy: Toy, whole: Path, tmp_path: Path) -> None:
    def first(recipe: Recipe, name: str) -> float:
        train(recipe, toy.prepared, toy.regions, tmp_path / name)
        return float(next(e["losses"]["flickr30k"] for e in events(tmp_path / name) if e["event"] == "step"))

    scratch = toy.recipe(word_pieces="seen", iterations=1)
    assert first(scratch, "scratch") != first(scratch.with_initial(whole), "started")


@pytest.fixture(scope="module")
def many(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of all of the toy's tasks."""
    run = tmp_path_factory.mktemp("many")
    train(toy.recipe(), toy.prepared, toy.regions, run)
    return run


def test_one_task_is_trained_from_a_model_of_many_in_one_command(toy: Toy, many: Path, tmp_path: Path) -> None:
    run = tmp_path / "alone"
    where = ["--prepared", str(toy.prepared), "--regions", str(toy.regions)]
    with pytest.raises(SystemExit) as end:
        main(["finetune", str(many), "refcoco", str(run), "--epochs", "2", "--json", *where])
    assert end.value.code in (0, None)
    said = events(run)[0]
    assert (said["tasks"], said["iterations"]) == (["refcoco"], 10)  # two epochs of five batches
    assert said["initial"]["initialized"] == []
    losses = [[e["losses"]["refcoco"] for e in events(r) if e["event"] == "step"] for r in (run, many)]
    assert losses[0][0] < losses[1][0]
    assert Model.load(run / "checkpoints/latest").task_tokens == ("refcoco",)
    steps = {n: int(v) for n, v in weights(run).items() if n.endswith("grounding.last.weight.step")}
    assert set(steps.values()) == {10}  # the optimiser began anew


def test_the_commands_of_the_documentation(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "captions.toml").write_text(captions(toy, iterations=2).to_toml())
    (tmp_path / "tasks.toml").write_text(toy.recipe(iterations=2).to_toml())
    where = ["--prepared", str(toy.prepared), "--regions", str(toy.regions)]

    def run(*words: str) -> int:
        with pytest.raises(SystemExit) as end:
            main([*words, *where])
        return int(end.value.code or 0)

    before, after = str(tmp_path / "pretrained"), str(tmp_path / "tasks")
    assert run("pretrain", str(tmp_path / "captions.toml"), before) == 0
    assert "flickr30k: words " in capsys.readouterr().out
    assert run("train", str(tmp_path / "tasks.toml"), after, "--initial", before) == 0
    assert events(Path(after))[0]["initial"]["folder"] == f"{before}/checkpoints/latest"
    assert run("train", str(tmp_path / "captions.toml"), str(tmp_path / "x")) == 2  # each recipe has its command
    with pytest.raises(TwelvefoldError, match="a demo trains tasks"):
        demo(tmp_path / "x", recipe=Recipe.load("pretrain_world"))


def test_only_keeps_the_tasks_own_numbers(toy: Toy) -> None:
    recipe = Recipe.parse(toy.recipe(curriculum="easy_first").to_toml() + "\n[per_task.nlvr2]\nlr = 0.01\nepochs = 3\n")
    alone = only(recipe, "nlvr2", lr_factor=2.0)
    assert (alone.tasks, alone.task_config("nlvr2").lr, alone.task_config("nlvr2").epochs) == (("nlvr2",), 0.01, 3)
    assert (alone.training.lr_factor, alone.training.curriculum, alone.training.iterations) == (2.0, "none", 0)
    assert Recipe.parse(alone.to_toml()) == alone


def test_what_cannot_be_is_refused(toy: Toy, whole: Path, many: Path, tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"has no task 'vqa2'; did you mean 'vqav2'"):
        finetune(many, "vqa2", tmp_path / "a", prepared=toy.prepared, regions=toy.regions)
    with pytest.raises(TwelvefoldError, match=r"was pretrained and has no tasks; train from it by a recipe of tasks"):
        finetune(whole, "flickr30k", tmp_path / "a", prepared=toy.prepared, regions=toy.regions)
    with pytest.raises(TwelvefoldError, match=r"has no recipe\.toml, so it is no run"):
        finetune(whole / "checkpoints/latest", "vqav2", tmp_path / "a", prepared=toy.prepared, regions=toy.regions)
    with pytest.raises(TwelvefoldError, match=r"recipe toy trains tasks: use `twelvefold train`"):
        pretrain(toy.recipe(), toy.prepared, toy.regions, tmp_path / "a")
    with pytest.raises(TwelvefoldError, match=r"is a pretraining run and has no tasks to score"):
        evaluate(whole, prepared=toy.prepared, regions=toy.regions)
    no_captions = msgspec.structs.replace(captions(toy), tasks=("nlvr2",))
    with pytest.raises(TwelvefoldError, match=r"'nlvr2': it has no captions \(its family is verification\)"):
        pretrain(no_captions, toy.prepared, toy.regions, tmp_path / "b")
    with pytest.raises(TwelvefoldError, match=r"\[model\] preset and initial both set"):
        Recipe.parse(toy.recipe().to_toml().replace('preset = "small"', 'preset = "small"\ninitial = "x"'))
    with pytest.raises(TwelvefoldError, match=r"a model has no 'text_hiden_size'; .*did you mean 'text_hidden_size'"):
        Recipe.parse('name = "x"\ntasks = ["gqa"]\n[model]\ninitial = "x"\ntext_hiden_size = 4\n')
    wide = msgspec.structs.replace(toy.recipe(), model={"initial": str(many), "text_ffn_dim": 32})
    with pytest.raises(TwelvefoldError, match=r"can't start from .*\n.*shape: trunk\.text_layers"):
        train(wide, toy.prepared, toy.regions, tmp_path / "c")
