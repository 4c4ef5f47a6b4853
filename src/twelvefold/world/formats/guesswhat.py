"""GuessWhat's files: one game a line, gzipped; all games, whatever their end."""

from __future__ import annotations

from typing import Final

from twelvefold.world.formats.captions import coco_image
from twelvefold.world.formats.official import Layout, Sheet
from twelvefold.world.formats.view import CATEGORIES, View, how_many, polygon
from twelvefold.world.text.guesswhat import dialogues

LAYOUTS: Final = tuple(
    Layout(f"guesswhat/guesswhat.{split}.jsonl.gz", "lines.gz") for split in ("train", "valid", "test")
)

TRAIN, TESTED, TEST, VAL = 7, 3, 8, 8
_MOST_GAMES, _MOST_TURNS = 32, 64


def write(view: View, sheet: Sheet) -> int:
    """One picture's games; how many."""
    count = how_many(view, "guesswhat", train=TRAIN, tested=TESTED, test=TEST, val=VAL)
    games = dialogues(view.scene, view.rng("guesswhat"), count)
    objects = [_object(view, place) for place in range(len(view.scene.things))]
    known = coco_image(view)
    image = {key: known[key] for key in ("file_name", "coco_url", "height", "width", "flickr_url", "id")}
    for number, game in enumerate(games):
        id_ = view.picture.index * _MOST_GAMES + number
        record = {
            "status": game.status,
            "qas": [
                {"answer": turn.answer, "question": turn.question, "id": id_ * _MOST_TURNS + place}
                for place, turn in enumerate(game.turns)
            ],
            "questioner_id": 1 + id_ % 997,
            "timestamp": f"2016-07-{1 + id_ % 28:02d} {id_ % 24:02d}:{id_ % 60:02d}:03",
            "image": image,
            "object_id": view.thing_id(game.target),
            "objects": objects,
            "id": id_,
        }
        sheet.add(f"guesswhat/guesswhat.{view.split('guesswhat')}.jsonl.gz", record)
    return len(games)


def _object(view: View, place: int) -> dict[str, object]:
    thing, bbox = view.scene.things[place], view.xywh(place)
    return {
        "category": thing.kind,
        "area": round(bbox[2] * bbox[3], 4),
        "bbox": bbox,
        "category_id": CATEGORIES[thing.kind],
        "segment": [polygon(thing.box_px)],
        "id": view.thing_id(place),
    }
