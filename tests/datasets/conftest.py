"""A data folder of a few rows in every official format, written by hand, which a test may change before reading."""

from __future__ import annotations

import copy
import gzip
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DIALOGUE = [{"id": 5200, "question": "is it a boat?", "answer": "No"}, {"id": 1, "question": "red?", "answer": "Yes"}]


@dataclass
class Folder:
    """``files``: what each official file says, by its path; :meth:`write` puts them on disk, in their formats."""

    root: Path
    files: dict[str, Any]

    def write(self) -> Path:
        for name, value in self.files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(name, value))
        return self.root


def encoded(name: str, value: Any) -> bytes:
    if name.endswith(".p"):
        return python2_pickle(value, protocol=2)
    if name.endswith(".jsonl.gz"):
        return gzip.compress(_lines(value))
    if name.endswith(".jsonl") or name.startswith("nlvr2/"):
        return _lines(value)
    return json.dumps(value).encode()


def _lines(values: list[Any]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def python2_pickle(value: Any, protocol: int) -> bytes:
    """What Python 2 writes for lists, dicts, ints, byte strings (given as bytes or str) and nothing else."""
    if protocol == 0:
        return _protocol0(value) + b"."
    return b"\x80\x02" + _protocol2(value) + b"."


def _protocol2(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"}(" + b"".join(_protocol2(k) + _protocol2(v) for k, v in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_protocol2, value)) + b"e"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    data = value.encode() if isinstance(value, str) else value
    return b"T" + struct.pack("<i", len(data)) + data


def _protocol0(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"(d" + b"".join(_protocol0(k) + _protocol0(v) + b"s" for k, v in value.items())
    if isinstance(value, list):
        return b"(l" + b"".join(_protocol0(item) + b"a" for item in value)
    if isinstance(value, int):
        return b"I%d\n" % value
    data = value.encode() if isinstance(value, str) else value
    return b"S" + repr(data)[1:].encode() + b"\n"


def _vqa() -> dict[str, Any]:
    files: dict[str, Any] = {}
    for part, first, count in (("train2014", 9, 4), ("val2014", 42, 5), ("test2015", 1, 2)):
        ids = [(first + i // 2, (first + i // 2) * 1000 + i % 2) for i in reversed(range(count))]
        questions = [{"image_id": image, "question": f"How many in {id_}?", "question_id": id_} for image, id_ in ids]
        header = {"info": {}, "task_type": "Open-Ended", "data_type": "mscoco", "license": {}, "data_subtype": part}
        files[f"vqav2/v2_OpenEnded_mscoco_{part}_questions.json"] = {**header, "questions": questions}
        if part != "test2015":
            given = ["Two.", *["2"] * 6, "3", "3", "a dog"]
            annotations = [
                {
                    "question_type": "how many",
                    "multiple_choice_answer": "2",
                    "answers": [
                        {"answer": a, "answer_confidence": "yes", "answer_id": i} for i, a in enumerate(given, 1)
                    ],
                    "image_id": image,
                    "answer_type": "number",
                    "question_id": id_,
                }
                for image, id_ in reversed(ids)
            ]
            files[f"vqav2/v2_mscoco_{part}_annotations.json"] = {**header, "annotations": annotations}
    return files


def _gqa() -> dict[str, Any]:
    def question(id_: str, image: str, balanced: bool = True) -> dict[str, Any]:
        return {
            "semantic": [{"operation": "select", "dependencies": [], "argument": "boat (0)"}],
            "entailed": [id_, "07999", "08000"],
            "equivalent": [id_],
            "question": f"Is question {id_} about a boat?",
            "imageId": image,
            "isBalanced": balanced,
            "groups": {"global": "thing", "local": "14-boat"},
            "answer": "yes",
            "semanticStr": "select: boat (0)",
            "annotations": {"answer": {}, "question": {}, "fullAnswer": {}},
            "types": {"detailed": "existC", "semantic": "obj", "structural": "verify"},
            "fullAnswer": "Yes, it is.",
        }

    testdev = {id_: question(id_, "n161313") for id_ in ("07998", "07999")}
    return {
        "gqa/train_balanced_questions.json": {id_: question(id_, "2318324") for id_ in ("02", "01", "10")},
        "gqa/val_balanced_questions.json": {id_: question(id_, "5") for id_ in ("09", "11")},
        "gqa/testdev_balanced_questions.json": testdev,
        "gqa/testdev_all_questions.json": {
            **testdev,
            "08000": question("08000", "n161313", False),
            "08001": question("08001", "n161313", False),
        },
    }


def _vg() -> dict[str, Any]:
    def qa(id_: int, image: int) -> dict[str, Any]:
        question = f"What is on table {id_}?"
        answer = "A Teddy bear."
        return {
            "a_objects": [],
            "question": question,
            "image_id": image,
            "qa_id": id_,
            "answer": answer,
            "q_objects": [],
        }

    return {
        "vg/question_answers.json": [
            {"id": 5, "qas": [qa(966490, 5), qa(987452, 5), qa(12, 5)]},
            {"qas": [qa(987278, 4), qa(13, 4), qa(14, 4), qa(987280, 4)], "id": 4},
        ],
        "vg/image_data.json": [
            {"width": 800, "url": "", "height": 600, "image_id": 1, "coco_id": None, "flickr_id": None},
            {"width": 500, "url": "", "height": 400, "image_id": 2318324, "coco_id": 157190, "flickr_id": 2171007168},
        ],
    }


def _karpathy() -> dict[str, Any]:
    def picture(i: int, split: str) -> dict[str, Any]:
        sentences = [{"tokens": ["a"], "raw": f"A boat {i}{k}. ", "imgid": i, "sentid": 10 * i + k} for k in range(2)]
        return {"sentids": [10 * i, 10 * i + 1], "imgid": i, "sentences": sentences, "split": split}

    splits = ["train", "restval", "val", "test", "test"]
    coco = [
        {**picture(i, split), "filepath": "val2014", "filename": f"COCO_val2014_{i + 7:012}.jpg", "cocoid": i + 7}
        for i, split in enumerate(splits)
    ]
    flickr = [{**picture(i, s), "filename": f"10000{i}.jpg"} for i, s in enumerate(splits) if s != "restval"]
    return {
        "coco/dataset_coco.json": {"images": coco, "dataset": "coco"},
        "flickr30k/dataset_flickr30k.json": {"images": flickr, "dataset": "flickr30k"},
    }


def _refer(name: str, split_by: str, splits: list[str]) -> dict[str, Any]:
    refs = [
        {
            "sent_ids": [2 * i, 2 * i + 1],
            "file_name": f"COCO_train2014_{581857 + i:012}_16.jpg",
            "ann_id": 1719310 + i,
            "ref_id": i,
            "image_id": 581857 + i,
            "split": split,
            "sentences": [
                {"tokens": ["the", "boat"], "raw": raw, "sent_id": 2 * i + j, "sent": "the boat"}
                for j, raw in enumerate(("THE BOAT ", "a café".encode("latin1")))
            ],
            "category_id": 9,
        }
        for i, split in enumerate(splits)
    ]
    images = [{"file_name": "", "height": 424, "width": 640, "id": ref["image_id"]} for ref in refs]
    annotations = [
        {
            "segmentation": [[1.5, 2.5, 3.5]],
            "area": 1.0,
            "iscrowd": 0,
            "image_id": ref["image_id"],
            "bbox": [263.5, 216.0, 21.0, 15.25],
            "category_id": 9,
            "id": ref["ann_id"],
        }
        for ref in refs
    ]
    return {
        f"{name}/refs({split_by}).p": refs,
        f"{name}/instances.json": {"images": images, "annotations": annotations, "categories": []},
    }


def _visual7w() -> dict[str, Any]:
    boxes = [
        {"box_id": 100 + 7 * i, "name": "boat", "x": 10 * i - 1, "y": -1, "width": 20, "height": 30} for i in range(12)
    ]
    images = [
        {
            "image_id": 2318324 + i,
            "filename": f"v7w_{2318324 + i}.jpg",
            "split": split,
            "qa_pairs": [
                {
                    "qa_id": 400 + i,
                    "image_id": 2318324 + i,
                    "question": "Which boat is red?",
                    "answer": 114 + 28 * i,
                    "multiple_choices": [121 + 28 * i, 100 + 28 * i, 107 + 28 * i],
                    "type": "which",
                }
            ],
        }
        for i, split in enumerate(("train", "val", "test"))
    ]
    return {"visual7w/dataset_v7w_pointing.json": {"dataset": "v7w_pointing", "boxes": boxes, "images": images}}


def _guesswhat() -> dict[str, Any]:
    def game(id_: int, status: str) -> dict[str, Any]:
        things = [
            {"category": "boat", "area": 10.5, "category_id": 9, "id": 180748 - i, "segment": [[1.0, 2.0]]}
            | {"bbox": [100.5 * i, 20.0, 140.25, 36.5]}
            for i in range(3)
        ]
        image = {"file_name": "", "coco_url": "", "height": 426, "width": 340, "flickr_url": "", "id": 175527}
        turns = [] if status == "incomplete" else copy.deepcopy(DIALOGUE)
        return {"status": status, "qas": turns, "questioner_id": 34, "timestamp": "", "image": image, "id": id_} | {
            "object_id": 180747,
            "objects": things,
        }

    return {
        "guesswhat/guesswhat.train.jsonl.gz": [game(2488, "success"), game(2489, "incomplete")],
        "guesswhat/guesswhat.valid.jsonl.gz": [game(2490, "failure")],
        "guesswhat/guesswhat.test.jsonl.gz": [game(2491, "success"), game(2492, "failure")],
    }


def _verification() -> dict[str, Any]:
    def statement(id_: str, label: str) -> dict[str, Any]:
        return {"identifier": id_, "sentence": "There are two boats.", "label": label, "synset": "boat", "writer": "61"}

    def hypothesis(i: int, key: str, image: str) -> dict[str, Any]:
        gold = ("contradiction", "neutral", "entailment")[i % 3]
        return {key: image, "gold_label": gold, "pairID": f"{image}#2r{i}c", "sentence2": "A boat sails."} | {
            "sentence1": "A boat.",
            "annotator_labels": [gold],
        }

    return {
        "nlvr2/train.json": [{**statement("train-10171-0-0", "True"), "directory": 47}],
        "nlvr2/dev.json": [statement("dev-850-0-0", "False"), statement("dev-850-2-0", "True")],
        "nlvr2/test1.json": [statement("test1-0-1-2", "False"), statement("test1-0-3-2", "True")],
        "snli_ve/snli_ve_train.jsonl": [hypothesis(i, "Flikr30kID", f"{900 + i}.jpg") for i in range(3)],
        "snli_ve/snli_ve_dev.jsonl": [hypothesis(1, "Flickr30kID", "902.jpg")],
        "snli_ve/snli_ve_test.jsonl": [hypothesis(2, "Flickr30K_ID", "903")],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    files = {**_vqa(), **_gqa(), **_vg(), **_karpathy(), **_visual7w(), **_guesswhat(), **_verification()}
    for name in ("refcoco", "refcoco+"):
        files |= _refer(name, "unc", ["train", "testA", "val", "testB"])
    files |= _refer("refcocog", "umd", ["train", "val", "test"])
    return Folder(tmp_path, files)


@pytest.fixture
def python2() -> Callable[..., bytes]:
    return python2_pickle
