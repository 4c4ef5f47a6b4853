"""A hub folder is complete and loads by its path or by its name on a hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from tests.vilbert_checkpoints import SMALL_VOCABULARY
from tokenizers import Tokenizer
from torch import Tensor

from twelvefold.data.tokenizer import Tokenizer as BertTokenizer
from twelvefold.export.hub import FILES, SHIPPED, data_licenses, load_model, push_folder, write_hub_folder
from twelvefold.model import card
from twelvefold.schema import TwelvefoldError
from twelvefold.vilbert_mt.export_weights import export_weights
from twelvefold.vilbert_mt.import_weights import import_weights

MakeTensors = Callable[..., dict[str, Tensor]]


@pytest.fixture
def hub_folder(vilbert_tensors: MakeTensors, vilbert_json: Path, tmp_path: Path) -> Path:
    torch.save(vilbert_tensors(), tmp_path / "o.bin")
    import_weights(tmp_path / "o.bin", tmp_path / "model", config=vilbert_json, options=SMALL_VOCABULARY)
    write_hub_folder(tmp_path / "model", tmp_path / "hub", name="me/mine")
    return tmp_path / "hub"


def test_a_hub_folder_is_complete_and_loads_the_same_model(hub_folder: Path, tmp_path: Path) -> None:
    assert {path.name for path in hub_folder.iterdir()} == set(FILES)
    before, after = load_model(tmp_path / "model"), load_model(str(hub_folder))
    assert not after.training
    assert after.task_tokens == before.task_tokens
    state = after.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.state_dict().items())
    question = "What color is the umbrella?"
    pieces = Tokenizer.from_file(str(hub_folder / "tokenizer.json")).encode(question, add_special_tokens=False)
    assert pieces.ids == BertTokenizer().encode(question)
    text = (hub_folder / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert (header["library_name"], header["license"]) == ("twelvefold", "other")
    assert "Not recorded: the imported file does not state it." in text
    assert "The author stated no license" in text
    assert 'twelvefold.load("me/mine")' in text
    assert "| SNLI-VE (`snli_ve`) | verification | `snli_ve` | 3 |" in text
    assert "| `retrieval` | one score |" in text


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


def test_the_model_card_states_license_data_scores_and_limits(tmp_path: Path) -> None:
    write_hub_folder(SHIPPED, tmp_path / "hub", name="me/small", license_name="mit")
    text = (tmp_path / "hub/README.md").read_text()
    header: Any = ModelCard(text).data
    assert (header.license, header.language, header.pipeline_tag) == ("mit", "en", "visual-question-answering")
    shipped = card.read(SHIPPED)
    results = {result.dataset_type: result.metric_value for result in header.eval_results}
    assert results == {f"twelvefold-drawn-{task}": score for task, score in shipped.scores.items()}
    assert shipped.trained_on in text
    assert "| `visual7w` | 23,547 | drawn by twelvefold in this dataset's format: Apache-2.0 |" in text
    assert "| SNLI-VE (`snli_ve`) | accuracy | 97.1 | 95.8 to 98.1 | 1,500 | the drawn world (seed 1) |" in text
    assert card.DRAWN_DATA in text
    assert card.read(tmp_path / "hub").license == "mit"


@pytest.mark.parametrize(
    ("policy", "words"), [("ids", " cleaned by the policy ids"), ("none", " without cleaning"), ("", "")]
)
def test_a_card_states_how_its_data_were_cleaned(policy: str, words: str) -> None:
    assert card.TrainingData(examples={"pets": 7}, cleaning=policy).describe() == f"7 examples of pets{words}"


def test_licenses_are_those_of_the_training_data() -> None:
    licenses = data_licenses(card.TrainingData(examples={"visual7w": 5, "pets": 7}))
    assert licenses == {"visual7w": "MIT; images: CC BY 4.0", "pets": "your own dataset: state it here"}


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
