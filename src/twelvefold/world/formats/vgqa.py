"""Visual Genome's files: ``question_answers.json``, and ``image_data.json`` with the COCO ids of its images.

VG has no splits; readers take them from the end of the question ids. So the ids of train come before those of val,
and those before test.
"""

from __future__ import annotations

from typing import Final

from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import URL, SourceImage
from twelvefold.world.text.annotations import VgQuestion
from twelvefold.world.text.vgqa import generate_vg_questions

QUESTIONS, IMAGES = "vg/question_answers.json", "vg/image_data.json"
LAYOUTS: Final = (Layout(QUESTIONS, "list"), Layout(IMAGES, "list"))
_MAX_QUESTIONS: Final = 64


def write(image: SourceImage, shard: AnnotationShard) -> int:
    """Add an image's questions and its entry in the list of images, and return the number of questions."""
    planned = image.planned
    questions = generate_vg_questions(image.scene, image.rng("vgqa"), image.num_examples("vgqa"))
    first_id = planned.vg_rank * _MAX_QUESTIONS + 1
    qas = [_question(image, question, id_) for id_, question in enumerate(questions, start=first_id)]
    shard.add(QUESTIONS, {"id": planned.vg_id, "qas": qas})
    entry = {
        "width": image.scene.width,
        "url": f"{URL}/{planned.vg_folder}/{planned.vg_id}.jpg",
        "height": image.scene.height,
        "image_id": planned.vg_id,
        "coco_id": planned.coco_id or None,
        # Flickr's numbers, as COCO's images have them. No image is in Flickr30k (Table 1).
        "flickr_id": 9_000_000_000 + planned.vg_id if planned.coco_id else None,
    }
    shard.add(IMAGES, _vary_key_order(entry, planned.index))
    return len(questions)


def _question(image: SourceImage, question: VgQuestion, id_: int) -> dict[str, object]:
    record = {
        "a_objects": [_object(image, index) for index in question.a_objects],
        "question": question.question,
        "image_id": image.planned.vg_id,
        "qa_id": id_,
        "answer": question.answer,
        "q_objects": [_object(image, index) for index in question.q_objects],
    }
    return _vary_key_order(record, id_)


def _object(image: SourceImage, index: int) -> dict[str, object]:
    names = [image.scene.objects[index].category]
    box = image.integer_xywh(index, ("x", "y", "w", "h"))
    return {"object_id": image.object_id(index), "names": names, "synsets": [], **box}


def _vary_key_order(record: dict[str, object], number: int) -> dict[str, object]:
    """Reverse the keys of every third record: in Visual Genome their order varies."""
    return dict(reversed(record.items())) if number % 3 == 0 else record
