"""The tabs and the examples of the reference come from the model's own tasks."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.server.own_model import CLASSES, HEADS, PETS, THREE, TOOLS, TRAINED_ON, save_own_model

import twelvefold
from twelvefold import datasets
from twelvefold.model.card import DRAWN_DETECTOR
from twelvefold.server.app import create_app
from twelvefold.server.settings import Settings
from twelvefold.server.task_forms import make_forms


@pytest.fixture(scope="module")
def own_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_own_model(tmp_path_factory.mktemp("own"))


def test_tabs_are_the_models_tasks() -> None:
    network = twelvefold.load().network
    forms = make_forms(network.tasks.values(), network.head_specs)
    assert {task.name for form in forms for task in form.tasks} == set(network.tasks)
    ask = next(form for form in forms if form.method == "ask")
    assert ([task.name for task in ask.tasks], ask.independent) == (["vqav2", "vgqa"], True)
    few = [network.tasks["nlvr2"], network.tasks["refcoco"]]
    assert [form.method for form in make_forms(few, network.head_specs)] == ["point", "ground", "compare"]
    assert make_forms([], {}) == []


def test_every_builtin_task_has_a_tab_with_texts() -> None:
    specs = [datasets.load_dataset(name).TASK for name in datasets.task_names()]
    for form in make_forms(specs, {}):
        assert form.tab
        assert form.title
        assert form.label
        assert form.hint
        assert form.example


def test_a_task_of_your_own_keeps_its_title_and_names_its_answers() -> None:
    forms = {form.tab: form for form in make_forms([PETS, THREE, TOOLS], {head.name: head for head in HEADS})}
    assert list(forms) == ["Pets", "Tools", "Three of a kind"]
    assert forms["Pets"].hint == "The answer is one of: false, unknown, true."
    assert (forms["Three of a kind"].images, forms["Three of a kind"].method) == (3, "answer")
    assert (forms["Tools"].boxes, forms["Tools"].candidates) == (True, True)


def test_a_model_of_your_own_is_described_as_itself_and_answers(own_model: Path) -> None:
    app = create_app(twelvefold.load(own_model), Settings(model=str(own_model), allowed_hosts=("testserver",)))
    with TestClient(app) as client:
        about = client.get("/v1/model").json()
        assert (about["name"], about["source"]) == ("vet", own_model.name)
        assert about["trained_on"] == TRAINED_ON
        assert about["data"]["images"] == 1234
        assert about["score_details"]["pets"]["n"] == 212
        assert about["limitations"] == [DRAWN_DETECTOR]
        posts = {
            path: each["post"] for path, each in client.get("/openapi.json").json()["paths"].items() if "post" in each
        }
        examples = {
            path: post["requestBody"]["content"]["multipart/form-data"].get("example") for path, post in posts.items()
        }
        assert {path for path, example in examples.items() if example} == {"/v1/pictures", "/v1/answer"}
        answer = client.post("/v1/answer", data=examples["/v1/answer"])
        assert answer.status_code == 200, answer.text
        assert {ranked["name"] for ranked in answer.json()["ranked"]} == set(CLASSES)
        three = {"task": "three", "text": "They are alike.", "pictures": ["room", "snow", "night"]}
        assert len(client.post("/v1/answer", data=three).json()["pictures"]) == 3
        few = client.post("/v1/answer", data=three | {"pictures": ["room"]})
        assert (few.status_code, "takes 3 images, got 1" in few.json()["what"]) == (422, True)
        unknown = client.post("/v1/answer", data={"task": "pet", "text": "x", "pictures": ["room"]})
        assert "did you mean 'pets'" in unknown.json()["what"]
