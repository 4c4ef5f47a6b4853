"""GQA: balanced questions, and all questions of testdev."""

from __future__ import annotations

from typing import Any

from twelvefold.schema import SoftAnswers

from .sample import FirstRecord, Sample, get_key


def make_files() -> dict[str, Any]:
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


SAMPLE = Sample(
    make_files,
    FirstRecord("gqa/train_balanced_questions.json", "question 02", get_key("question"), key="02"),
    SoftAnswers,
    {"minval": 2},
    has_unique_keys=True,
)
