"""Flickr30k Entities: point at the box of a phrase of a caption. Paper: Table 5 ("Flickr30k grounding").

Publisher: Bryan Plummer, University of Illinois. License: for research; images under Flickr's terms.

Files, in ``flickr30k_entities/``: ``annotations.zip``, or the folders ``Sentences`` and ``Annotations`` that it holds
(``Sentences/<id>.txt`` has a caption on each line, its phrases marked ``[/EN#1/people Two young guys]``;
``Annotations/<id>.xml`` has the boxes of each entity), and ``train.txt``, ``val.txt``, ``test.txt``: image ids.

Splits: as the lists, 29,783, 1,000 and 1,000 images: train 427,193 phrases with a box, val 14,433, test 14,481,
from memory of later work (BAN), not counted in the files.

One example per phrase whose entity has a box, chosen among the detected regions. Its id is
``<image>-<caption>-<phrase>``, counted from 0, its text the phrase, its ``question_type`` the phrase's first type
(people, clothing, ...), its label all boxes of the entity in the file's order. As the publishers' parser does, 1 is
subtracted from all coordinates. Phrases without a box make no example; they are counted and named by kind: not visual
(id 0), the whole scene, without a box, and an entity that the annotations lack. A phrase with a box outside the image
is a bad record. The publishers' list of unrelated captions is not used, as in the original project.

The score is the original project's: the chosen region is a hit if its IoU with the entity's first box is above 0.5,
with one added to every side. Reported next to it: hits among the 5 and 10 best regions, and all three for IoU >= 0.5
with any box of the entity, and with the box around all of them, as in later evaluators (which count true boxes
from 1).

``Differs:`` the original trains on regions of the true boxes too, and lets the whole image be chosen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from twelvefold.datasets.reading.cards import FLICKR_TERMS, CardFile, DatasetCard
from twelvefold.datasets.reading.entity_files import (
    NOT_VISUAL,
    EntityFiles,
    ImageEntities,
    Phrase,
    parse_captions,
    parse_entities,
    parse_phrases,
)
from twelvefold.datasets.reading.image_sources import FLICKR30K
from twelvefold.datasets.reading.records import (
    BadRecords,
    InvalidRecordError,
    RecordReader,
    Row,
    require_files,
    validated,
)
from twelvefold.datasets.reading.submissions import EMPTY_BOX, Answered, Submission, simple_format
from twelvefold.parsing.bounds import short_repr
from twelvefold.parsing.text import read_text
from twelvefold.schema import Example, ImageKey, Pair, Split, TargetBoxes, TaskSpec

PAPER_SCORE = 64.61, "test", "Table 5"
TASK = TaskSpec(
    name="flickr30k_entities",
    title="Flickr30k Entities",
    family="grounding",
    head="grounding",
    metric="iou_above_0.5_first_box",
    max_tokens=24,
    batch_size=256,
    lr=2e-6,
)
CARD = DatasetCard(
    title=TASK.title,
    publisher="Flickr30k Entities, github.com/BryanPlummer/flickr30k_entities",
    license=FLICKR_TERMS,
    files=(
        CardFile("flickr30k_entities/annotations.zip", "captions with phrases, and boxes"),
        *(CardFile(f"flickr30k_entities/{split}.txt", "image ids") for split in ("train", "val", "test")),
    ),
    image_sources=(FLICKR30K,),
    examples={"train": 427_193, "val": 14_433, "test": 14_481},
    on_request="the images",
    approximate_splits=("val", "test"),
)
FOLDERS = "Sentences", "Annotations"


def files(root: Path, split: Split) -> list[Path]:
    """Return the list of images, then the zip file or, if there is none, the two unpacked files of each image.

    Raises:
        TwelvefoldError: the list is missing, or both the zip file and one of the folders.
    """
    folder = root / TASK.name
    listing = require_files(TASK.name, [[folder / f"{split}.txt"]])
    archive = folder / "annotations.zip"
    if archive.exists() or not all((folder / name).is_dir() for name in FOLDERS):
        return listing + require_files(TASK.name, [[archive]])
    reader = RecordReader(TASK.name, listing[0], BadRecords(skip=True))
    paths = [folder / name for _, image in _image_ids(reader) for name in _names(image)]
    return listing + [path for path in paths if path.exists()]


def read(root: Path, split: Split, *, bad: BadRecords) -> Iterator[Example]:
    """Yield one example per phrase with a box, with label ``TargetBoxes``, in the order of the list of images."""
    listing, *others = files(root, split)
    is_packed = bool(others) and others[0].suffix == ".zip"
    path = others[0] if is_packed else listing.parent
    return validated(_rows(RecordReader(TASK.name, listing, bad), RecordReader(TASK.name, path, bad)))


def _names(image: str) -> tuple[str, str]:
    return f"{FOLDERS[0]}/{image}.txt", f"{FOLDERS[1]}/{image}.xml"


def _image_ids(reader: RecordReader) -> Iterator[tuple[str, str]]:
    """Yield the record name and the id of each image of a split's list."""
    known = set[str]()
    for number, line in enumerate(re.split(r"\r\n|\r|\n", read_text(reader.path)), 1):
        image = line.strip().removesuffix(".jpg")
        if not image:
            continue
        if not re.fullmatch(r"\d+", image, re.ASCII):
            reader.reject(f"line {number}", f"expected the id of an image, a number, got {short_repr(line)}")
        elif image in known:
            reader.reject(f"line {number}", f"expected each image once, got {image} again")
        else:
            known.add(image)
            yield f"line {number}", image


