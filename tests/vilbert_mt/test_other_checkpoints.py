"""Checkpoints of other vocabularies, with NaN, or with the prefixes of wrappers: refused with the reason, or read."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.vilbert_checkpoints import DECODER, WORDS, ImportTensors, MakeTensors, Tensors

from twelvefold.config.model import preset
from twelvefold.detectors.x152.detector import X152
from twelvefold.model import Model, tensor_files
from twelvefold.model.tensor_files import find_non_finite
from twelvefold.model.vocabulary import KNOWN, SIZE, describe_other_vocabulary
from twelvefold.schema import TwelvefoldError
from twelvefold.vilbert_mt.inspect_weights import inspect_weights

POOLER = "bert.t_pooler.dense.weight"


def with_vocabulary(tensors: Tensors, size: int) -> Tensors:
    width = tensors[WORDS].shape[1]
    words = torch.zeros(size, width)
    return tensors | {WORDS: words, DECODER: words, "cls.predictions.bias": torch.zeros(size)}


@pytest.mark.parametrize(
    ("size", "kind"), [(28_996, "cased"), (119_547, "multilingual"), (30_528, "rows added"), (77, "no published")]
)
def test_another_vocabulary_is_refused_with_both_sizes(
    vilbert_tensors: MakeTensors, import_tensors: ImportTensors, tmp_path: Path, size: int, kind: str
) -> None:
    tensors = with_vocabulary(vilbert_tensors("pretraining"), size)
    with pytest.raises(TwelvefoldError, match=rf"of {size:,} word pieces, expected the 30,522 .*{kind}.*--other-vocab"):
        import_tensors(tensors, other_vocabulary=False)
    assert any(f"{size:,} word pieces" in note for note in inspect_weights(tmp_path / "vilbert.bin").notes)


def test_the_size_of_the_vocabulary_is_the_tokenizers() -> None:
    from twelvefold.data.tokenizer import VOCABULARY

    assert len(VOCABULARY.read_text(encoding="utf-8").splitlines()) == SIZE
    assert SIZE not in KNOWN
    assert describe_other_vocabulary(SIZE) == ""


def test_nan_is_refused_by_name_and_accepted_only_by_an_option(
    vilbert_tensors: MakeTensors, import_tensors: ImportTensors, tmp_path: Path
) -> None:
    tensors = vilbert_tensors()
    tensors[POOLER] = tensors[POOLER].clone()
    tensors[POOLER][0, :3] = torch.tensor([float("nan"), float("inf"), 1.0])
    with pytest.raises(TwelvefoldError, match=rf"NaN or infinity in {POOLER} \(2 of [\d,]+\).*--non-finite"):
        import_tensors(tensors)
    assert any(POOLER in note for note in inspect_weights(tmp_path / "vilbert.bin").notes)
    assert any(POOLER in note for note in import_tensors(tensors, non_finite=True).notes)
    Model.load(tmp_path / "model")  # accepted once, accepted since


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_model_and_a_detector_with_nan_are_not_loaded(tmp_path: Path, value: float) -> None:
    Model(preset("small", vocab_size=30), [], []).save(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].view(-1)[-1] = value
    save_file(tensors, path)
    with pytest.raises(TwelvefoldError, match=rf"NaN or infinity in {name}"):
        Model.load(tmp_path)
    torch.save({"backbone.body.stem.conv1.weight": torch.full((2, 2), value)}, tmp_path / "x.pth")
    with pytest.raises(TwelvefoldError, match="NaN or infinity in backbone"):
        X152.load(tmp_path / "x.pth")
    assert find_non_finite({"steps": torch.tensor([2**62]), "half": torch.full((9,), 6e4).half()}) == []


@pytest.mark.parametrize(
    "prefixes", ["module.", "_orig_mod.", "model.", "_orig_mod.module.", "module._orig_mod.model.", "bert."]
)
def test_prefixes_of_wrappers_are_removed_and_named(
    vilbert_tensors: MakeTensors, import_tensors: ImportTensors, tmp_path: Path, prefixes: str
) -> None:
    tensors = vilbert_tensors()
    expected = import_tensors(tensors)
    summary = import_tensors({prefixes + name: tensor for name, tensor in tensors.items()})
    assert summary.used == expected.used
    assert any(all(part in note for part in prefixes.split(".")) for note in summary.notes)
    assert inspect_weights(tmp_path / "vilbert.bin").others == inspect_weights(tmp_path / "vilbert.bin").absent == ()


def test_a_compiled_part_and_our_own_format_lose_their_prefixes(tmp_path: Path) -> None:
    model = Model(preset("small", vocab_size=30), [], [])
    model.save(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    save_file({name.replace("trunk.", "_orig_mod.trunk._orig_mod.", 1): t for name, t in tensors.items()}, path)
    with pytest.warns(UserWarning, match=r"names began with _orig_mod\."):
        Model.load(tmp_path)


def test_names_that_only_look_like_prefixes_stay(tmp_path: Path) -> None:
    names = {"model.a": torch.zeros(1), "b.module.c": torch.zeros(1), "model": torch.zeros(1)}
    save_file(names, tmp_path / "a.safetensors")
    file = tensor_files.read(tmp_path / "a.safetensors")
    assert (set(file.tensors), file.removed) == (set(names), ())
    save_file({"module.a": torch.zeros(1), "a": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(TwelvefoldError, match="are both a; remove one"):
        tensor_files.read(tmp_path / "b.safetensors")


@pytest.mark.parametrize("suffix", [".bin", ".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"<!DOCTYPE html><title>Sign in</title>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_a_web_page_and_a_pointer_are_named(tmp_path: Path, suffix: str, data: bytes, kind: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(data)
    for read in (tensor_files.read, inspect_weights, X152.load):
        with pytest.raises(TwelvefoldError, match=kind):
            read(path)


BOMB = b"\x80\x02})" + b"2\x86" * 40 + b"K\x01s."
"""A dict whose key is a tuple of 2 ** 40 items: hashing it would take days."""


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_would_hang_is_refused(tmp_path: Path, zipped: bool) -> None:
    torch.save({"key": torch.zeros(1)}, tmp_path / "good.bin", _use_new_zipfile_serialization=zipped)
    assert tensor_files.read(tmp_path / "good.bin").tensors.keys() == {"key"}
    if zipped:
        with zipfile.ZipFile(tmp_path / "good.bin") as good, zipfile.ZipFile(tmp_path / "bad.bin", "w") as bad:
            for info in good.infolist():
                bad.writestr(info.filename, BOMB if info.filename.endswith("data.pkl") else good.read(info))
    else:
        header = [pickle.dumps(part, 2) for part in (torch.serialization.MAGIC_NUMBER, 1001, {"little_endian": True})]
        (tmp_path / "bad.bin").write_bytes(b"".join([*header, BOMB, pickle.dumps([], 2)]))
    with pytest.raises(TwelvefoldError, match=r"bad\.bin was not loaded"):
        tensor_files.read(tmp_path / "bad.bin")


def test_a_file_that_is_no_pickle_is_not_called_dangerous(tmp_path: Path) -> None:
    (tmp_path / "notes.bin").write_text("vision and language\n" * 9)
    with pytest.raises(TwelvefoldError, match=r"notes\.bin is truncated or not a weight file"):
        tensor_files.read(tmp_path / "notes.bin")
