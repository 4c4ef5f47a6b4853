"""Features in ``.npz`` and HDF5 files, in every layout that is read, equal those of other formats."""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twelvefold.config.extract import ImportConfig
from twelvefold.features.import_features import import_features
from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.store.region_store import RegionStore

NAMES = ["391895", "522418"]


def assert_imported(path: Path, out: Path, rows: dict[str, dict[str, Any]], format_name: str) -> None:
    summary = import_features(path, out, ImportConfig(source="coco", full=True))
    assert (summary.format, summary.num_images, summary.rejected) == (format_name, len(rows), ())
    store = RegionStore.open(out / "detected")
    for name, row in rows.items():
        regions = store[ImageKey("coco", name)]
        assert (regions.width, regions.height) == (640, 480)
        np.testing.assert_allclose(regions.boxes_px, row["boxes"], atol=1e-3)
        np.testing.assert_array_equal(regions.features, row["features"])


@pytest.fixture
def rows(writers: Any) -> dict[str, dict[str, Any]]:
    return {name: writers.image_record(n, regions=5 + n) for n, name in enumerate(NAMES)}


@pytest.mark.parametrize("layout", ["bottom-up", "mcan", "own names"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_one_npz_file_per_image(rows: Any, tmp_path: Path, layout: str, save: Callable[..., None]) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    for name, row in rows.items():
        sizes = {"image_w": 640, "image_h": 480}
        fields = {
            "bottom-up": {"x": row["features"], "bbox": row["boxes"], "num_bbox": len(row["boxes"]), **sizes},
            "mcan": {"x": row["features"].T, "bbox": row["boxes"], "num_bbox": len(row["boxes"]), **sizes},
            "own names": {"features": row["features"], "boxes": row["boxes"], "width": 640, "height": 480},
        }[layout]
        save(folder / f"COCO_val2014_{int(name):012}.jpg.npz", info=np.array({"a": object}, dtype=object), **fields)
    assert_imported(folder, tmp_path / "out", rows, "npz")
    with pytest.raises(TwelvefoldError, match="give the folder of such files"):
        import_features(next(folder.iterdir()), tmp_path / "other")


def test_a_damaged_npz_file_is_rejected_and_the_others_are_imported(rows: Any, tmp_path: Path) -> None:
    for name, row in rows.items():
        np.savez(tmp_path / f"{name}.npz", x=row["features"], bbox=row["boxes"], image_w=640, image_h=480)
    (tmp_path / "1.npz").write_bytes((tmp_path / f"{NAMES[0]}.npz").read_bytes()[:5000])
    with zipfile.ZipFile(tmp_path / "2.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(1 << 29))
    summary = import_features(tmp_path, tmp_path / "out", ImportConfig(source="coco"))
    assert summary.num_images == 2
    assert [problem.location for problem in summary.rejected] == ["1.npz", "2.npz"]
    assert "truncated" in summary.rejected[0].message
    assert "expected at most 268,435,456 bytes" in summary.rejected[1].message


def write_by_image(root: Any, rows: dict[str, dict[str, Any]]) -> None:
    for name, row in rows.items():
        group = root.create_group(f"val2014/{name}")
        group["features"], group["boxes"] = row["features"], row["boxes"]
        group.attrs["image_w"], group.attrs["image_h"] = 640, 480


def write_by_field(root: Any, rows: dict[str, dict[str, Any]]) -> None:
    for name, row in rows.items():
        root[f"features/{name}"], root[f"bbox/{name}"] = row["features"], row["boxes"]
        root[f"image_w/{name}"], root[f"image_h/{name}"] = 640, 480


def write_stacked(root: Any, rows: dict[str, dict[str, Any]]) -> None:
    padded = {key: np.zeros((2, 9, 4 if key == "boxes" else 2048), np.float32) for key in ("boxes", "features")}
    for n, row in enumerate(rows.values()):
        for key, values in padded.items():
            values[n, : len(row[key])] = row[key]
            root.require_dataset(key, values.shape, "f4")[...] = values
    root["num_boxes"] = [len(row["boxes"]) for row in rows.values()]
    root["image_ids"] = list(map(int, rows))
    root["image_w"], root["image_h"] = [640, 640], [480, 480]


def write_ranges(root: Any, rows: dict[str, dict[str, Any]]) -> None:
    boxes = np.concatenate([row["boxes"] for row in rows.values()])
    root["image_features"] = np.concatenate([row["features"] for row in rows.values()])
    root["image_bb"] = boxes
    root["spatial_features"] = np.concatenate(
        [boxes / np.array([640, 480, 640, 480], np.float32), boxes[:, :2]], axis=1
    )
    ends = np.cumsum([len(row["boxes"]) for row in rows.values()])
    root["pos_boxes"] = np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
    index = {np.int64(name): n for n, name in enumerate(rows)}
    Path(root.filename).with_name(f"{Path(root.filename).stem}_imgid2idx.pkl").write_bytes(pickle.dumps(index, 2))


@pytest.mark.parametrize("write", [write_by_image, write_by_field, write_stacked, write_ranges])
def test_every_layout_of_hdf5(rows: Any, tmp_path: Path, write: Callable[..., None]) -> None:
    import h5py

    with h5py.File(tmp_path / "train.hdf5", "w") as root:
        write(root, rows)
    assert_imported(tmp_path / "train.hdf5", tmp_path / "out", rows, "hdf5")


@pytest.mark.parametrize("layout", ["by image", "by field"])
def test_every_image_behind_a_link_is_imported_or_named(rows: Any, tmp_path: Path, layout: str) -> None:
    import h5py

    with h5py.File(tmp_path / "other.h5", "w") as other:
        write_by_image(other, {"8": rows[NAMES[0]]})
        other["secret"] = np.ones((5, 2048), np.float32)
    parent = "val2014" if layout == "by image" else "features"
    inside = f"/{parent}/{NAMES[0]}"
    targets = {
        "7": (h5py.ExternalLink("other.h5", "/val2014/8"), "link to another file"),
        "8": (h5py.ExternalLink("nosuch.h5", "/val2014/8"), "link to another file"),
        "9": (h5py.SoftLink("/nosuch"), "cannot be read"),
        "10": (h5py.SoftLink(inside), ""),
    }
    with h5py.File(tmp_path / "links.h5", "w") as root:
        (write_by_image if layout == "by image" else write_by_field)(root, rows)
        for name, (target, _) in targets.items():
            root[f"{parent}/{name}"] = target
        root[f"{parent}/11"] = root[inside]  # another name of the same object
        if layout == "by field":
            for field in ("bbox", "image_w", "image_h"):
                for name in ("7", "8", "9", "10", "11"):
                    root[f"{field}/{name}"] = root[f"{field}/{NAMES[0]}"]
        if layout == "by image":
            for name, field in (("12", "features"), ("13", "boxes")):
                write_by_image(root, {name: rows[NAMES[0]]})
                del root[f"val2014/{name}/{field}"]
                root[f"val2014/{name}/{field}"] = h5py.ExternalLink("other.h5", "/secret")
            root["val2015"] = h5py.ExternalLink("other.h5", "/val2014")
    summary = import_features(tmp_path / "links.h5", tmp_path / "out", ImportConfig(source="coco", full=True))
    rejected = " ".join(f"{each.location}: {each.message};" for each in summary.rejected)
    names = [name for name, (_, message) in targets.items() if message]
    for name in names:
        assert f"/{name})" in rejected or f"({name})" in rejected, name
    expected = len(names) + (3 if layout == "by image" else 0)
    assert (summary.num_images, len(summary.rejected)) == (4, expected), rejected
    store = RegionStore.open(tmp_path / "out/detected")
    for name in ("10", "11"):
        np.testing.assert_array_equal(store[ImageKey("coco", name)].features, rows[NAMES[0]]["features"])


def test_values_in_other_files_and_bombs_are_not_read(rows: Any, tmp_path: Path) -> None:
    import h5py

    (tmp_path / "raw").write_bytes(bytes(5 * 2048 * 4))
    with h5py.File(tmp_path / "a.h5", "w") as root:
        write_by_image(root, rows)
        datasets: dict[str, dict[str, Any]] = {
            "1": {"external": [("raw", 0, 5 * 2048 * 4)], "shape": (5, 2048)},
            "2": {"shape": (1 << 20, 2048), "chunks": (1 << 10, 2048), "compression": "gzip"},
            "3": {"shape": (5, 2048), "maxshape": (None, 2048), "chunks": (1 << 17, 2048), "compression": "gzip"},
        }
        for name, options in datasets.items():
            group = root.create_group(f"val2014/{name}")
            group.create_dataset("features", dtype="f4", **options)
            group["boxes"] = rows[NAMES[0]]["boxes"]
            group.attrs["image_w"], group.attrs["image_h"] = 640, 480
        layout = h5py.VirtualLayout(shape=(5, 2048), dtype="f4")
        layout[:] = h5py.VirtualSource("nosuch.h5", "x", shape=(5, 2048))
        root.create_group("val2014/4").create_virtual_dataset("features", layout)
    summary = import_features(tmp_path / "a.h5", tmp_path / "out", ImportConfig(source="coco"))
    assert (summary.num_images, len(summary.rejected)) == (2, 4)
    messages = [each.message for each in summary.rejected]
    assert ["another file" in message for message in messages] == [True, False, False, True]
    assert ["expected at most 268,435,456 bytes at once" in m for m in messages] == [False, True, True, False]


def test_hdf5_problems_are_named(rows: Any, tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "good.h5", "w") as root:
        write_by_image(root, rows)
        root["val2014/7/features"] = h5py.ExternalLink("other.h5", "/features")
    summary = import_features(tmp_path / "good.h5", tmp_path / "out", ImportConfig(source="coco"))
    assert summary.num_images == 2
    (tmp_path / "cut.h5").write_bytes((tmp_path / "good.h5").read_bytes()[:3000])
    with pytest.raises(TwelvefoldError, match="cannot be read as HDF5"):
        import_features(tmp_path / "cut.h5", tmp_path / "cut")
    with h5py.File(tmp_path / "empty.h5", "w") as root:
        root["labels"] = [1]
    with pytest.raises(TwelvefoldError, match=r"expected features under features or x.*got only labels"):
        import_features(tmp_path / "empty.h5", tmp_path / "empty")
    with h5py.File(tmp_path / "unnamed.h5", "w") as root:
        write_stacked(root, rows)
        del root["image_ids"]
    with pytest.raises(TwelvefoldError, match=r"does not name its images.*unnamed_imgid2idx\.pkl"):
        import_features(tmp_path / "unnamed.h5", tmp_path / "unnamed")


def test_without_h5py_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(TwelvefoldError, match=r"pip install 'twelvefold\[hdf5\]'"):
        import_features(tmp_path / "some.h5", tmp_path / "out")
