"""Visual Genome's files: ``question_answers.json`` and ``image_data.json``, which names the same picture at COCO.

Question ids rise from what trains to what validates to what tests: VG has no splits, readers take them from the tail.
"""

from __future__ import annotations

from typing import Final

from twelvefold.world.formats.official import Layout, Sheet
from twelvefold.world.formats.view import URL, View, how_many
from twelvefold.world.text.annotations import VgQuestion
from twelvefold.world.text.vgqa import vg_questions

QUESTIONS, IMAGES = "vg/question_answers.json", "vg/image_data.json"
LAYOUTS: Final = (Layout(QUESTIONS, "list"), Layout(IMAGES, "list"))

TRAIN, TESTED, TEST, VAL = 30, 15, 13, 13
_MOST = 64


def write(view: View, sheet: Sheet) -> int:
    """The questions of one picture and its entry in the list of images; how many questions."""
    count = how_many(view, "vgqa", train=TRAIN, tested=TESTED, test=TEST, val=VAL)
    questions = vg_questions(view.scene, view.rng("vgqa"), count)
    picture = view.picture
    qas = [_question(view, q, picture.vg_rank * _MOST + number + 1) for number, q in enumerate(questions)]
    sheet.add(QUESTIONS, {"id": picture.vg, "qas": qas})
    image = {
        "width": view.scene.width,
        "url": f"{URL}/{picture.vg_folder}/{picture.vg}.jpg",
        "height": view.scene.height,
        "image_id": picture.vg,
        "coco_id": picture.coco or None,
        # Flickr's numbers, as COCO's pictures have them; none of them is a Flickr30k picture (Table 1).
        "flickr_id": 9_000_000_000 + picture.vg if picture.coco else None,
    }
    sheet.add(IMAGES, _as_published(image, picture.index))
    return len(questions)


def _question(view: View, q: VgQuestion, id_: int) -> dict[str, object]:
    record = {
        "a_objects": [_object(view, place) for place in q.a_objects],
        "question": q.question,
        "image_id": view.picture.vg,
        "qa_id": id_,
        "answer": q.answer,
        "q_objects": [_object(view, place) for place in q.q_objects],
    }
    return _as_published(record, id_)


def _object(view: View, place: int) -> dict[str, object]:
    x, y, width, height = view.whole_xywh(place)
    name = view.scene.things[place].kind
    return {"object_id": view.thing_id(place), "names": [name], "synsets": [], "x": x, "y": y, "w": width, "h": height}


def _as_published(record: dict[str, object], number: int) -> dict[str, object]:
    """In Visual Genome the order of the keys differs from record to record."""
    return dict(reversed(record.items())) if number % 3 == 0 else record
