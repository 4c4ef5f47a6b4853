"""Every endpoint answers what the Predictor answers, quickly the second time, and says which model it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import twelvefold
from twelvefold.schema import TwelvefoldError
from twelvefold.server.batching import Job
from twelvefold.server.service import Answered, Asked, work
from twelvefold.serving.images import load_image
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.request import Request
from twelvefold.serving.result import Prediction
from twelvefold.serving.samples import Sample, Suggestion, load_samples

from .conftest import Server

Jpegs = dict[str, bytes]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return twelvefold.load()


def first(task: str) -> tuple[Sample, Suggestion]:
    return next((sample, one) for sample in load_samples() for one in sample.suggestions if one.task == task)


def agree(reply: Any, prediction: Prediction) -> None:
    assert reply["task"] == prediction.task
    assert len(reply["ranked"]) == len(prediction.ranked) > 0
    for got, expected in zip(reply["ranked"], prediction.ranked, strict=True):
        assert got["name"] == expected.name
        assert got["probability"] == pytest.approx(expected.probability, abs=1e-3)
        assert got["box_px"] == (expected.box_px and pytest.approx(list(expected.box_px), abs=0.1))


@pytest.mark.parametrize(
    ("path", "field", "tasks"),
    [
        ("ask", "question", ("vqav2", "gqa", "vgqa")),
        ("point", "phrase", ("refcoco", "refcoco+", "refcocog")),
        ("choose", "question", ("visual7w",)),
        ("entails", "statement", ("snli_ve",)),
    ],
)
def test_a_text_about_one_picture(
    path: str, field: str, tasks: tuple[str, ...], server: Server, predictor: Predictor, jpegs: Jpegs
) -> None:
    for task in tasks:
        sample, asked = first(task)
        form = {field: asked.text} | ({"task": task} if len(tasks) > 1 else {})
        reply = server.client.post(f"/v1/{path}", data=form, files={"image": jpegs[sample.name]}).json()
        more: dict[str, Any] = {"task": task} if len(tasks) > 1 else {}
        agree(reply, getattr(predictor, path)(jpegs[sample.name], asked.text, **more))


def test_boxes_are_chosen_among(server: Server, predictor: Predictor, jpegs: Jpegs) -> None:
    sample, which = first("visual7w")
    form = {"question": which.text, "boxes": json.dumps(which.boxes_px), "top": "100"}
    reply = server.client.post("/v1/choose", data=form, files={"image": jpegs[sample.name]}).json()
    agree(reply, predictor.choose(jpegs[sample.name], which.text, which.boxes_px, top=100))
    assert reply["candidates_px"] == [list(box) for box in which.boxes_px]
    sample, secret = first("guesswhat")
    form = {"dialogue": json.dumps(secret.dialogue), "boxes": json.dumps(secret.boxes_px), "top": "100"}
    reply = server.client.post("/v1/guess", data=form, files={"image": jpegs[sample.name]}).json()
    agree(reply, predictor.guess(jpegs[sample.name], secret.dialogue, secret.boxes_px, top=100))


def test_two_pictures_are_compared_in_their_order(server: Server, predictor: Predictor, jpegs: Jpegs) -> None:
    sample, asked = first("nlvr2")
    files = {"image_a": jpegs[sample.name], "image_b": jpegs[asked.other]}
    reply = server.client.post("/v1/compare", data={"statement": asked.text}, files=files).json()
    agree(reply, predictor.compare(files["image_a"], files["image_b"], asked.text))


def test_a_caption_finds_its_picture(server: Server, predictor: Predictor, jpegs: Jpegs) -> None:
    for task in ("coco", "flickr30k"):
        sample, caption = first(task)
        files = [("images", (f"{name}.jpg", data)) for name, data in jpegs.items()]
        form = {"text": caption.text, "task": task, "top": "10"}
        reply = server.client.post("/v1/find", data=form, files=files).json()
        agree(reply, predictor.find(caption.text, list(jpegs.values()), task=task, top=10))
        assert list(jpegs)[int(reply["ranked"][0]["name"])] == sample.name


def test_each_phrase_gets_its_box(server: Server, predictor: Predictor, jpegs: Jpegs) -> None:
    sample, _ = first("refcoco")
    phrases = [one.text for one in sample.suggestions if one.task == "refcoco"]
    caption = " beside ".join(phrases)
    form = {"caption": caption, "phrases": json.dumps(phrases)}
    reply = server.client.post("/v1/ground", data=form, files={"image": jpegs[sample.name]}).json()
    expected = predictor.ground(jpegs[sample.name], caption, phrases)
    for one, prediction in zip(reply["phrases"], expected, strict=True):
        agree({"task": reply["task"], "ranked": one["ranked"]}, prediction)
    assert [one["name"] for one in reply["ranked"]] == phrases


def test_a_picture_is_sent_once_and_asked_about_often(server: Server, photograph: Callable[[int], bytes]) -> None:
    data = photograph(0)
    seen = server.client.post("/v1/pictures", files={"image": data}).json()
    assert seen["regions"][0]["kind"]
    assert seen["regions"][0]["probability"] > 0.1
    assert all(0 <= x1 < x2 <= seen["width"] for x1, _, x2, _ in (one["box_px"] for one in seen["regions"]))
    form = {"picture": seen["picture"], "question": "How many things are there?"}
    by_digest = server.client.post("/v1/ask", data=form).json()
    by_file = server.client.post("/v1/ask", data={"question": form["question"]}, files={"image": data}).json()
    assert by_digest["ranked"] == by_file["ranked"]
    assert by_digest["pictures"] == [{key: seen[key] for key in ("picture", "width", "height")}]
    assert max(by_digest["seconds"]["detect"], by_file["seconds"]["detect"]) < seen["seconds"] / 5


def test_an_explained_answer_says_where_each_word_looked(server: Server) -> None:
    form = {"picture_a": "left", "picture_b": "right", "statement": "There is a blue thing.", "explain": "true"}
    reply = server.client.post("/v1/compare", data=form).json()
    assert [one["picture"] for one in reply["attention"]] == [0, 1]
    for one in reply["attention"]:
        assert {"blue", "thing"} <= set(one["words"])
        for block in one["blocks"]:
            shares = np.array(block["to_regions"])
            assert shares.shape[1:] == (len(one["words"]), len(one["boxes_px"]))
            assert shares.sum(2) == pytest.approx(1, abs=1e-3)
    plain = server.client.post("/v1/compare", data=form | {"explain": "false"}).json()
    assert plain["attention"] is None
    assert plain["ranked"][0]["probability"] == pytest.approx(reply["ranked"][0]["probability"], abs=1e-3)


def test_a_sample_is_asked_about_by_its_name(server: Server, jpegs: Jpegs) -> None:
    by_name = server.client.post("/v1/entails", data={"picture": "snow", "statement": "It is cold."}).json()
    by_file = server.client.post(
        "/v1/entails", data={"statement": "It is cold."}, files={"image": jpegs["snow"]}
    ).json()
    assert by_name["ranked"] == by_file["ranked"]


def test_samples_come_with_their_questions(server: Server, jpegs: Jpegs) -> None:
    listed = server.client.get("/v1/samples").json()
    assert [one["name"] for one in listed] == list(jpegs)
    for one in listed:
        got = server.client.get(f"/{one['url']}")
        assert got.content == jpegs[one["name"]]
        assert got.headers["content-type"] == "image/jpeg"


def test_it_says_which_model_it_is(server: Server, predictor: Predictor) -> None:
    said = server.client.get("/v1/model").json()
    assert (said["name"], said["parameters"]) == (predictor.about.name, predictor.about.parameters)
    assert said["trained_on"] == predictor.about.trained_on != ""
    assert said["scores"] == predictor.about.scores
    assert said["limits"]["max_pixels"] == 50_000_000


def test_the_pages_need_no_other_host(server: Server) -> None:
    for path in ("/", "/docs", "/page/app.js", "/reference/reference.js", "/reference/reference.css"):
        got = server.client.get(path)
        assert got.status_code == 200, path
        assert "://" not in got.text.replace("http://www.w3.org/", ""), path
        assert "default-src 'self'" in got.headers["content-security-policy"]
        assert got.headers["x-content-type-options"] == "nosniff"
    assert server.client.get("/page/../../../schema.py").status_code == 404
    assert server.client.get("/page/%2e%2e/rest/app.py").status_code == 404


def test_the_references_examples_work(server: Server) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]
    posts = {path: methods["post"] for path, methods in paths.items() if "post" in methods}
    assert len(posts) == 9
    for path, post in posts.items():
        example = post["requestBody"]["content"]["multipart/form-data"]["example"]
        got = server.client.post(path, data=example)
        assert got.status_code == 200, got.text
        assert got.json()["ranked" if path != "/v1/pictures" else "regions"]


def test_a_request_that_fails_spoils_no_other(predictor: Predictor, jpegs: Jpegs) -> None:
    shown = load_image(jpegs["snow"])
    asked = [
        Request("snli_ve", (shown,), "It is cold."),
        Request("vqa", (shown,), "Is it?"),
        Request("vqav2", (shown,), ""),
    ]
    came = work(predictor, [Job(Asked((shown,), (one,))) for one in asked])
    assert isinstance(came[0], Answered)
    agree({"task": "snli_ve", "ranked": came[0].predictions[0].to_dict()["ranked"]}, predictor.answer(asked[:1])[0])
    assert [isinstance(one, TwelvefoldError) for one in came] == [False, True, True]


def test_ids_and_logs(server: Server, jpegs: Jpegs) -> None:
    form, files = {"question": "Is it night?"}, {"image": jpegs["night"]}
    got = server.client.post("/v1/ask", data=form, files=files, headers={"X-Request-ID": "mine-1"})
    assert got.headers["x-request-id"] == got.json()["request_id"] == "mine-1"
    made = server.client.get("/health", headers={"X-Request-ID": "no good\x7f" * 40}).headers["x-request-id"]
    assert made.isalnum()
    [line] = [line for line in server.logged() if line.get("request_id") == "mine-1"]
    assert (line["path"], line["status"], line["task"]) == ("/v1/ask", 200, "vqav2")
    assert "Is it night" not in server.log.read_text()
