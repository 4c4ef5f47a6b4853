"""Serving gives the predictions of evaluation for the same examples.

The ten sample images are extracted to region stores and their questions written to a table, as for any dataset; then
every task is evaluated, and the same questions are asked.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import twelvefold
from twelvefold import datasets
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_batches import TaskBatches
from twelvefold.data.tokenizer import Tokenizer
from twelvefold.data.write_table import write_table
from twelvefold.evaluation.predictions import MAX_RANKED_IMAGES
from twelvefold.evaluation.score import score_task
from twelvefold.features.extract import extract
from twelvefold.features.image_list import scan_plain_folder
from twelvefold.images import load_image
from twelvefold.schema import Example, ImageKey, Pair
from twelvefold.serving.dialogue import dialogue_text
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.request import Request
from twelvefold.serving.samples import FOLDER, Suggestion, load_samples
from twelvefold.store.example_table import ExampleTable

KEYS = {path.stem: key for key, path in scan_plain_folder(FOLDER).files.items()}
IMAGES = {sample.name: load_image(sample.path) for sample in load_samples()}


@pytest.fixture(scope="module")
def model() -> Predictor:
    return twelvefold.load()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> RegionSource:
    out = tmp_path_factory.mktemp("regions")
    boxes = {each.path.name: [box for s in each.suggestions for box in s.boxes_px] for each in load_samples()}
    (out / "boxes.json").write_text(json.dumps({name: listed for name, listed in boxes.items() if listed}))
    extract(FOLDER, out / "store", processes=1, boxes=out / "boxes.json")
    return RegionSource.open(out / "store")


def suggestions_for(task: str) -> list[tuple[str, Suggestion]]:
    return [(sample.name, s) for sample in load_samples() for s in sample.suggestions if s.task == task]


def make_example(number: int, name: str, suggestion: Suggestion) -> Example:
    text = dialogue_text(suggestion.dialogue) if suggestion.dialogue else suggestion.text
    keys: list[ImageKey] = [KEYS[name], *([KEYS[suggestion.other]] if suggestion.other else [])]
    return Example(str(number), tuple(Pair(key, text, suggestion.boxes_px) for key in keys), None)


def make_request(task: str, example: Example, pool: list[str], top: int) -> Request:
    keys = pool or [str(pair.image) for pair in example.pairs]
    names = {str(key): name for name, key in KEYS.items()}
    images = tuple(IMAGES[names[key]] for key in keys)
    return Request(task, images, example.pairs[0].text, example.pairs[0].candidates_px, top=top)


@pytest.mark.parametrize("task", datasets.paper_task_names())
def test_serving_predicts_what_evaluation_predicts(
    task: str, model: Predictor, source: RegionSource, tmp_path: Path
) -> None:
    spec = model.network.tasks[task]
    examples = [make_example(i, *suggestion) for i, suggestion in enumerate(suggestions_for(task))]
    write_table(tmp_path / "table.arrow", examples, Tokenizer().encode_batch, digest="")
    table = ExampleTable.open(tmp_path / "table.arrow")
    data = TaskBatches(table, source, spec, model.network.head_specs[spec.head])
    temperature = model.about.temperatures.get(task, 1.0)
    result = score_task(model.network, data, batch_size=4, temperature=temperature, device=model.device)
    lines = result.records
    pool = [str(key) for key in table.first_images()[0]]
    search = spec.family == "retrieval"
    predictions = model.answer(
        [make_request(task, each, pool if search else [], MAX_RANKED_IMAGES) for each in examples]
    )
    assert len(predictions) == len(lines) > 0
    for line, prediction in zip(lines, predictions, strict=True):
        ranked = prediction.ranked[: len(line.ranked)]  # evaluation keeps five answers, and more of a search
        names = [pool[int(rank.name)] if search else rank.name for rank in ranked]
        assert [rank.name for rank in line.ranked] == names
        probabilities = [rank.probability for rank in line.ranked]
        assert [rank.probability for rank in ranked] == pytest.approx(probabilities, abs=2e-3)
        for served, evaluated in zip(ranked, line.ranked, strict=True):
            assert (served.box_px is None) == (evaluated.box_px is None) == (spec.family != "grounding")
            if served.box_px is not None and evaluated.box_px is not None:
                assert served.box_px == pytest.approx(evaluated.box_px, abs=0.05)
