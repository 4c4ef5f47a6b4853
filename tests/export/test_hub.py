"""A hub folder is complete and loads by its path or by its name on a hub."""

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
from twelvefold.export.hub import FILES, load_model, push_folder, write_hub_folder
from twelvefold.schema import TwelvefoldError
from twelvefold.vilbert_mt.export_weights import export_weights
from twelvefold.vilbert_mt.import_weights import import_weights

MakeTensors = Callable[..., dict[str, Tensor]]


@pytest.fixture
def hub_folder(vilbert_tensors: MakeTensors, vilbert_json: Path, tmp_path: Path) -> Path:
    torch.save(vilbert_tensors(), tmp_path / "o.bin")
    import_weights(tmp_path / "o.bin", tmp_path / "model", config=vilbert_json)
    write_hub_folder(tmp_path / "model", tmp_path / "hub", name="me/mine")
    return tmp_path / "hub"


def test_a_hub_folder_is_complete_and_loads_the_same_model(hub_folder: Path, tmp_path: Path) -> None:
    assert {path.name for path in hub_folder.iterdir()} == set(FILES)
    before, after = load_model(tmp_path / "model"), load_model(str(hub_folder))
    assert not after.training
    assert after.task_tokens == before.task_tokens
    state = after.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.state_dict().items())
    text = "What color is the umbrella?"
    pieces = Tokenizer.from_file(str(hub_folder / "tokenizer.json")).encode(text, add_special_tokens=False)
    assert pieces.ids == BertTokenizer().encode(text)
    card = (hub_folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: twelvefold\n")
    assert 'twelvefold.load("me/mine")' in card
    assert "| SNLI-VE (`snli_ve`) | verification | `snli_ve` | 3 |" in card
    assert "| `retrieval` | one score |" in card


def test_the_latest_checkpoint_of_a_run_is_exported_and_loaded(hub_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tmp_path / "model", run / "checkpoints" / "latest")
    write_hub_folder(run, tmp_path / "again", name="me/mine")
    export_weights(run, tmp_path / "vilbert.bin")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (hub_folder / "model.safetensors").read_bytes()
    back = torch.load(tmp_path / "vilbert.bin")
    first = torch.load(tmp_path / "o.bin")
    assert back.keys() == first.keys()
    assert all(torch.equal(back[name], first[name]) for name in back)
    assert sorted(load_model(run).tasks) == sorted(load_model(hub_folder).tasks)


@pytest.mark.slow
def test_a_name_on_a_hub_is_found_in_the_cache(hub_folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "home/hub/models--me--mine"  # the layout of huggingface_hub's cache
    shutil.copytree(hub_folder, cache / "snapshots/0123456789abcdef")
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text("0123456789abcdef")
    code = (
        "import sys, json, twelvefold; light = 'torch' not in sys.modules\n"
        "from twelvefold.export import hub; tasks = sorted(hub.load_model('me/mine').tasks)\n"
        "try: twelvefold.load('me/other')\n"
        "except Exception as error: message = f'{type(error).__name__}: {error}'\n"
        "print(json.dumps([light, tasks, message]))"
    )
    env = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    light, tasks, message = json.loads(done.stdout)
    assert light
    assert "vqav2" in tasks
    assert message.startswith("TwelvefoldError: no folder me/other, and the hub has no model of that name")


def test_folders_without_a_model_are_refused(hub_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match="no folder nowhere; give a model's folder"):
        load_model("nowhere")
    (hub_folder / "README.md").unlink()
    with pytest.raises(TwelvefoldError, match=r"lacks README\.md"):
        push_folder(hub_folder, "me/mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    with pytest.raises(TwelvefoldError, match="files that are not a model's"):
        write_hub_folder(tmp_path / "model", tmp_path / "full")
