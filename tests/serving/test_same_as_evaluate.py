"""What a person is told of a picture is what evaluation says of the same example: one collation, one decoding.

The ten sample pictures are extracted to stores on disk and their questions written as a table, as any data set's are;
then every task is scored the ordinary way, and asked.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import twelvefold
from twelvefold import datasets
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_loader import TaskBatches
from twelvefold.data.tokenizer import Tokens
from twelvefold.evaluation.predictions import MAX_RANKED_IMAGES
from twelvefold.evaluation.score import score_task
from twelvefold.features.extract import extract
from twelvefold.features.image_list import photographs
from twelvefold.schema import Example, ImageKey, Pair
from twelvefold.serving.images import picture
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.request import Request, dialogue_text
from twelvefold.serving.samples import FOLDER, Suggestion, samples
from twelvefold.store.example_table import ExampleTable, write_table

KEYS = {path.stem: key for key, path in photographs(FOLDER).items()}
PICTURES = {one.name: picture(one.path) for one in samples()}


@pytest.fixture(scope="module")
def model() -> Predictor:
    return twelvefold.load()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> RegionSource:
    out = tmp_path_factory.mktemp("regions")
    boxes = {one.path.name: [box for s in one.suggestions for box in s.boxes_px] for one in samples()}
    (out / "boxes.json").write_text(json.dumps({name: given for name, given in boxes.items() if given}))
    extract(FOLDER, out / "store", processes=1, boxes=out / "boxes.json")
    return RegionSource.open(out / "store")


def asked_of(task: str) -> list[tuple[str, Suggestion]]:
    return [(one.name, s) for one in samples() for s in one.suggestions if s.task == task]


def example(number: int, name: str, suggestion: Suggestion) -> Example:
    text = dialogue_text(suggestion.dialogue) if suggestion.dialogue else suggestion.text
    shown: list[ImageKey] = [KEYS[name], *([KEYS[suggestion.other]] if suggestion.other else [])]
    return Example(str(number), tuple(Pair(key, text, suggestion.boxes_px) for key in shown), None)


def request(task: str, one: Example, pool: list[str], top: int) -> Request:
    shown = pool or [str(pair.image) for pair in one.pairs]
    names = {str(key): name for name, key in KEYS.items()}
    pictures = tuple(PICTURES[names[key]] for key in shown)
    return Request(task, pictures, one.pairs[0].text, one.pairs[0].candidates_px, top=top)


@pytest.mark.parametrize("task", datasets.NAMES)
def test_an_answer_is_what_evaluation_says(task: str, model: Predictor, source: RegionSource, tmp_path: Path) -> None:
    spec = model.network.tasks[task]
    examples = [example(number, *one) for number, one in enumerate(asked_of(task))]
    write_table(tmp_path / "table.arrow", examples, Tokens().many, digest="")
    table = ExampleTable.open(tmp_path / "table.arrow")
    data = TaskBatches(table, source, spec, model.network.head_specs[spec.head])
    temperature = model.about.temperatures[task]
    result = score_task(model.network, data, batch_size=4, temperature=temperature, device=model.device)
    lines = result.records
    pool = [str(key) for key in table.images()[0]]
    search = spec.family == "retrieval"
    told = model.answer([request(task, one, pool if search else [], MAX_RANKED_IMAGES) for one in examples])
    assert len(told) == len(lines) > 0
    for line, prediction in zip(lines, told, strict=True):
        ranked = prediction.ranked[: len(line.ranked)]  # evaluation keeps five answers, and more of a search
        said = [pool[int(one.name)] if search else one.name for one in ranked]
        assert [one.name for one in line.ranked] == said
        chances = [one.probability for one in line.ranked]
        assert [one.probability for one in ranked] == pytest.approx(chances, abs=2e-3)
        for ours, theirs in zip(ranked, line.ranked, strict=True):
            assert (ours.box_px is None) == (theirs.box_px is None) == (spec.family != "grounding")
            if ours.box_px is not None and theirs.box_px is not None:
                assert ours.box_px == pytest.approx(theirs.box_px, abs=0.05)
