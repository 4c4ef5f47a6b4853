"""What is wrong with a feature file is named by place, and nothing else is lost."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twelvefold.cli import app
from twelvefold.features.formats.lmdb_file import LmdbFile
from twelvefold.features.formats.record import Reading
from twelvefold.features.import_features import import_features
from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.store.region_store import RegionStore


class Runs:
    """A pickle of this calls a program of the system."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def bent(foreign: Any, **changes: Any) -> dict[str, Any]:
    return {**foreign.picture(1), **changes}


def with_nan(foreign: Any) -> dict[str, Any]:
    row: dict[str, Any] = foreign.picture(1)
    row["features"][3, 7] = np.nan
    return row


def boxes(*rows: list[float]) -> np.ndarray[Any, Any]:
    """Five boxes that begin with ``rows``."""
    return np.array([*rows, *[[1, 2, 30, 40]] * 5][:5], dtype=np.float32)


BAD: dict[str, tuple[Any, str]] = {
    "features of three axes": (
        lambda f: bent(f, features=np.zeros((1, 5, 2048), np.float32)),
        r"shape .*\(1, 5, 2048\)",
    ),
    "too few boxes": (lambda f: bent(f, boxes=np.zeros((4, 4), np.float32)), "as many boxes as features, got 4 and 5"),
    "no number of four": (lambda f: bent(f, boxes=np.zeros((5, 3), np.float32)), r"boxes: .*\(5, 3\)"),
    "not a number": (with_nan, "features of region 3 .*not finite"),
    "infinite boxes": (lambda f: bent(f, boxes=boxes([0, 0, np.inf, 2])), "boxes of region 0 .*not finite"),
    "beyond half floats": (lambda f: bent(f, features=np.full((5, 2048), 1e6, np.float32)), "beyond half floats"),
    "another width": (lambda f: f.picture(1, width=1024), r"\(5, 2048\), got \(5, 1024\)"),
    "no regions": (lambda f: f.picture(1, regions=0), "expected regions, got none"),
    "outside": (lambda f: bent(f, boxes=boxes([700, 10, 720, 20])), r"box 0 lies outside the picture \(640 x 480\)"),
    "wrong way round": (lambda f: bent(f, boxes=boxes([100, 10, 50, 20])), "box 0: .*--boxes xywh"),
    "shares": (lambda f: bent(f, boxes=boxes() / 50), "between 0 and 1: .*--boxes unit"),
    "no size": (lambda f: bent(f, image_w=0), "image_w: .*got 0"),
    "no boxes": (lambda f: {"image_id": "1", "image_w": 5, "image_h": 5}, "boxes or bbox|features"),
    "no arrays": (lambda f: bent(f, features=[[1.0] * 2048] * 5), "features: expected an array of numbers, got list"),
    "cut base64": (lambda f: {**f.base64_record(1), "features": f.base64_record(1)["features"][:-9]}, "features: "),
    "odd base64": (lambda f: {**f.base64_record(1), "boxes": "=" + f.base64_record(1)["boxes"]}, "boxes: .*base64"),
    "foreign letters": (lambda f: {**f.base64_record(1), "boxes": "é" + f.base64_record(1)["boxes"][1:]}, "boxes: "),
    "short base64": (lambda f: {**f.base64_record(1), "num_boxes": "7"}, r"num_boxes \(7\)"),
    "no dict": (lambda f: ["a list"], "expected a dict, got list"),
    "cut pickle": (lambda f: pickle.dumps(f.picture(1))[:-100], "truncated"),
    "no pickle": (lambda f: b"hello", "truncated or no pickle"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_named_and_the_others_are_kept(foreign: Any, tmp_path: Path, name: str) -> None:
    make, why = BAD[name]
    foreign.write_lmdb(tmp_path / "some", {"n0": foreign.picture(0), "n1": make(foreign), "n2": foreign.picture(2)})
    done = import_features(tmp_path / "some", tmp_path / "out")
    [problem] = done.refused
    assert problem.where == "key n1"
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(problem.why)
    store = RegionStore.open(tmp_path / "out" / "detected")
    keys = store.keys()
    assert [str(key) for key in keys] == ["gqa/n0", "gqa/n2"]
    assert (done.records, done.pictures) == (3, 2)


def test_a_pickle_that_would_run_a_program_is_refused_by_name_and_runs_nothing(foreign: Any, tmp_path: Path) -> None:
    trace = tmp_path / "it-ran"
    evil = {**foreign.picture(1), "features": Runs(f"touch {trace}")}
    path = foreign.write_lmdb(tmp_path / "some", {"n0": foreign.picture(0), "n1": evil})
    [problem] = import_features(path, tmp_path / "out").refused
    assert "posix.system" in problem.why
    np.save(tmp_path / "n5.npy", np.array(evil, dtype=object), allow_pickle=True)
    with pytest.raises(TwelvefoldError, match=r"posix\.system"):
        import_features(tmp_path, tmp_path / "out2", format="npy")
    keys = foreign.write_lmdb(tmp_path / "keys", {"n0": foreign.picture(0), "keys": Runs(f"touch {trace}")}, keys=[])
    assert LmdbFile(keys, Reading()).total == 1
    assert not trace.exists()


def test_boxes_without_area_or_past_the_edge_are_kept_and_named(foreign: Any, tmp_path: Path) -> None:
    odd = bent(foreign, boxes=boxes([10, 10, 10, 20], [600, 10, 660, 20]))
    foreign.write_lmdb(tmp_path / "some", {"n1": odd})
    done = import_features(tmp_path / "some", tmp_path / "out")
    assert (done.pictures, done.refused) == (1, ())
    assert [note.where for note in done.noted] == ["key n1", "key n1"]
    assert "1 box without area" in done.noted[0].why
    assert "past the edge of the picture (640 x 480)" in done.noted[1].why


def test_a_picture_that_comes_twice_counts_once(foreign: Any, tmp_path: Path) -> None:
    lines = [foreign.tsv_line(name, foreign.picture(n)) for n, name in enumerate(["7", "8", "7"])]
    (tmp_path / "t.tsv").write_text("".join(lines))
    done = import_features(tmp_path / "t.tsv", tmp_path / "out", source="coco", full=True)
    [problem] = done.refused
    assert problem.where == f"line 3 (byte {len(lines[0]) + len(lines[1]):,})"
    assert "coco/7 came before" in problem.why
    store = RegionStore.open(tmp_path / "out" / "detected")
    np.testing.assert_array_equal(store[ImageKey("coco", "7")].features, foreign.picture(0)["features"])


@pytest.mark.parametrize("cut", [1, 30, 40_000, 54_000])
def test_a_table_that_was_cut_short(foreign: Any, tmp_path: Path, cut: int) -> None:
    lines = [foreign.tsv_line(str(n), foreign.picture(n)) for n in (1, 2)]
    (tmp_path / "t.tsv").write_bytes("".join(lines).encode()[:-cut])
    done = import_features(tmp_path / "t.tsv", tmp_path / "out", source="coco")
    # Without its last line break alone a line is whole.
    assert done.pictures == (2 if cut == 1 else 1)
    assert [problem.where for problem in done.refused] == ([] if cut == 1 else [f"line 2 (byte {len(lines[0]):,})"])


def test_files_that_were_cut_short(foreign: Any, tmp_path: Path) -> None:
    folder = tmp_path / "npy"
    folder.mkdir()
    for name in ("n1", "n2", "n3"):
        np.save(folder / f"{name}.npy", foreign.npy_dict(foreign.picture(1), name), allow_pickle=True)
    for name, size in (("n1", 50), ("n2", 20_000)):
        (folder / f"{name}.npy").write_bytes((folder / f"{name}.npy").read_bytes()[:size])
    done = import_features(folder, tmp_path / "out")
    assert [problem.where for problem in done.refused] == ["n1.npy", "n2.npy"]
    assert done.pictures == 1


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("width", [3, 2048])
def test_an_lmdb_that_was_cut_short(foreign: Any, tmp_path: Path, share: float, width: int) -> None:
    rows = {f"n{n}": foreign.picture(n, width=width) for n in range(90)}
    file = foreign.write_lmdb(tmp_path / "some", rows) / "data.mdb"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    done = import_features(tmp_path / "some", tmp_path / "out", full=True)
    store = RegionStore.open(tmp_path / "out" / "detected")
    assert (share - 0.2) * 90 <= done.pictures == len(store) < 90 or width == 3
    for key in store.keys():  # noqa: SIM118 - a store is no mapping
        np.testing.assert_array_equal(store[key].features, rows[key.id]["features"])
    assert "cut short: of 91 entries" in done.refused[-1].why
    named = {problem.where.removeprefix("key ") for problem in done.refused[:-1]}
    assert named <= set(rows) - {key.id for key in store.keys()}  # noqa: SIM118


def test_pages_at_an_lmdb_s_end_that_were_never_used_are_no_loss(foreign: Any, tmp_path: Path) -> None:
    path = foreign.write_lmdb(tmp_path / "some", {f"n{n}": foreign.picture(n, width=9) for n in range(20)})
    file = path / "data.mdb"
    data = bytearray(file.read_bytes())
    for meta in (0, 4096):  # where a transaction notes the last page that it took
        place = meta + 16 + 120
        data[place : place + 8] = (int.from_bytes(data[place : place + 8], "little") + 3).to_bytes(8, "little")
    file.write_bytes(data)
    done = import_features(path, tmp_path / "out")
    assert (done.pictures, done.refused) == (20, ())


@pytest.mark.parametrize("size", [0, 10, 100, 200])
def test_next_to_nothing_of_an_lmdb(foreign: Any, tmp_path: Path, size: int) -> None:
    file = foreign.write_lmdb(tmp_path / "some", {"n1": foreign.picture(1)}) / "data.mdb"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(TwelvefoldError, match=r"some.* LMDB"):
        import_features(tmp_path / "some", tmp_path / "out")


def test_keys_that_are_listed_but_not_there(foreign: Any, tmp_path: Path) -> None:
    foreign.write_lmdb(tmp_path / "some", {"n1": foreign.picture(1)}, keys=[b"n1", b"n2"])
    [problem] = import_features(tmp_path / "some", tmp_path / "out").refused
    assert problem == ("key n2", "listed among the keys, but has no record")


def test_probabilities_that_are_asked_for_and_missing(foreign: Any, tmp_path: Path) -> None:
    foreign.write_lmdb(tmp_path / "some", {"n1": foreign.picture(1)})
    with pytest.raises(TwelvefoldError, match="key n1: expected cls_prob, got only image_id"):
        import_features(tmp_path / "some", tmp_path / "out", class_probs=True)


def test_names_that_may_be_several_datasets(foreign: Any, tmp_path: Path) -> None:
    foreign.write_lmdb(tmp_path / "some", {"391895": foreign.picture(1)})
    with pytest.raises(TwelvefoldError, match=r"coco, vg or flickr30k; .*--source"):
        import_features(tmp_path / "some", tmp_path / "out")
    assert import_features(tmp_path / "some", tmp_path / "out", source="vg").pictures == 1


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda p: None, "there is no feature file"),
        (lambda p: p.mkdir(), "neither data.mdb"),
        (lambda p: p.write_text("a\tb\tc\td\n"), "4 tab-separated columns"),
        (lambda p: p.write_bytes(b""), "0 tab-separated columns"),
        (lambda p: (p.mkdir(), (p / "data.mdb").write_bytes(bytes(9000))), "does not begin like an LMDB"),
    ],
)
def test_what_is_no_feature_file(tmp_path: Path, make: Any, why: str) -> None:
    make(tmp_path / "some")
    with pytest.raises(TwelvefoldError, match=why):
        import_features(tmp_path / "some", tmp_path / "out")


def test_the_package_lmdb_is_asked_for(foreign: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = foreign.write_lmdb(tmp_path / "some", {"n1": foreign.picture(1)})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TwelvefoldError, match=r"twelvefold\[official\]"):
        import_features(path, tmp_path / "out")


def test_exit_codes(foreign: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = foreign.write_lmdb(tmp_path / "good", {"n1": foreign.picture(1)})
    bad = foreign.write_lmdb(tmp_path / "bad", {"n2": foreign.picture(2), "n3": b"hello"})
    assert app(f"features import {good} {tmp_path / 'out'}", result_action="return_value") == 0
    assert app(f"features import {bad} {tmp_path / 'out'}", result_action="return_value") == 1
    assert "left out: key n3: " in capsys.readouterr().out
