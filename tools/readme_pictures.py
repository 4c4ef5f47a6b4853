"""Makes docs/pictures/, which the README shows: answers drawn by ``Prediction.draw()``, and the page in a browser.

    python tools/readme_pictures.py

The pictures asked are the samples that ship, the model the one that ships. The page needs chromium; without it only
the drawn answers are made.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import twelvefold
from twelvefold.images import load_image
from twelvefold.serving.request import Request
from twelvefold.serving.samples import find_sample
from twelvefold.store import atomic_files

OUT = Path(__file__).parent.parent / "docs" / "pictures"
PICTURE = "room"
PHRASE = "rightmost mushroom"
QUESTION = "What is the color of the boot?"
COLOURS = 256
"""A palette keeps a screenshot below 200 kB; what is drawn here has few colours, so nothing is seen of it."""


def save(name: str, image: Image.Image, colours: int = COLOURS) -> None:
    written = io.BytesIO()
    image.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    atomic_files.write_bytes(OUT / name, written.getvalue())
    print(f"{OUT / name}: {image.width} x {image.height}, {len(written.getvalue()) // 1000} kB")


def answers() -> None:
    """A box and an answer, on the picture."""
    shown = (load_image(find_sample(PICTURE).path),)
    requests = [Request("refcoco", shown, PHRASE), Request("vqav2", shown, QUESTION)]
    pointed, answered = twelvefold.load().answer(requests)
    save("point.png", pointed.draw())
    save("ask.png", answered.draw())


def page(chromium: str) -> None:
    """The page with a phrase pointed at."""
    command = [sys.executable, "-m", "twelvefold", "serve", "--port", "0", "--set", "log_level=warning"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        address = next(line.split()[0] for line in server.stdout or () if line.startswith("http://"))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        window = browser.new_page(viewport={"width": 1180, "height": 820})
        window.goto(address)
        window.get_by_role("button", name=f"Sample {PICTURE}").click()
        window.get_by_role("tab", name="Point at").click()
        window.locator("#text").fill(PHRASE)
        window.locator("#text").press("Enter")
        window.locator(".mark.best").wait_for()
        window.locator("#text").blur()
        window.evaluate("scrollTo(0, 0)")
        save("page.png", Image.open(io.BytesIO(window.screenshot())))
        browser.close()
        server.terminate()


def main() -> None:
    answers()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("the page's picture was left out: it needs chromium")
    page(chromium)


if __name__ == "__main__":
    main()
