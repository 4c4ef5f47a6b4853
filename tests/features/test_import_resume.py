"""An import goes on where it was, comes out the same, and several fill one store."""

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
from twelvefold.features.formats.open_source import open_source
from twelvefold.features.formats.record import Reading
from twelvefold.features.import_features import import_features
from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.store.region_store import RegionStore


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twelvefold.features.import_features, "BLOCK", 2)


@pytest.fixture(params=["lmdb", "tsv", "npy"])
def seven(foreign: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file of seven pictures, one of them twice or broken."""
    rows = {f"n{n}": foreign.picture(n, width=16) for n in range(7)}
    path = tmp_path / f"seven.{request.param}"
    if request.param == "lmdb":
        foreign.write_lmdb(path, {**rows, "n3x": b"broken"})
    elif request.param == "tsv":
        path.write_text("".join(foreign.tsv_line(name, rows[name]) for name in [*list(rows)[:4], "n1", *rows]))
    else:
        path.mkdir()
        for name, row in rows.items():
            np.save(path / f"{name}.npy", foreign.npy_dict(row, name, kinds=3), allow_pickle=True)
        (path / "n3.npy").write_bytes(b"broken")
    return path


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_stopped_import_goes_on_and_comes_out_the_same(
    seven: Path, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = import_features(seven, tmp_path / "whole")
    real, count = twelvefold.features.import_features._block, iter(range(after))

    def stops(*arguments: Any) -> Any:
        if next(count, None) is None:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(twelvefold.features.import_features, "_block", stops)
        with pytest.raises(KeyboardInterrupt):
            import_features(seven, tmp_path / "parts")
    assert not (tmp_path / "parts" / "detected" / "store.json").exists()
    parts = import_features(seven, tmp_path / "parts")
    assert contents(tmp_path / "parts" / "detected") == contents(tmp_path / "whole" / "detected")
    assert (parts.refused, parts.checksum, parts.digest) == (whole.refused, whole.checksum, whole.digest)
    assert len(whole.refused) > 0
    assert RegionStore.open(tmp_path / "parts" / "detected").verify() == []


@pytest.mark.usefixtures("small_blocks")
def test_a_second_call_does_nothing(seven: Path, tmp_path: Path) -> None:
    first = import_features(seven, tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    second = import_features(seven, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()} == times
    assert second.seconds == 0
    assert (second.pictures, second.refused, second.digest) == (first.pictures, first.refused, first.digest)


def test_a_killed_process_loses_a_block_at_most(foreign: Any, tmp_path: Path) -> None:
    path = tmp_path / "many.tsv"
    text = foreign.tsv_line("{}", foreign.picture(0, regions=20, width=64))
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
    assert import_features(path, tmp_path / "out").pictures == 1000
    import_features(path, tmp_path / "fresh")
    assert contents(tmp_path / "out" / "detected") == contents(tmp_path / "fresh" / "detected")


def test_another_file_of_the_name_or_other_settings_are_refused(foreign: Any, tmp_path: Path) -> None:
    path = foreign.write_lmdb(tmp_path / "some", {"n1": foreign.picture(1)})
    import_features(path, tmp_path / "out")
    with pytest.raises(TwelvefoldError, match=r"half was True, is False.*--no-resume.*--name"):
        import_features(path, tmp_path / "out", full=True)
    with pytest.raises(TwelvefoldError, match="keeps half floats, without class probabilities"):
        import_features(path, tmp_path / "out", full=True, name="other")
    assert import_features(path, tmp_path / "out", full=True, resume=False).pictures == 1


def test_an_import_s_name_is_no_path(foreign: Any, tmp_path: Path) -> None:
    path = foreign.write_lmdb(tmp_path / "some of mine", {"n1": foreign.picture(1)})
    for name in ("../up", "a/b", "-x"):
        with pytest.raises(TwelvefoldError, match="an import is called by letters"):
            import_features(path, tmp_path / "out", name=name)
    assert import_features(path / "data.mdb", tmp_path / "out").name == "some_of_mine"


def test_several_files_fill_one_store_whatever_their_order(foreign: Any, tmp_path: Path) -> None:
    coco = foreign.write_lmdb(tmp_path / "a_coco", {"1": foreign.picture(1)})
    vg = foreign.write_lmdb(tmp_path / "b_vg", {"1": foreign.picture(2), "2": foreign.picture(3)})
    for out, order in (("one", ("coco", "vg")), ("other", ("vg", "coco"))):
        for source in order:
            import_features({"coco": coco, "vg": vg}[source], tmp_path / out, source=source)
    assert contents(tmp_path / "one" / "detected") == contents(tmp_path / "other" / "detected")
    store = RegionStore.open(tmp_path / "one" / "detected")
    keys = store.keys()
    assert {str(key) for key in keys} == {"coco/1", "vg/1", "vg/2"}
    again = foreign.write_lmdb(tmp_path / "v7w", {"v7w_2": foreign.picture(9), "v7w_3": foreign.picture(4)})
    done = import_features(again, tmp_path / "one")
    assert (done.already, done.pictures, done.refused) == (1, 1, ())
    store = RegionStore.open(tmp_path / "one" / "detected")
    assert (store[ImageKey("vg", "2")].features == foreign.picture(3)["features"].astype("float16")).all()


@pytest.mark.usefixtures("small_blocks")
def test_one_import_at_a_time(foreign: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = foreign.write_lmdb(tmp_path / "first", {f"n{n}": foreign.picture(n) for n in range(5)})
    second = foreign.write_lmdb(tmp_path / "second", {"n9": foreign.picture(9)})
    real, count = twelvefold.features.import_features._block, iter(range(1))
    with monkeypatch.context() as patch:
        patch.setattr(
            twelvefold.features.import_features, "_block", lambda *a: real(*a) if next(count, 1) == 0 else 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            import_features(first, tmp_path / "out")
    with pytest.raises(TwelvefoldError, match="interrupted: first"):
        import_features(second, tmp_path / "out")


def test_given_boxes_lie_beside_detected_ones(foreign: Any, tmp_path: Path) -> None:
    path = foreign.write_lmdb(tmp_path / "visual7w_gt", {"v7w_1": foreign.picture(1, regions=120)})
    import_features(path, tmp_path / "out", given=True)
    assert len(RegionStore.open(tmp_path / "out" / "given")[ImageKey("vg", "1")].boxes_px) == 120
    assert not (tmp_path / "out" / "detected").exists()


def test_what_extract_made_is_left_alone(foreign: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "extract.json").write_text("{}")
    path = foreign.write_lmdb(tmp_path / "some", {"n1": foreign.picture(1)})
    with pytest.raises(TwelvefoldError, match="extract` made"):
        import_features(path, tmp_path / "out")


def test_json_has_every_count(foreign: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = foreign.write_lmdb(tmp_path / "some", {"n1": foreign.picture(1), "n2": b"broken"})
    assert app(f"features import {path} {tmp_path / 'out'} --json", result_action="return_value") == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["records"], said["pictures"], said["regions"], said["already"]) == (2, 1, 5, 0)
    assert said["refused"][0][0] == "key n2"
    assert len(said["checksum"]) == len(said["digest"]) == 32
    assert said["bytes_written"] > 5 * 2048 * 2


def test_reading_goes_on_behind_any_record(seven: Path) -> None:
    _, source = open_source(seven, "auto", Reading())
    wheres = [(record.where, record.digest) for record in source.records()]
    for n, record in enumerate(list(source.records())):
        assert [(later.where, later.digest) for later in source.records(record.after)] == wheres[n + 1 :]
    assert sum(record.steps for record in source.records()) == source.total
