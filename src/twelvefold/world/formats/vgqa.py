"""Visual Genome's files: ``question_answers.json`` and ``image_data.json``, which names the same picture at COCO.

Question ids rise from what trains to what validates to what tests: VG has no splits, readers take them from the tail.
"""

from __future__ import annotations

from typing import Final

from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import URL, SourceImage, how_many
from twelvefold.world.text.annotations import VgQuestion
from twelvefold.world.text.vgqa import generate_vg_questions

QUESTIONS, IMAGES = "vg/question_answers.json", "vg/image_data.json"
LAYOUTS: Final = (Layout(QUESTIONS, "list"), Layout(IMAGES, "list"))

TRAIN, TESTED, TEST, VAL = 30, 15, 13, 13
_MOST = 64


def write(source: SourceImage, shard: AnnotationShard) -> int:
    """The questions of one picture and its entry in the list of images; how many questions."""
    count = how_many(source, "vgqa", train=TRAIN, tested=TESTED, test=TEST, val=VAL)
    questions = generate_vg_questions(source.scene, source.rng("vgqa"), count)
    picture = source.picture
    qas = [_question(source, q, picture.vg_rank * _MOST + number + 1) for number, q in enumerate(questions)]
    shard.add(QUESTIONS, {"id": picture.vg, "qas": qas})
    image = {
        "width": source.scene.width,
        "url": f"{URL}/{picture.vg_folder}/{picture.vg}.jpg",
        "height": source.scene.height,
        "image_id": picture.vg,
        "coco_id": picture.coco or None,
        # Flickr's numbers, as COCO's pictures have them; none of them is a Flickr30k picture (Table 1).
        "flickr_id": 9_000_000_000 + picture.vg if picture.coco else None,
    }
    shard.add(IMAGES, _as_published(image, picture.index))
    return len(questions)


def _question(source: SourceImage, q: VgQuestion, id_: int) -> dict[str, object]:
    record = {
        "a_objects": [_object(source, place) for place in q.a_objects],
        "question": q.question,
        "image_id": source.picture.vg,
        "qa_id": id_,
        "answer": q.answer,
        "q_objects": [_object(source, place) for place in q.q_objects],
    }
    return _as_published(record, id_)


def _object(source: SourceImage, place: int) -> dict[str, object]:
    x, y, width, height = source.whole_xywh(place)
    name = source.scene.objects[place].category
    return {
        "object_id": source.object_id(place),
        "names": [name],
        "synsets": [],
        "x": x,
        "y": y,
        "w": width,
        "h": height,
    }


def _as_published(record: dict[str, object], number: int) -> dict[str, object]:
    """In Visual Genome the order of the keys differs from record to record."""
    return dict(reversed(record.items())) if number % 3 == 0 else record
