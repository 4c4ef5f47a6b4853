"""Visual Genome questions (what, where, when, who, why, how) with free short answers.

Paper: section 2.1, G1. VG QA uses the answer list of VQAv2, so most answers normalize to the same words.
"""

from __future__ import annotations

from typing import Final

from numpy.random import Generator

from twelvefold.world.categories import BACKGROUND_BY_NAME
from twelvefold.world.scene import Scene
from twelvefold.world.text import question_templates as q
from twelvefold.world.text.annotations import VgQuestion
from twelvefold.world.text.description import ObjectDescription
from twelvefold.world.text.lexicon import ABILITIES, HYPERNYMS, PATTERN_NOUNS, add_article, to_sentence
from twelvefold.world.text.sampling import bernoulli, choice, collect_distinct, fill, parse_templates
from twelvefold.world.text.scene_graph import SceneGraph

LONG_ANSWERS: Final = 0.12
"""Share of the location answers that are a phrase (``In a room.``), which VQA's answer list does not contain."""


def generate_vg_questions(scene: Scene, rng: Generator, count: int = 5) -> tuple[VgQuestion, ...]:
    """Return at most ``count`` different questions about the scene."""
    graph = SceneGraph(scene)
    return collect_distinct(lambda: _sample(graph, rng), lambda record: record.question, count, 4 * count)


def _sample(graph: SceneGraph, rng: Generator) -> VgQuestion | None:
    name, templates = choice(rng, TEMPLATES)
    frame = _SAMPLERS[name](graph, rng)
    if frame is None:
        return None
    slots = q.realize_slots(frame, rng, templates)
    if frame.template == "neighbor" and frame.answer in HYPERNYMS["animal"].members and bernoulli(rng, 0.5):
        templates = "who is {relation} {a}"
    answer_text = to_sentence(_ANSWERS.get(name, _short_answer)(frame, rng))
    has_landmark = frame.template in ("neighbor", "occluder")
    return VgQuestion(
        question=to_sentence(fill(rng, templates, **slots), "?"),
        answer=answer_text,
        q_objects=frame.objects[-1:] if has_landmark else frame.objects,
        a_objects=frame.objects[:1] if has_landmark or frame.template == "category" else (),
    )


def _query_by_ability(graph: SceneGraph, rng: Generator) -> q.QuestionFrame | None:
    """Ask for the category of the only object with an ability."""
    for name in (choice(rng, list(ABILITIES)), choice(rng, list(ABILITIES))):
        objects = graph.undisputed_matches(ObjectDescription(ability=name))
        if objects is not None and len(objects) == 1 and len(ABILITIES[name].members) > 3:
            phrase = fill(rng, ABILITIES[name].phrases)
            category = graph.objects[objects[0]].category
            detail = f"{phrase}|{phrase if phrase.endswith('t') else 'in the picture ' + phrase}"
            return q.QuestionFrame("category by ability", category, detail=detail, objects=objects)
    return None


def _query_occluder(graph: SceneGraph, rng: Generator) -> q.QuestionFrame | None:
    """Ask for the object in front of another one."""
    pairs = [pair for pair, name in graph.relations.items() if name == "in front of"]
    if not pairs:
        return None
    front, back = choice(rng, pairs)
    frame = q.QuestionFrame("occluder", graph.objects[front].category, objects=(front, back))
    return q.about_object(graph, rng, frame)


def _short_answer(frame: q.QuestionFrame, rng: Generator) -> str:
    return PATTERN_NOUNS.get(frame.answer, frame.answer)


def _category_answer(frame: q.QuestionFrame, rng: Generator) -> str:
    """``A dog``, ``The dog`` or ``Dog``; VQA's normalization removes articles."""
    return fill(rng, "{an_answer} | the {answer} | {answer}", an_answer=add_article(frame.answer), answer=frame.answer)


def _location_answer(frame: q.QuestionFrame, rng: Generator) -> str:
    if bernoulli(rng, LONG_ANSWERS):
        return f"on the {frame.answer}" if frame.template == "side" else BACKGROUND_BY_NAME[frame.answer].phrase
    return fill(rng, "{answer} | the {answer}", answer=frame.answer)


_SAMPLERS: Final = {**q.SAMPLERS, "ability": _query_by_ability, "occluder": _query_occluder}
_ANSWERS: Final = {
    **dict.fromkeys(("neighbor", "category", "ability", "occluder"), _category_answer),
    **dict.fromkeys(("side", "background"), _location_answer),
}
TEMPLATES: Final = parse_templates(
    """
5 color: what color is {a} | what color is {a} | what is the color of {a} | what color would you call {a}
2 pattern: what is on the surface of {a} | how is {a} decorated | what design does {a} have
2 size: how big is {a} | how large is {a} | what is the size of {a}
8 count: how many {plural} are there | how many {plural} are shown | how many {plural} are in the photo
2 neighbor: what is {relation} {a} | what is sitting {relation} {a}
2 category: what is {a} | what is {a} called
ability: what is there that {first} | what {second}
3 side: where in the picture is {a} | on which side is {a} | where can {a} be seen
2 background: where was the photo taken | where is this scene | where are these objects
    | where was this picture made | what kind of place is this
4 time: when was this picture taken | when was the photo taken | when is this | when did this scene happen
2 occluder: why is {a} partly hidden | why can't you see all of {a} | what is hiding part of {a}
"""
)
"""Counts and times often do not apply, so their weights are higher."""
