"""Every foreign format gives the regions that were written, and the model the rows that the original gives it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twelvefold.data.region_inputs import RegionSource
from twelvefold.features.import_features import import_features
from twelvefold.schema import ImageKey, Pair, TwelvefoldError
from twelvefold.store.region_store import RegionStore


def same(store: RegionStore, key: str, row: dict[str, Any], *, full: bool = True) -> None:
    got = store[ImageKey.parse(key)]
    assert (got.width, got.height) == (640, 480)
    np.testing.assert_allclose(got.boxes_px, row["boxes"], rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(got.features, row["features"].astype(np.float32 if full else np.float16))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_official_lmdb(foreign: Any, tmp_path: Path, protocol: int) -> None:
    rows = {str(n): foreign.picture(n) for n in (391895, 7, 12)}
    path = foreign.write_lmdb(tmp_path / "COCO_trainval.lmdb", rows, protocol=protocol)
    done = import_features(path, tmp_path / "out", source="coco", full=True)
    assert (done.format, done.records, done.pictures, done.regions) == ("lmdb", 3, 3, 15)
    assert (done.refused, done.noted, done.already) == ((), (), 0)
    store = RegionStore.open(tmp_path / "out" / "detected")
    assert len(store) == 3
    for name, row in rows.items():
        same(store, f"coco/{name}", row)


def test_arrays_pickled_by_older_numpy(foreign: Any, tmp_path: Path) -> None:
    row = foreign.picture(5)
    data = pickle.dumps(row, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in data
    path = foreign.write_lmdb(tmp_path / "old", {"v7w_5": data})
    import_features(path, tmp_path / "out", full=True)
    same(RegionStore.open(tmp_path / "out" / "detected"), "vg/5", row)


def test_the_model_reads_the_rows_that_the_original_reads(foreign: Any, tmp_path: Path) -> None:
    row = foreign.picture(3, regions=9)
    foreign.write_lmdb(tmp_path / "some", {"n3": row})
    import_features(tmp_path / "some", tmp_path / "out", full=True)
    rows = RegionSource.open(tmp_path / "out").rows(Pair(ImageKey("gqa", "n3"), ""), 101)
    # The original's reader: IMG is the mean of the stored rows and stands before them, its box is the whole picture.
    features = np.concatenate([row["features"].mean(axis=0, keepdims=True), row["features"]])
    boxes = np.concatenate([[[0, 0, 640, 480]], row["boxes"]])
    assert (rows.num_detected, rows.num_candidates) == (9, 0)
    np.testing.assert_allclose(np.concatenate([np.float32(part) for part in rows.features]), features, atol=1e-6)
    np.testing.assert_array_equal(rows.boxes_px, boxes.astype(np.float32))


def test_the_count_that_a_file_states_changes_nothing(foreign: Any, tmp_path: Path) -> None:
    foreign.write_lmdb(tmp_path / "some", {"n3": {**foreign.picture(3, regions=9), "num_boxes": 4}})
    assert import_features(tmp_path / "some", tmp_path / "out").regions == 9


def test_base64_in_an_lmdb(foreign: Any, tmp_path: Path) -> None:
    foreign.write_lmdb(tmp_path / "old", {"1000092795": foreign.base64_record(4)})
    import_features(tmp_path / "old", tmp_path / "out", source="flickr30k", full=True)
    same(RegionStore.open(tmp_path / "out" / "detected"), "flickr30k/1000092795", foreign.picture(4))


@pytest.mark.parametrize("write", [lambda t: t.encode(), lambda t: f"b'{t}'", lambda t: f"{t[:76]}\n{t[76:]}\n"])
def test_base64_as_other_tools_write_it(foreign: Any, tmp_path: Path, write: Any) -> None:
    record = foreign.base64_record(4)
    record |= {name: write(record[name]) for name in ("boxes", "features")}
    foreign.write_lmdb(tmp_path / "old", {"n4": record})
    import_features(tmp_path / "old", tmp_path / "out", full=True)
    same(RegionStore.open(tmp_path / "out" / "detected"), "gqa/n4", foreign.picture(4))


@pytest.mark.parametrize("form", ["auto", "mmf"])
def test_mmf_s_lmdb_whose_keys_are_paths(foreign: Any, tmp_path: Path, form: Any) -> None:
    name = "train2014/COCO_train2014_000000000009"
    foreign.write_lmdb(tmp_path / "mmf.lmdb", {name: foreign.mmf_record(name, 9, kinds=1600)})
    import_features(tmp_path / "mmf.lmdb", tmp_path / "out", format=form, full=True, class_probs=True)
    store = RegionStore.open(tmp_path / "out" / "detected")
    same(store, "coco/9", foreign.picture(9))
    kept = store[ImageKey("coco", "9")].class_probs
    assert kept is not None
    assert kept.shape == (5, 1600)
    assert len(store.categories) == 1600


@pytest.mark.parametrize("columns", [6, 7, 10])
@pytest.mark.parametrize("header", [False, True])
def test_tables(foreign: Any, tmp_path: Path, columns: int, header: bool) -> None:
    rows = {str(n): foreign.picture(n) for n in (31, 32)}
    head = {6: "image_id", 7: "image_id", 10: "img_id"}[columns] + "\tx" * (columns - 1) + "\n"
    text = (head if header else "") + "".join(foreign.tsv_line(name, row, columns) for name, row in rows.items())
    (tmp_path / "trainval.tsv").write_text(text)
    done = import_features(tmp_path / "trainval.tsv", tmp_path / "out", source="vg", full=True)
    assert (done.format, done.pictures, done.refused) == ("tsv", 2, ())
    for name, row in rows.items():
        same(RegionStore.open(tmp_path / "out" / "detected"), f"vg/{name}", row)


def test_class_probabilities_of_a_table(foreign: Any, tmp_path: Path) -> None:
    (tmp_path / "some.tsv").write_text(foreign.tsv_line("n1", foreign.picture(1), 7, kinds=1601))
    import_features(tmp_path / "some.tsv", tmp_path / "out", class_probs=True)
    kept = RegionStore.open(tmp_path / "out" / "detected")[ImageKey("gqa", "n1")].class_probs
    assert kept is not None
    np.testing.assert_allclose(kept, 1 / 1601, rtol=1e-3)


def vinvl_line(foreign: Any, name: str, row: dict[str, Any], layout: str) -> str:
    text = foreign.as_text(foreign.vinvl_features(row))
    count = len(row["boxes"])
    if layout == "three columns":
        return f"{name}\t{count}\t{text}\n"
    if layout == "an object":
        return f"{name}\t{json.dumps({'num_boxes': count, 'features': text})}\n"
    parts = zip(row["boxes"].tolist(), row["features"], strict=True)
    found = [{"rect": box, "feature": foreign.as_text(feature), "class": "dog", "conf": 0.9} for box, feature in parts]
    return f"{name}\t{json.dumps({'image_h': 480, 'image_w': 640, 'objects': found})}\n"


@pytest.mark.parametrize("layout", ["three columns", "an object", "objects"])
def test_vinvl_s_tables(foreign: Any, tmp_path: Path, layout: str) -> None:
    rows = {str(n): foreign.picture(n) for n in (41, 42)}
    folder = tmp_path / "vinvl"
    folder.mkdir()
    (folder / "features.tsv").write_text("".join(vinvl_line(foreign, name, row, layout) for name, row in rows.items()))
    if layout != "objects":
        (folder / "train.hw.tsv").write_text(foreign.vinvl_sizes(list(rows)))
    done = import_features(folder / "features.tsv", tmp_path / "out", source="coco", full=True)
    assert (done.format, done.refused) == ("vinvl", ())
    for name, row in rows.items():
        same(RegionStore.open(tmp_path / "out" / "detected"), f"coco/{name}", row)


def test_vinvl_s_boxes_need_the_picture_s_size(foreign: Any, tmp_path: Path) -> None:
    (tmp_path / "f.tsv").write_text(vinvl_line(foreign, "1", foreign.picture(1), "three columns"))
    with pytest.raises(TwelvefoldError, match=r"line 1 .*--sizes"):
        import_features(tmp_path / "f.tsv", tmp_path / "out", source="coco")
    (tmp_path / "sizes.txt").write_text(foreign.vinvl_sizes(["1"]))
    assert import_features(tmp_path / "f.tsv", tmp_path / "out", source="coco", sizes=tmp_path / "sizes.txt").pictures


def test_a_file_for_each_picture(foreign: Any, tmp_path: Path) -> None:
    row, name = foreign.picture(6, regions=100), "COCO_val2014_000000391895"
    (tmp_path / "npy" / "val").mkdir(parents=True)
    np.save(tmp_path / "npy" / f"{name}.npy", foreign.npy_dict(row, name), allow_pickle=True)
    bare, info = foreign.picture(8), foreign.mmf_record("x", 8)
    np.save(tmp_path / "npy" / "val" / "n8.npy", bare["features"])
    info = {name: value for name, value in info.items() if name != "features"}
    np.save(tmp_path / "npy" / "val" / "n8_info.npy", np.array(info, dtype=object), allow_pickle=True)
    done = import_features(tmp_path / "npy", tmp_path / "out", full=True)
    assert (done.format, done.pictures, done.refused) == ("npy", 2, ())
    store = RegionStore.open(tmp_path / "out" / "detected")
    same(store, "coco/391895", row)
    same(store, "gqa/n8", bare)


def test_half_floats_unless_asked_otherwise(foreign: Any, tmp_path: Path) -> None:
    foreign.write_lmdb(tmp_path / "some", {"n1": foreign.picture(1)})
    import_features(tmp_path / "some", tmp_path / "out")
    same(RegionStore.open(tmp_path / "out" / "detected"), "gqa/n1", foreign.picture(1), full=False)
    assert RegionStore.open(tmp_path / "out" / "detected")[ImageKey("gqa", "n1")].features.dtype == np.float16


@pytest.mark.parametrize("convention", ["xywh", "unit"])
def test_boxes_written_in_another_way(foreign: Any, tmp_path: Path, convention: Any) -> None:
    row = foreign.picture(1)
    low, high = row["boxes"][:, :2], row["boxes"][:, 2:]
    scale = np.array([640, 480, 640, 480], np.float32)
    written = np.concatenate([low, high - low], axis=1) if convention == "xywh" else row["boxes"] / scale
    foreign.write_lmdb(tmp_path / "some", {"n1": {**row, "boxes": written}})
    import_features(tmp_path / "some", tmp_path / "out", boxes=convention, full=True)
    same(RegionStore.open(tmp_path / "out" / "detected"), "gqa/n1", row)


def test_tensorpack_s_lmdb_of_conceptual_captions(foreign: Any, tmp_path: Path) -> None:
    records = [foreign.captions_record(name, n) for n, name in enumerate(["3411021094", "17"])]
    records.append(records[0][:-50])
    records.append(records[0].replace(b"<f4", b"|O8"))
    path = foreign.write_captions(tmp_path / "training_feat_all.lmdb", records)
    done = import_features(path, tmp_path / "out", source="conceptual", full=True, class_probs=True)
    assert [problem.where for problem in done.refused] == ["key 00000002", "key 00000003"]
    store = RegionStore.open(tmp_path / "out" / "detected")
    same(store, "conceptual/3411021094", foreign.picture(0, regions=36))
    same(store, "conceptual/17", foreign.picture(1, regions=36))
    kept = store[ImageKey("conceptual", "17")].class_probs
    assert kept is not None
    assert kept.shape == (36, 1601)
