"""Files in every container are read, and nothing in a file is run."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.vilbert_checkpoints import SMALL_VOCABULARY, ImportTensors, MakeTensors, equal_tensors

from twelvefold.schema import TwelvefoldError
from twelvefold.vilbert_mt.export_weights import export_weights
from twelvefold.vilbert_mt.import_weights import import_weights


@pytest.mark.parametrize("container", ["legacy", "module", "old names", "trunk only", "safetensors", "half"])
def test_all_containers_give_the_same_model(
    container: str, vilbert_tensors: MakeTensors, import_tensors: ImportTensors, vilbert_json: Path, tmp_path: Path
) -> None:
    t = vilbert_tensors("pretraining")
    import_tensors(t)
    plain = load_file(tmp_path / "model/model.safetensors")
    tensors, expected, options = t, t, {}
    if container == "legacy":
        options = {"legacy": True}
    elif container == "module":
        tensors = {f"module.{name}": tensor for name, tensor in t.items()}
    elif container == "old names":
        old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        tensors = {next((name.replace(a, b) for a, b in old.items() if a in name), name): x for name, x in t.items()}
        assert tensors.keys() != t.keys()
    elif container == "trunk only":
        expected = {name: tensor for name, tensor in t.items() if name.startswith("bert.")}
        tensors = {name.removeprefix("bert."): tensor for name, tensor in expected.items()}
        plain = {name: tensor for name, tensor in plain.items() if name.startswith("trunk.")}
    elif container == "half":
        tensors = expected = {name: tensor.half() for name, tensor in t.items()}
        plain = {name: tensor.half().float() for name, tensor in plain.items()}
    if container == "safetensors":
        save_file({name: tensor.clone() for name, tensor in t.items()}, tmp_path / "o.safetensors")
        import_weights(tmp_path / "o.safetensors", tmp_path / "model", config=vilbert_json, options=SMALL_VOCABULARY)
        expected = dict(sorted(t.items()))
    else:
        import_tensors(tensors, **options)
    assert equal_tensors(
        dict(sorted(load_file(tmp_path / "model/model.safetensors").items())), dict(sorted(plain.items()))
    )
    export_weights(tmp_path / "model", tmp_path / "back.bin")
    back = torch.load(tmp_path / "back.bin")
    assert equal_tensors(dict(sorted(back.items())), dict(sorted(expected.items())))
    assert [tensor.dtype for tensor in back.values()] == [tensor.dtype for tensor in expected.values()]


class MultiTaskStopOnPlateau:  # pickled under vilbert-multi-task's name, which can't be imported here
    def __init__(self) -> None:
        self.best, self.history = 0.5, {"TASK1": [1.0, 2.0]}


MultiTaskStopOnPlateau.__module__ = "vilbert.utils"


@pytest.mark.parametrize("legacy", [False, True])
def test_a_training_checkpoint_is_read_without_creating_its_objects(
    legacy: bool,
    vilbert_tensors: MakeTensors,
    import_tensors: ImportTensors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    t = vilbert_tensors()
    module = type(os)("vilbert.utils")
    module.MultiTaskStopOnPlateau = MultiTaskStopOnPlateau  # type: ignore[attr-defined]
    with monkeypatch.context() as m:
        m.setitem(sys.modules, "vilbert", type(os)("vilbert"))
        m.setitem(sys.modules, "vilbert.utils", module)
        controllers = {"TASK1": MultiTaskStopOnPlateau()}
        value = {"model_state_dict": t, "optimizer_state_dict": {"lr": 1e-4}, "task_stop_controller": controllers}
        torch.save(value, tmp_path / "ckpt.tar", _use_new_zipfile_serialization=not legacy)
    summary = import_weights(
        tmp_path / "ckpt.tar",
        tmp_path / "model",
        config=tmp_path / "bert_base_6layer_6conect.json",
        options=SMALL_VOCABULARY,
    )
    assert summary.entries == len(t)
    assert "objects of vilbert.utils.MultiTaskStopOnPlateau, not created" in summary.set_aside
    assert "optimizer_state_dict of the training checkpoint" in summary.set_aside
    export_weights(tmp_path / "model", tmp_path / "back.bin")
    assert equal_tensors(torch.load(tmp_path / "back.bin"), t)


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def raw_object(path: Path) -> bytes:
    """Return a call written with the oldest opcode (INST), which no current pickler writes."""
    return b"(S'touch " + str(path).encode() + b"'\nios\nsystem\n."


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("position", ["flat", "wrapped", "nested"])
def test_a_file_with_code_is_refused_and_not_run(
    position: str, legacy: bool, vilbert_tensors: MakeTensors, import_tensors: ImportTensors, tmp_path: Path
) -> None:
    t, evil = vilbert_tensors("pretraining"), Evil(tmp_path / "ran")
    value = {
        "flat": t | {"bert.extra": evil},
        "wrapped": {"model_state_dict": t, "tb_logger": evil},
        "nested": {"model_state_dict": t, "task_stop_controller": {"TASK1": {"best": [evil]}}},
    }[position]
    with pytest.raises(TwelvefoldError, match=r"nothing in it was run.*calls (posix|nt)\.system"):
        import_tensors(value, legacy=legacy)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "model").exists()
    assert pickle.loads(pickle.dumps(evil)) == 0  # the pickle does run when it is loaded without protection
    assert (tmp_path / "ran").exists()


def test_old_opcodes_are_not_run(vilbert_json: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.bin").write_bytes(raw_object(tmp_path / "ran"))
    with pytest.raises(TwelvefoldError, match=r"nothing in it was run.*calls os\.system"):
        import_weights(tmp_path / "evil.bin", tmp_path / "model", config=vilbert_json, options=SMALL_VOCABULARY)
    assert not (tmp_path / "ran").exists()
