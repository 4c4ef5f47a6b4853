"""GuessWhat's files: one game a line, gzipped; all games, whatever their end."""

from __future__ import annotations

from typing import Final

from twelvefold.world.formats.captions import coco_image
from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import CATEGORY_IDS, SourceImage, how_many, polygon
from twelvefold.world.text.guesswhat import generate_dialogues

LAYOUTS: Final = tuple(
    Layout(f"guesswhat/guesswhat.{split}.jsonl.gz", "lines.gz") for split in ("train", "valid", "test")
)

TRAIN, TESTED, TEST, VAL = 7, 3, 8, 8
_MOST_GAMES, _MOST_TURNS = 32, 64


def write(source: SourceImage, shard: AnnotationShard) -> int:
    """One picture's games; how many."""
    count = how_many(source, "guesswhat", train=TRAIN, tested=TESTED, test=TEST, val=VAL)
    games = generate_dialogues(source.scene, source.rng("guesswhat"), count)
    objects = [_object(source, place) for place in range(len(source.scene.objects))]
    known = coco_image(source)
    image = {key: known[key] for key in ("file_name", "coco_url", "height", "width", "flickr_url", "id")}
    for number, game in enumerate(games):
        id_ = source.picture.index * _MOST_GAMES + number
        record = {
            "status": game.status,
            "qas": [
                {"answer": turn.answer, "question": turn.question, "id": id_ * _MOST_TURNS + place}
                for place, turn in enumerate(game.turns)
            ],
            "questioner_id": 1 + id_ % 997,
            "timestamp": f"2016-07-{1 + id_ % 28:02d} {id_ % 24:02d}:{id_ % 60:02d}:03",
            "image": image,
            "object_id": source.object_id(game.target),
            "objects": objects,
            "id": id_,
        }
        shard.add(f"guesswhat/guesswhat.{source.split('guesswhat')}.jsonl.gz", record)
    return len(games)


def _object(source: SourceImage, place: int) -> dict[str, object]:
    obj, bbox = source.scene.objects[place], source.xywh(place)
    return {
        "category": obj.category,
        "area": round(bbox[2] * bbox[3], 4),
        "bbox": bbox,
        "category_id": CATEGORY_IDS[obj.category],
        "segment": [polygon(obj.box_px)],
        "id": source.object_id(place),
    }
