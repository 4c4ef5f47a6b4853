"""Every endpoint returns what the Predictor returns; cached images are fast; the model's info is served."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import twelvefold
from twelvefold.images import load_image
from twelvefold.schema import TwelvefoldError
from twelvefold.server.batching import Job
from twelvefold.server.service import ClientAnswer, ClientRequest, answer_batch
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.request import Request
from twelvefold.serving.result import Prediction
from twelvefold.serving.samples import Sample, Suggestion, load_samples

from .conftest import Server

Jpegs = dict[str, bytes]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return twelvefold.load()


def first_suggestion(task: str) -> tuple[Sample, Suggestion]:
    return next((sample, s) for sample in load_samples() for s in sample.suggestions if s.task == task)


def check_equal(reply: Any, prediction: Prediction) -> None:
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
def test_endpoints_with_a_text_and_an_image(
    path: str, field: str, tasks: tuple[str, ...], server: Server, predictor: Predictor, jpegs: Jpegs
) -> None:
    for task in tasks:
        sample, suggestion = first_suggestion(task)
        form = {field: suggestion.text} | ({"task": task} if len(tasks) > 1 else {})
        reply = server.client.post(f"/v1/{path}", data=form, files={"image": jpegs[sample.name]}).json()
        options: dict[str, Any] = {"task": task} if len(tasks) > 1 else {}
        check_equal(reply, getattr(predictor, path)(jpegs[sample.name], suggestion.text, **options))


def test_choose_and_guess_use_the_given_boxes(server: Server, predictor: Predictor, jpegs: Jpegs) -> None:
    sample, question = first_suggestion("visual7w")
    form = {"question": question.text, "boxes": json.dumps(question.boxes_px), "top": "100"}
    reply = server.client.post("/v1/choose", data=form, files={"image": jpegs[sample.name]}).json()
    check_equal(reply, predictor.choose(jpegs[sample.name], question.text, question.boxes_px, top=100))
    assert reply["candidates_px"] == [list(box) for box in question.boxes_px]
    sample, dialogue = first_suggestion("guesswhat")
    form = {"dialogue": json.dumps(dialogue.dialogue), "boxes": json.dumps(dialogue.boxes_px), "top": "100"}
    reply = server.client.post("/v1/guess", data=form, files={"image": jpegs[sample.name]}).json()
    check_equal(reply, predictor.guess(jpegs[sample.name], dialogue.dialogue, dialogue.boxes_px, top=100))


def test_compare_keeps_the_order_of_the_images(server: Server, predictor: Predictor, jpegs: Jpegs) -> None:
    sample, comparison = first_suggestion("nlvr2")
    files = {"image_a": jpegs[sample.name], "image_b": jpegs[comparison.other]}
    reply = server.client.post("/v1/compare", data={"statement": comparison.text}, files=files).json()
    check_equal(reply, predictor.compare(files["image_a"], files["image_b"], comparison.text))


def test_find_ranks_the_matching_image_first(server: Server, predictor: Predictor, jpegs: Jpegs) -> None:
    for task in ("coco", "flickr30k"):
        sample, caption = first_suggestion(task)
        files = [("images", (f"{name}.jpg", data)) for name, data in jpegs.items()]
        form = {"text": caption.text, "task": task, "top": "10"}
        reply = server.client.post("/v1/find", data=form, files=files).json()
        check_equal(reply, predictor.find(caption.text, list(jpegs.values()), task=task, top=10))
        assert list(jpegs)[int(reply["ranked"][0]["name"])] == sample.name


def test_ground_returns_a_box_for_each_phrase(server: Server, predictor: Predictor, jpegs: Jpegs) -> None:
    sample, _ = first_suggestion("refcoco")
    phrases = [s.text for s in sample.suggestions if s.task == "refcoco"]
    caption = " beside ".join(phrases)
    form = {"caption": caption, "phrases": json.dumps(phrases)}
    reply = server.client.post("/v1/ground", data=form, files={"image": jpegs[sample.name]}).json()
    expected = predictor.ground(jpegs[sample.name], caption, phrases)
    for phrase, prediction in zip(reply["phrases"], expected, strict=True):
        check_equal({"task": reply["task"], "ranked": phrase["ranked"]}, prediction)
    assert [rank["name"] for rank in reply["ranked"]] == phrases


def test_a_cached_image_is_referred_to_by_its_digest(server: Server, make_photo: Callable[[int], bytes]) -> None:
    data = make_photo(0)
    detection = server.client.post("/v1/pictures", files={"image": data}).json()
    assert detection["regions"][0]["kind"]
    assert detection["regions"][0]["probability"] > 0.1
    assert all(
        0 <= x1 < x2 <= detection["width"] for x1, _, x2, _ in (region["box_px"] for region in detection["regions"])
    )
    form = {"picture": detection["picture"], "question": "How many things are there?"}
    by_digest = server.client.post("/v1/ask", data=form).json()
    by_file = server.client.post("/v1/ask", data={"question": form["question"]}, files={"image": data}).json()
    assert by_digest["ranked"] == by_file["ranked"]
    assert by_digest["pictures"] == [{key: detection[key] for key in ("picture", "width", "height")}]
    assert max(by_digest["seconds"]["detect"], by_file["seconds"]["detect"]) < detection["seconds"] / 5


def test_explain_returns_attention_weights(server: Server) -> None:
    form = {"picture_a": "left", "picture_b": "right", "statement": "There is a blue thing.", "explain": "true"}
    reply = server.client.post("/v1/compare", data=form).json()
    assert [attention["picture"] for attention in reply["attention"]] == [0, 1]
    for attention in reply["attention"]:
        assert {"blue", "thing"} <= set(attention["words"])
        for block in attention["blocks"]:
            weights = np.array(block["to_regions"])
            assert weights.shape[1:] == (len(attention["words"]), len(attention["boxes_px"]))
            assert weights.sum(2) == pytest.approx(1, abs=1e-3)
    plain = server.client.post("/v1/compare", data=form | {"explain": "false"}).json()
    assert plain["attention"] is None
    assert plain["ranked"][0]["probability"] == pytest.approx(reply["ranked"][0]["probability"], abs=1e-3)


def test_a_sample_is_referred_to_by_its_name(server: Server, jpegs: Jpegs) -> None:
    by_name = server.client.post("/v1/entails", data={"picture": "snow", "statement": "It is cold."}).json()
    by_file = server.client.post(
        "/v1/entails", data={"statement": "It is cold."}, files={"image": jpegs["snow"]}
    ).json()
    assert by_name["ranked"] == by_file["ranked"]


def test_samples_are_listed_and_served(server: Server, jpegs: Jpegs) -> None:
    listed = server.client.get("/v1/samples").json()
    assert [sample["name"] for sample in listed] == list(jpegs)
    for sample in listed:
        got = server.client.get(f"/{sample['url']}")
        assert got.content == jpegs[sample["name"]]
        assert got.headers["content-type"] == "image/jpeg"


def test_the_model_info_is_served(server: Server, predictor: Predictor) -> None:
    info = server.client.get("/v1/model").json()
    assert (info["name"], info["parameters"]) == (predictor.about.name, predictor.about.parameters)
    assert info["trained_on"] == predictor.about.trained_on != ""
    assert info["scores"] == predictor.about.scores
    assert info["limits"]["max_pixels"] == 50_000_000


def test_the_pages_refer_to_no_other_host(server: Server) -> None:
    for path in ("/", "/docs", "/page/app.js", "/reference/reference.js", "/reference/reference.css"):
        got = server.client.get(path)
        assert got.status_code == 200, path
        assert "://" not in got.text.replace("http://www.w3.org/", ""), path
        assert "default-src 'self'" in got.headers["content-security-policy"]
        assert got.headers["x-content-type-options"] == "nosniff"
    assert server.client.get("/page/../../../schema.py").status_code == 404
    assert server.client.get("/page/%2e%2e/rest/app.py").status_code == 404


def test_the_examples_of_the_reference_work(server: Server) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]
    posts = {path: methods["post"] for path, methods in paths.items() if "post" in methods}
    assert len(posts) == 10
    for path, post in posts.items():
        example = post["requestBody"]["content"]["multipart/form-data"]["example"]
        got = server.client.post(path, data=example)
        assert got.status_code == 200, got.text
        assert got.json()["ranked" if path != "/v1/pictures" else "regions"]


def test_an_invalid_request_fails_only_itself(predictor: Predictor, jpegs: Jpegs) -> None:
    image = load_image(jpegs["snow"])
    requests = [
        Request("snli_ve", (image,), "It is cold."),
        Request("vqa", (image,), "Is it?"),
        Request("vqav2", (image,), ""),
    ]
    answers = answer_batch(predictor, [Job(ClientRequest((image,), (request,))) for request in requests])
    assert isinstance(answers[0], ClientAnswer)
    check_equal(
        {"task": "snli_ve", "ranked": answers[0].predictions[0].to_dict()["ranked"]}, predictor.answer(requests[:1])[0]
    )
    assert [isinstance(answer, TwelvefoldError) for answer in answers] == [False, True, True]


def test_request_ids_and_log_lines(server: Server, jpegs: Jpegs) -> None:
    form, files = {"question": "Is it night?"}, {"image": jpegs["night"]}
    got = server.client.post("/v1/ask", data=form, files=files, headers={"X-Request-ID": "mine-1"})
    assert got.headers["x-request-id"] == got.json()["request_id"] == "mine-1"
    generated = server.client.get("/health", headers={"X-Request-ID": "no good\x7f" * 40}).headers["x-request-id"]
    assert generated.isalnum()
    lines: list[dict[str, Any]] = []
    while not lines:  # the log is written after the response, and copied by a thread
        lines = [line for line in server.log_lines() if line.get("request_id") == "mine-1"]
    [line] = lines
    assert (line["path"], line["status"], line["task"]) == ("/v1/ask", 200, "vqav2")
    assert "Is it night" not in server.log.read_text()
