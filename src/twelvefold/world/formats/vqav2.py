"""VQA v2's files: questions, and annotations with ten answers each; here test2015 has its answers too.

Differs: the publishers keep the answers of test2015; the world's are ours to know, and its test set is scored.
"""

from __future__ import annotations

from typing import Final

from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import URL, SourceImage, how_many
from twelvefold.world.text.vqa import generate_vqa_questions

TRAIN, TESTED, TEST = 15, 8, 9


def _head(subtype: str) -> dict[str, object]:
    return {
        "info": {
            "description": "Questions about the embedded world, in the format of VQA v2.0.",
            "url": URL, "version": "2.0", "year": 2017, "contributor": "twelvefold",
            "date_created": "2017-04-26 17:07:13",
        },
        "task_type": "Open-Ended",
        "data_type": "mscoco",
        "license": {"url": URL, "name": "Apache License 2.0"},
        "data_subtype": subtype,
    }  # fmt: skip


def _questions(subtype: str) -> str:
    return f"vqav2/v2_OpenEnded_mscoco_{subtype}_questions.json"


def _annotations(subtype: str) -> str:
    return f"vqav2/v2_mscoco_{subtype}_annotations.json"


_FOLDERS = ("train2014", "val2014", "test2015")
LAYOUTS: Final = (
    *(Layout(_questions(name), "fields", _head(name), ("questions",)) for name in (*_FOLDERS, "test-dev2015")),
    *(Layout(_annotations(name), "fields", _head(name), ("annotations",)) for name in _FOLDERS),
)


def write(source: SourceImage, shard: AnnotationShard) -> int:
    """The questions of one picture; how many."""
    coco, folder = source.picture.coco, source.picture.folder
    count = how_many(source, "vqav2", train=TRAIN, tested=TESTED, test=TEST)
    questions = generate_vqa_questions(source.scene, source.rng("vqav2"), count)
    for number, q in enumerate(questions):
        id_ = coco * 1000 + number
        asked = {"image_id": coco, "question": q.question, "question_id": id_}
        shard.add(_questions(folder), asked, "questions")
        if folder == "test2015" and source.picture.index % 4 == 0:  # test-dev is a quarter of test
            shard.add(_questions("test-dev2015"), asked, "questions")
        answers = [
            {"answer": answer, "answer_confidence": confidence, "answer_id": place}
            for place, (answer, confidence) in enumerate(q.answers, start=1)
        ]
        annotation = {
            "question_type": q.question_type,
            "multiple_choice_answer": q.multiple_choice_answer,
            "answers": answers,
            "image_id": coco,
            "answer_type": q.answer_type,
            "question_id": id_,
        }
        shard.add(_annotations(folder), annotation, "annotations")
    return len(questions)
