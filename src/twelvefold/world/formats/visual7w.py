"""Visual7W's pointing file: questions whose answer is one of four boxes, on Visual Genome's pictures."""

from __future__ import annotations

from typing import Final

from twelvefold.world.formats.official import Layout, Sheet
from twelvefold.world.formats.view import View, how_many
from twelvefold.world.text.visual7w_questions import which_questions

PATH: Final = "visual7w/dataset_v7w_pointing.json"
LAYOUTS: Final = (Layout(PATH, "fields", {"dataset": "v7w_pointing"}, ("boxes", "images")),)

TRAIN, TESTED, TEST, VAL = 10, 5, 8, 8
_MOST = 64


def write(view: View, sheet: Sheet) -> int:
    """One picture's questions and the boxes they name; how many questions."""
    count = how_many(view, "visual7w", train=TRAIN, tested=TESTED, test=TEST, val=VAL)
    questions = which_questions(view.scene, view.rng("visual7w"), count)
    if not questions:
        return 0  # fewer than four things to choose from; the publishers list no picture without questions
    picture = view.picture
    pairs = []
    for number, q in enumerate(questions):
        meant = q.choices[q.answer]
        pairs.append(
            {
                "qa_id": picture.index * _MOST + number,
                "image_id": picture.vg,
                "question": q.question,
                "answer": view.thing_id(meant),
                "multiple_choices": [view.thing_id(place) for place in q.choices if place != meant],
                "type": "which",
            }
        )
    for place in sorted({place for q in questions for place in q.choices}):
        x, y, width, height = view.whole_xywh(place)
        name = view.scene.things[place].kind
        box = {"box_id": view.thing_id(place), "name": name, "x": x, "y": y, "width": width, "height": height}
        sheet.add(PATH, box, "boxes")
    image = {
        "image_id": picture.vg,
        "filename": f"v7w_{picture.vg}.jpg",
        "split": view.split("visual7w"),
        "qa_pairs": pairs,
    }
    sheet.add(PATH, image, "images")
    return len(questions)
