"""Make src/twelvefold/serving/samples/, the sample images with questions and correct answers.

    python -m twelvefold world /tmp/world-99 --images 400 --seed 99
    python tools/make_samples.py /tmp/world-99

Select ten images of a world that no model was trained on: five shared by COCO and Visual Genome, three of Flickr30k
and a pair of NLVR2, each with another background. Images with questions of the most tasks are preferred. Questions and
answers are copied from the official files; no model is used.
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
IMAGES_PER_SOURCES = {("coco", "vg"): 5, ("flickr30k",): 3}
"""Number of images by their sources, without the pair of NLVR2."""
QUESTIONS_PER_TASK = 3
SPLITS: tuple[Split, ...] = ("train", "val", "test")
TURN = re.compile(r"start (.+?) answer (.+?) stop")

Examples = dict[str, dict[str, list[Example]]]
"""Examples by image and task."""


def read_examples(root: Path) -> Examples:
    examples: Examples = defaultdict(lambda: defaultdict(list))
    for name, options in reader_options(root, datasets.paper_task_names()).items():
        for split in SPLITS:
            for example in datasets.load_dataset(name).read(root, split, bad=BadRecords(), **options):
                examples[str(example.pairs[0].image)][name].append(example)
    return examples


def make_suggestion(name: str, task: str, example: Example, other: str) -> Suggestion:
    """Return the question and the correct answer of an example."""
    pair, label = example.pairs[0], example.label
    turns = tuple((q, a) for q, a in TURN.findall(pair.text)) if task == "guesswhat" else ()
    answer, box = "", None
    if isinstance(label, SoftAnswers):
        answer = max(label.scores, key=lambda candidate: label.scores[candidate])
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


def select_suggestions(examples: Examples, keys: list[str], name: str, other: str = "") -> Iterator[Suggestion]:
    """Yield a few suggestions for every task, with different answers if possible."""
    for task in datasets.paper_task_names():
        candidates = [
            make_suggestion(name, task, example, other) for key in keys for example in examples[key].get(task, [])
        ]
        candidates = [candidate for candidate in candidates if candidate.answer or candidate.box_px]
        by_answer = {(candidate.answer, candidate.box_px): candidate for candidate in reversed(candidates)}
        different_first = list(dict.fromkeys([*reversed(by_answer.values()), *candidates]))
        yield from different_first[:QUESTIONS_PER_TASK]


def write_sample(out: Path, name: str, path: Path, suggestions: list[Suggestion]) -> Sample:
    """Write the image as a JPEG file, unchanged if it is one already."""
    with Image.open(path) as image:
        width, height = image.size
        data = path.read_bytes()
        if image.format != "JPEG":
            file = io.BytesIO()
            image.convert("RGB").save(file, "JPEG", quality=92)
            data = file.getvalue()
    atomic_files.write_bytes(out / f"{name}.jpg", data)
    return Sample(name=name, width=width, height=height, suggestions=tuple(suggestions))


def select_images(scenes: list[dict[str, Any]], examples: Examples) -> Iterator[tuple[str, list[str]]]:
    """Yield (name, keys) of the images: with the most tasks, each with another background."""
    backgrounds: set[str] = set()
    for sources, count in IMAGES_PER_SOURCES.items():
        fitting = [s for s in scenes if tuple(key.split("/")[0] for key in s["keys"]) == sources and not s["twin"]]
        fitting = [s for s in fitting if s["vg_size"] in (None, [s["width"], s["height"]])]
        fitting.sort(key=lambda s: -len({task for key in s["keys"] for task in examples.get(key, {})}))
        for scene in fitting:
            if scene["background"] not in backgrounds and count:
                backgrounds.add(scene["background"])
                count -= 1
                yield scene["background"].replace(" ", "-"), scene["keys"]


def make_samples(root: Path, out: Path) -> list[Sample]:
    examples, paths = read_examples(root), image_files(root)
    scenes = [json.loads(line) for line in (root / "truth" / "scenes.jsonl").read_text().splitlines()]
    samples = [
        write_sample(out, name, paths[ImageKey.parse(keys[0])], list(select_suggestions(examples, keys, name)))
        for name, keys in select_images(scenes, examples)
    ]
    left = max((key for key in examples if "nlvr2" in examples[key]), key=lambda key: len(examples[key]["nlvr2"]))
    right = str(examples[left]["nlvr2"][0].pairs[1].image)
    pair = list(select_suggestions(examples, [left], "left", "right"))
    samples.append(write_sample(out, "left", paths[ImageKey.parse(left)], pair))
    samples.append(write_sample(out, "right", paths[ImageKey.parse(right)], []))
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    samples = make_samples(arguments.world, arguments.out)
    content = msgspec.json.format(msgspec.json.encode(samples), indent=1) + b"\n"
    atomic_files.write_bytes(arguments.out / LIST_FILE, content)
    for sample in samples:
        print(f"{sample.name:12} {sample.width} x {sample.height}, {len(sample.suggestions)} suggestions")


if __name__ == "__main__":
    main()
