"""GuessWhat's files: one game per line, gzipped, with games of every status."""

from __future__ import annotations

from typing import Final

from twelvefold.world.formats.captions import coco_image
from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import CATEGORY_IDS, SourceImage, polygon
from twelvefold.world.text.guesswhat import generate_dialogues

LAYOUTS: Final = tuple(
    Layout(f"guesswhat/guesswhat.{split}.jsonl.gz", "lines.gz") for split in ("train", "valid", "test")
)
_MAX_GAMES, _MAX_TURNS = 32, 64


def write(image: SourceImage, shard: AnnotationShard) -> int:
    """Add an image's games and return their number."""
    games = generate_dialogues(image.scene, image.rng("guesswhat"), image.num_examples("guesswhat"))
    objects = [_object(image, index) for index in range(len(image.scene.objects))]
    entry = coco_image(image)
    entry = {key: entry[key] for key in ("file_name", "coco_url", "height", "width", "flickr_url", "id")}
    for number, game in enumerate(games):
        id_ = image.planned.index * _MAX_GAMES + number
        record = {
            "status": game.status,
            "qas": [
                {"answer": turn.answer, "question": turn.question, "id": id_ * _MAX_TURNS + index}
                for index, turn in enumerate(game.turns)
            ],
            "questioner_id": 1 + id_ % 997,
            "timestamp": f"2016-07-{1 + id_ % 28:02d} {id_ % 24:02d}:{id_ % 60:02d}:03",
            "image": entry,
            "object_id": image.object_id(game.target),
            "objects": objects,
            "id": id_,
        }
        shard.add(f"guesswhat/guesswhat.{image.split('guesswhat')}.jsonl.gz", record)
    return len(games)


def _object(image: SourceImage, index: int) -> dict[str, object]:
    obj, bbox = image.scene.objects[index], image.xywh(index)
    return {
        "category": obj.category,
        "area": round(bbox[2] * bbox[3], 4),
        "bbox": bbox,
        "category_id": CATEGORY_IDS[obj.category],
        "segment": [polygon(obj.box_px)],
        "id": image.object_id(index),
    }
