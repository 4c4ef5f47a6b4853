"""Comforts of the page: many images, downloads, zoom, an answer in view on a phone, and a model of your own."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect
from tests.browser.conftest import serve_model
from tests.server.own_model import TRAINED_ON, save_own_model

from twelvefold.serving.samples import find_sample

pytestmark = pytest.mark.slow

Open = Callable[..., Page]
Shot = Callable[..., Path]


def ask(page: Page, tab: str, text: str) -> None:
    page.get_by_role("tab", name=tab, exact=True).click()
    page.locator("#text").fill(text)
    page.locator("#text").press("Enter")
    page.locator(".timing").wait_for()


def png(number: int) -> FilePayload:
    data = io.BytesIO()
    Image.new("RGB", (32, 32), (number * 5 % 256, number * 11 % 256, number)).save(data, "PNG")
    return FilePayload(name=f"{number}.png", mimeType="image/png", buffer=data.getvalue())


def test_a_search_ranks_more_than_32_images_and_all_are_removed_at_once(open_page: Open, shot: Shot) -> None:
    page = open_page()
    page.get_by_label("Image files").set_input_files([png(number) for number in range(39)])
    expect(page.locator(".tile.ready")).to_have_count(40)
    page.get_by_role("tab", name="Find by caption").click()
    expect(page.locator(".tray")).to_contain_text("A search ranks up to 200 images")
    ask(page, "Find by caption", "a car")
    expect(page.locator(".gallery p")).to_have_count(40)
    shot(page)
    page.get_by_role("button", name="Remove all 40 images").click()
    expect(page.locator(".tile:not(.add)")).to_have_count(0)
    expect(page.locator(".gallery")).to_have_count(0)
    expect(page.get_by_role("status")).to_have_text("All images removed.")


def test_an_answer_is_downloaded_as_image_and_as_json(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    ask(page, "Point at", "rightmost car")
    files = {}
    for kind in ("PNG", "JSON"):
        with page.expect_download() as started:
            page.get_by_role("button", name=f"Download as {kind}").click()
        assert started.value.suggested_filename == f"twelvefold-point-at.{kind.lower()}"
        files[kind] = tmp_path / kind
        started.value.save_as(files[kind])
    content = json.loads(files["JSON"].read_text())
    assert (content["phrase"], content["images"]) == ("rightmost car", ["paper.jpg"])
    x1, y1, _, y2 = content["reply"]["ranked"][0]["box_px"]
    with Image.open(files["PNG"]) as drawn, Image.open(find_sample("paper").path) as original:
        scale = drawn.width / original.width
        assert drawn.height > original.height * scale + 50  # the text below
        edge = drawn.convert("RGB").getpixel((round(x1 * scale), round((y1 + y2) / 2 * scale)))
    assert edge == (255, 106, 26)


def test_an_image_is_enlarged_around_its_box(open_page: Open, readable: Callable[[Page], list[str]]) -> None:
    page = open_page()
    ask(page, "Point at", "rightmost car")
    frame, view = page.locator(".frame"), page.locator(".window")
    before = frame.bounding_box()
    for _ in range(2):
        page.get_by_role("button", name="Zoom in").click()
    after, around, box = frame.bounding_box(), view.bounding_box(), page.locator(".mark.best").bounding_box()
    assert before
    assert after
    assert around
    assert box
    assert after["width"] == pytest.approx(2 * before["width"], rel=0.01)
    assert around["x"] <= box["x"]
    assert box["x"] + box["width"] <= around["x"] + around["width"]
    assert around["y"] <= box["y"]
    assert readable(page) == []
    page.get_by_role("button", name="Zoom out").click()
    page.get_by_role("button", name="Zoom out").click()
    expect(page.get_by_role("button", name="Zoom out")).to_be_disabled()


@pytest.mark.parametrize(
    ("tab", "text", "answer"),
    [
        ("Question", "How many cars are there?", ".answer.best"),
        ("Point at", "rightmost car", ".mark.best"),
        ("Find by caption", "a car", ".gallery .best"),
    ],
)
def test_the_answer_is_in_view_on_a_phone(open_page: Open, tab: str, text: str, answer: str) -> None:
    page = open_page(width=390)
    page.get_by_role("button", name="Add all").click()
    page.locator(".tile.ready").nth(9).wait_for()
    ask(page, tab, text)
    expect(page.locator(answer)).to_be_in_viewport(ratio=1)


def test_independent_probabilities_are_explained_next_to_the_answers(open_page: Open) -> None:
    page = open_page()
    ask(page, "Question", "How many cars are there?")
    expect(page.locator(".answers")).to_contain_text("Each answer is judged separately")
    ask(page, "Entailment", "There is a car.")
    expect(page.locator(".answers")).not_to_contain_text("judged separately")


def test_a_model_of_your_own_is_shown_as_itself(
    browser: Browser, tmp_path: Path, shot: Shot, readable: Callable[[Page], list[str]]
) -> None:
    with serve_model("--model", str(save_own_model(tmp_path / "own"))) as address:
        page = browser.new_page()
        page.goto(address)
        page.locator(".tile.ready").first.wait_for()
        assert page.get_by_role("tab").all_inner_texts() == ["Pets", "Tools", "Three of a kind", "Several at once"]
        expect(page.locator(".model")).to_contain_text(TRAINED_ON)
        expect(page.locator(".model")).not_to_contain_text("drawn images like the samples")
        page.locator(".scores summary").click()
        assert page.locator(".scores tbody tr").all_inner_texts() == ["Pets\taccuracy\t71.2\t212\tfolder clinic"]
        page.locator(".scores summary").click()
        ask(page, "Pets", "It is a dog.")
        names = page.locator(".answer .name").all_inner_texts()
        assert sorted(names) == ["false", "true", "unknown"]
        page.get_by_role("button", name="Add all").click()
        page.locator(".tile.ready").nth(9).wait_for()
        ask(page, "Three of a kind", "They are alike.")
        expect(page.locator(".gallery li")).to_have_count(3)
        ask(page, "Tools", "the hammer")
        page.locator(".mark.best").wait_for()
        assert readable(page) == []
        shot(page)
        page.close()