def _rows(listing: RecordReader, reader: RecordReader) -> Iterator[Row]:
    contents = EntityFiles(TASK.name, reader.path)
    for _, image in _image_ids(listing):
        sentences, annotations = _names(image)
        name = annotations
        try:
            entities = parse_entities(contents.read(annotations))
            name = sentences
            captions = list(parse_captions(contents.read(sentences)))
        except InvalidRecordError as error:
            reader.reject(name, str(error))
            continue
        for i, (line, caption) in enumerate(captions):
            record = f"{sentences}, line {line}"
            try:
                phrases = parse_phrases(caption)
            except InvalidRecordError as error:
                reader.reject(record, str(error))
                continue
            for j, phrase in enumerate(phrases):
                example = _example(reader, f"{record}, phrase {j}", f"{image}-{i}-{j}", phrase, entities)
                if example is not None:
                    yield reader, f"{record}, phrase {j}", example


def _example(reader: RecordReader, record: str, id_: str, phrase: Phrase, entities: ImageEntities) -> Example | None:
    """Return the example of a phrase; None if it has no box, which is noted, or a bad one, which is rejected."""
    image = id_.partition("-")[0]
    if phrase.entity in entities.invalid:
        reader.reject(record, f"{_names(image)[1]}, {entities.invalid[phrase.entity]}")
        return None
    boxes = entities.boxes_px.get(phrase.entity)
    if boxes is None:
        reader.note(record, f"phrases {_describe_unboxed(phrase, entities)}, which make no example")
        return None
    pair = Pair(ImageKey(FLICKR30K, image), phrase.text, stated_size=entities.size)
    return Example(id_, (pair,), TargetBoxes(tuple(boxes)), question_type=phrase.types[0])


def _describe_unboxed(phrase: Phrase, entities: ImageEntities) -> str:
    if phrase.entity == NOT_VISUAL:
        return "that are not visual (id 0)"
    if phrase.entity in entities.scenes:
        return "of a whole scene without a box"
    return "without a box" if phrase.entity in entities.unboxed else "of an entity that the annotations lack"


def _submission_row(example: Example, answered: Answered) -> dict[str, object]:
    """Return a phrase's entry. Boxes are counted from 1, as those of the publishers' files."""
    image, caption, phrase = example.id.split("-")
    box = (answered.ranked[0].box_px if answered.ranked else None) or EMPTY_BOX
    sides = [side + 1 for side in box] if box != EMPTY_BOX else list(box)
    return {"image": image, "sentence": int(caption), "phrase": int(phrase), "box": sides}


SUBMISSION = Submission(simple_format("json", _submission_row))
