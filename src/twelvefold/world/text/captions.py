"""Captions as five different people would write them: COCO-like (terse) and Flickr30k-like (whole sentences).

A caption mentions one to four things, the larger and the related ones rather than the others, some of their looks,
how they stand to each other and often the place: enough to tell most pictures apart. Every fact in it is true of the
scene. Paper: section 2.1, G2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from twelvefold.world.categories import BACKGROUND_BY_NAME, CATEGORY_BY_NAME
from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import Caption, CaptionStyle
from twelvefold.world.text.description import Description, SceneGraph, holds
from twelvefold.world.text.lexicon import CLASSES, NUMBERS, RELATION_WORDS, bernoulli, choice, sentence, tokenize
from twelvefold.world.text.realize import realize

MENTIONS: Final[dict[CaptionStyle, tuple[int, ...]]] = {
    "coco": (1, 2, 2, 2, 3, 3, 4),
    "flickr": (2, 2, 2, 3, 3, 3, 4),
}
"""How many things a caption mentions at least, drawn from these."""

ANIMAL_DOES: Final = ("standing", "sitting", "resting", "waiting", "posing", "relaxing")
VEHICLE_DOES: Final = ("parked", "standing", "waiting", "stopped")
THING_DOES: Final = ("lying", "standing", "resting", "placed", "seen")


class _Part(NamedTuple):
    """A piece of a caption: words, whether it speaks of several, and the things it mentions."""

    text: str
    plural: bool
    objects: tuple[int, ...]


def generate_captions(
    scene: Scene, rng: np.random.Generator, count: int = 5, style: CaptionStyle = "coco"
) -> tuple[Caption, ...]:
    """``count`` different captions of the picture."""
    graph = SceneGraph(scene)
    found: dict[str, Caption] = {}
    while len(found) < count:
        caption = _caption(graph, style, rng)
        found.setdefault(caption.raw, caption)
    return tuple(found.values())


def _caption(graph: SceneGraph, style: CaptionStyle, rng: np.random.Generator) -> Caption:
    parts = _parts(graph, choice(rng, MENTIONS[style]), style, rng)
    where = _place(graph, rng) if bernoulli(rng, 0.72) else ""
    text = _terse(parts, where, rng) if style == "coco" and bernoulli(rng, 0.6) else _whole(parts, where, rng)
    raw = sentence(text, choice(rng, (".", ".", ".", " .", "")) if style == "coco" else choice(rng, (".", ".", " .")))
    return Caption(raw, tokenize(raw), tuple(dict.fromkeys(i for part in parts for i in part.objects)))


def _place(graph: SceneGraph, rng: np.random.Generator) -> str:
    place = BACKGROUND_BY_NAME[graph.scene.background]
    return choice(rng, (place.phrase, place.phrase, *place.words))


def _salient(graph: SceneGraph, rng: np.random.Generator) -> list[int]:
    """Things, the one a person would mention first in front: large or related ones, with some chance in it."""
    weights = [
        graph.area[i] ** 0.5 * (1.3 if i in graph.partners else 1.0) * (0.5 + rng.random()) for i in range(graph.count)
    ]
    return sorted(range(graph.count), key=weights.__getitem__, reverse=True)


def _parts(graph: SceneGraph, wanted: int, style: CaptionStyle, rng: np.random.Generator) -> list[_Part]:
    parts: list[_Part] = []
    seen: set[int] = set()
    order = _salient(graph, rng)
    for index in order:
        if index in seen:
            continue
        room = wanted - len(seen)
        if room < 1:
            break
        same = graph.by_category[graph.objects[index].category]
        partner = graph.partner(index)
        if len(same) > 1 and not seen & set(same) and bernoulli(rng, 0.45):
            part = _several(graph, same, rng)
        elif room > 1 and partner is not None and partner[1] not in seen and bernoulli(rng, 0.8):
            part = _pair(graph, index, partner[0], partner[1], style, rng)
        else:
            other = next((i for i in order if i not in seen and i != index), None)
            side = _side(graph, index, other) if other is not None and room > 1 and bernoulli(rng, 0.35) else ""
            if side and other is not None:
                part = _pair(graph, index, side, other, style, rng)
            else:
                part = _Part(_object(graph, index, rng), False, (index,))
        parts.append(part)
        seen.update(part.objects)
    return parts


def _side(graph: SceneGraph, a: int, b: int) -> str:
    return next((name for name in ("left of", "right of") if holds(graph, name, a, b)), "")


def _looks(graph: SceneGraph, index: int, rng: np.random.Generator) -> Description:
    """What a person says of a thing's looks: often its colour, a pattern where there is one, seldom the size."""
    obj = graph.objects[index]
    description = Description(category=obj.category)
    if obj.category in CLASSES["animal"].members and bernoulli(rng, 0.06):
        description = Description(class_="animal")
    if bernoulli(rng, 0.72):
        description = replace(description, color=obj.color)
    if obj.pattern != "plain" and bernoulli(rng, 0.45):
        description = replace(description, pattern=obj.pattern)
    if obj.size != "medium" and bernoulli(rng, 0.3):
        description = replace(description, size=obj.size)
    return description


