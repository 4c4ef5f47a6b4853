"""Warm start from another model: tensors are matched by name, rows by what they stand for; the rest is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from twelvefold.batch import Batch
from twelvefold.config.model import changed
from twelvefold.model import Model, ModelConfig, preset, provenance, save_load, warm_start
from twelvefold.schema import HeadSpec, TaskSpec, TwelvefoldError
from twelvefold.vilbert_mt.import_weights import ImportSummary

SIZES: dict[str, Any] = {"feature_size": 6, "vocab_size": 50, "max_position_embeddings": 8}
ANSWERS = ("yes", "no", "red")


def spec(name: str, family: Any = "answers", head: str = "vqa") -> TaskSpec:
    return TaskSpec(name, "", family, head, "accuracy", 8, 4, 1e-4)


def make_model(
    seed: int = 0,
    *,
    answers: tuple[str, ...] = ANSWERS,
    tasks: tuple[TaskSpec, ...] = (spec("vqav2"), spec("vgqa"), spec("snli_ve", "verification", "snli_ve")),
    form: Any = "mlp",
    pieces: tuple[int, ...] = (),
    **sizes: Any,
) -> Model:
    heads = [
        HeadSpec("vqa", "answers", answers),
        HeadSpec("snli_ve", "verification", ("no", "maybe", "yes"), form=form),
    ]
    wanted = {task.head for task in tasks}
    torch.manual_seed(seed)
    config = preset("small", **SIZES | sizes)
    return Model(config, tasks, [h for h in heads if h.name in wanted], word_pieces=pieces)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_model(1).save(tmp_path / "model")
    return tmp_path / "model"


def test_a_warm_start_from_the_same_model_loads_every_tensor(folder: Path) -> None:
    model = make_model(2)
    report = warm_start.warm_start(model, folder)
    theirs = Model.load(folder).state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in model.state_dict().items())
    assert (report.loaded, report.initialized, report.unused) == (len(theirs), [], [])


def test_rows_are_matched_by_answers_and_tasks(folder: Path) -> None:
    answers = ("blue", "red", "yes")
    tasks = (spec("gqa"), spec("vgqa"))
    model, initial = make_model(2, answers=answers, tasks=tasks), make_model(2, answers=answers, tasks=tasks)
    report = warm_start.warm_start(model, folder)
    theirs = Model.load(folder)
    ours, old = model.get_parameter("heads.vqa.last.weight"), theirs.get_parameter("heads.vqa.last.weight")
    assert torch.equal(ours[1:], old[[2, 0]])
    assert torch.equal(ours[0], initial.get_parameter("heads.vqa.last.weight")[0])
    tokens = model.get_parameter(warm_start.TASKS)
    assert torch.equal(tokens[1], theirs.get_parameter(warm_start.TASKS)[1])
    assert torch.equal(tokens[0], initial.get_parameter(warm_start.TASKS)[0])
    assert report.initialized == [
        f"{warm_start.TASKS}: 1 of 2 rows", "heads.vqa.last.weight: 1 of 3 rows", "heads.vqa.last.bias: 1 of 3 rows",
    ]  # fmt: skip
    assert {name.split(".")[1] for name in report.unused} == {"snli_ve"}


@pytest.mark.parametrize("few_first", [True, False])
def test_word_embeddings_are_matched_by_word_piece(tmp_path: Path, few_first: bool) -> None:
    few, everything = (40, 3, 7, 21), tuple[int, ...]()
    make_model(1, pieces=few if few_first else everything).save(tmp_path)
    model = make_model(2, pieces=everything if few_first else few)
    initial = make_model(2, pieces=everything if few_first else few)
    warm_start.warm_start(model, tmp_path)
    ours, theirs = (m.get_parameter(warm_start.WORDS) for m in (model, Model.load(tmp_path)))
    for row, piece in enumerate(few):
        new_row, initial_row = (ours[piece], theirs[row]) if few_first else (ours[row], theirs[piece])
        assert torch.equal(new_row, initial_row)
    if few_first:
        assert torch.equal(ours[4], initial.get_parameter(warm_start.WORDS)[4])


def test_pretraining_heads_are_unused_by_tasks_and_loaded_by_pretraining(tmp_path: Path) -> None:
    make_model(1, tasks=(), num_region_categories=4).save(tmp_path)
    description = save_load.describe(tmp_path)
    config = warm_start.config_from(
        msgspec.structs.replace(description, config=preset("small", task_token="none", **SIZES))
    )
    assert (config.num_region_categories, config.task_token) == (
        0,
        "dataset",
    )  # rows for tasks, though pretraining had none
    tasks = make_model(2)
    report = warm_start.warm_start(tasks, tmp_path)
    assert report.unused
    assert all(name.startswith("pretraining.") for name in report.unused)
    assert warm_start.TASKS in report.initialized
    again = make_model(2, tasks=(), num_region_categories=4)
    assert warm_start.warm_start(again, tmp_path).initialized == []


def test_a_head_keeps_the_form_of_the_other_model(tmp_path: Path) -> None:
    make_model(1, form="linear").save(tmp_path)
    description = save_load.describe(tmp_path)
    wanted = [HeadSpec("snli_ve", "verification", ("no", "maybe", "yes")), HeadSpec("new", "grounding")]
    assert [head.form for head in warm_start.heads_from(wanted, description)] == ["linear", "mlp"]
    with pytest.raises(TwelvefoldError, match=r"head 'vqa' is of family verification with 2 pairs here, but of family"):
        warm_start.heads_from([HeadSpec("vqa", "verification", pairs_per_example=2)], description)


def test_tensors_that_do_not_fit_are_listed_in_an_error(tmp_path: Path) -> None:
    make_model(1, num_coattention_layers=2).save(tmp_path / "deep")
    with pytest.raises(TwelvefoldError, match=r"unused: trunk\.blocks\.1\."):
        warm_start.warm_start(make_model(2), tmp_path / "deep")
    with pytest.raises(TwelvefoldError, match=r"unused: trunk\.blocks\.0\."):
        warm_start.warm_start(make_model(2, trunk="single_stream"), tmp_path / "deep")
    make_model(1, text_ffn_dim=64).save(tmp_path / "narrow")
    with pytest.raises(TwelvefoldError, match=r"shape: trunk\.text_layers\.0\S+ is \[64, 128\], expected \[256, 128\]"):
        warm_start.warm_start(make_model(2), tmp_path / "narrow")
    make_model(1, answers=("unnamed.0", "unnamed.1", "unnamed.2")).save(tmp_path / "nameless")
    with pytest.raises(TwelvefoldError, match="outputs without names: those of head vqa; import the file again"):
        warm_start.warm_start(make_model(2), tmp_path / "nameless")


def test_tensors_that_an_import_initialized_are_not_loaded(folder: Path) -> None:
    """A plain BERT brings no image side, so its size there is free."""
    image = [name for name in Model.load(folder).state_dict() if name.startswith("trunk.image_embeddings.features")]
    origin = provenance.Origin(file="bert.bin", digest="", kind="plain BERT", names=[], fresh=image)
    (folder / provenance.ORIGIN).write_bytes(msgspec.json.encode(origin))
    report = warm_start.warm_start(make_model(2, feature_size=9), folder)
    assert set(report.initialized) == set(image)


MakeTensors = Callable[..., dict[str, torch.Tensor]]
ImportTensors = Callable[..., ImportSummary]


def test_a_plain_bert_initializes_the_text_stream_of_pretraining(
    vilbert_tensors: MakeTensors, import_tensors: ImportTensors
) -> None:
    """The feature size may differ: the image stream of a plain BERT is randomly initialized in the import and here."""
    folder = import_tensors(vilbert_tensors("bert")).folder
    config = changed(warm_start.config_from(save_load.describe(folder)), feature_size=6, num_region_categories=3)
    torch.manual_seed(5)
    model = Model(config, [], [])
    report = warm_start.warm_start(model, folder)
    text = {n for n in model.state_dict() if "text_layer" in n or n.startswith(("trunk.text_emb", "pretraining.words"))}
    assert not text & set(report.initialized)
    assert any(n.startswith("trunk.image_embeddings.") for n in report.initialized)


def test_a_single_task_model_started_from_an_imported_one_gives_the_same_logits(
    vilbert_tensors: MakeTensors, import_tensors: ImportTensors
) -> None:
    """Task token, head and classes go by name, and the three-way head stays the one linear layer that it is."""
    folder = import_tensors(vilbert_tensors("tokens")).folder
    whole = Model.load(folder)
    task = whole.tasks["snli_ve"]
    description = save_load.describe(folder)
    heads = warm_start.heads_from(
        [HeadSpec("snli_ve", "verification", whole.head_specs["snli_ve"].outputs)], description
    )
    single_task = Model(warm_start.config_from(description), [task], heads).eval()
    report = warm_start.warm_start(single_task, folder)
    assert (heads[0].form, report.initialized) == ("linear", [])
    sizes, random = whole.config, torch.Generator().manual_seed(0)
    batch = Batch(
        task="snli_ve",
        pairs_per_example=1,
        example_ids=["a", "b"],
        token_ids=torch.randint(0, sizes.vocab_size, (2, 5), generator=random),
        token_mask=torch.ones(2, 5, dtype=torch.bool),
        features=torch.randn(2, 4, sizes.feature_size, generator=random),
        boxes_px=torch.zeros(2, 4, 4),
        locations=torch.rand(2, 4, 5, generator=random),
        region_mask=torch.ones(2, 4, dtype=torch.bool),
        candidate_mask=torch.zeros(2, 4, dtype=torch.bool),
    )
    with torch.inference_mode():
        assert torch.equal(single_task(batch), whole(batch))


def test_the_model_folder_of_a_run_is_its_latest_checkpoint(folder: Path, tmp_path: Path) -> None:
    assert save_load.model_folder(folder) == folder
    make_model(1).save(tmp_path / "run" / "checkpoints" / "latest")
    assert save_load.model_folder(tmp_path / "run") == tmp_path / "run" / "checkpoints" / "latest"
    with pytest.raises(TwelvefoldError, match=r"holds no model: it has neither model\.json nor"):
        save_load.model_folder(tmp_path / "missing")


def test_sizes_come_from_the_other_model(folder: Path) -> None:
    config = warm_start.config_from(save_load.describe(folder))
    assert isinstance(config, ModelConfig)
    assert (config.text_hidden_size, config.feature_size) == (128, 6)
