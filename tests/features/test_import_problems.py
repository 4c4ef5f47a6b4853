"""Problems of a feature file are reported with their location, and all other records are kept."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twelvefold.cli import app
from twelvefold.config.extract import ImportConfig
from twelvefold.features.formats.lmdb_file import LmdbFile
from twelvefold.features.import_features import import_features
from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.store.region_store import RegionStore


class RunsCommand:
    """Unpickling this runs a shell command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def changed(writers: Any, **changes: Any) -> dict[str, Any]:
    return {**writers.image_record(1), **changes}


def with_nan(writers: Any) -> dict[str, Any]:
    row: dict[str, Any] = writers.image_record(1)
    row["features"][3, 7] = np.nan
    return row


def boxes(*rows: list[float]) -> np.ndarray[Any, Any]:
    """Return five boxes, the first of them ``rows``."""
    return np.array([*rows, *[[1, 2, 30, 40]] * 5][:5], dtype=np.float32)


BAD: dict[str, tuple[Any, str]] = {
    "features of three axes": (
        lambda f: changed(f, features=np.zeros((1, 5, 2048), np.float32)),
        r"shape .*\(1, 5, 2048\)",
    ),
    "too few boxes": (
        lambda f: changed(f, boxes=np.zeros((4, 4), np.float32)),
        "as many boxes as features, got 4 and 5",
    ),
    "no number of four": (lambda f: changed(f, boxes=np.zeros((5, 3), np.float32)), r"boxes: .*\(5, 3\)"),
    "not a number": (with_nan, "features of region 3 .*not finite"),
    "infinite boxes": (lambda f: changed(f, boxes=boxes([0, 0, np.inf, 2])), "boxes of region 0 .*not finite"),
    "too large for float16": (
        lambda f: changed(f, features=np.full((5, 2048), 1e6, np.float32)),
        "too large for float16",
    ),
    "another width": (lambda f: f.image_record(1, width=1024), r"\(5, 2048\), got \(5, 1024\)"),
    "no regions": (lambda f: f.image_record(1, regions=0), "expected regions, got none"),
    "outside": (lambda f: changed(f, boxes=boxes([700, 10, 720, 20])), r"box 0 is outside the image \(640 x 480\)"),
    "wrong way round": (lambda f: changed(f, boxes=boxes([100, 10, 50, 20])), "box 0: .*--boxes xywh"),
    "shares": (lambda f: changed(f, boxes=boxes() / 50), "between 0 and 1: .*--boxes unit"),
    "no size": (lambda f: changed(f, image_w=0), "image_w: .*got 0"),
    "no boxes": (lambda f: {"image_id": "1", "image_w": 5, "image_h": 5}, "boxes or bbox|features"),
    "no arrays": (
        lambda f: changed(f, features=[[1.0] * 2048] * 5),
        "features: expected an array of numbers, got list",
    ),
    "cut base64": (lambda f: {**f.base64_record(1), "features": f.base64_record(1)["features"][:-9]}, "features: "),
    "odd base64": (lambda f: {**f.base64_record(1), "boxes": "=" + f.base64_record(1)["boxes"]}, "boxes: .*base64"),
    "foreign letters": (lambda f: {**f.base64_record(1), "boxes": "é" + f.base64_record(1)["boxes"][1:]}, "boxes: "),
    "short base64": (lambda f: {**f.base64_record(1), "num_boxes": "7"}, r"num_boxes \(7\)"),
    "no dict": (lambda f: ["a list"], "expected a dict, got list"),
    "cut pickle": (lambda f: pickle.dumps(f.image_record(1))[:-100], "truncated"),
    "no pickle": (lambda f: b"hello", "truncated or not a pickle"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_named_and_the_others_are_kept(writers: Any, tmp_path: Path, name: str) -> None:
    make, message = BAD[name]
    writers.write_lmdb(
        tmp_path / "some", {"n0": writers.image_record(0), "n1": make(writers), "n2": writers.image_record(2)}
    )
    summary = import_features(tmp_path / "some", tmp_path / "out")
    [problem] = summary.rejected
    assert problem.location == "key n1"
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(problem.message)
    store = RegionStore.open(tmp_path / "out" / "detected")
    keys = store.keys()
    assert [str(key) for key in keys] == ["gqa/n0", "gqa/n2"]
    assert (summary.num_records, summary.num_images) == (3, 2)


def test_a_pickle_with_a_command_is_refused_and_runs_nothing(writers: Any, tmp_path: Path) -> None:
    trace = tmp_path / "it-ran"
    malicious = {**writers.image_record(1), "features": RunsCommand(f"touch {trace}")}
    path = writers.write_lmdb(tmp_path / "some", {"n0": writers.image_record(0), "n1": malicious})
    [problem] = import_features(path, tmp_path / "out").rejected
    assert "posix.system" in problem.message
    np.save(tmp_path / "n5.npy", np.array(malicious, dtype=object), allow_pickle=True)
    with pytest.raises(TwelvefoldError, match=r"posix\.system"):
        import_features(tmp_path, tmp_path / "out2", ImportConfig(format="npy"))
    keys = writers.write_lmdb(
        tmp_path / "keys", {"n0": writers.image_record(0), "keys": RunsCommand(f"touch {trace}")}, keys=[]
    )
    assert LmdbFile(keys, ImportConfig()).total == 1
    assert not trace.exists()


def test_boxes_without_area_or_exceeding_the_image_are_kept_with_a_warning(writers: Any, tmp_path: Path) -> None:
    record = changed(writers, boxes=boxes([10, 10, 10, 20], [600, 10, 660, 20]))
    writers.write_lmdb(tmp_path / "some", {"n1": record})
    summary = import_features(tmp_path / "some", tmp_path / "out")
    assert (summary.num_images, summary.rejected) == (1, ())
    assert [warning.location for warning in summary.warnings] == ["key n1", "key n1"]
    assert "1 box without area" in summary.warnings[0].message
    assert "exceeding the image (640 x 480)" in summary.warnings[1].message


def test_a_repeated_image_is_imported_once(writers: Any, tmp_path: Path) -> None:
    lines = [writers.tsv_line(name, writers.image_record(n)) for n, name in enumerate(["7", "8", "7"])]
    (tmp_path / "t.tsv").write_text("".join(lines))
    summary = import_features(tmp_path / "t.tsv", tmp_path / "out", ImportConfig(source="coco", full=True))
    [problem] = summary.rejected
    assert problem.location == f"line 3 (byte {len(lines[0]) + len(lines[1]):,})"
    assert "coco/7 occurred before" in problem.message
    store = RegionStore.open(tmp_path / "out" / "detected")
    np.testing.assert_array_equal(store[ImageKey("coco", "7")].features, writers.image_record(0)["features"])


@pytest.mark.parametrize("cut", [1, 30, 40_000, 54_000])
def test_a_truncated_table(writers: Any, tmp_path: Path, cut: int) -> None:
    lines = [writers.tsv_line(str(n), writers.image_record(n)) for n in (1, 2)]
    (tmp_path / "t.tsv").write_bytes("".join(lines).encode()[:-cut])
    summary = import_features(tmp_path / "t.tsv", tmp_path / "out", ImportConfig(source="coco"))
    # A line is complete without its line break.
    assert summary.num_images == (2 if cut == 1 else 1)
    assert [problem.location for problem in summary.rejected] == (
        [] if cut == 1 else [f"line 2 (byte {len(lines[0]):,})"]
    )


def test_truncated_npy_files(writers: Any, tmp_path: Path) -> None:
    folder = tmp_path / "npy"
    folder.mkdir()
    for name in ("n1", "n2", "n3"):
        np.save(folder / f"{name}.npy", writers.npy_dict(writers.image_record(1), name), allow_pickle=True)
    for name, size in (("n1", 50), ("n2", 20_000)):
        (folder / f"{name}.npy").write_bytes((folder / f"{name}.npy").read_bytes()[:size])
    summary = import_features(folder, tmp_path / "out")
    assert [problem.location for problem in summary.rejected] == ["n1.npy", "n2.npy"]
    assert summary.num_images == 1


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("width", [3, 2048])
def test_a_truncated_lmdb(writers: Any, tmp_path: Path, share: float, width: int) -> None:
    rows = {f"n{n}": writers.image_record(n, width=width) for n in range(90)}
    file = writers.write_lmdb(tmp_path / "some", rows) / "data.mdb"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    summary = import_features(tmp_path / "some", tmp_path / "out", ImportConfig(full=True))
    store = RegionStore.open(tmp_path / "out" / "detected")
    assert (share - 0.2) * 90 <= summary.num_images == len(store) < 90 or width == 3
    for key in store.keys():  # noqa: SIM118 - a store is no mapping
        np.testing.assert_array_equal(store[key].features, rows[key.id]["features"])
    assert "of 91 entries can still be found" in summary.rejected[-1].message
    named = {problem.location.removeprefix("key ") for problem in summary.rejected[:-1]}
    assert named <= set(rows) - {key.id for key in store.keys()}  # noqa: SIM118


def test_missing_unused_pages_at_the_end_of_an_lmdb_are_ignored(writers: Any, tmp_path: Path) -> None:
    path = writers.write_lmdb(tmp_path / "some", {f"n{n}": writers.image_record(n, width=9) for n in range(20)})
    file = path / "data.mdb"
    data = bytearray(file.read_bytes())
    for meta in (0, 4096):  # where a transaction stores its last page
        offset = meta + 16 + 120
        data[offset : offset + 8] = (int.from_bytes(data[offset : offset + 8], "little") + 3).to_bytes(8, "little")
    file.write_bytes(data)
    summary = import_features(path, tmp_path / "out")
    assert (summary.num_images, summary.rejected) == (20, ())


@pytest.mark.parametrize("size", [0, 10, 100, 200])
def test_an_lmdb_of_which_almost_nothing_is_left(writers: Any, tmp_path: Path, size: int) -> None:
    file = writers.write_lmdb(tmp_path / "some", {"n1": writers.image_record(1)}) / "data.mdb"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(TwelvefoldError, match=r"some.* LMDB"):
        import_features(tmp_path / "some", tmp_path / "out")


def test_listed_keys_without_a_record(writers: Any, tmp_path: Path) -> None:
    writers.write_lmdb(tmp_path / "some", {"n1": writers.image_record(1)}, keys=[b"n1", b"n2"])
    [problem] = import_features(tmp_path / "some", tmp_path / "out").rejected
    assert problem == ("key n2", "is in the list of keys, but has no record")


def test_missing_class_probabilities(writers: Any, tmp_path: Path) -> None:
    writers.write_lmdb(tmp_path / "some", {"n1": writers.image_record(1)})
    with pytest.raises(TwelvefoldError, match="key n1: expected cls_prob, got only image_id"):
        import_features(tmp_path / "some", tmp_path / "out", ImportConfig(class_probs=True))


def test_ambiguous_names_are_refused(writers: Any, tmp_path: Path) -> None:
    writers.write_lmdb(tmp_path / "some", {"391895": writers.image_record(1)})
    with pytest.raises(TwelvefoldError, match=r"coco, vg or flickr30k; .*--source"):
        import_features(tmp_path / "some", tmp_path / "out")
    assert import_features(tmp_path / "some", tmp_path / "out", ImportConfig(source="vg")).num_images == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "there is no feature file"),
        (lambda p: p.mkdir(), "neither data.mdb"),
        (lambda p: p.write_text("a\tb\tc\td\n"), "4 tab-separated columns"),
        (lambda p: p.write_bytes(b""), "0 tab-separated columns"),
        (lambda p: (p.mkdir(), (p / "data.mdb").write_bytes(bytes(9000))), "does not begin like an LMDB"),
    ],
)
def test_a_path_without_a_feature_file(tmp_path: Path, make: Any, message: str) -> None:
    make(tmp_path / "some")
    with pytest.raises(TwelvefoldError, match=message):
        import_features(tmp_path / "some", tmp_path / "out")


def test_the_missing_package_lmdb_is_named(writers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = writers.write_lmdb(tmp_path / "some", {"n1": writers.image_record(1)})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TwelvefoldError, match=r"twelvefold\[official\]"):
        import_features(path, tmp_path / "out")


def test_exit_codes(writers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = writers.write_lmdb(tmp_path / "good", {"n1": writers.image_record(1)})
    bad = writers.write_lmdb(tmp_path / "bad", {"n2": writers.image_record(2), "n3": b"hello"})
    assert app(f"features import {good} {tmp_path / 'out'}", result_action="return_value") == 0
    assert app(f"features import {bad} {tmp_path / 'out'}", result_action="return_value") == 1
    assert "rejected: key n3: " in capsys.readouterr().out


def test_boxes_that_are_all_zero_are_boxes_without_area(writers: Any, tmp_path: Path) -> None:
    row = writers.image_record(1)
    writers.write_lmdb(tmp_path / "some", {"n1": {**row, "boxes": row["boxes"] * 0}})
    summary = import_features(tmp_path / "some", tmp_path / "out")
    assert (summary.num_images, summary.rejected) == (1, ())
    assert "5 boxes without area" in summary.warnings[0].message
