"""Makes src/twelvefold/serving/samples/, the pictures that ship with questions and right answers.

    python -m twelvefold world /tmp/world-99 --images 400 --seed 99
    python tools/make_samples.py /tmp/world-99

Ten pictures of a world that nothing was trained on: five shared by COCO and Visual Genome, three of Flickr30k, a pair
of NLVR2, each of another place. Those with questions of the most tasks are taken, the first in the official files
where several are alike. What is asked, and what is right, stands in the files as it is here; no model was consulted.
"""

from __future__ import annotations

import argparse
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image

from twelvefold import datasets
from twelvefold.datasets.reading.image_files import image_files
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.schema import Candidate, ClassName, Example, ImageKey, PositivePair, SoftAnswers, Split, TargetBox
from twelvefold.serving.samples import LIST_FILE, Sample, Suggestion
from twelvefold.store import atomic_files

OUT = Path(__file__).parent.parent / "src" / "twelvefold" / "serving" / "samples"
KINDS = {("coco", "vg"): 5, ("flickr30k",): 3}
"""How many pictures of which sources; a pair of NLVR2's comes on top."""
PER_TASK = 3
SPLITS: tuple[Split, ...] = ("train", "val", "test")
TURN = re.compile(r"start (.+?) answer (.+?) stop")

Found = dict[str, dict[str, list[Example]]]
"""Examples by picture and task."""


def examples(root: Path) -> Found:
    found: Found = defaultdict(lambda: defaultdict(list))
    for name, options in reader_options(root, datasets.paper_task_names()).items():
        for split in SPLITS:
            for example in datasets.load_dataset(name).read(root, split, bad=BadRecords(), **options):
                found[str(example.pairs[0].image)][name].append(example)
    return found


def asked(name: str, task: str, example: Example, other: str) -> Suggestion:
    """What an example asks and what is right."""
    pair, label = example.pairs[0], example.label
    turns = tuple((q, a) for q, a in TURN.findall(pair.text)) if task == "guesswhat" else ()
    answer, box = "", None
    if isinstance(label, SoftAnswers):
        answer = max(label.scores, key=lambda one: label.scores[one])
    elif isinstance(label, ClassName):
        answer = label.name
    elif isinstance(label, PositivePair):
        answer = name
    elif isinstance(label, TargetBox):
        box = label.box_px
    elif isinstance(label, Candidate):
        box = pair.candidates_px[label.index]
    return Suggestion(
        task=task,
        text="" if turns else pair.text,
        dialogue=turns,
        answer=answer,
        box_px=box,
        boxes_px=pair.candidates_px,
        other=other,
    )


def suggestions(found: Found, keys: list[str], name: str, other: str = "") -> Iterator[Suggestion]:
    """For every task a few, each with another answer as far as there are any."""
    for task in datasets.paper_task_names():
        given = [asked(name, task, example, other) for key in keys for example in found[key].get(task, [])]
        given = [one for one in given if one.answer or one.box_px]
        told = {(one.answer, one.box_px): one for one in reversed(given)}
        first = list(dict.fromkeys([*reversed(told.values()), *given]))
        yield from first[:PER_TASK]


def keep(out: Path, name: str, path: Path, asks: list[Suggestion]) -> Sample:
    """Leave the picture as a JPEG: its own bytes where it is one."""
    with Image.open(path) as image:
        width, height = image.size
        data = path.read_bytes()
        if image.format != "JPEG":
            written = io.BytesIO()
            image.convert("RGB").save(written, "JPEG", quality=92)
            data = written.getvalue()
    atomic_files.write_bytes(out / f"{name}.jpg", data)
    return Sample(name=name, width=width, height=height, suggestions=tuple(asks))


def chosen(scenes: list[dict[str, Any]], found: Found) -> Iterator[tuple[str, list[str]]]:
    """(name, keys) of the pictures to ship: of the most tasks, each of another place."""
    places: set[str] = set()
    for sources, count in KINDS.items():
        fitting = [s for s in scenes if tuple(key.split("/")[0] for key in s["keys"]) == sources and not s["twin"]]
        fitting = [s for s in fitting if s["vg_size"] in (None, [s["width"], s["height"]])]
        fitting.sort(key=lambda s: -len({task for key in s["keys"] for task in found.get(key, {})}))
        for scene in fitting:
            if scene["background"] not in places and count:
                places.add(scene["background"])
                count -= 1
                yield scene["background"].replace(" ", "-"), scene["keys"]


def make(root: Path, out: Path) -> list[Sample]:
    found, paths = examples(root), image_files(root)
    scenes = [json.loads(line) for line in (root / "truth" / "scenes.jsonl").read_text().splitlines()]
    made = [
        keep(out, name, paths[ImageKey.parse(keys[0])], list(suggestions(found, keys, name)))
        for name, keys in chosen(scenes, found)
    ]
    left = max((key for key in found if "nlvr2" in found[key]), key=lambda key: len(found[key]["nlvr2"]))
    right = str(found[left]["nlvr2"][0].pairs[1].image)
    pair = list(suggestions(found, [left], "left", "right"))
    made.append(keep(out, "left", paths[ImageKey.parse(left)], pair))
    made.append(keep(out, "right", paths[ImageKey.parse(right)], []))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    asked_for = parser.parse_args()
    made = make(asked_for.world, asked_for.out)
    atomic_files.write_bytes(
        asked_for.out / LIST_FILE, msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n"
    )
    for one in made:
        print(f"{one.name:12} {one.width} x {one.height}, {len(one.suggestions)} suggestions")


if __name__ == "__main__":
    main()
