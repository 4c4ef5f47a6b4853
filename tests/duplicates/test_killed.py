"""A killed command that hashes images loses at most a block: the next call goes on and has the same result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from twelvefold import cli
from twelvefold.duplicates import hashes
from twelvefold.duplicates.hashes import ImageFingerprint

BLOCK_SIZE, NUM_IMAGES, NUM_COPIES = 16, 240, 20
PROGRAM = (
    "import sys; from twelvefold import cli; from twelvefold.duplicates import hashes; "
    f"hashes.BLOCK_SIZE = {BLOCK_SIZE}; cli.main(sys.argv[1:])"
)
"""The program with smaller blocks: so few images would otherwise be a single block."""

Cached = dict[str, ImageFingerprint]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write COCO images, some in a test set, and Flickr30k copies of some of them in a train set."""
    root = tmp_path_factory.mktemp("killed")
    coco, flickr = root / "images" / "coco" / "val2014", root / "images" / "flickr30k"
    for folder in (coco, flickr):
        folder.mkdir(parents=True)
    rows: dict[str, list[dict[str, object]]] = {"coco": [], "flickr30k": []}
    for n in range(NUM_IMAGES):
        noise = np.random.default_rng(n).integers(0, 255, (5, 6, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC)
        image.save(coco / f"COCO_val2014_{n:012}.jpg", quality=90)
        sentences = [{"raw": f"Noise of seed {n}.", "sentid": n}]
        split, other = ("train", "val", "test")[n % 3], ("test", "train")[n % 2]
        rows["coco"].append({"split": split, "filename": f"{n}.jpg", "cocoid": n, "sentences": sentences})
        if n < NUM_COPIES:
            image.resize((120, 90)).save(flickr / f"{n}.jpg", quality=80)
            rows["flickr30k"].append({"split": other, "filename": f"{n}.jpg", "sentences": sentences})
    for task, images in rows.items():
        (root / task).mkdir()
        (root / task / f"dataset_{task}.json").write_text(json.dumps({"images": images}))
    return root


def arguments(command: str, data: Path, out: Path) -> list[str]:
    """Return a call of the command whose cache is in ``out/notes``."""
    if command == "audit":
        return ["audit", str(data), "--cache-dir", str(out / "notes"), "--listing", str(out / "shared.csv"), "--json"]
    options = ["--tasks", "coco", "flickr30k", "--processes", "1", "--max-similar", "1"]
    return ["clean", str(data), str(out), *options, "--json"]


def result_file(command: str, out: Path) -> bytes:
    """Return the content of the file that the command writes."""
    return (out / ("shared.csv" if command == "audit" else "clean.json")).read_bytes()


def cached_fingerprints(out: Path) -> Cached:
    """Return the cached fingerprints; every file must be complete."""
    folder = out / "notes" / "fingerprints"
    decode = msgspec.msgpack.Decoder(tuple[str, list[ImageFingerprint]]).decode
    return {row.key: row for path in folder.glob("*.msgpack") for row in decode(path.read_bytes())[1]}


def kill_while_hashing(arguments: list[str], blocks: Path) -> None:
    """Start the program, wait for the second block, and kill it."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(blocks.glob("block-*.msgpack"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("command", ["audit", "clean"])
def test_a_killed_command_goes_on_and_has_the_same_result(
    command: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kill_while_hashing(arguments(command, data, tmp_path / "killed"), tmp_path / "killed" / "notes" / "fingerprints")
    before = cached_fingerprints(tmp_path / "killed")
    assert 2 * BLOCK_SIZE <= len(before) < NUM_IMAGES + NUM_COPIES
    hashed: list[str] = []
    fingerprint_block = hashes._fingerprint_block

    def recording(block: Sequence[tuple[ImageFingerprint, Path]]) -> list[ImageFingerprint]:
        hashed.extend(blank.key for blank, _ in block)
        return fingerprint_block(block)

    monkeypatch.setattr(hashes, "_fingerprint_block", recording)
    monkeypatch.setattr(hashes, "BLOCK_SIZE", BLOCK_SIZE)
    codes, outputs = [], []
    for out in (tmp_path / "killed", tmp_path / "whole"):
        with pytest.raises(SystemExit) as left:
            cli.main(arguments(command, data, out))
        codes.append(left.value.code)
        outputs.append(capsys.readouterr().out.replace(str(out), "OUT"))
    assert codes == [1 if command == "audit" else 0] * 2
    assert outputs[0] == outputs[1]
    first, second = (cached_fingerprints(tmp_path / name) for name in ("killed", "whole"))
    assert first == second
    assert before.items() <= first.items()
    again = hashed[: len(first) - len(before)]
    assert set(again) == set(first) - set(before)  # images cached before the kill were not opened again
    assert len(hashed) == len(again) + len(first)
    assert result_file(command, tmp_path / "killed") == result_file(command, tmp_path / "whole")
    assert b"flickr30k/5" in result_file(command, tmp_path / "killed")  # trained on, and tested on as coco/5
