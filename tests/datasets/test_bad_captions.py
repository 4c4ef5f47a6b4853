"""A bad caption or sentence is rejected alone, by name; the others of its image are used and keep their ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from twelvefold.datasets import coco, load_dataset
from twelvefold.datasets.reading.records import BadRecordError, BadRecords

BAD = BadRecords()


BROKEN: list[dict[str, Any]] = [{"raw": 3}, {"raw": None}, {"raw": float("nan")}, {"raw": "\ud83d"}, {"sentid": "x"}]


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", ["coco", "flickr30k"])
def test_one_bad_caption_is_rejected_alone(folder: Any, name: str, broken: dict[str, Any]) -> None:
    all_ids = [e.id for e in load_dataset(name).read(folder.write(), "train", bad=BAD)]
    folder.files[f"{name}/dataset_{name}.json"]["images"][0]["sentences"][1].update(broken)
    bad = BadRecords(skip=True)
    ids = [e.id for e in load_dataset(name).read(folder.write(), "train", bad=bad)]
    assert ids == [all_ids[0], *all_ids[2:]]
    assert [rejection.record for rejection in bad.rejected] == ["images[0].sentences[1]"]
    assert list(load_dataset(name).read(folder.write(), "test", bad=BAD))  # another split has no bad record


def test_a_key_twice_in_one_caption_rejects_this_caption_alone(folder: Any) -> None:
    root = folder.write()
    path = root / "coco" / "dataset_coco.json"
    text = path.read_text()
    start = text.index('"raw"')
    path.write_text(f'{text[:start]}"raw": "twice", {text[start:]}')
    bad = BadRecords(skip=True)
    examples = list(coco.read(root, "train", bad=bad))
    assert [rejection.record for rejection in bad.rejected] == ["images[0].sentences[0]"]
    assert len(examples) == 3


@pytest.mark.parametrize("broken", [3, {"sent_id": 4}, {"sent_id": "x", "raw": "a boat"}])
def test_one_bad_sentence_of_a_ref_is_rejected_alone(folder: Any, broken: Any) -> None:
    all_ids = [e.id for e in load_dataset("refcoco").read(folder.write(), "train", bad=BAD)]
    refs = folder.files["refcoco/refs(unc).p"]
    index = next(i for i, ref in enumerate(refs) if ref["split"] == "train")
    refs[index]["sentences"][1] = broken
    bad = BadRecords(skip=True)
    ids = [e.id for e in load_dataset("refcoco").read(folder.write(), "train", bad=bad)]
    assert ids == [all_ids[0], *all_ids[2:]]
    assert [rejection.record for rejection in bad.rejected] == [f"[{index}].sentences[1]"]
    refs[index]["sentences"] = {"raw": "no list"}
    with pytest.raises(BadRecordError, match="expected a list of sentences"):
        list(load_dataset("refcoco").read(folder.write(), "train", bad=BAD))


@pytest.mark.parametrize("task", ["coco", "flickr30k"])
def test_one_bad_caption_of_blip_and_of_the_original_project_is_rejected_alone(tmp_path: Path, task: str) -> None:
    folder = tmp_path / task
    folder.mkdir()
    image = "coco/val2014/COCO_val2014_000000000007.jpg" if task == "coco" else "flickr30k/7.jpg"
    blip = f"{task}_karpathy_val.json" if task == "coco" else f"{task}_val.json"
    original = {"id": 7, "img_path": image.rpartition("/")[2], "sentences": ["a", 3, "c"]}
    for file, content, record in (
        (blip, [{"image": image, "caption": ["a", 3, "c"]}], "[0].caption[1]"),
        ("all_data_final_val_set0_2014.jsonline", original, "line 1.sentences[1]"),
    ):
        (folder / file).write_text(json.dumps(content))
        bad = BadRecords(skip=True)
        examples = list(load_dataset(task).read(tmp_path, "val", bad=bad))
        assert [(e.id, e.pairs[0].text) for e in examples] == [("7-0", "a"), ("7-2", "c")]
        assert [rejection.record for rejection in bad.rejected] == [record]
        (folder / file).unlink()
