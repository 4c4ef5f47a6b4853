"""Visual7W's pointing file: questions whose answer is one of four boxes, on Visual Genome's pictures."""

from __future__ import annotations

from typing import Final

from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import SourceImage, how_many
from twelvefold.world.text.visual7w_questions import generate_pointing_questions

PATH: Final = "visual7w/dataset_v7w_pointing.json"
LAYOUTS: Final = (Layout(PATH, "fields", {"dataset": "v7w_pointing"}, ("boxes", "images")),)

TRAIN, TESTED, TEST, VAL = 10, 5, 8, 8
_MOST = 64


def write(source: SourceImage, shard: AnnotationShard) -> int:
    """One picture's questions and the boxes they name; how many questions."""
    count = how_many(source, "visual7w", train=TRAIN, tested=TESTED, test=TEST, val=VAL)
    questions = generate_pointing_questions(source.scene, source.rng("visual7w"), count)
    if not questions:
        return 0  # fewer than four things to choose from; the publishers list no picture without questions
    picture = source.picture
    pairs = []
    for number, q in enumerate(questions):
        meant = q.choices[q.answer]
        pairs.append(
            {
                "qa_id": picture.index * _MOST + number,
                "image_id": picture.vg,
                "question": q.question,
                "answer": source.object_id(meant),
                "multiple_choices": [source.object_id(place) for place in q.choices if place != meant],
                "type": "which",
            }
        )
    for place in sorted({place for q in questions for place in q.choices}):
        x, y, width, height = source.whole_xywh(place)
        name = source.scene.objects[place].category
        box = {"box_id": source.object_id(place), "name": name, "x": x, "y": y, "width": width, "height": height}
        shard.add(PATH, box, "boxes")
    image = {
        "image_id": picture.vg,
        "filename": f"v7w_{picture.vg}.jpg",
        "split": source.split("visual7w"),
        "qa_pairs": pairs,
    }
    shard.add(PATH, image, "images")
    return len(questions)