def _object(graph: SceneGraph, index: int, rng: np.random.Generator, article: str = "a") -> str:
    return realize(_looks(graph, index, rng), rng, article)


def _several(graph: SceneGraph, same: list[int], rng: np.random.Generator) -> _Part:
    """All things of one kind at once: ``two red dogs`` where all of them are red, else ``two dogs``."""
    description = Description(category=graph.objects[same[0]].category)
    colors = {graph.objects[i].color for i in same}
    if len(colors) == 1:
        description = replace(description, color=colors.pop())
    number = (
        NUMBERS[len(same)]
        if bernoulli(rng, 0.8)
        else choice(rng, ("a pair of", "a couple of") if len(same) == 2 else ("a group of", "several"))
    )
    tail = ""
    if len(same) == 2 and description.color == "" and bernoulli(rng, 0.6):
        first, second = (graph.objects[i].color for i in same)
        tail = f", one {first} and one {second}"
    return _Part(f"{number} {realize(description, rng, '', plural=True)}{tail}", True, tuple(same))


def _pair(graph: SceneGraph, a: int, name: str, b: int, style: CaptionStyle, rng: np.random.Generator) -> _Part:
    does = _does(graph, a, rng) + " " if bernoulli(rng, 0.6 if style == "flickr" else 0.35) else ""
    link = choice(rng, RELATION_WORDS[name])
    same_category = graph.objects[a].category == graph.objects[b].category and bernoulli(rng, 0.7)
    other = _another(graph, b, rng) if same_category else _object(graph, b, rng)
    return _Part(f"{_object(graph, a, rng)} {does}{link} {other}", False, (a, b))


def _another(graph: SceneGraph, index: int, rng: np.random.Generator) -> str:
    color = graph.objects[index].color
    return choice(
        rng, (f"a {color} one" if color != "orange" else "an orange one", "another " + _object(graph, index, rng, ""))
    )


def _does(graph: SceneGraph, index: int, rng: np.random.Generator) -> str:
    supercategory = CATEGORY_BY_NAME[graph.objects[index].category].supercategory
    return choice(rng, {"animal": ANIMAL_DOES, "vehicle": VEHICLE_DOES}.get(supercategory, THING_DOES))


def _joined(parts: list[_Part], rng: np.random.Generator) -> str:
    texts = [part.text for part in parts]
    if len(texts) == 1:
        return texts[0]
    if len(texts) == 2:
        link = choice(rng, (" and ", " and ", " with ", ", and ", " as well as ", " along with "))
        return texts[0] + ("," + link.lstrip(",") if ", one " in texts[0] else link) + texts[1]
    return ", ".join(texts[:-1]) + choice(rng, (" and ", ", and ", " and also ")) + texts[-1]


def _terse(parts: list[_Part], where: str, rng: np.random.Generator) -> str:
    text = _joined(parts, rng)
    frame = choice(
        rng,
        (
            "{}",
            "{}",
            "{}",
            "there is {}" if not parts[0].plural else "there are {}",
            "a picture of {}",
            "a photo of {}",
            "a close up of {}" if len(parts) == 1 else "{}",
            "an image with {}",
        ),
    )
    return frame.format(text) + (f" {where}" if where else "")


def _whole(parts: list[_Part], where: str, rng: np.random.Generator) -> str:
    """A sentence with a verb: ``In a kitchen, a red cup is standing on a chair.``"""
    text, first = _joined(parts, rng), parts[0]
    several = first.plural or len(parts) > 1
    if where and bernoulli(rng, 0.3):
        verb = "there are" if several and first.plural else "there is"
        return choice(rng, (f"{where}, {verb} {text}", f"{where} {verb} {text}", f"{where} you can see {text}"))
    if len(parts) == 1 and len(first.objects) == 1:
        return f"{text} is {choice(rng, ('standing', 'shown', 'seen', 'placed'))} {where or 'here'}"
    if several:
        verb = choice(rng, ("are", "can be seen", "are shown", "are together"))
        return (
            f"{text} {verb} {where}"
            if where
            else f"{text} {choice(rng, ('can be seen', 'are in the picture', 'are shown here'))}"
        )
    return f"{text} {where}".rstrip()
