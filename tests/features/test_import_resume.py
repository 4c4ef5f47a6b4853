"""An interrupted import continues with the same result, and several imports fill one store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import twelvefold.features.import_features
from twelvefold.cli import app
from twelvefold.config.extract import ImportConfig
from twelvefold.features.formats.open_feature_file import open_feature_file
from twelvefold.features.import_features import import_features
from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.store.region_store import RegionStore


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twelvefold.features.import_features, "BLOCK", 2)


@pytest.fixture(params=["lmdb", "tsv", "npy"])
def seven_images(writers: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Return a file of seven images, with one record repeated or broken."""
    rows = {f"n{n}": writers.image_record(n, width=16) for n in range(7)}
    path = tmp_path / f"seven.{request.param}"
    if request.param == "lmdb":
        writers.write_lmdb(path, {**rows, "n3x": b"broken"})
    elif request.param == "tsv":
        path.write_text("".join(writers.tsv_line(name, rows[name]) for name in [*list(rows)[:4], "n1", *rows]))
    else:
        path.mkdir()
        for name, row in rows.items():
            np.save(path / f"{name}.npy", writers.npy_dict(row, name, num_classes=3), allow_pickle=True)
        (path / "n3.npy").write_bytes(b"broken")
    return path


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_import_continues_with_the_same_result(
    seven_images: Path, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = import_features(seven_images, tmp_path / "whole")
    original, count = twelvefold.features.import_features._read_block, iter(range(after))

    def interrupt(*arguments: Any) -> Any:
        if next(count, None) is None:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(twelvefold.features.import_features, "_read_block", interrupt)
        with pytest.raises(KeyboardInterrupt):
            import_features(seven_images, tmp_path / "parts")
    assert not (tmp_path / "parts" / "detected" / "store.json").exists()
    parts = import_features(seven_images, tmp_path / "parts")
    assert contents(tmp_path / "parts" / "detected") == contents(tmp_path / "whole" / "detected")
    assert (parts.rejected, parts.checksum, parts.digest) == (whole.rejected, whole.checksum, whole.digest)
    assert len(whole.rejected) > 0
    assert RegionStore.open(tmp_path / "parts" / "detected").verify() == []


@pytest.mark.usefixtures("small_blocks")
def test_a_second_call_does_nothing(seven_images: Path, tmp_path: Path) -> None:
    first = import_features(seven_images, tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    second = import_features(seven_images, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()} == times
    assert second.seconds == 0
    assert (second.num_images, second.rejected, second.digest) == (first.num_images, first.rejected, first.digest)


@pytest.mark.slow
def test_a_killed_process_keeps_its_finished_blocks(writers: Any, tmp_path: Path) -> None:
    path = tmp_path / "many.tsv"
    text = writers.tsv_line("{}", writers.image_record(0, regions=20, width=64))
    with path.open("w") as file:
        for n in range(1000):
            file.write(text.replace("{}", f"n{n}", 1))
    command = [sys.executable, "-m", "twelvefold", "features", "import", str(path), str(tmp_path / "out")]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("imports/detected/many/000001.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = len(list((tmp_path / "out").glob("imports/detected/many/0*.json")))
    assert 0 < before < 8
    assert import_features(path, tmp_path / "out").num_images == 1000
    import_features(path, tmp_path / "fresh")
    assert contents(tmp_path / "out" / "detected") == contents(tmp_path / "fresh" / "detected")


def test_another_file_of_the_same_name_or_other_settings_are_refused(writers: Any, tmp_path: Path) -> None:
    path = writers.write_lmdb(tmp_path / "some", {"n1": writers.image_record(1)})
    import_features(path, tmp_path / "out")
    with pytest.raises(TwelvefoldError, match=r"half was True, is False.*--no-resume.*--name"):
        import_features(path, tmp_path / "out", ImportConfig(full=True))
    with pytest.raises(TwelvefoldError, match="holds half floats, without class probabilities"):
        import_features(path, tmp_path / "out", ImportConfig(full=True, name="other"))
    assert import_features(path, tmp_path / "out", ImportConfig(full=True), resume=False).num_images == 1


def test_the_name_of_an_import_is_not_a_path(writers: Any, tmp_path: Path) -> None:
    path = writers.write_lmdb(tmp_path / "some of mine", {"n1": writers.image_record(1)})
    for name in ("../up", "a/b", "-x"):
        with pytest.raises(TwelvefoldError, match=r"the name of an import .* has letters"):
            import_features(path, tmp_path / "out", ImportConfig(name=name))
    assert import_features(path / "data.mdb", tmp_path / "out").name == "some_of_mine"


def test_several_files_fill_one_store_in_any_order(writers: Any, tmp_path: Path) -> None:
    coco = writers.write_lmdb(tmp_path / "a_coco", {"1": writers.image_record(1)})
    vg = writers.write_lmdb(tmp_path / "b_vg", {"1": writers.image_record(2), "2": writers.image_record(3)})
    for out, order in (("one", ("coco", "vg")), ("other", ("vg", "coco"))):
        for source in order:
            import_features({"coco": coco, "vg": vg}[source], tmp_path / out, ImportConfig(source=source))
    assert contents(tmp_path / "one" / "detected") == contents(tmp_path / "other" / "detected")
    store = RegionStore.open(tmp_path / "one" / "detected")
    keys = store.keys()
    assert {str(key) for key in keys} == {"coco/1", "vg/1", "vg/2"}
    again = writers.write_lmdb(tmp_path / "v7w", {"v7w_2": writers.image_record(9), "v7w_3": writers.image_record(4)})
    summary = import_features(again, tmp_path / "one")
    assert (summary.num_present, summary.num_images, summary.rejected) == (1, 1, ())
    store = RegionStore.open(tmp_path / "one" / "detected")
    assert (store[ImageKey("vg", "2")].features == writers.image_record(3)["features"].astype("float16")).all()


@pytest.mark.usefixtures("small_blocks")
def test_one_import_at_a_time(writers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = writers.write_lmdb(tmp_path / "first", {f"n{n}": writers.image_record(n) for n in range(5)})
    second = writers.write_lmdb(tmp_path / "second", {"n9": writers.image_record(9)})
    original, count = twelvefold.features.import_features._read_block, iter(range(1))
    with monkeypatch.context() as patch:
        patch.setattr(
            twelvefold.features.import_features,
            "_read_block",
            lambda *a: original(*a) if next(count, 1) == 0 else 1 / 0,
        )
        with pytest.raises(ZeroDivisionError):
            import_features(first, tmp_path / "out")
    with pytest.raises(TwelvefoldError, match="interrupted: first"):
        import_features(second, tmp_path / "out")


def test_given_boxes_have_their_own_store(writers: Any, tmp_path: Path) -> None:
    path = writers.write_lmdb(tmp_path / "visual7w_gt", {"v7w_1": writers.image_record(1, regions=120)})
    import_features(path, tmp_path / "out", ImportConfig(given=True))
    assert len(RegionStore.open(tmp_path / "out" / "given")[ImageKey("vg", "1")].boxes_px) == 120
    assert not (tmp_path / "out" / "detected").exists()


def test_a_folder_written_by_extract_is_refused(writers: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "extract.json").write_text("{}")
    path = writers.write_lmdb(tmp_path / "some", {"n1": writers.image_record(1)})
    with pytest.raises(TwelvefoldError, match="written by `twelvefold extract`"):
        import_features(path, tmp_path / "out")


def test_json_has_every_count(writers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = writers.write_lmdb(tmp_path / "some", {"n1": writers.image_record(1), "n2": b"broken"})
    assert app(f"features import {path} {tmp_path / 'out'} --json", result_action="return_value") == 1
    output = json.loads(capsys.readouterr().out)
    assert (output["records"], output["pictures"], output["regions"], output["already"]) == (2, 1, 5, 0)
    assert output["refused"][0][0] == "key n2"
    assert len(output["checksum"]) == len(output["digest"]) == 32
    assert output["bytes_written"] > 5 * 2048 * 2


def test_reading_continues_after_any_record(seven_images: Path) -> None:
    _, feature_file = open_feature_file(seven_images, ImportConfig())
    expected = [(record.location, record.digest) for record in feature_file.records()]
    for n, record in enumerate(list(feature_file.records())):
        assert [(later.location, later.digest) for later in feature_file.records(record.position)] == expected[n + 1 :]
    assert sum(record.num_steps for record in feature_file.records()) == feature_file.total
