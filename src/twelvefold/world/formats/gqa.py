"""GQA's files: balanced and all questions of train, val and testdev, and scene graphs of train and val."""

from __future__ import annotations

from typing import Final

from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import SourceImage
from twelvefold.world.text.annotations import GqaQuestion, Pointers
from twelvefold.world.text.gqa.program import format_program
from twelvefold.world.text.gqa.questions import generate_gqa_questions
from twelvefold.world.text.lexicon import tokenize

_FILES: Final = {"train": "train", "val": "val", "minval": "val", "testdev": "testdev"}
LAYOUTS: Final = (
    *(Layout(f"gqa/{split}_{part}_questions.json", "dict") for split in ("train", "val", "testdev")
      for part in ("balanced", "all")),
    *(Layout(f"gqa/{split}_sceneGraphs.json", "dict") for split in ("train", "val")),
)  # fmt: skip


def write(image: SourceImage, shard: AnnotationShard) -> int:
    """Add an image's questions and scene graph, and return the number of balanced questions."""
    split = _FILES[image.split("gqa")]
    questions = generate_gqa_questions(image.scene, image.rng("gqa"), image.num_examples("gqa"))
    image_id = image.planned.name or str(image.planned.vg_id)
    ids = [f"{image.planned.gqa_rank * 100 + number + 1:08d}" for number in range(len(questions))]
    for id_, question in zip(ids, questions, strict=True):
        record = (id_, _question(question, ids, image_id))
        shard.add(f"gqa/{split}_all_questions.json", record)
        if question.is_balanced:
            shard.add(f"gqa/{split}_balanced_questions.json", record)
    if split != "testdev":
        shard.add(f"gqa/{split}_sceneGraphs.json", (image_id, _scene_graph(image)))
    return sum(question.is_balanced for question in questions)


def _question(question: GqaQuestion, ids: list[str], image_id: str) -> dict[str, object]:
    structural, semantic, detailed = question.types
    global_group, local_group = question.groups
    return {
        "semantic": [
            {"operation": step.operation, "dependencies": list(step.dependencies), "argument": step.argument}
            for step in question.semantic
        ],
        "entailed": [ids[index] for index in question.entailed],
        "equivalent": [ids[index] for index in question.equivalent],
        "question": question.question,
        "imageId": image_id,
        "isBalanced": question.is_balanced,
        "groups": {"global": global_group, "local": local_group},
        "answer": question.answer,
        "semanticStr": format_program(question.semantic),
        "annotations": {
            "answer": {},
            "question": _spans(question.question, question.pointers),
            "fullAnswer": _spans(question.full_answer, question.pointers),
        },
        "types": {"detailed": detailed, "semantic": semantic, "structural": structural},
        "fullAnswer": question.full_answer,
    }


def _spans(text: str, pointers: Pointers) -> dict[str, str]:
    """Return token span -> object id of each phrase in the text: ``3:5`` for tokens 3 and 4, ``3`` for one token."""
    tokens, spans = tokenize(text), {}
    for phrase, obj in pointers:
        wanted = tokenize(phrase)
        for start in range(len(tokens) - len(wanted) + 1):
            end = start + len(wanted)
            if tokens[start:end] == wanted:
                spans[str(start) if end == start + 1 else f"{start}:{end}"] = str(obj)
                break
    return spans


def _scene_graph(image: SourceImage) -> dict[str, object]:
    """Return the objects by id, their index in the scene, which programs and pointers contain."""
    objects = {}
    for index, obj in enumerate(image.scene.objects):
        objects[str(index)] = {
            "name": obj.category,
            **image.integer_xywh(index, ("x", "y", "w", "h")),
            "attributes": [obj.color, obj.size] + ([obj.pattern] if obj.pattern != "plain" else []),
            "relations": [{"name": obj.relation[0], "object": str(obj.relation[1])}] if obj.relation else [],
        }
    scene = image.scene
    return {"width": scene.width, "height": scene.height, "location": scene.background, "objects": objects}
