"""GQA's files: balanced and all questions of train, val and testdev, and scene graphs for the first two."""

from __future__ import annotations

from typing import Final

from twelvefold.world.categories import BACKGROUND_BY_NAME
from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import SourceImage, how_many
from twelvefold.world.text.annotations import GqaQuestion
from twelvefold.world.text.gqa import generate_gqa_questions

TRAIN, TESTED, TEST = 20, 10, 9
_FILES: Final = {"train": "train", "val": "val", "minval": "val", "testdev": "testdev"}
LAYOUTS: Final = (
    *(Layout(f"gqa/{split}_{which}_questions.json", "dict") for split in ("train", "val", "testdev")
      for which in ("balanced", "all")),
    *(Layout(f"gqa/{split}_sceneGraphs.json", "dict") for split in ("train", "val")),
)  # fmt: skip


def write(source: SourceImage, shard: AnnotationShard) -> int:
    """The questions of one picture, and its scene graph; how many of the balanced questions."""
    split = _FILES[source.split("gqa")]
    count = how_many(source, "gqa", train=TRAIN, tested=TESTED, test=TEST)
    questions = generate_gqa_questions(source.scene, source.rng("gqa"), count)
    image_id = source.picture.name or str(source.picture.vg)
    ids = [f"{source.picture.gqa_rank * 100 + number + 1:08d}" for number in range(len(questions))]
    for id_, q in zip(ids, questions, strict=True):
        record = (id_, _question(q, id_, ids, image_id))
        shard.add(f"gqa/{split}_all_questions.json", record)
        if q.is_balanced:
            shard.add(f"gqa/{split}_balanced_questions.json", record)
    if split != "testdev":
        shard.add(f"gqa/{split}_sceneGraphs.json", (image_id, _scene_graph(source)))
    return sum(q.is_balanced for q in questions)


def _question(q: GqaQuestion, id_: str, ids: list[str], image_id: str) -> dict[str, object]:
    return {
        "semantic": [
            {"operation": step.operation, "dependencies": list(step.dependencies), "argument": step.argument}
            for step in q.semantic
        ],
        "entailed": [ids[place] for place in q.entailed],
        "equivalent": [ids[place] for place in q.equivalent] or [id_],
        "question": q.question,
        "imageId": image_id,
        "isBalanced": q.is_balanced,
        "groups": {"global": q.group_global, "local": q.group_local},
        "answer": q.answer,
        "semanticStr": q.semantic_str,
        "annotations": {
            "answer": {span: str(place) for span, place in q.answer_pointers},
            "question": {span: str(place) for span, place in q.question_pointers},
            "fullAnswer": {span: str(place) for span, place in q.full_answer_pointers},
        },
        "types": {"detailed": q.detailed, "semantic": q.semantic_type, "structural": q.structural},
        "fullAnswer": q.full_answer,
    }


def _scene_graph(source: SourceImage) -> dict[str, object]:
    """Objects by id, the place in the scene: what the questions' programs and pointers name them by."""
    objects = {}
    for place, obj in enumerate(source.scene.objects):
        x, y, width, height = source.whole_xywh(place)
        relations = [] if obj.relation is None else [{"name": obj.relation[0], "object": str(obj.relation[1])}]
        attributes = [obj.color, obj.size] + ([obj.pattern] if obj.pattern != "plain" else [])
        objects[str(place)] = {
            "name": obj.category, "x": x, "y": y, "w": width, "h": height,
            "attributes": attributes, "relations": relations,
        }  # fmt: skip
    scene = source.scene
    location = BACKGROUND_BY_NAME[scene.background].noun
    return {"width": scene.width, "height": scene.height, "location": location, "objects": objects}
