"""VQA v2's files: questions, and annotations with ten answers each.

Differs: the publishers keep the answers of test2015 secret. The world has them, and its test set is scored.
"""

from __future__ import annotations

from typing import Final

from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import URL, SourceImage, file_info
from twelvefold.world.text.vqa import generate_vqa_questions


def _head(subtype: str) -> dict[str, object]:
    description = "Questions about the embedded world, in the format of VQA v2.0."
    return {
        "info": file_info(description, "2017-04-26 17:07:13", version="2.0", year=2017),
        "task_type": "Open-Ended",
        "data_type": "mscoco",
        "license": {"url": URL, "name": "Apache License 2.0"},
        "data_subtype": subtype,
    }


def _questions_path(subtype: str) -> str:
    return f"vqav2/v2_OpenEnded_mscoco_{subtype}_questions.json"


def _annotations_path(subtype: str) -> str:
    return f"vqav2/v2_mscoco_{subtype}_annotations.json"


_FOLDERS: Final = ("train2014", "val2014", "test2015")
LAYOUTS: Final = (
    *(Layout(_questions_path(name), "fields", _head(name), ("questions",)) for name in (*_FOLDERS, "test-dev2015")),
    *(Layout(_annotations_path(name), "fields", _head(name), ("annotations",)) for name in _FOLDERS),
)


def write(image: SourceImage, shard: AnnotationShard) -> int:
    """Add an image's questions and return their number."""
    coco_id, folder = image.planned.coco_id, image.planned.coco_folder
    questions = generate_vqa_questions(image.scene, image.rng("vqav2"), image.num_examples("vqav2"))
    for id_, question in enumerate(questions, start=coco_id * 1000):
        record = {"image_id": coco_id, "question": question.question, "question_id": id_}
        shard.add(_questions_path(folder), record, "questions")
        if folder == "test2015" and image.planned.index % 4 == 0:  # test-dev is a quarter of test
            shard.add(_questions_path("test-dev2015"), record, "questions")
        annotation = {
            "question_type": question.question_type,
            "multiple_choice_answer": question.multiple_choice_answer,
            "answers": [
                {"answer": answer, "answer_confidence": confidence, "answer_id": answer_id}
                for answer_id, (answer, confidence) in enumerate(question.answers, start=1)
            ],
            "image_id": coco_id,
            "answer_type": question.answer_type,
            "question_id": id_,
        }
        shard.add(_annotations_path(folder), annotation, "annotations")
    return len(questions)
