"""Damaged inputs of every reader, made at random from good ones: success or a ``TwelvefoldError``, and nothing else.

The mutations are seeded, so a failure is the same on every machine. Each input is small: a reader that takes long for
one exceeds the time limit of the test.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from tests.datasets.conftest import load_sample
from tests.datasets.samples.sample import encode_file

from twelvefold.config.extract import ImportConfig
from twelvefold.config.recipe import Recipe
from twelvefold.datasets import load_dataset, task_names
from twelvefold.datasets.reading.answers import load_answer_list
from twelvefold.datasets.reading.options import read_world_file
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.download.unpack import unpack_all
from twelvefold.features.formats.open_feature_file import open_feature_file
from twelvefold.features.image_list import read_boxes
from twelvefold.images import load_image
from twelvefold.model import tensor_files
from twelvefold.schema import TwelvefoldError
from twelvefold.serving.jsonl import read_requests
from twelvefold.splits.id_lists import load_id_list
from twelvefold.splits.read_lists import read_entries
from twelvefold.store import atomic_files
from twelvefold.store.safe_pickle import load_plain

TOKENS = (
    b"NaN", b"-Infinity", b"\\ud83d", b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"[" * 5000, b"]", b"{", b"}", b'"',
    b"9" * 5000, b"1e999", b"-1", b"null", b"<!doctype html>", b"version https://git-lfs.github.com/spec/v1\n", b"\n",
    b"\t", b"=",
    b"2\x86" * 60, b"r\xff\xff\xff\x7f", b"h\x00", b"true", b'"":', b"\xe2\x80\xa8",
)  # fmt: skip


ENCODINGS = ("utf-8-sig", "utf-16", "utf-32")
COUNT = int(os.environ.get("TWELVEFOLD_FUZZ", "60"))
"""Damaged copies of each input."""


def mutations(data: bytes, rng: random.Random, count: int) -> Iterator[bytes]:
    """Yield damaged copies: cut, with a part removed, repeated, overwritten or inserted, or in another encoding."""
    yield b""
    for _ in range(count):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 3))):
            start = rng.randrange(len(damaged) + 1)
            end = min(len(damaged), start + rng.choice((1, 2, 8, 64)))
            kind = rng.randrange(7)
            if kind == 0:
                del damaged[start:]
            elif kind == 1:
                del damaged[start:end]
            elif kind == 2:
                damaged[start:start] = damaged[start:end] * rng.choice((1, 50))
            elif kind == 3:
                damaged[start:end] = rng.randbytes(end - start)
            elif kind == 4:
                damaged[start:end] = rng.choice(TOKENS)
            elif kind == 5:
                damaged[start:start] = rng.choice(TOKENS)
            else:
                damaged = bytearray(
                    bytes(damaged).decode("latin1").encode(rng.choice(("utf-8-sig", "utf-16", "utf-32")))
                )
        yield bytes(damaged)


def read_official(task: str, folder: Path) -> None:
    dataset, sample = load_dataset(task), load_sample(task)
    for split in ("train", "val", "test"):
        for example in dataset.read(folder, split, bad=BadRecords(skip=True), **sample.options):
            json.dumps(example.id, ensure_ascii=False).encode()
            for pair in example.pairs:
                pair.text.encode()


@pytest.mark.parametrize("task", task_names())
def test_official_files(task: str, tmp_path: Path) -> None:
    rng = random.Random(task)
    files = {name: encode_file(name, content) for name, content in load_sample(task).make_files().items()}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    read_official(task, tmp_path)
    for name, data in files.items():
        for damaged in mutations(data, rng, COUNT // len(files)):
            (tmp_path / name).write_bytes(damaged)
            attempt(lambda: read_official(task, tmp_path), damaged)
        (tmp_path / name).write_bytes(data)


def attempt(read: Callable[[], object], damaged: bytes) -> None:
    """Call ``read``, which may raise a ``TwelvefoldError`` of a printable, short message."""
    try:
        read()
    except TwelvefoldError as error:
        message = str(error)
        message.encode()
        assert len(message) < 5000, damaged[:200]


def import_all(path: Path) -> None:
    _, file = open_feature_file(path, ImportConfig(source="coco"))
    for record in file.records():
        f"{record.name} {record.result}".encode(errors="replace")
    file.file_problems()


def numpy_bytes(value: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, value, allow_pickle=True)
    return out.getvalue()


def torch_bytes(*, zipped: bool) -> bytes:
    out = io.BytesIO()
    torch.save({"a.weight": torch.ones(2, 3), "b": torch.zeros(1)}, out, _use_new_zipfile_serialization=zipped)
    return out.getvalue()


def zip_bytes() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.json", b"{}" * 100)
        archive.writestr("c.txt", b"text")
    return out.getvalue()


def image_bytes() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((6, 7, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def read_manifest(path: Path) -> object:
    return atomic_files.read_manifest(path, "x", 3, remedy="create it again")


FIELDS = {
    "image_id": 391895, "image_width": 40, "image_height": 30, "image_w": 40, "image_h": 30,
    "boxes": np.array([[1, 2, 10, 12], [3, 3, 30, 20]], np.float32), "features": np.ones((2, 4), np.float32),
}  # fmt: skip
REQUEST = '{"task": "vqav2", "images": ["a.png"], "text": "what?", "boxes": [[1, 2, 3, 4]], "id": {"a": 1}}\n' * 2
LISTING = 'image_id,caption\n391895,a dog\n522418,"two, cats"\n'
RECIPE = (
    'name = "r"\ntasks = ["gqa", "vqav2"]\nseed = 3\n[training]\nlr_factor = 2.5\n[per_task.gqa]\noptions = {a = 1}\n'
)
WORLD = {
    "reader_options": {"coco": {"pool": 3}},
    "examples": {"coco": {"train": 2}},
    "files": {"a": 1},
    "parameters": {},
}
READERS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "pickle": ("a.p", pickle.dumps([{"ref_id": 1, "tokens": ["a", 2.5, None, ("x", 1)]}], 2), load_plain),
    "newer pickle": ("a.p", pickle.dumps({"n": np.int64(3), "v": np.arange(5), "s": {1, 2}}, 4), load_plain),
    "answer list": ("a.json", json.dumps({"yes": 0, "no": 1}).encode(), load_answer_list),
    "answer pickle": ("a.pkl", pickle.dumps({"yes": 0, "no": 1}), load_answer_list),
    "array": ("coco_test_ids.npy", numpy_bytes(np.arange(4)), load_id_list),
    "array of texts": ("coco_test_ids.npy", numpy_bytes(np.array(["12", "7"])), load_id_list),
    "feature array": ("COCO_val2014_000000391895.npy", numpy_bytes(FIELDS), lambda path: import_all(path.parent)),
    "requests": ("a.jsonl", REQUEST.encode(), read_requests),
    "table": ("a.csv", LISTING.encode(), lambda path: read_entries(path, column="image_id")),
    "list": ("a.txt", b"391895\n522418\n", read_entries),
    "json list": ("a.json", b'{"images": [{"id": 391895}, {"id": 7}]}', lambda path: read_entries(path, column="id")),
    "json lines": ("a.jsonl", b'{"image_id": 391895}\n{"image_id": 7}\n', read_entries),
    "recipe": ("a.toml", RECIPE.encode(), lambda path: Recipe.load(str(path))),
    "world": ("world.json", json.dumps(WORLD).encode(), read_world_file),
    "manifest": ("m.json", b'{"format": "x", "version": 3, "a": [1]}', read_manifest),
    "boxes": ("boxes.json", b'{"grey": [[0, 0, 4, 5]]}', lambda path: read_boxes(path, {}, path.parent)),
    "torch": ("a.bin", torch_bytes(zipped=True), tensor_files.read),
    "older torch": ("a.pth", torch_bytes(zipped=False), tensor_files.read),
    "safetensors": ("a.safetensors", save({"a": torch.ones(3)}, {"format": "pt"}), tensor_files.read),
    "zip": ("a.zip", zip_bytes(), lambda path: unpack_all(path, path.parent / "out")),
    "image": ("a.png", image_bytes(), load_image),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_other_files(name: str, tmp_path: Path) -> None:
    file, data, read = READERS[name]
    path, rng = tmp_path / "in" / file, random.Random(name)
    path.parent.mkdir()
    for damaged in mutations(data, rng, COUNT):
        path.write_bytes(damaged)
        attempt(lambda: read(path), damaged)
