"""A hub folder holds all that a reader needs, and loads by its path or by its name on a hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor

from twelvefold.data.tokenizer import Tokenizer as BertTokenizer
from twelvefold.export.hub import FILES, load, push, write_hub_folder
from twelvefold.schema import TwelvefoldError
from twelvefold.vilbert_mt.import_weights import export_weights, import_weights

Official = Callable[..., dict[str, Tensor]]


@pytest.fixture
def hub_folder(official_tensors: Official, official_json: Path, tmp_path: Path) -> Path:
    torch.save(official_tensors(), tmp_path / "o.bin")
    import_weights(tmp_path / "o.bin", tmp_path / "model", config=official_json)
    write_hub_folder(tmp_path / "model", tmp_path / "hub", name="me/mine")
    return tmp_path / "hub"


def test_a_hub_folder_is_whole_and_loads_the_same_model(hub_folder: Path, tmp_path: Path) -> None:
    assert {path.name for path in hub_folder.iterdir()} == set(FILES)
    ours, theirs = load(tmp_path / "model"), load(str(hub_folder))
    assert not theirs.training
    assert theirs.task_tokens == ours.task_tokens
    before, after = ours.state_dict(), theirs.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    said = "What colour is the umbrella?"
    pieces = Tokenizer.from_file(str(hub_folder / "tokenizer.json")).encode(said, add_special_tokens=False)
    assert pieces.ids == BertTokenizer().encode(said)
    card = (hub_folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: twelvefold\n")
    assert 'twelvefold.load("me/mine")' in card
    assert "| SNLI-VE (`snli_ve`) | verification | `snli_ve` | 3 |" in card
    assert "| `retrieval` | one score |" in card


def test_a_run_is_exported_and_loaded_as_its_latest_checkpoint(hub_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tmp_path / "model", run / "checkpoints" / "latest")
    write_hub_folder(run, tmp_path / "again", name="me/mine")
    export_weights(run, tmp_path / "official.bin")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (hub_folder / "model.safetensors").read_bytes()
    back = torch.load(tmp_path / "official.bin")
    first = torch.load(tmp_path / "o.bin")
    assert back.keys() == first.keys()
    assert all(torch.equal(back[name], first[name]) for name in back)
    assert sorted(load(run).tasks) == sorted(load(hub_folder).tasks)


def test_a_name_on_a_hub_is_found_among_what_was_fetched(hub_folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "home/hub/models--me--mine"  # as huggingface_hub keeps what it fetched
    shutil.copytree(hub_folder, cache / "snapshots/0123456789abcdef")
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text("0123456789abcdef")
    code = (
        "import sys, json, twelvefold; light = 'torch' not in sys.modules\n"
        "from twelvefold.export import hub; found = sorted(hub.load('me/mine').tasks)\n"
        "try: twelvefold.load('me/other')\n"
        "except Exception as error: told = f'{type(error).__name__}: {error}'\n"
        "print(json.dumps([light, found, told]))"
    )
    env = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    light, found, told = json.loads(done.stdout)
    assert light
    assert "vqav2" in found
    assert told.startswith("TwelvefoldError: no folder me/other, and the hub gives no model of that name")


def test_what_is_no_model_is_named(hub_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match="no folder nowhere; give a model's folder"):
        load("nowhere")
    (hub_folder / "README.md").unlink()
    with pytest.raises(TwelvefoldError, match=r"lacks README\.md"):
        push(hub_folder, "me/mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    with pytest.raises(TwelvefoldError, match="something else than a model"):
        write_hub_folder(tmp_path / "model", tmp_path / "full")
