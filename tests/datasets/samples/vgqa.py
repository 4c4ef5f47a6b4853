"""Visual Genome: questions, and the id map of its images."""

from __future__ import annotations

from typing import Any

from twelvefold.schema import SoftAnswers

from .sample import FirstRecord, Sample, get_key


def make_files() -> dict[str, Any]:
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


SAMPLE = Sample(
    make_files,
    FirstRecord(
        "vg/question_answers.json", "[0].qas[2]", get_key("question"), lambda content: content[0]["qas"], key=2
    ),
    SoftAnswers,
    {"tail": 2},
)
