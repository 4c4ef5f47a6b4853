"""VQAv2: questions and annotations of three parts."""

from __future__ import annotations

from typing import Any

from twelvefold.schema import SoftAnswers

from .sample import FirstRecord, Sample, get_key


def make_files() -> dict[str, Any]:
    files: dict[str, Any] = {}
    for part, first, count in (("train2014", 9, 4), ("val2014", 42, 5), ("test2015", 1, 2)):
        ids = [(first + i // 2, (first + i // 2) * 1000 + i % 2) for i in reversed(range(count))]
        questions = [{"image_id": image, "question": f"How many in {id_}?", "question_id": id_} for image, id_ in ids]
        header = {"info": {}, "task_type": "Open-Ended", "data_type": "mscoco", "license": {}, "data_subtype": part}
        files[f"vqav2/v2_OpenEnded_mscoco_{part}_questions.json"] = {**header, "questions": questions}
        if part != "test2015":
            texts = ["Two.", *["2"] * 6, "3", "3", "a dog"]
            annotations = [
                {
                    "question_type": "how many",
                    "multiple_choice_answer": "2",
                    "answers": [
                        {"answer": a, "answer_confidence": "yes", "answer_id": i} for i, a in enumerate(texts, 1)
                    ],
                    "image_id": image,
                    "answer_type": "number",
                    "question_id": id_,
                }
                for image, id_ in reversed(ids)
            ]
            files[f"vqav2/v2_mscoco_{part}_annotations.json"] = {**header, "annotations": annotations}
    return files


SAMPLE = Sample(
    make_files,
    FirstRecord(
        "vqav2/v2_OpenEnded_mscoco_train2014_questions.json",
        "questions[0]",
        get_key("question"),
        lambda content: content["questions"],
    ),
    SoftAnswers,
    {"minval": 2},
    unlabeled_splits=("test",),
)
