"""Visual7W's pointing file: questions answered by one of four boxes, on Visual Genome's images."""

from __future__ import annotations

from typing import Final

from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import SourceImage
from twelvefold.world.text.visual7w_questions import generate_pointing_questions

PATH: Final = "visual7w/dataset_v7w_pointing.json"
LAYOUTS: Final = (Layout(PATH, "fields", {"dataset": "v7w_pointing"}, ("boxes", "images")),)
_MAX_QUESTIONS: Final = 64


def write(image: SourceImage, shard: AnnotationShard) -> int:
    """Add an image's questions and the boxes in them, and return the number of questions.

    An image without questions, one with fewer than four objects, is not listed, as in the publishers' file.
    """
    vg_id = image.planned.vg_id
    questions = generate_pointing_questions(image.scene, image.rng("visual7w"), image.num_examples("visual7w"))
    if not questions:
        return 0
    qa_pairs = []
    for number, question in enumerate(questions):
        answer = question.choices[question.answer]
        qa_pairs.append(
            {
                "qa_id": image.planned.index * _MAX_QUESTIONS + number,
                "image_id": vg_id,
                "question": question.question,
                "answer": image.object_id(answer),
                "multiple_choices": [image.object_id(index) for index in question.choices if index != answer],
                "type": "which",
            }
        )
    for index in sorted({index for question in questions for index in question.choices}):
        box = image.integer_xywh(index, ("x", "y", "width", "height"))
        name = image.scene.objects[index].category
        shard.add(PATH, {"box_id": image.object_id(index), "name": name, **box}, "boxes")
    entry = {"image_id": vg_id, "filename": f"v7w_{vg_id}.jpg", "split": image.split("visual7w"), "qa_pairs": qa_pairs}
    shard.add(PATH, entry, "images")
    return len(questions)
