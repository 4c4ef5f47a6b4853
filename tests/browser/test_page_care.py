"""The page in careless hands, without a mouse, on a phone, in the dark, and on a server that refuses."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Page, Route, expect
from sklearn.datasets import load_sample_images

from twelvefold.serving.samples import find_sample

Open = Callable[..., Page]
Shot = Callable[..., Path]

GREY = Image.new("RGB", (64, 48), "grey")


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def odd_pictures() -> dict[str, bytes]:
    """Files that are pictures, if strange ones."""
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    deep = Image.fromarray((np.arange(64 * 48, dtype=np.uint16) * 21).reshape(48, 64))
    return {
        "point.png": saved(Image.new("RGB", (1, 1), "red"), "PNG"),
        "sliver.png": saved(Image.new("RGB", (3000, 3), "red"), "PNG"),
        "glass.png": saved(Image.new("RGBA", (64, 48), (0, 0, 0, 0)), "PNG"),
        "sixteen.png": saved(deep, "PNG"),
        "ink.jpg": saved(GREY.convert("CMYK"), "JPEG"),
        "moving.gif": saved(GREY, "GIF", save_all=True, append_images=[Image.new("RGB", (64, 48), "red")]),
        "side.jpg": saved(GREY, "JPEG", exif=exif),
        "scan.tiff": saved(GREY, "TIFF"),  # which chromium can't show
    }


def rubbish() -> dict[str, bytes]:
    """Files that are no pictures, whatever they are called."""
    whole = saved(Image.effect_noise((200, 200), 90), "JPEG")
    return {
        "empty.jpg": b"",
        "letter.jpg": b"Dear Sir or Madam",
        "page.png": b"<html><script>alert(1)</script></html>",
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
        "half.jpg": whole[: len(whole) // 3],
        "<b>bold</b>'\".png": b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
    }


def add(page: Page, files: dict[str, bytes]) -> None:
    page.get_by_label("InputImage files").set_input_files(
        [FilePayload(name=name, mimeType="image/png", buffer=data) for name, data in files.items()]
    )


def ask(page: Page, text: str) -> None:
    page.locator("#text").fill(text)
    page.locator("#text").press("Enter")


def test_photographs_and_odd_pictures_are_answered(open_page: Open, shot: Shot) -> None:
    page = open_page()
    photographs = load_sample_images()
    files = {
        Path(name).name: saved(Image.fromarray(pixels), "JPEG")
        for name, pixels in zip(photographs.filenames, photographs.images, strict=True)
    } | odd_pictures()
    add(page, files)
    expect(page.locator(".tile.ready")).to_have_count(1 + len(files))
    for name in files:
        page.get_by_role("button", name=re.compile(f"^{re.escape(name)}")).click()
        ask(page, "What is this?")
        expect(page.locator(".answer")).to_have_count(5)
        if name.startswith("china"):
            shot(page, "photograph")
    expect(page.locator(".stage")).to_contain_text("can’t show this kind of picture")  # of the TIFF, the last one
    expect(page.locator(".honest")).to_contain_text("not photographs")
    page.get_by_role("button", name=re.compile("^side.jpg")).click()
    expect(page.locator("figcaption")).to_contain_text("48 × 64")  # stood upright


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_pictures_are_dropped_or_pasted_anywhere(open_page: Open, how: str) -> None:
    page = open_page()
    data = base64.b64encode(saved(GREY, "PNG")).decode()
    carried = page.evaluate_handle(
        """data => {
            const carried = new DataTransfer()
            const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0))
            carried.items.add(new File([bytes], 'carried.png', { type: 'image/png' }))
            return carried
        }""",
        data,
    )
    if how == "drop":
        page.dispatch_event("h1", "dragenter", {"dataTransfer": carried})
        expect(page.locator(".drop")).to_be_visible()
        page.dispatch_event("h1", "drop", {"dataTransfer": carried})
        expect(page.locator(".drop")).to_have_count(0)
    else:
        paste = (
            "(body, data) => body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }))"
        )
        page.locator("body").evaluate(paste, carried)
    expect(page.locator("figcaption")).to_contain_text("carried.png · 64 × 48")


def test_rubbish_is_refused_in_words_and_the_page_goes_on(open_page: Open, shot: Shot) -> None:
    page = open_page(expected=["status of 415", "status of 422"])
    page.locator("#text").fill("How many cars are there?")
    add(page, rubbish())
    expect(page.locator(".tile.refused")).to_have_count(len(rubbish()))
    expect(page.locator(".tray .error")).to_have_count(len(rubbish()))
    assert all(len(text) > 30 for text in page.locator(".tray .error").all_inner_texts())
    assert page.locator(".tray .error b").count() == 0  # a name is text, whatever it holds
    page.get_by_role("button", name=re.compile("^letter.jpg")).click()
    page.locator("#text").press("Enter")
    expect(page.locator("#error")).to_contain_text("could not be read")
    expect(page.locator("#text")).to_have_value("How many cars are there?")
    shot(page)
    for name in rubbish():
        page.get_by_role("button", name=f"Take {name} away").click()
    page.locator("#text").press("Enter")
    expect(page.locator(".answer")).to_have_count(5)


def test_what_the_server_refuses_stands_beside_the_field_and_nothing_typed_is_lost(open_page: Open, shot: Shot) -> None:
    page = open_page(expected=["status of 422"])
    long = "Is there a car? " * 200
    ask(page, long)
    expect(page.locator("#error")).to_contain_text("characters")
    expect(page.locator("#text")).to_have_value(long)
    assert page.locator("#text").get_attribute("aria-invalid") == "true"
    shot(page)
    page.get_by_role("tab", name="Reasoning").click()
    page.get_by_role("tab", name="Question").click()
    expect(page.locator("#text")).to_have_value(long)
    ask(page, "Is there a car?")
    expect(page.locator(".answer")).to_have_count(5)
    expect(page.locator("#error")).to_be_hidden()


def test_a_picture_that_the_server_forgot_is_sent_again(open_page: Open) -> None:
    page = open_page(expected=["status of 404"])
    refused: list[Route] = []

    def forget(route: Route) -> None:
        if refused:
            route.continue_()
            return
        refused.append(route)
        route.fulfill(status=404, json={"error": "not_found", "what": "no such picture here", "request_id": "x"})

    page.route("**/v1/ask", forget)
    with page.expect_request("**/v1/pictures"):
        ask(page, "How many cars are there?")
    expect(page.locator(".answer")).to_have_count(5)


def test_a_server_that_is_full_or_gone_is_said_in_words(open_page: Open) -> None:
    page = open_page(expected=["status of 503", "ERR_FAILED"])
    page.route("**/v1/ask", lambda route: route.fulfill(status=503, headers={"Retry-After": "7"}, body=""))
    ask(page, "How many cars are there?")
    expect(page.locator("#error")).to_contain_text("Try again in 7 s")
    page.route("**/v1/ask", lambda route: route.abort())
    page.locator("#text").press("Enter")
    expect(page.locator("#error")).to_contain_text("could not be reached")


def test_a_token_is_asked_for_and_sent(open_page: Open) -> None:
    page = open_page(expected=["status of 401"])

    def guard(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer open sesame":
            route.continue_()
        else:
            route.fulfill(
                status=401, json={"error": "unauthorised", "what": "this server wants its token", "request_id": ""}
            )

    page.route(re.compile("/v1/(model|pictures|ask)"), guard)
    page.reload()
    page.get_by_label("Token").fill("open sesame")
    page.get_by_role("button", name="Unlock").click()
    page.locator(".tile.ready").wait_for()
    ask(page, "How many cars are there?")
    expect(page.locator(".answer")).to_have_count(5)
    expect(page.get_by_label("Token")).to_have_count(0)


def test_a_whole_question_with_the_keyboard_alone(open_page: Open, shot: Shot) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    focused = page.locator(":focus")
    for _ in range(10):
        if focused.get_attribute("role") == "tab":
            break
        page.keyboard.press("Tab")
    expect(focused).to_have_text("Question")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(focused).to_have_text("Point at")
    expect(page.get_by_role("tab", selected=True)).to_have_text("Point at")
    for _ in range(10):
        if focused.get_attribute("id") == "text":
            break
        page.keyboard.press("Tab")
    shot(page, "focus")
    page.keyboard.type("rightmost car")
    page.keyboard.press("Enter")
    page.locator(".mark.best").wait_for()
    expect(page.get_by_role("status")).to_contain_text("Point at: Box 1: car")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.locator(".answer button:focus").count():
            break
    page.keyboard.press("Tab")
    expect(page.locator(".mark.hot")).to_have_attribute("data-mark", "1")
    outline = page.locator(".answer button:focus").evaluate("element => getComputedStyle(element).outlineWidth")
    assert outline == "3px"
    shot(page)
    page.get_by_role("tab", selected=True).focus()
    page.keyboard.press("End")
    expect(page.get_by_role("tab", selected=True)).to_have_text("Several at once")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", selected=True)).to_have_text("Question")


def test_escape_stops_a_question_under_way(open_page: Open) -> None:
    page = open_page()
    page.route("**/v1/ask", lambda route: None)  # never answered
    ask(page, "How many cars are there?")
    page.locator(".waiting").wait_for()
    page.keyboard.press("Escape")
    expect(page.locator(".waiting")).to_have_count(0)
    expect(page.locator("#text")).to_have_value("How many cars are there?")


ALL, FEW = slice(None), slice(2, 4)


@pytest.mark.parametrize(
    ("width", "dark", "tabs"),
    [(1280, False, ALL), (768, True, FEW), (360, True, ALL)],
    ids=["1280", "768-dark", "360-dark"],
)
def test_nothing_sticks_out_and_all_can_be_read(
    open_page: Open, shot: Shot, readable: Callable[[Page], list[str]], width: int, dark: bool, tabs: slice
) -> None:
    page = open_page(width=width, dark=dark)
    ask(page, "How many cars are there?")
    page.locator(".timing").wait_for()
    for name in page.get_by_role("tab").all_inner_texts()[tabs]:
        page.get_by_role("tab", name=name, exact=True).click()
        if page.locator(".chip").count():
            page.locator(".chip").first.click()
            page.locator(".timing").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert readable(page) == [], name
        shot(page, name.replace(" ", "-").strip("?").lower())


def test_a_question_copied_as_curl_or_python_gives_the_same_answer(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    (tmp_path / "paper.jpg").write_bytes(find_sample("paper").path.read_bytes())
    page.get_by_role("tab", name="Dialogue").click()
    for text in ("Isn't it a vehicle?", 'Is it "the hammer", or $HOME?'):
        ask(page, text)
        page.locator(".timing").wait_for()
    box = json.loads(page.locator(".mark.best").get_attribute("data-box") or "")
    page.get_by_text("The same from a terminal").click()
    texts = {}
    for name in ("curl", "Python"):
        page.get_by_role("button", name=f"Copy as {name}").click()
        page.get_by_role("button", name="Copied").wait_for()
        texts[name] = page.evaluate("navigator.clipboard.readText()")
        page.get_by_role("button", name=f"Copy as {name}").wait_for()
    said = printed(["/bin/sh", "-c", f"{texts['curl']} --silent --fail"], tmp_path)
    assert json.loads(said)["ranked"][0]["box_px"] == box
    found = re.search(r"box_px=\((.*?)\)", printed([sys.executable, "-c", texts["Python"]], tmp_path))
    assert found is not None
    assert [float(side) for side in found[1].split(",")] == pytest.approx(box, abs=0.01)


def printed(command: list[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
