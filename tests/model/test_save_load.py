"""A saved model is loaded unchanged; files that do not fit are errors that name every tensor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from twelvefold.batch import Batch
from twelvefold.model import Model, preset, save_load, tensor_files
from twelvefold.schema import HeadSpec, TaskSpec, TwelvefoldError
from twelvefold.store.older_formats import rename_keys

TASKS = [
    TaskSpec("vqav2", "VQAv2", "answers", "vqa", "vqa accuracy", 23, 128, 4e-5),
    TaskSpec(
        "mine.too",
        "Mine",
        "verification",
        "mine.too",
        "accuracy",
        20,
        64,
        2e-5,
        pairs_per_example=2,
        classes=("no", "yes"),
    ),
]
HEADS = [HeadSpec("vqa", "answers", ("red", "zwei", "二")), HeadSpec("mine.too", "verification", ("no", "yes"), 2)]


def model(trunk: str = "two_stream", **options: tuple[int, ...]) -> Model:
    config = preset(
        "small", trunk=trunk, vocab_size=40, feature_size=6, text_hidden_size=8, image_hidden_size=8, bi_hidden_size=8
    )
    return Model(config, TASKS, HEADS, **options).eval()  # type: ignore[arg-type]


def batch(task: str = "vqav2", pairs: int = 1) -> Batch:
    g, real = torch.Generator().manual_seed(0), torch.ones(2, 5, dtype=torch.bool)
    ids = [str(i) for i in range(2 // pairs)]
    words, features = torch.randint(0, 40, (2, 5), generator=g), torch.randn(2, 5, 6, generator=g)
    return Batch(task, pairs, ids, words, real, features, torch.zeros(2, 5, 4), torch.zeros(2, 5, 5), real, real)


@pytest.mark.parametrize(
    ("pieces", "trunk"), [((), "two_stream"), ((3, 7, 1, 20), "two_stream"), ((), "single_stream")]
)
def test_a_loaded_model_equals_the_saved_one(tmp_path: Path, pieces: tuple[int, ...], trunk: str) -> None:
    ours = model(trunk, word_pieces=pieces)
    ours.save(tmp_path)
    back = Model.load(tmp_path)
    assert back.config == ours.config
    assert (back.tasks, back.head_specs) == (ours.tasks, ours.head_specs)
    assert (back.task_tokens, back.word_pieces) == (ours.task_tokens, pieces)
    assert not back.training
    assert all(p.device.type == "cpu" and p.requires_grad for p in back.parameters())
    for task, pairs in (("vqav2", 1), ("mine.too", 2)):
        assert torch.equal(back(batch(task, pairs)), ours(batch(task, pairs)))


def test_the_order_of_task_tokens_is_kept(tmp_path: Path) -> None:
    ours = model()
    ours.save(tmp_path)
    content = json.loads((tmp_path / "model.json").read_text())
    content["tasks"].reverse()
    (tmp_path / "model.json").write_text(json.dumps(content))
    assert torch.equal(Model.load(tmp_path)(batch()), ours(batch()))


def test_tensors_of_another_model_are_listed_with_the_closest_name(tmp_path: Path) -> None:
    model().save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["trunk.text_poler.weight"] = tensors.pop("trunk.text_pooler.weight")
    tensors["heads.vqa.last.bias"] = torch.zeros(9)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(TwelvefoldError) as caught:
        Model.load(tmp_path)
    message = str(caught.value)
    assert "missing: trunk.text_pooler.weight [8, 8]" in message
    assert "unknown: trunk.text_poler.weight [8, 8]; is it trunk.text_pooler.weight?" in message
    assert "shape: heads.vqa.last.bias is [9], expected [3]" in message


def test_broken_and_missing_files_are_errors_that_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"cannot read .*model\.json"):
        Model.load(tmp_path)
    model().save(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(TwelvefoldError, match=r"model\.safetensors: can't be read"):
        Model.load(tmp_path)
    content = json.loads((tmp_path / "model.json").read_text())
    for change, message in (
        ({"format": 3}, "format 3, but this version reads 2"),
        ({"config": content["config"] | {"text_widht": 8}}, "text_widht"),
        ({"config": content["config"] | {"text_hidden_size": 9}}, "text_hidden_size = 9"),
    ):
        (tmp_path / "model.json").write_text(json.dumps(content | change))
        with pytest.raises(TwelvefoldError, match=message):
            Model.load(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(TwelvefoldError, match="does not describe a model"):
        Model.load(tmp_path)


def test_a_model_of_format_1_is_read(tmp_path: Path) -> None:
    model().save(tmp_path)
    now = json.loads((tmp_path / "model.json").read_text())
    old_of = {new: old for old, new in save_load.KEYS_OF_FORMAT_1.items()}
    (tmp_path / "model.json").write_text(json.dumps(rename_keys(now, old_of) | {"format": 1}))
    assert '"text_width": 8' in (tmp_path / "model.json").read_text()
    back = Model.load(tmp_path)
    assert (back.config, back.tasks, back.head_specs) == (model().config, model().tasks, model().head_specs)


def test_weight_files_have_the_permissions_of_new_files(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"")
    tensor_files.write(tmp_path / "x.safetensors", {"a": torch.ones(2)})
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "new").stat().st_mode
    assert torch.equal(tensor_files.read(tmp_path / "x.safetensors").tensors["a"], torch.ones(2))


@pytest.mark.slow
def test_a_full_disk_is_an_error_and_leaves_the_old_weights(tmp_path: Path) -> None:
    # A child with a small file limit: the kernel itself refuses the write, as a full disk does.
    program = f"""
import resource
from pathlib import Path
import torch
from twelvefold.model import tensor_files
path = Path({str(tmp_path / "x.safetensors")!r})
tensor_files.write(path, {{"a": torch.ones(2)}})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
tensor_files.write(path, {{"a": torch.ones(100_000)}})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "TwelvefoldError: could not write" in done.stderr
    assert "exceeds the size limit" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]
    assert torch.equal(tensor_files.read(tmp_path / "x.safetensors").tensors["a"], torch.ones(2))
