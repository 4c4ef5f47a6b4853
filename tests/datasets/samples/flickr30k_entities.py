"""Flickr30k Entities in the publishers' files."""

from __future__ import annotations

from typing import Any

from twelvefold.schema import TargetBoxes

from .sample import FirstRecord, Sample

ARCHIVE, LISTS = "flickr30k_entities/annotations.zip", "flickr30k_entities/{}.txt"
FIRST = "Sentences/1000092795.txt"
SIZE = "<size><width>333</width><height>500</height><depth>3</depth></size>"


def xml_object(names: str, *corners: int, scene: int = 0) -> str:
    """Return an ``object`` of an annotation file. ``names``: ids, separated by blanks. ``corners``: none for no box."""
    tags = "".join(f"<name>{name}</name>" for name in names.split())
    if not corners:
        return f"<object>{tags}<scene>{scene}</scene><nobndbox>{1 - scene}</nobndbox></object>"
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    return f"<object>{tags}<bndbox>{''.join(f'<{tag}>{side}</{tag}>' for tag, side in sides)}</bndbox></object>"


def xml_file(*objects: str, size: str = SIZE) -> str:
    """Return an annotation file."""
    return f"<annotation>\n\t<filename>1000092795.jpg</filename>{size}{''.join(objects)}</annotation>\n"


def _make_files() -> dict[str, Any]:
    contents: dict[str, Any] = {}
    for image in ("1000092795", "10002456", "1000268201"):
        contents[f"Sentences/{image}.txt"] = [
            {"text": "Two young guys", "rest": "with [/EN#2/bodyparts shaggy hair] look at [/EN#0/notvisual it] ."},
            {"text": "A man", "rest": "in [/EN#7/clothing a blue shirt] standing in [/EN#9/scene a garden]"},
        ]
        contents[f"Annotations/{image}.xml"] = xml_file(
            xml_object("1", 159, 125, 219, 335), xml_object("1 6", 197, 110, 261, 373),
            xml_object("2", 165, 130, 190, 150), xml_object("7", 200, 150, 255, 300), xml_object("9", scene=1),
        )  # fmt: skip
    lists = {"train": "1000092795\n", "val": "10002456\n", "test": "1000268201\n"}
    return {ARCHIVE: contents, **{LISTS.format(split): text for split, text in lists.items()}}


SAMPLE = Sample(
    _make_files,
    FirstRecord(
        ARCHIVE,
        f"{FIRST}, line 1",
        text=lambda record: (record, "text"),
        records=lambda content: content[FIRST],
    ),
    TargetBoxes,
    has_unique_keys=True,
)
