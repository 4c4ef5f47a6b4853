"""The world's Flickr30k Entities: phrases of its captions, and boxes of the objects of its scenes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from twelvefold.config.recipe import Recipe
from twelvefold.datasets import load_dataset
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.demo import demo
from twelvefold.evaluation.scores import Scores, read_scores
from twelvefold.schema import ImageKey, Split
from twelvefold.splits.clean import clean
from twelvefold.splits.policy import get_policy

RECIPE = """
name = "entities"
tasks = ["flickr30k_entities", "refcoco"]
[world]
images = 112
seed = 4
[data]
max_similar = 1
[model]
preset = "small"
[training]
iterations = 2
warmup_fraction_of = "iterations"
validation_examples = 8
word_pieces = "seen"
[every_task]
batch_size = 8
[evaluation]
bootstrap_samples = 20
"""

SPLITS: tuple[Split, ...] = get_args(Split)


def read(root: Path, task: str, split: Split, bad: BadRecords | None = None) -> Iterable[Any]:
    return load_dataset(task).read(root, split, bad=bad or BadRecords())


def test_phrases_are_in_flickrs_captions_and_have_the_boxes_of_the_objects(small_world: Path) -> None:
    """Also that the splits are Flickr30k's, and that a phrase about several objects has several boxes."""
    scenes = {
        key: each
        for each in map(json.loads, (small_world / "truth/scenes.jsonl").read_text().splitlines())
        for key in each["keys"]
    }
    captions: dict[ImageKey, list[str]] = {}
    for split in SPLITS:
        pairs = [example.pairs[0] for example in read(small_world, "flickr30k", split)]
        of_split: dict[ImageKey, list[str]] = {}
        for pair in pairs:
            of_split.setdefault(pair.image, []).append(pair.text)
        captions |= of_split
        examples = list(read(small_world, "flickr30k_entities", split))
        assert {example.pairs[0].image for example in examples} <= of_split.keys()
        lines = (small_world / f"flickr30k_entities/{split}.txt").read_text().split()
        assert [ImageKey("flickr30k", line) for line in lines] == list(of_split)
        for example in examples:
            [pair] = example.pairs
            number = int(example.id.split("-")[1])
            assert pair.text in captions[pair.image][number]
            things = [thing["box_px"] for thing in scenes[str(pair.image)]["things"]]
            for box in example.label.boxes_px:
                # whole pixels; the last one is inside the box
                distances = [max(map(abs, np.subtract(box, [x1, y1, x2 - 1, y2 - 1]))) for x1, y1, x2, y2 in things]
                assert min(distances) <= 1.0
        assert {example.question_type for example in examples} <= {"animals", "vehicles", "other"}
        assert split == "val" or any(len(example.label.boxes_px) > 1 for example in examples)


def test_phrases_of_the_background_have_no_box(small_world: Path) -> None:
    bad = BadRecords()
    assert list(read(small_world, "flickr30k_entities", "train", bad))
    [note] = bad.notes()
    assert "phrases of a whole scene without a box" in note


def test_cleaning_knows_the_test_images_of_a_task_that_is_listed(small_world: Path, tmp_path: Path) -> None:
    protected = {example.pairs[0].image for example in read(small_world, "flickr30k_entities", "test")}
    for tasks in (["snli_ve"], ["snli_ve", "flickr30k_entities"]):
        policy = get_policy("ids", max_similar=1.0)
        clean(small_world, tmp_path / "-".join(tasks), policy=policy, tasks=tasks)
        manifest = json.loads((tmp_path / "-".join(tasks) / "clean.json").read_text())
        removed = manifest["splits"]["snli_ve"]["train"]["removed"]
        assert bool(removed) == (len(tasks) == 2)
    assert protected & {example.pairs[0].image for example in read(small_world, "snli_ve", "train")}


@pytest.mark.slow
def test_a_recipe_that_lists_it_is_trained_scored_and_reported(tmp_path: Path) -> None:
    (tmp_path / "entities.toml").write_text(RECIPE)
    demo(tmp_path / "run", recipe=Recipe.load(tmp_path / "entities.toml"))
    score = read_scores(tmp_path / "run" / "scores.json", Scores).tasks["flickr30k_entities"]
    assert score.metric == "iou_above_0.5_first_box"
    rules = ("", "any_box_", "merged_box_")
    assert score.extra_metrics.keys() == {f"{rule}recall_at_{k}" for rule in rules for k in (1, 5, 10)} - {
        "recall_at_1"
    }
    assert score.score is not None
    assert score.score <= score.extra_metrics["recall_at_5"] <= score.extra_metrics["recall_at_10"]
    assert score.extra_metrics["recall_at_10"] <= score.extra_metrics["any_box_recall_at_10"]
    report = json.loads((tmp_path / "run" / "report.json").read_text())["tasks"]["flickr30k_entities"]
    assert (report["paper"], report["paper_split"]) == (64.61, "test")
    assert "Flickr30k Entities: Table 5" in (tmp_path / "run" / "report.html").read_text()
