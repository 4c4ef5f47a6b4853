"""Make docs/pictures/, the images of the README: answers drawn by ``Prediction.draw()`` and a screenshot of the page.

    python tools/readme_pictures.py

They show the shipped model with a sample image. The screenshot needs chromium; without it only the drawings are made.
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
SAMPLE = "room"
PHRASE = "rightmost mushroom"
QUESTION = "What is the color of the boot?"
NUM_COLORS = 256
"""A palette keeps the screenshot below 200 kB without a visible difference."""


def save(name: str, image: Image.Image) -> None:
    file = io.BytesIO()
    image.convert("RGB").quantize(NUM_COLORS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    atomic_files.write_bytes(OUT / name, file.getvalue())
    print(f"{OUT / name}: {image.width} x {image.height}, {len(file.getvalue()) // 1000} kB")


def draw_answers() -> None:
    """Draw a box and an answer on the image."""
    images = (load_image(find_sample(SAMPLE).path),)
    requests = [Request("refcoco", images, PHRASE), Request("vqav2", images, QUESTION)]
    pointed, answered = twelvefold.load().answer(requests)
    save("point.png", pointed.draw())
    save("ask.png", answered.draw())


def save_screenshot(chromium: str) -> None:
    """Save a screenshot of the page after pointing at a phrase."""
    command = [sys.executable, "-m", "twelvefold", "serve", "--port", "0", "--set", "log_level=warning"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        address = next(line.split()[0] for line in server.stdout or () if line.startswith("http://"))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        window = browser.new_page(viewport={"width": 1180, "height": 820})
        window.goto(address)
        window.get_by_role("button", name=f"Sample {SAMPLE}").click()
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
    draw_answers()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("no screenshot of the page: it needs chromium")
    save_screenshot(chromium)


if __name__ == "__main__":
    main()
