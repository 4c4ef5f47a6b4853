"""Captions in the styles of COCO (terse) and Flickr30k (whole sentences). Paper: section 2.1, G2.

A caption mentions one to four objects, mostly large or related ones, with some attributes and relations and often the
background: enough to tell most images apart. All its facts are true of the scene.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final, NamedTuple

from numpy.random import Generator

from twelvefold.world.categories import BACKGROUND_BY_NAME, CATEGORY_BY_NAME
from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import CaptionStyle
from twelvefold.world.text.description import ObjectDescription
from twelvefold.world.text.lexicon import HYPERNYMS, NUMBER_WORDS, RELATION_WORDS, add_article, to_sentence
from twelvefold.world.text.realize import realize
from twelvefold.world.text.sampling import bernoulli, choice, collect_distinct, fill
from twelvefold.world.text.scene_graph import SceneGraph

NUM_MENTIONS: Final[dict[CaptionStyle, tuple[int, ...]]] = {
    "coco": (1, 2, 2, 2, 3, 3, 4),
    "flickr": (2, 2, 2, 3, 3, 3, 4),
}
"""The smallest number of objects that a caption mentions is drawn from these."""

_POSTURES: Final = {
    "animal": "standing | sitting | resting | waiting | posing | relaxing",
    "vehicle": "parked | standing | waiting | stopped",
}
_OTHER_POSTURES: Final = "lying | standing | resting | placed | seen"


class Mention(NamedTuple):
    """A phrase of a caption and the objects that it is about; the background has none."""

    text: str
    objects: tuple[int, ...]


class Caption(NamedTuple):
    """A caption and the phrases that it mentions something with, in their order."""

    text: str
    mentions: tuple[Mention, ...]


class _Part(NamedTuple):
    """A part of a caption: its words, whether they are plural, and what it mentions."""

    text: str
    is_plural: bool
    mentions: tuple[Mention, ...]

    @property
    def objects(self) -> tuple[int, ...]:
        return tuple(index for mention in self.mentions for index in mention.objects)


def generate_captions(scene: Scene, rng: Generator, count: int = 5, style: CaptionStyle = "coco") -> tuple[str, ...]:
    """Return ``count`` different captions of the scene."""
    return tuple(caption.text for caption in generate_marked_captions(scene, rng, count, style))


def generate_marked_captions(
    scene: Scene, rng: Generator, count: int = 5, style: CaptionStyle = "coco"
) -> tuple[Caption, ...]:
    """Return the captions of :func:`generate_captions` with what their phrases are about."""
    graph = SceneGraph(scene)
    return collect_distinct(lambda: _sample(graph, style, rng), lambda caption: caption.text, count)


def _sample(graph: SceneGraph, style: CaptionStyle, rng: Generator) -> Caption:
    parts = _make_parts(graph, choice(rng, NUM_MENTIONS[style]), style, rng)
    where = ""
    if bernoulli(rng, 0.72):
        background = BACKGROUND_BY_NAME[graph.scene.background]
        where = choice(rng, (background.phrase, background.phrase, *background.synonyms))
    is_terse = style == "coco" and bernoulli(rng, 0.6)
    text = _join_tersely(parts, where, rng) if is_terse else _join_as_sentence(parts, where, rng)
    mentions = [mention for part in parts for mention in part.mentions]
    if scenery := re.search(r"\b(a|an|the) .+", where):
        mentions.insert(0 if text.startswith(where) else len(mentions), Mention(scenery[0], ()))
    end = choice(rng, (".", ".", ".", " .", "") if style == "coco" else (".", ".", " ."))
    return Caption(to_sentence(text, end), tuple(mentions))


def _sort_by_salience(graph: SceneGraph, rng: Generator) -> list[int]:
    """Return the objects in a random order in which large and related ones tend to come first."""
    weights = [
        area**0.5 * (1.3 if index in graph.partners else 1.0) * (0.5 + rng.random())
        for index, area in enumerate(graph.area)
    ]
    return sorted(range(graph.num_objects), key=weights.__getitem__, reverse=True)


def _make_parts(graph: SceneGraph, num_mentions: int, style: CaptionStyle, rng: Generator) -> list[_Part]:
    parts: list[_Part] = []
    mentioned: set[int] = set()
    order = _sort_by_salience(graph, rng)
    for index in order:
        if index in mentioned:
            continue
        remaining = num_mentions - len(mentioned)
        if remaining < 1:
            break
        same = graph.by_category[graph.objects[index].category]
        relation, partner = graph.partners.get(index, ("", index))
        if len(same) > 1 and not mentioned & set(same) and bernoulli(rng, 0.45):
            part = _mention_group(graph, same, rng)
        elif remaining > 1 and partner not in {*mentioned, index} and bernoulli(rng, 0.8):
            part = _mention_pair(graph, index, relation, partner, style, rng)
        else:
            other = next((i for i in order if i not in mentioned and i != index), index)
            side = _side_of(graph, index, other) if other != index and remaining > 1 and bernoulli(rng, 0.35) else ""
            if side:
                part = _mention_pair(graph, index, side, other, style, rng)
            else:
                text = _mention(graph, index, rng)
                part = _Part(text, False, (Mention(text, (index,)),))
        parts.append(part)
        mentioned.update(part.objects)
    return parts


def _side_of(graph: SceneGraph, a: int, b: int) -> str:
    return next((name for name in ("left of", "right of") if graph.relation_holds(name, a, b)), "")


def _mention(graph: SceneGraph, index: int, rng: Generator, article: str = "a") -> str:
    """Mention an object: often with its color, sometimes with its pattern or size."""
    obj = graph.objects[index]
    description = ObjectDescription(category=obj.category)
    if obj.category in HYPERNYMS["animal"].members and bernoulli(rng, 0.06):
        description = ObjectDescription(hypernym="animal")
    if bernoulli(rng, 0.72):
        description = replace(description, color=obj.color)
    if obj.pattern != "plain" and bernoulli(rng, 0.45):
        description = replace(description, pattern=obj.pattern)
    if obj.size != "medium" and bernoulli(rng, 0.3):
        description = replace(description, size=obj.size)
    return realize(description, rng, article)


def _mention_group(graph: SceneGraph, same: list[int], rng: Generator) -> _Part:
    """Mention all objects of a category: ``two red dogs`` where all of them are red, else ``two dogs``."""
    colors = [graph.objects[i].color for i in same]
    color = colors[0] if len(set(colors)) == 1 else ""
    if bernoulli(rng, 0.8):
        number = NUMBER_WORDS[len(same)]
    else:
        number = fill(rng, "a pair of | a couple of" if len(same) == 2 else "a group of | several")
    tail = ""
    if len(same) == 2 and not color and bernoulli(rng, 0.6):
        tail = f", one {colors[0]} and one {colors[1]}"
    description = ObjectDescription(category=graph.objects[same[0]].category, color=color)
    text = f"{number} {realize(description, rng, '', plural=True)}"
    return _Part(text + tail, True, (Mention(text, tuple(same)),))


def _mention_pair(graph: SceneGraph, a: int, relation: str, b: int, style: CaptionStyle, rng: Generator) -> _Part:
    posture = ""
    if bernoulli(rng, 0.6 if style == "flickr" else 0.35):
        supercategory = CATEGORY_BY_NAME[graph.objects[a].category].supercategory
        posture = fill(rng, _POSTURES.get(supercategory, _OTHER_POSTURES)) + " "
    preposition = fill(rng, RELATION_WORDS[relation])
    if graph.objects[a].category == graph.objects[b].category and bernoulli(rng, 0.7):
        other = f"{add_article(graph.objects[b].color)} one", "another " + _mention(graph, b, rng, "")
        second = choice(rng, other)
    else:
        second = _mention(graph, b, rng)
    first = _mention(graph, a, rng)
    mentions = Mention(first, (a,)), Mention(second, (b,))
    return _Part(f"{first} {posture}{preposition} {second}", False, mentions)


def _join(parts: list[_Part], rng: Generator) -> str:
    *first, last = (part.text for part in parts)
    if not first:
        return last
    if len(first) == 1:
        conjunction = choice(rng, (" and ", " and ", " with ", ", and ", " as well as ", " along with "))
        return first[0] + ("," + conjunction.lstrip(",") if ", one " in first[0] else conjunction) + last
    return ", ".join(first) + choice(rng, (" and ", ", and ", " and also ")) + last


def _join_tersely(parts: list[_Part], where: str, rng: Generator) -> str:
    text = _join(parts, rng)
    verb = "are" if parts[0].is_plural else "is"
    close_up = "a close up of " if len(parts) == 1 else ""
    templates = (
        "{text} | {text} | {text} | there {verb} {text} | a picture of {text} | a photo of {text} | {close_up}{text} | "
        "an image with {text}"
    )
    return fill(rng, templates, text=text, verb=verb, close_up=close_up) + (f" {where}" if where else "")


def _join_as_sentence(parts: list[_Part], where: str, rng: Generator) -> str:
    """Join the parts with a verb: ``In a kitchen, a red cup is standing on a chair.``"""
    text, first = _join(parts, rng), parts[0]
    if where and bernoulli(rng, 0.3):
        verb = "there are" if first.is_plural else "there is"
        templates = "{where}, {verb} {text} | {where} {verb} {text} | {where} you can see {text}"
        return fill(rng, templates, where=where, verb=verb, text=text)
    if len(parts) == 1 and len(first.objects) == 1:
        return f"{text} is {fill(rng, 'standing | shown | seen | placed')} {where or 'here'}"
    if not first.is_plural and len(parts) == 1:
        return f"{text} {where}".rstrip()
    verb = fill(rng, "are | can be seen | are shown | are together")
    if where:
        return f"{text} {verb} {where}"
    return f"{text} {fill(rng, 'can be seen | are in the picture | are shown here')}"
