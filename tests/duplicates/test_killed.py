"""A killed command that hashes pictures loses a block at most: called again it goes on, and says the same."""

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

BLOCK, PICTURES, COPIES = 16, 240, 20
PROGRAM = (
    f"import sys; from twelvefold import cli; from twelvefold.duplicates import hashes; hashes.BLOCK_SIZE = {BLOCK}; "
    + ("cli.main(sys.argv[1:])")
)
"""The program, but for the size of its blocks: so few pictures would be one."""

Noted = dict[str, ImageFingerprint]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO pictures, whose captions are a test set in part, and Flickr30k copies of some of those to train on."""
    root = tmp_path_factory.mktemp("killed")
    coco, flickr = root / "images" / "coco" / "val2014", root / "images" / "flickr30k"
    for folder in (coco, flickr):
        folder.mkdir(parents=True)
    rows: dict[str, list[dict[str, object]]] = {"coco": [], "flickr30k": []}
    for n in range(PICTURES):
        noise = np.random.default_rng(n).integers(0, 255, (5, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC)
        picture.save(coco / f"COCO_val2014_{n:012}.jpg", quality=90)
        sentences = [{"raw": f"Noise of seed {n}.", "sentid": n}]
        split, other = ("train", "val", "test")[n % 3], ("test", "train")[n % 2]
        rows["coco"].append({"split": split, "filename": f"{n}.jpg", "cocoid": n, "sentences": sentences})
        if n < COPIES:
            picture.resize((120, 90)).save(flickr / f"{n}.jpg", quality=80)
            rows["flickr30k"].append({"split": other, "filename": f"{n}.jpg", "sentences": sentences})
    for task, pictures in rows.items():
        (root / task).mkdir()
        (root / task / f"dataset_{task}.json").write_text(json.dumps({"images": pictures}))
    return root


def arguments(command: str, data: Path, out: Path) -> list[str]:
    """A call of the command whose notes lie in ``out/notes``."""
    if command == "audit":
        return ["audit", str(data), "--cache-dir", str(out / "notes"), "--listing", str(out / "said"), "--json"]
    return ["clean", str(data), str(out), "--tasks", "coco", "flickr30k", "--processes", "1", "--json"]


def said(command: str, out: Path) -> bytes:
    """The file that the command leaves."""
    return (out / ("said" if command == "audit" else "clean.json")).read_bytes()


def noted(out: Path) -> Noted:
    """The fingerprints in the notes, every file of which must be whole."""
    folder = out / "notes" / "fingerprints"
    decode = msgspec.msgpack.Decoder(tuple[str, list[ImageFingerprint]]).decode
    return {row.key: row for path in folder.glob("*.msgpack") for row in decode(path.read_bytes())[1]}


def kill_while_hashing(arguments: list[str], blocks: Path) -> None:
    """Start the program, wait for the second block of notes, and strike it down."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(blocks.glob("block-*.msgpack"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("command", ["audit", "clean"])
def test_a_killed_command_goes_on_and_says_the_same(
    command: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kill_while_hashing(arguments(command, data, tmp_path / "hurt"), tmp_path / "hurt" / "notes" / "fingerprints")
    before = noted(tmp_path / "hurt")
    assert 2 * BLOCK <= len(before) < PICTURES + COPIES
    hashed: list[str] = []
    do = hashes._fingerprint_block

    def noticed(work: Sequence[tuple[ImageFingerprint, Path]]) -> list[ImageFingerprint]:
        hashed.extend(blank.key for blank, _ in work)
        return do(work)

    monkeypatch.setattr(hashes, "_fingerprint_block", noticed)
    monkeypatch.setattr(hashes, "BLOCK_SIZE", BLOCK)
    codes, told = [], []
    for out in (tmp_path / "hurt", tmp_path / "unhurt"):
        with pytest.raises(SystemExit) as left:
            cli.main(arguments(command, data, out))
        codes.append(left.value.code)
        told.append(capsys.readouterr().out.replace(str(out), "OUT"))
    assert codes == [1 if command == "audit" else 0] * 2
    assert told[0] == told[1]
    first, second = (noted(tmp_path / name) for name in ("hurt", "unhurt"))
    assert first == second
    assert before.items() <= first.items()
    again = hashed[: len(first) - len(before)]
    assert set(again) == set(first) - set(before)  # what was noted before the kill wasn't opened again
    assert len(hashed) == len(again) + len(first)
    assert said(command, tmp_path / "hurt") == said(command, tmp_path / "unhurt")
    assert b"flickr30k/5" in said(command, tmp_path / "hurt")  # trained on, and tested on as coco/5
