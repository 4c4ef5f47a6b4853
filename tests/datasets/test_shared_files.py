"""A file that several splits are read from is decoded once, and the examples and rejections stay the same."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from twelvefold.config.recipe import DataConfig, TaskConfig
from twelvefold.datasets import load_dataset, task_names
from twelvefold.datasets.reading import shared_files
from twelvefold.datasets.reading.records import BadRecords, RecordReader
from twelvefold.datasets.reading.shared_files import decode_once, share_decoded_files
from twelvefold.doctor import doctor
from twelvefold.leakage.audit import AuditConfig, collect_inputs
from twelvefold.preparation.prepare import prepare
from twelvefold.schema import Example, Split
from twelvefold.splits.clean import clean

from .conftest import load_sample

SPLITS: tuple[Split, ...] = get_args(Split)


def read_all(name: str, root: Path, bad: BadRecords) -> list[list[Example]]:
    options = load_sample(name).options
    return [list(load_dataset(name).read(root, split, bad=bad, **options)) for split in SPLITS]


@pytest.mark.parametrize("name", task_names())
def test_examples_and_rejections_are_the_same(name: str, folder: Any) -> None:
    sample = load_sample(name)
    records = sample.first.records(folder.files[sample.first.file])
    records[sample.first.key] = {"unknown": 1}
    root = folder.write()
    alone, shared = BadRecords(skip=True), BadRecords(skip=True)
    expected = read_all(name, root, alone)
    with share_decoded_files():
        assert read_all(name, root, shared) == expected
    assert Counter(map(str, shared.rejected)) == Counter(map(str, alone.rejected))
    assert alone.rejected


@pytest.mark.parametrize("name", task_names())
def test_every_list_of_a_file_is_read_once(name: str, folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root, read_bytes, counts = folder.write(), Path.read_bytes, Counter[str]()

    def count(path: Path) -> bytes:
        counts[path.name] += 1
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", count)
    with share_decoded_files():
        read_all(name, root, BadRecords())
    two_lists = {"instances.json", "dataset_v7w_pointing.json"}  # images and annotations, images and boxes
    assert [file for file, number in counts.items() if number > 1 + (file in two_lists)] == []


@pytest.mark.parametrize("command", ["prepare", "clean", "doctor", "audit"])
def test_every_command_decodes_a_file_of_all_splits_once(
    command: str, folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, read_bytes, counts = folder.write(), Path.read_bytes, Counter[str]()
    options = {"vgqa": load_sample("vgqa").options}
    (root / "world.json").write_text(json.dumps({"reader_options": options, "examples": {}}))

    def count(path: Path) -> bytes:
        counts[path.name] += 1
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", count)
    match command:
        case "prepare":
            names = ("vqav2", "vgqa")  # VG QA uses the answer list of VQAv2
            tasks = {name: TaskConfig(options=dict(load_sample(name).options)) for name in names}
            prepare(root, None, tmp_path / "out", tasks, DataConfig(clean="ids", min_count=1))
        case "clean":
            clean(root, tmp_path / "out", policy="ids", tasks=["vgqa"])
            assert not (tmp_path / "out" / "notes" / "splits").exists()
        case "doctor":
            doctor(root, tasks=["vgqa"])
        case "audit":
            collect_inputs(root, AuditConfig(tasks=["vgqa"], evidence=["ids"], cache_dir=tmp_path / "cache"))
    assert counts["question_answers.json"] == 1


def test_a_changed_file_is_decoded_again_and_a_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    path.write_text("[1]")
    reader = RecordReader("toy", path, BadRecords())

    def decode(reader: RecordReader) -> list[int]:
        return [value for _, value in reader.items("", int)]

    with share_decoded_files():
        first = decode_once(reader, "numbers", decode)
        assert decode_once(reader, "numbers", decode) is first
        path.write_text("[1, 2]")
        assert decode_once(reader, "numbers", decode) == [1, 2]
    assert shared_files._decoded.get() is None
    assert decode_once(reader, "numbers", decode) == [1, 2]
