"""Make src/twelvefold/serving/samples/, the sample images with questions and correct answers.

    python -m twelvefold world /tmp/world-99 --images 400 --seed 99
    python tools/make_samples.py /tmp/world-99

Select ten images of a world that no model was trained on: five shared by COCO and Visual Genome, three of Flickr30k
and a pair of NLVR2, each with another background. Images with questions of the most tasks are preferred; no model is
used for that. Questions and answers are copied from the official files. Of each task and image the first three are
kept, with different answers if possible, that the shipped model answers correctly and without a close second
(``MIN_MARGIN``). So they show what it can do and not how often it is right: its test scores say that.
"""

from __future__ import annotations

import argparse
import io
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image

import twelvefold
from twelvefold import boxes, datasets
from twelvefold.datasets.reading.image_files import image_files
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.families import load_family
from twelvefold.images import InputImage, load_image
from twelvefold.schema import Candidate, ClassName, Example, ImageKey, PositivePair, SoftAnswers, Split, TargetBox
from twelvefold.serving.dialogue import dialogue_text
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.request import Request
from twelvefold.serving.samples import LIST_FILE, Sample, Suggestion
from twelvefold.store import atomic_files

OUT = Path(__file__).parent.parent / "src" / "twelvefold" / "serving" / "samples"
IMAGES_PER_SOURCES = {("coco", "vg"): 5, ("flickr30k",): 3}
"""Number of images by their sources, without the pair of NLVR2."""
QUESTIONS_PER_TASK = 3
MIN_MARGIN = 0.1
"""Between the probabilities of the first and the second answer: other processors round differently, and the answer to a
suggestion must not depend on that."""
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


def answers_correctly(predictor: Predictor, images: Mapping[str, InputImage], name: str, question: Suggestion) -> bool:
    """Return whether the model's best answer to a question about the sample ``name`` is right, without a close second.

    ``images``: of all samples by name; a caption is searched among all of them, so it is also found among fewer.
    """
    family = load_family(predictor.task_spec(question.task).family)
    names = list(images) if family.searches_images else [name, question.other] if question.other else [name]
    text = question.text or dialogue_text(question.dialogue)
    request = Request(question.task, tuple(images[each] for each in names), text, question.boxes_px, top=2)
    [prediction] = predictor.answer([request])
    best, *others = prediction.ranked
    if others and best.probability - others[0].probability < MIN_MARGIN:
        return False
    if question.box_px is not None:
        return best.box_px is not None and bool(boxes.is_hit(boxes.iou([best.box_px], [question.box_px]))[0, 0])
    return question.answer == (names[int(best.name)] if family.searches_images else best.name)


def select_suggestions(
    examples: Examples, keys: list[str], name: str, is_answered: Callable[[Suggestion], bool], other: str = ""
) -> Iterator[Suggestion]:
    """Yield a few suggestions for every task that the model answers, with different answers if possible."""
    for task in datasets.paper_task_names():
        candidates = [
            make_suggestion(name, task, example, other) for key in keys for example in examples[key].get(task, [])
        ]
        candidates = [candidate for candidate in candidates if candidate.answer or candidate.box_px]
        by_answer = {(candidate.answer, candidate.box_px): candidate for candidate in reversed(candidates)}
        different_first = list(dict.fromkeys([*reversed(by_answer.values()), *candidates]))
        yield from islice(filter(is_answered, different_first), QUESTIONS_PER_TASK)


def write_image(out: Path, name: str, path: Path) -> InputImage:
    """Write the image as a JPEG file, unchanged if it is one already, and return it."""
    with Image.open(path) as image:
        data = path.read_bytes()
        if image.format != "JPEG":
            file = io.BytesIO()
            image.convert("RGB").save(file, "JPEG", quality=92)
            data = file.getvalue()
    atomic_files.write_bytes(out / f"{name}.jpg", data)
    return load_image(data)


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
    keys_of = dict(select_images(scenes, examples))
    left = max((key for key in examples if "nlvr2" in examples[key]), key=lambda key: len(examples[key]["nlvr2"]))
    keys_of |= {"left": [left], "right": [str(examples[left]["nlvr2"][0].pairs[1].image)]}
    images = {name: write_image(out, name, paths[ImageKey.parse(keys[0])]) for name, keys in keys_of.items()}
    predictor = twelvefold.load()
    samples = []
    for name, keys in keys_of.items():
        is_answered = partial(answers_correctly, predictor, images, name)
        other = "right" if name == "left" else ""
        suggestions = () if name == "right" else tuple(select_suggestions(examples, keys, name, is_answered, other))
        samples.append(Sample(name=name, width=images[name].width, height=images[name].height, suggestions=suggestions))
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
