"""The original project's preprocessed files give the same examples as the publishers' files of the same content."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from msgspec.structs import replace

from twelvefold.config.recipe import DataConfig, TaskConfig
from twelvefold.datasets import load_dataset
from twelvefold.datasets.reading.answers import normalize_answer
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.preparation.prepare import prepare
from twelvefold.schema import Example, Split, TwelvefoldError
from twelvefold.store.prepared import Prepared

OPTIONS: dict[str, dict[str, Any]] = {"vqav2": {"minval": 2}, "gqa": {"minval": 1}, "vgqa": {"tail": 2}, "coco": {}}
ANSWERS = ["net", "2", "3", "yes", "teddy bear", "a dog", "Two."]
"""An answer list with every answer of the sample folder, and an unused answer first."""


def examples(root: Path, task: str, split: Split, bad: BadRecords | None = None) -> list[Example]:
    return list(load_dataset(task).read(root, split, bad=bad or BadRecords(), **OPTIONS.get(task, {})))


def target(id_: Any, image: Any, scores: dict[str, float], **more: Any) -> dict[str, Any]:
    labels = [ANSWERS.index(answer) for answer in scores]
    return {"question_id": id_, "image_id": image, "labels": labels, "scores": list(scores.values()), **more}


def vqav2(files: dict[str, Any]) -> dict[str, Any]:
    converted = {}
    for part in ("train", "val"):
        questions = files.pop(f"vqav2/v2_mscoco_{part}2014_annotations.json")["annotations"]
        scores = {"Two.": 0.3, "2": 1.0, "3": 0.6, "a dog": 0.3} if part == "train" else {"2": 1.0, "3": 0.6}
        converted[f"vqav2/cache/{part}_target.pkl"] = [
            target(q["question_id"], q["image_id"], scores) for q in questions
        ]
    return converted


def vgqa(files: dict[str, Any]) -> dict[str, Any]:
    questions = [qa for image in files.pop("vg/question_answers.json") for qa in image["qas"]]
    return {
        "vg/cache/trainval_target.pkl": [
            target(qa["qa_id"], qa["image_id"], {normalize_answer(qa["answer"]): 1.0}, question=qa["question"])
            for qa in questions
        ]
    }


def gqa(files: dict[str, Any]) -> dict[str, Any]:
    converted = {}
    for part in ("train", "val"):
        questions = files.pop(f"gqa/{part}_balanced_questions.json").items()
        converted[f"gqa/cache/{part}_target.pkl"] = [
            target(id_, q["imageId"], {q["answer"]: 1.0}, question=q["question"]) for id_, q in questions
        ]
    return converted


def gqa_together(files: dict[str, Any]) -> dict[str, Any]:
    return {"gqa/cache/trainval_target.pkl": [record for part in gqa(files).values() for record in part]}


def captions(files: dict[str, Any], task: str, name: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    images = files.pop(f"{task}/dataset_{task}.json")["images"]
    folds = {"train": ("train", "restval"), "val_set0": ("val",), "test_set0": ("test",)}
    return {
        f"{task}/all_data_final_{fold}_2014.jsonline": [
            {**name(p), "sentences": [s["raw"] for s in p["sentences"]]} for p in images if p["split"] in splits
        ]
        for fold, splits in folds.items()
    }


def coco(files: dict[str, Any]) -> dict[str, Any]:
    return captions(files, "coco", lambda p: {"id": p["cocoid"], "img_path": f"val2014/{p['filename']}"})


def flickr30k(files: dict[str, Any]) -> dict[str, Any]:
    return captions(files, "flickr30k", lambda p: {"id": p["imgid"], "img_path": p["filename"]})


def write_files(root: Path, converted: dict[str, Any]) -> Path:
    for name, value in converted.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = name.endswith(".jsonline")
        path.write_bytes(b"\n".join(json.dumps(v).encode() for v in value) if lines else pickle.dumps(value, 2))
        if path.parent.name == "cache":
            (path.parent / "trainval_label2ans.pkl").write_bytes(pickle.dumps(ANSWERS, protocol=2))
    return root


def comparable(task: str, example: Example) -> Example:
    """Drop what the original's files do not hold: caption ids, question types, entailed questions and chosen
    answers."""
    if task in ("coco", "flickr30k"):
        return replace(example, id="")
    return replace(example, linked=(), question_type=example.question_type if task == "vgqa" else "", chosen_answer="")


@pytest.mark.parametrize("convert", [vqav2, vgqa, gqa, gqa_together, coco, flickr30k])
def test_both_forms_of_the_same_content_give_the_same_examples(
    convert: Callable[[dict[str, Any]], dict[str, Any]], folder: Any, tmp_path: Path
) -> None:
    task = convert.__name__.removesuffix("_together")
    if task == "vqav2":  # in val only answers that normalization does not change are the same
        for annotation in folder.files["vqav2/v2_mscoco_val2014_annotations.json"]["annotations"]:
            annotation["answers"][0]["answer"], annotation["answers"][-1]["answer"] = "2", ""
    official = folder.write()
    theirs = {
        split: [comparable(task, example) for example in examples(official, task, split)] for split in get_args(Split)
    }
    folder.root = tmp_path / "original"
    root = write_files(folder.root, convert(folder.files))
    folder.write()
    splits: list[Split] = [split for split in get_args(Split) if examples(official, task, split)]
    assert len(splits) == 3
    for split in splits:
        ours = [comparable(task, example) for example in examples(root, task, split)]
        assert ours == theirs[split]
        assert len({example.id for example in examples(root, task, split)}) == len(ours)
    assert any("cache" in path.parts or path.suffix == ".jsonline" for path in load_dataset(task).files(root, "train"))


@pytest.mark.parametrize("task", ["vqav2", "gqa"])
def test_the_published_answer_list_is_used_in_its_order(task: str, folder: Any) -> None:
    write_files(folder.root, {"vqav2": vqav2, "gqa": gqa}[task](folder.files))
    prepare(
        folder.write(), None, folder.root / "out", {task: TaskConfig(options=OPTIONS[task])}, DataConfig(clean="none")
    )
    assert Prepared.open(folder.root / "out").vocabulary(task) == tuple(ANSWERS)


def test_the_publishers_files_are_preferred(folder: Any) -> None:
    official = folder.write()
    before = {task: [p.name for p in load_dataset(task).files(official, "train", **o)] for task, o in OPTIONS.items()}
    content = dict(folder.files)
    for convert in (vqav2, vgqa, gqa, gqa_together, coco):
        write_files(official, convert(dict(content)))
    assert before == {
        task: [p.name for p in load_dataset(task).files(official, "train", **o)] for task, o in OPTIONS.items()
    }


def test_the_error_names_a_file_that_the_tarball_lacks(folder: Any) -> None:
    converted = coco(folder.files)
    del converted["coco/all_data_final_val_set0_2014.jsonline"]
    root = write_files(folder.write(), converted)
    assert examples(root, "coco", "train")
    with pytest.raises(TwelvefoldError, match=r"dataset_coco\.json or .*all_data_final_val_set0_2014\.jsonline"):
        examples(root, "coco", "val")
    write_files(root, vgqa(folder.files))
    (root / "vg" / "question_answers.json").unlink()
    (root / "vg" / "cache" / "trainval_label2ans.pkl").unlink()
    with pytest.raises(TwelvefoldError, match=r"expected the file .*trainval_label2ans\.pkl"):
        examples(root, "vgqa", "train")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": [len(ANSWERS)]}, r"expected indices below 7 and as many scores, got labels \[7\]"),
        ({"labels": [-1]}, "expected indices below 7"),
        ({"scores": []}, "as many scores"),
        ({"question_id": None}, r"Expected `int \| str`, got `null`"),
        ({"question_id": "x"}, "expected numbers as question_id and image_id, got x and"),
    ],
)
def test_a_bad_record_is_rejected_and_can_be_skipped(folder: Any, change: dict[str, Any], reason: str) -> None:
    converted = vgqa(folder.files)
    converted["vg/cache/trainval_target.pkl"][0] |= change
    root = write_files(folder.write(), converted)
    with pytest.raises(TwelvefoldError, match=rf"trainval_target\.pkl, \[0\]: .*{reason}"):
        examples(root, "vgqa", "train")
    bad = BadRecords(skip=True)
    assert sum(len(examples(root, "vgqa", split, bad)) for split in get_args(Split)) == 6
    assert len(bad.rejected) == 3


def test_a_question_without_a_target_is_rejected(folder: Any) -> None:
    converted = vqav2(folder.files)
    converted["vqav2/cache/train_target.pkl"].pop(0)
    root = write_files(folder.write(), converted)
    with pytest.raises(TwelvefoldError, match=r"expected answers of question \d+ in .*train_target\.pkl, got none"):
        examples(root, "vqav2", "train")


def test_a_tampered_pickle_runs_nothing(folder: Any, tmp_path: Path) -> None:
    root = write_files(folder.write(), gqa_together(folder.files))
    (root / "gqa" / "train_balanced_questions.json").unlink()
    mark, path = tmp_path / "ran", root / "gqa" / "cache" / "trainval_target.pkl"
    path.write_bytes(b"cpathlib\nPath.touch\n(cpathlib\nPath\n(V%s\ntRtR." % str(mark).encode())
    with pytest.raises(TwelvefoldError, match=r"trainval_target\.pkl was not loaded"):
        examples(root, "gqa", "train")
    assert not mark.exists()
    path.write_bytes(pickle.dumps({"no": "list"}, protocol=2))
    with pytest.raises(TwelvefoldError, match="expected a list of targets, got dict"):
        examples(root, "gqa", "train")
    path.write_bytes(pickle.dumps([1, 2], protocol=2)[:9])
    with pytest.raises(TwelvefoldError, match="truncated"):
        examples(root, "gqa", "train")


@pytest.mark.parametrize("convert", [vqav2, vgqa, gqa])
@pytest.mark.parametrize("protocol", [2, 4])
def test_pickles_that_were_saved_again_with_numpy_are_the_same(
    convert: Callable[[dict[str, Any]], dict[str, Any]], protocol: int, folder: Any, tmp_path: Path
) -> None:
    converted = convert(folder.files)
    expected = write_files(tmp_path / "plain", converted)
    folder.root = tmp_path / "plain"
    folder.write()
    folder.root = tmp_path / "again"
    folder.write()
    for name, targets in converted.items():
        path = folder.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        again = [
            {key: np.int64(value) if isinstance(value, int) else value for key, value in record.items()}
            | {"labels": np.array(record["labels"]), "scores": np.array(record["scores"], np.float64)}
            for record in targets
        ]
        path.write_bytes(pickle.dumps(np.array(again, dtype=object), protocol=protocol))
        (path.parent / "trainval_label2ans.pkl").write_bytes(pickle.dumps(np.array(ANSWERS), protocol=protocol))
    task = convert.__name__
    assert examples(folder.root, task, "train") == examples(expected, task, "train")
