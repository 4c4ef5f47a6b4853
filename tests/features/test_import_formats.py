"""Imported regions equal those in the file, for every format; the model receives the same rows as in the original."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twelvefold.config.extract import ImportConfig
from twelvefold.data.region_inputs import RegionSource
from twelvefold.features.import_features import import_features
from twelvefold.schema import ImageKey, Pair, TwelvefoldError
from twelvefold.store.region_store import RegionStore


def assert_stored(store: RegionStore, key: str, row: dict[str, Any], *, full: bool = True) -> None:
    regions = store[ImageKey.parse(key)]
    assert (regions.width, regions.height) == (640, 480)
    np.testing.assert_allclose(regions.boxes_px, row["boxes"], rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(regions.features, row["features"].astype(np.float32 if full else np.float16))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_original_lmdb(writers: Any, tmp_path: Path, protocol: int) -> None:
    rows = {str(n): writers.image_record(n) for n in (391895, 7, 12)}
    path = writers.write_lmdb(tmp_path / "COCO_trainval.lmdb", rows, protocol=protocol)
    summary = import_features(path, tmp_path / "out", ImportConfig(source="coco", full=True))
    assert (summary.format, summary.num_records, summary.num_images, summary.num_regions) == ("lmdb", 3, 3, 15)
    assert (summary.rejected, summary.warnings, summary.num_present) == ((), (), 0)
    store = RegionStore.open(tmp_path / "out" / "detected")
    assert len(store) == 3
    for name, row in rows.items():
        assert_stored(store, f"coco/{name}", row)


def test_arrays_pickled_by_older_numpy(writers: Any, tmp_path: Path) -> None:
    row = writers.image_record(5)
    data = pickle.dumps(row, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in data
    path = writers.write_lmdb(tmp_path / "old", {"v7w_5": data})
    import_features(path, tmp_path / "out", ImportConfig(full=True))
    assert_stored(RegionStore.open(tmp_path / "out" / "detected"), "vg/5", row)


def test_the_model_receives_the_rows_of_the_original(writers: Any, tmp_path: Path) -> None:
    row = writers.image_record(3, regions=9)
    writers.write_lmdb(tmp_path / "some", {"n3": row})
    import_features(tmp_path / "some", tmp_path / "out", ImportConfig(full=True))
    rows = RegionSource.open(tmp_path / "out").rows(Pair(ImageKey("gqa", "n3"), ""), 101)
    # The original's reader puts IMG before the stored rows: their mean, with the whole image as its box.
    features = np.concatenate([row["features"].mean(axis=0, keepdims=True), row["features"]])
    boxes = np.concatenate([[[0, 0, 640, 480]], row["boxes"]])
    assert (rows.num_detected, rows.num_candidates) == (9, 0)
    np.testing.assert_allclose(np.concatenate([np.float32(part) for part in rows.features]), features, atol=1e-6)
    np.testing.assert_array_equal(rows.boxes_px, boxes.astype(np.float32))


def test_num_boxes_in_the_file_is_ignored(writers: Any, tmp_path: Path) -> None:
    writers.write_lmdb(tmp_path / "some", {"n3": {**writers.image_record(3, regions=9), "num_boxes": 4}})
    assert import_features(tmp_path / "some", tmp_path / "out").num_regions == 9


def test_base64_in_an_lmdb(writers: Any, tmp_path: Path) -> None:
    writers.write_lmdb(tmp_path / "old", {"1000092795": writers.base64_record(4)})
    import_features(tmp_path / "old", tmp_path / "out", ImportConfig(source="flickr30k", full=True))
    assert_stored(RegionStore.open(tmp_path / "out" / "detected"), "flickr30k/1000092795", writers.image_record(4))


@pytest.mark.parametrize("write", [lambda t: t.encode(), lambda t: f"b'{t}'", lambda t: f"{t[:76]}\n{t[76:]}\n"])
def test_base64_variants_of_other_tools(writers: Any, tmp_path: Path, write: Any) -> None:
    record = writers.base64_record(4)
    record |= {name: write(record[name]) for name in ("boxes", "features")}
    writers.write_lmdb(tmp_path / "old", {"n4": record})
    import_features(tmp_path / "old", tmp_path / "out", ImportConfig(full=True))
    assert_stored(RegionStore.open(tmp_path / "out" / "detected"), "gqa/n4", writers.image_record(4))


@pytest.mark.parametrize("form", ["auto", "mmf"])
def test_mmf_lmdb_with_paths_as_keys(writers: Any, tmp_path: Path, form: Any) -> None:
    name = "train2014/COCO_train2014_000000000009"
    writers.write_lmdb(tmp_path / "mmf.lmdb", {name: writers.mmf_record(name, 9, num_classes=1600)})
    import_features(tmp_path / "mmf.lmdb", tmp_path / "out", ImportConfig(format=form, full=True, class_probs=True))
    store = RegionStore.open(tmp_path / "out" / "detected")
    assert_stored(store, "coco/9", writers.image_record(9))
    probabilities = store[ImageKey("coco", "9")].class_probs
    assert probabilities is not None
    assert probabilities.shape == (5, 1600)
    assert len(store.categories) == 1600


@pytest.mark.parametrize("columns", [6, 7, 10])
@pytest.mark.parametrize("header", [False, True])
def test_tables(writers: Any, tmp_path: Path, columns: int, header: bool) -> None:
    rows = {str(n): writers.image_record(n) for n in (31, 32)}
    head = {6: "image_id", 7: "image_id", 10: "img_id"}[columns] + "\tx" * (columns - 1) + "\n"
    text = (head if header else "") + "".join(writers.tsv_line(name, row, columns) for name, row in rows.items())
    (tmp_path / "trainval.tsv").write_text(text)
    summary = import_features(tmp_path / "trainval.tsv", tmp_path / "out", ImportConfig(source="vg", full=True))
    assert (summary.format, summary.num_images, summary.rejected) == ("tsv", 2, ())
    for name, row in rows.items():
        assert_stored(RegionStore.open(tmp_path / "out" / "detected"), f"vg/{name}", row)


def test_class_probabilities_of_a_table(writers: Any, tmp_path: Path) -> None:
    (tmp_path / "some.tsv").write_text(writers.tsv_line("n1", writers.image_record(1), 7, num_classes=1601))
    import_features(tmp_path / "some.tsv", tmp_path / "out", ImportConfig(class_probs=True))
    probabilities = RegionStore.open(tmp_path / "out" / "detected")[ImageKey("gqa", "n1")].class_probs
    assert probabilities is not None
    np.testing.assert_allclose(probabilities, 1 / 1601, rtol=1e-3)


def vinvl_line(writers: Any, name: str, row: dict[str, Any], layout: str) -> str:
    text = writers.to_base64(writers.vinvl_features(row))
    count = len(row["boxes"])
    if layout == "three columns":
        return f"{name}\t{count}\t{text}\n"
    if layout == "an object":
        return f"{name}\t{json.dumps({'num_boxes': count, 'features': text})}\n"
    parts = zip(row["boxes"].tolist(), row["features"], strict=True)
    objects = [
        {"rect": box, "feature": writers.to_base64(feature), "class": "dog", "conf": 0.9} for box, feature in parts
    ]
    return f"{name}\t{json.dumps({'image_h': 480, 'image_w': 640, 'objects': objects})}\n"


@pytest.mark.parametrize("layout", ["three columns", "an object", "objects"])
def test_vinvl_tables(writers: Any, tmp_path: Path, layout: str) -> None:
    rows = {str(n): writers.image_record(n) for n in (41, 42)}
    folder = tmp_path / "vinvl"
    folder.mkdir()
    (folder / "features.tsv").write_text("".join(vinvl_line(writers, name, row, layout) for name, row in rows.items()))
    if layout != "objects":
        (folder / "train.hw.tsv").write_text(writers.vinvl_sizes(list(rows)))
    summary = import_features(folder / "features.tsv", tmp_path / "out", ImportConfig(source="coco", full=True))
    assert (summary.format, summary.rejected) == ("vinvl", ())
    for name, row in rows.items():
        assert_stored(RegionStore.open(tmp_path / "out" / "detected"), f"coco/{name}", row)


def test_vinvl_boxes_need_the_image_size(writers: Any, tmp_path: Path) -> None:
    (tmp_path / "f.tsv").write_text(vinvl_line(writers, "1", writers.image_record(1), "three columns"))
    with pytest.raises(TwelvefoldError, match=r"line 1 .*--sizes"):
        import_features(tmp_path / "f.tsv", tmp_path / "out", ImportConfig(source="coco"))
    (tmp_path / "sizes.txt").write_text(writers.vinvl_sizes(["1"]))
    assert import_features(
        tmp_path / "f.tsv", tmp_path / "out", ImportConfig(source="coco", sizes=tmp_path / "sizes.txt")
    ).num_images


def test_a_label_table_without_sizes_does_not_hide_the_table_of_sizes(writers: Any, tmp_path: Path) -> None:
    names = ["1", "2"]
    lines = [vinvl_line(writers, name, writers.image_record(int(name)), "three columns") for name in names]
    (tmp_path / "train.feature.tsv").write_text("".join(lines))
    labels = [{"class": "dog", "conf": 0.9, "rect": [0, 0, 9, 9]}]
    (tmp_path / "train.label.tsv").write_text(f"1\t{json.dumps(labels)}\n2\t[]\n")
    with pytest.raises(TwelvefoldError, match=r"not stated in train\.label\.tsv; name a table.*--sizes"):
        import_features(tmp_path / "train.feature.tsv", tmp_path / "out", ImportConfig(source="coco"))
    (tmp_path / "train.hw.tsv").write_text(writers.vinvl_sizes(names).replace("480", '"480"').replace("640", "640.0"))
    summary = import_features(tmp_path / "train.feature.tsv", tmp_path / "out", ImportConfig(source="coco"))
    assert (summary.num_images, summary.rejected) == (2, ())


@pytest.mark.parametrize("names", [["2370799", "n161313"], ["n161313", "2370799"], ["v7w_5", "2370799"]])
def test_the_source_that_an_error_advises_imports_every_image(writers: Any, tmp_path: Path, names: list[str]) -> None:
    lines = [writers.tsv_line(name, writers.image_record(n), 10) for n, name in enumerate(names)]
    (tmp_path / "vg_gqa_obj36.tsv").write_text("".join(lines))
    with pytest.raises(TwelvefoldError) as refused:
        import_features(tmp_path / "vg_gqa_obj36.tsv", tmp_path / "out")
    assert "--source vg" in str(refused.value)
    summary = import_features(tmp_path / "vg_gqa_obj36.tsv", tmp_path / "out", ImportConfig(source="vg"))
    assert (summary.num_images, summary.rejected) == (2, ())


def test_one_file_per_image(writers: Any, tmp_path: Path) -> None:
    row, name = writers.image_record(6, regions=100), "COCO_val2014_000000391895"
    (tmp_path / "npy" / "val").mkdir(parents=True)
    np.save(tmp_path / "npy" / f"{name}.npy", writers.npy_dict(row, name), allow_pickle=True)
    features_only, info = writers.image_record(8), writers.mmf_record("x", 8)
    np.save(tmp_path / "npy" / "val" / "n8.npy", features_only["features"])
    info = {name: value for name, value in info.items() if name != "features"}
    np.save(tmp_path / "npy" / "val" / "n8_info.npy", np.array(info, dtype=object), allow_pickle=True)
    summary = import_features(tmp_path / "npy", tmp_path / "out", ImportConfig(full=True))
    assert (summary.format, summary.num_images, summary.rejected) == ("npy", 2, ())
    store = RegionStore.open(tmp_path / "out" / "detected")
    assert_stored(store, "coco/391895", row)
    assert_stored(store, "gqa/n8", features_only)


def test_features_are_float16_by_default(writers: Any, tmp_path: Path) -> None:
    writers.write_lmdb(tmp_path / "some", {"n1": writers.image_record(1)})
    import_features(tmp_path / "some", tmp_path / "out")
    assert_stored(RegionStore.open(tmp_path / "out" / "detected"), "gqa/n1", writers.image_record(1), full=False)
    assert RegionStore.open(tmp_path / "out" / "detected")[ImageKey("gqa", "n1")].features.dtype == np.float16


@pytest.mark.parametrize("box_format", ["xywh", "unit"])
def test_other_box_formats(writers: Any, tmp_path: Path, box_format: Any) -> None:
    row = writers.image_record(1)
    low, high = row["boxes"][:, :2], row["boxes"][:, 2:]
    scale = np.array([640, 480, 640, 480], np.float32)
    stored_boxes = np.concatenate([low, high - low], axis=1) if box_format == "xywh" else row["boxes"] / scale
    writers.write_lmdb(tmp_path / "some", {"n1": {**row, "boxes": stored_boxes}})
    import_features(tmp_path / "some", tmp_path / "out", ImportConfig(boxes=box_format, full=True))
    assert_stored(RegionStore.open(tmp_path / "out" / "detected"), "gqa/n1", row)


def test_tensorpack_lmdb_of_conceptual_captions(writers: Any, tmp_path: Path) -> None:
    records = [writers.captions_record(name, n) for n, name in enumerate(["3411021094", "17"])]
    records.append(records[0][:-50])
    records.append(records[0].replace(b"<f4", b"|O8"))
    path = writers.write_captions(tmp_path / "training_feat_all.lmdb", records)
    summary = import_features(path, tmp_path / "out", ImportConfig(source="conceptual", full=True, class_probs=True))
    assert [problem.location for problem in summary.rejected] == ["key 00000002", "key 00000003"]
    store = RegionStore.open(tmp_path / "out" / "detected")
    assert_stored(store, "conceptual/3411021094", writers.image_record(0, regions=36))
    assert_stored(store, "conceptual/17", writers.image_record(1, regions=36))
    probabilities = store[ImageKey("conceptual", "17")].class_probs
    assert probabilities is not None
    assert probabilities.shape == (36, 1601)
