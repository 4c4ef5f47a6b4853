"""Captions as five different people would write them: COCO-like (terse) and Flickr30k-like (whole sentences).

A caption mentions one to four things, the larger and the related ones rather than the others, some of their looks,
how they stand to each other and often the place: enough to tell most pictures apart. Every fact in it is true of the
scene. Paper: section 2.1, G2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from twelvefold.world.categories import BACKGROUND, KIND
from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import Caption, CaptionStyle
from twelvefold.world.text.description import Description, View, holds
from twelvefold.world.text.lexicon import CLASSES, NUMBERS, RELATION_WORDS, chance, pick, sentence, words_of
from twelvefold.world.text.realize import say

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
    things: tuple[int, ...]


def captions(
    scene: Scene, rng: np.random.Generator, count: int = 5, style: CaptionStyle = "coco"
) -> tuple[Caption, ...]:
    """``count`` different captions of the picture."""
    view = View(scene)
    found: dict[str, Caption] = {}
    while len(found) < count:
        caption = _caption(view, style, rng)
        found.setdefault(caption.raw, caption)
    return tuple(found.values())


def _caption(view: View, style: CaptionStyle, rng: np.random.Generator) -> Caption:
    parts = _parts(view, pick(rng, MENTIONS[style]), style, rng)
    where = _place(view, rng) if chance(rng, 0.72) else ""
    text = _terse(parts, where, rng) if style == "coco" and chance(rng, 0.6) else _whole(parts, where, rng)
    raw = sentence(text, pick(rng, (".", ".", ".", " .", "")) if style == "coco" else pick(rng, (".", ".", " .")))
    return Caption(raw, words_of(raw), tuple(dict.fromkeys(i for part in parts for i in part.things)))


def _place(view: View, rng: np.random.Generator) -> str:
    place = BACKGROUND[view.scene.background]
    return pick(rng, (place.phrase, place.phrase, *place.words))


def _salient(view: View, rng: np.random.Generator) -> list[int]:
    """Things, the one a person would mention first in front: large or related ones, with some chance in it."""
    weights = [
        view.area[i] ** 0.5 * (1.3 if i in view.partners else 1.0) * (0.5 + rng.random()) for i in range(view.count)
    ]
    return sorted(range(view.count), key=weights.__getitem__, reverse=True)


def _parts(view: View, wanted: int, style: CaptionStyle, rng: np.random.Generator) -> list[_Part]:
    parts: list[_Part] = []
    seen: set[int] = set()
    order = _salient(view, rng)
    for index in order:
        if index in seen:
            continue
        room = wanted - len(seen)
        if room < 1:
            break
        same = view.by_kind[view.things[index].kind]
        partner = view.partner(index)
        if len(same) > 1 and not seen & set(same) and chance(rng, 0.45):
            part = _several(view, same, rng)
        elif room > 1 and partner is not None and partner[1] not in seen and chance(rng, 0.8):
            part = _pair(view, index, partner[0], partner[1], style, rng)
        else:
            other = next((i for i in order if i not in seen and i != index), None)
            side = _side(view, index, other) if other is not None and room > 1 and chance(rng, 0.35) else ""
            if side and other is not None:
                part = _pair(view, index, side, other, style, rng)
            else:
                part = _Part(_thing(view, index, rng), False, (index,))
        parts.append(part)
        seen.update(part.things)
    return parts


def _side(view: View, a: int, b: int) -> str:
    return next((name for name in ("left of", "right of") if holds(view, name, a, b)), "")


def _looks(view: View, index: int, rng: np.random.Generator) -> Description:
    """What a person says of a thing's looks: often its colour, a pattern where there is one, seldom the size."""
    thing = view.things[index]
    what = Description(kind=thing.kind)
    if thing.kind in CLASSES["animal"].members and chance(rng, 0.06):
        what = Description(class_="animal")
    if chance(rng, 0.72):
        what = replace(what, colour=thing.colour)
    if thing.pattern != "plain" and chance(rng, 0.45):
        what = replace(what, pattern=thing.pattern)
    if thing.size != "medium" and chance(rng, 0.3):
        what = replace(what, size=thing.size)
    return what


def _thing(view: View, index: int, rng: np.random.Generator, article: str = "a") -> str:
    return say(_looks(view, index, rng), rng, article)


def _several(view: View, same: list[int], rng: np.random.Generator) -> _Part:
    """All things of one kind at once: ``two red dogs`` where all of them are red, else ``two dogs``."""
    what = Description(kind=view.things[same[0]].kind)
    colours = {view.things[i].colour for i in same}
    if len(colours) == 1:
        what = replace(what, colour=colours.pop())
    number = (
        NUMBERS[len(same)]
        if chance(rng, 0.8)
        else pick(rng, ("a pair of", "a couple of") if len(same) == 2 else ("a group of", "several"))
    )
    tail = ""
    if len(same) == 2 and what.colour == "" and chance(rng, 0.6):
        first, second = (view.things[i].colour for i in same)
        tail = f", one {first} and one {second}"
    return _Part(f"{number} {say(what, rng, '', plural=True)}{tail}", True, tuple(same))


def _pair(view: View, a: int, name: str, b: int, style: CaptionStyle, rng: np.random.Generator) -> _Part:
    does = _does(view, a, rng) + " " if chance(rng, 0.6 if style == "flickr" else 0.35) else ""
    link = pick(rng, RELATION_WORDS[name])
    same_kind = view.things[a].kind == view.things[b].kind and chance(rng, 0.7)
    other = _another(view, b, rng) if same_kind else _thing(view, b, rng)
    return _Part(f"{_thing(view, a, rng)} {does}{link} {other}", False, (a, b))


def _another(view: View, index: int, rng: np.random.Generator) -> str:
    colour = view.things[index].colour
    return pick(
        rng, (f"a {colour} one" if colour != "orange" else "an orange one", "another " + _thing(view, index, rng, ""))
    )


def _does(view: View, index: int, rng: np.random.Generator) -> str:
    category = KIND[view.things[index].kind].category
    return pick(rng, {"animal": ANIMAL_DOES, "vehicle": VEHICLE_DOES}.get(category, THING_DOES))


def _joined(parts: list[_Part], rng: np.random.Generator) -> str:
    texts = [part.text for part in parts]
    if len(texts) == 1:
        return texts[0]
    if len(texts) == 2:
        link = pick(rng, (" and ", " and ", " with ", ", and ", " as well as ", " along with "))
        return texts[0] + ("," + link.lstrip(",") if ", one " in texts[0] else link) + texts[1]
    return ", ".join(texts[:-1]) + pick(rng, (" and ", ", and ", " and also ")) + texts[-1]


def _terse(parts: list[_Part], where: str, rng: np.random.Generator) -> str:
    text = _joined(parts, rng)
    frame = pick(
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
    if where and chance(rng, 0.3):
        verb = "there are" if several and first.plural else "there is"
        return pick(rng, (f"{where}, {verb} {text}", f"{where} {verb} {text}", f"{where} you can see {text}"))
    if len(parts) == 1 and len(first.things) == 1:
        return f"{text} is {pick(rng, ('standing', 'shown', 'seen', 'placed'))} {where or 'here'}"
    if several:
        verb = pick(rng, ("are", "can be seen", "are shown", "are together"))
        return (
            f"{text} {verb} {where}"
            if where
            else f"{text} {pick(rng, ('can be seen', 'are in the picture', 'are shown here'))}"
        )
    return f"{text} {where}".rstrip()
