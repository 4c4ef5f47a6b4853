"""Flickr30k Entities: the captions of Flickr30k with their phrases marked, and the boxes of what these mention.

A phrase about several objects has several boxes; one about the background is a scene without a box.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from twelvefold.world.categories import CATEGORY_BY_NAME
from twelvefold.world.formats.captions import marked_flickr_captions
from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import SourceImage
from twelvefold.world.text.captions import Caption, Mention

ARCHIVE: Final = "flickr30k_entities/annotations.zip"
LAYOUTS: Final = (
    Layout(ARCHIVE, "zip"),
    *(Layout(f"flickr30k_entities/{split}.txt", "text") for split in ("train", "val", "test")),
)
SPLITS_OF: Final = "flickr30k"
"""The task that has the same images and splits."""

_TYPES: Final = {"animal": "animals", "vehicle": "vehicles"}
"""Supercategory -> type of phrase. Others are ``other``."""
_KEYS: Final = ("x", "y", "w", "h")


def write(image: SourceImage, shard: AnnotationShard) -> int:
    """Add an image's two files and its line of the split's list, and return the number of phrases with a box."""
    captions = marked_flickr_captions(image)
    mentions = [mention for caption in captions for mention in caption.mentions]
    ids = {objects: str(n) for n, objects in enumerate(dict.fromkeys(m.objects for m in mentions), start=1)}
    sentences = "".join(_mark(image, caption, ids) + "\n" for caption in captions)
    shard.add(ARCHIVE, (f"Sentences/{image.planned.name}.txt", sentences))
    shard.add(ARCHIVE, (f"Annotations/{image.planned.name}.xml", _annotation(image, ids)))
    shard.add(f"flickr30k_entities/{image.split(SPLITS_OF)}.txt", image.planned.name)
    return sum(bool(mention.objects) for mention in mentions)


def _mark(image: SourceImage, caption: Caption, ids: dict[tuple[int, ...], str]) -> str:
    """Return the caption with its phrases marked: ``[/EN#1/animals A black dog] on [/EN#2/scene a beach] .``"""
    text, position, parts = caption.text.strip(), 0, list[str]()
    for mention in caption.mentions:
        match = re.compile(rf"\b{re.escape(mention.text)}\b", re.IGNORECASE).search(text, position)
        if match is None:
            raise ValueError(f"the phrase {mention.text!r} is not in the caption {text!r}")
        mark = f"[/EN#{ids[mention.objects]}/{_phrase_type(image, mention)} {match[0]}]"
        parts += [_split_punctuation(text[position : match.start()]), mark]
        position = match.end()
    parts.append(_split_punctuation(text[position:]))
    return " ".join(part for part in parts if part)


def _split_punctuation(text: str) -> str:
    return " ".join(re.sub(r"([,.])", r" \1 ", text).split())


def _phrase_type(image: SourceImage, mention: Mention) -> str:
    if not mention.objects:
        return "scene"
    category = CATEGORY_BY_NAME[image.scene.objects[mention.objects[0]].category]
    return _TYPES.get(category.supercategory, "other")


def _annotation(image: SourceImage, ids: dict[tuple[int, ...], str]) -> str:
    """Return the XML of an image, with an object for each box and one for its scene."""
    scene = image.scene
    size = (("width", scene.width), ("height", scene.height), ("depth", 3))
    lines = ["<annotation>", f"\t<filename>{image.planned.name}.jpg</filename>", *_element("size", size)]
    for index in range(len(scene.objects)):
        if names := [id_ for objects, id_ in ids.items() if index in objects]:
            left, top, width, height = image.integer_xywh(index, _KEYS).values()
            corners = (("xmin", left + 1), ("ymin", top + 1), ("xmax", left + width), ("ymax", top + height))
            lines += _object(names, _element("bndbox", corners, "\t\t"))
    if () in ids:
        lines += _object([ids[()]], ["\t\t<scene>1</scene>", "\t\t<nobndbox>0</nobndbox>"])
    return "\n".join([*lines, "</annotation>"]) + "\n"


def _object(names: Sequence[str], content: Sequence[str]) -> Iterator[str]:
    yield "\t<object>"
    yield from (f"\t\t<name>{name}</name>" for name in names)
    yield from content
    yield "\t</object>"


def _element(name: str, content: Sequence[tuple[str, int]], indent: str = "\t") -> list[str]:
    inner = [f"{indent}\t<{tag}>{value}</{tag}>" for tag, value in content]
    return [f"{indent}<{name}>", *inner, f"{indent}</{name}>"]
