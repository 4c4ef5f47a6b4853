"""The page with unusual input, without a mouse, on a phone, in dark mode, and with server errors."""

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

pytestmark = pytest.mark.slow

Open = Callable[..., Page]
Shot = Callable[..., Path]

GRAY = Image.new("RGB", (64, 48), "gray")


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def unusual_images() -> dict[str, bytes]:
    """Return valid but unusual image files."""
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    deep = Image.fromarray((np.arange(64 * 48, dtype=np.uint16) * 21).reshape(48, 64))
    return {
        "point.png": encode(Image.new("RGB", (1, 1), "red"), "PNG"),
        "sliver.png": encode(Image.new("RGB", (3000, 3), "red"), "PNG"),
        "glass.png": encode(Image.new("RGBA", (64, 48), (0, 0, 0, 0)), "PNG"),
        "sixteen.png": encode(deep, "PNG"),
        "ink.jpg": encode(GRAY.convert("CMYK"), "JPEG"),
        "moving.gif": encode(GRAY, "GIF", save_all=True, append_images=[Image.new("RGB", (64, 48), "red")]),
        "side.jpg": encode(GRAY, "JPEG", exif=exif),
        "scan.tiff": encode(GRAY, "TIFF"),  # chromium cannot show TIFF
    }


def invalid_files() -> dict[str, bytes]:
    """Return files that are no images, whatever their names."""
    whole = encode(Image.effect_noise((200, 200), 90), "JPEG")
    return {
        "empty.jpg": b"",
        "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",  # needs pillow-heif, and has no image
        "letter.jpg": b"Dear Sir or Madam",
        "page.png": b"<html><script>alert(1)</script></html>",
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
        "half.jpg": whole[: len(whole) // 3],
        "<b>bold</b>'\".png": b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
    }


def add_files(page: Page, files: dict[str, bytes]) -> None:
    page.get_by_label("Image files").set_input_files(
        [FilePayload(name=name, mimeType="image/png", buffer=data) for name, data in files.items()]
    )


def ask(page: Page, text: str) -> None:
    page.locator("#text").fill(text)
    page.locator("#text").press("Enter")


def test_photographs_and_unusual_images_are_answered(open_page: Open, shot: Shot) -> None:
    page = open_page()
    photographs = load_sample_images()
    files = {
        Path(name).name: encode(Image.fromarray(pixels), "JPEG")
        for name, pixels in zip(photographs.filenames, photographs.images, strict=True)
    } | unusual_images()
    add_files(page, files)
    expect(page.locator(".tile.ready")).to_have_count(1 + len(files))
    for name in files:
        page.get_by_role("button", name=re.compile(f"^{re.escape(name)}")).click()
        ask(page, "What is this?")
        expect(page.locator(".answer")).to_have_count(5)
        if name.startswith("china"):
            shot(page, "photograph")
    expect(page.locator(".stage")).to_contain_text("cannot show this format")  # the TIFF, which is the last file
    expect(page.locator(".warning").first).to_contain_text("about photographs are guesses")
    page.get_by_role("button", name=re.compile("^side.jpg")).click()
    expect(page.locator("figcaption")).to_contain_text("48 × 64")  # after EXIF orientation


@pytest.mark.parametrize("action", ["drop", "paste"])
def test_images_are_dropped_or_pasted_anywhere(open_page: Open, action: str) -> None:
    page = open_page()
    data = base64.b64encode(encode(GRAY, "PNG")).decode()
    carried = page.evaluate_handle(
        """data => {
            const carried = new DataTransfer()
            const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0))
            carried.items.add(new File([bytes], 'carried.png', { type: 'image/png' }))
            return carried
        }""",
        data,
    )
    if action == "drop":
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


def test_invalid_files_are_refused_with_a_message(open_page: Open, shot: Shot) -> None:
    page = open_page(expected=["status of 415", "status of 422"])
    page.locator("#text").fill("How many cars are there?")
    add_files(page, invalid_files())
    expect(page.locator(".tile.refused")).to_have_count(len(invalid_files()))
    expect(page.locator(".tray .error")).to_have_count(len(invalid_files()))
    assert all(len(text) > 30 for text in page.locator(".tray .error").all_inner_texts())
    assert page.locator(".tray .error b").count() == 0  # a name is never parsed as markup
    page.get_by_role("button", name=re.compile("^letter.jpg")).click()
    page.locator("#text").press("Enter")
    expect(page.locator("#error")).to_contain_text("could not be read")
    expect(page.locator("#text")).to_have_value("How many cars are there?")
    shot(page)
    for name in invalid_files():
        page.get_by_role("button", name=f"Remove {name}").click()
    page.locator("#text").press("Enter")
    expect(page.locator(".answer")).to_have_count(5)


def test_an_error_is_shown_below_the_field_and_keeps_the_text(open_page: Open, shot: Shot) -> None:
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


def test_an_evicted_image_is_uploaded_again(open_page: Open) -> None:
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


def test_an_overloaded_or_stopped_server_gives_a_message(open_page: Open) -> None:
    page = open_page(expected=["status of 503", "ERR_FAILED"])
    page.route("**/v1/ask", lambda route: route.fulfill(status=503, headers={"Retry-After": "7"}, body=""))
    ask(page, "How many cars are there?")
    expect(page.locator("#error")).to_contain_text("Try again in 7 s")
    page.route("**/v1/ask", lambda route: route.abort())
    page.locator("#text").press("Enter")
    expect(page.locator("#error")).to_contain_text("could not be reached")


def test_the_token_is_requested_and_sent(open_page: Open) -> None:
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


def test_a_question_with_the_keyboard_only(open_page: Open, shot: Shot) -> None:
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


def test_escape_cancels_a_question(open_page: Open) -> None:
    page = open_page()
    page.route("**/v1/ask", lambda route: None)  # never answered
    ask(page, "How many cars are there?")
    page.locator(".waiting").wait_for()
    page.keyboard.press("Escape")
    expect(page.locator(".waiting")).to_have_count(0)
    expect(page.locator("#text")).to_have_value("How many cars are there?")


ALL_TABS, SOME_TABS = slice(None), slice(2, 4)


@pytest.mark.parametrize(
    ("width", "dark", "tabs"),
    [(1280, False, ALL_TABS), (768, True, SOME_TABS), (360, True, ALL_TABS)],
    ids=["1280", "768-dark", "360-dark"],
)
def test_the_page_fits_and_is_accessible(
    open_page: Open, shot: Shot, readable: Callable[[Page], list[str]], width: int, dark: bool, tabs: slice
) -> None:
    page = open_page(width=width, dark=dark)
    ask(page, "How many cars are there?")
    page.locator(".timing").wait_for()
    names = page.get_by_role("tab").all_inner_texts()[tabs]
    assert names
    for name in names:
        page.get_by_role("tab", name=name, exact=True).click()
        if page.locator(".chip").count():
            page.locator(".chip").first.click()
            page.locator(".timing").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert readable(page) == [], name
        shot(page, name.replace(" ", "-").strip("?").lower())


def test_the_copied_curl_and_python_code_give_the_same_answer(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    (tmp_path / "paper.jpg").write_bytes(find_sample("paper").path.read_bytes())
    page.get_by_role("tab", name="Dialogue").click()
    for text in ("Isn't it a vehicle?", 'Is it "the hammer", or $HOME?'):
        ask(page, text)
        page.locator(".timing").wait_for()
    box = json.loads(page.locator(".mark.best").get_attribute("data-box") or "")
    page.get_by_text("This request as curl").click()
    texts = {}
    for name in ("curl", "Python"):
        page.get_by_role("button", name=f"Copy as {name}").click()
        page.get_by_role("button", name="Copied").wait_for()
        texts[name] = page.evaluate("navigator.clipboard.readText()")
        page.get_by_role("button", name=f"Copy as {name}").wait_for()
    output = run_command(["/bin/sh", "-c", f"{texts['curl']} --silent --fail"], tmp_path)
    assert json.loads(output)["ranked"][0]["box_px"] == box
    match = re.search(r"box_px=\((.*?)\)", run_command([sys.executable, "-c", texts["Python"]], tmp_path))
    assert match is not None
    assert [float(side) for side in match[1].split(",")] == pytest.approx(box, abs=0.01)


def run_command(command: list[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
