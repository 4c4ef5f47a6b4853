"""The code blocks of docs/your-own-family.md work, and the package works with the family that they define."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import twelvefold
from twelvefold import families
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_batches import TaskBatches
from twelvefold.data.write_table import write_table
from twelvefold.evaluation.baselines import MajorityBaseline, chance_score, train_networks
from twelvefold.evaluation.predictions import PredictionRecord
from twelvefold.evaluation.score import score_task
from twelvefold.images import load_image
from twelvefold.model import Model, preset
from twelvefold.reporting.examples import make_example
from twelvefold.reporting.thumbnails import Thumbnails
from twelvefold.schema import (
    Example,
    HeadSpec,
    ImageKey,
    Pair,
    PositivePair,
    Ranked,
    Regions,
    TaskSpec,
    TwelvefoldError,
)
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.request import Request
from twelvefold.serving.samples import find_sample
from twelvefold.store.example_table import ExampleTable
from twelvefold.store.region_store import ShardWriter, finish_store

PAGE = Path(__file__).resolve().parents[2] / "docs" / "your-own-family.md"
BLOCK = re.compile(r"^```\w+\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FAMILIES = "src/twelvefold/families"
CONFTEST = "from twelvefold import families\n\nfamilies.__path__.append({!r})\n"
CATEGORIES, CAPTIONS = 4, 3
TASK = TaskSpec("caption_choice", "", "captioning", "captions", "accuracy", 6, 8, 1e-3, pairs_per_example=CAPTIONS)
HEAD = HeadSpec("captions", "captioning", (), CAPTIONS)


@pytest.fixture
def page_folder(tmp_path: Path) -> Path:
    """Write the files of the page to a folder."""
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) == PAGE.read_text().count("```") // 2
    for name, text in blocks:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def captioning(page_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[families.Family]:
    """Add the page's folder to those in which families are found, and return the family."""
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(page_folder / FAMILIES)])
    families.family_names.cache_clear()
    yield families.load_family("captioning")
    families.family_names.cache_clear()
    families._load.cache_clear()
    del sys.modules[f"{families.__name__}.captioning"]


@pytest.fixture
def data(tmp_path: Path, captioning: families.Family) -> TaskBatches:
    """An image of one of four categories, and three captions; the true one names its category."""
    folder = tmp_path / "regions"
    with ShardWriter(folder / "a", feature_size=CATEGORIES) as shard:
        for i in range(CATEGORIES):
            features = np.eye(CATEGORIES, dtype=np.float32)[[i]]
            shard.add(ImageKey("x", str(i)), Regions(np.array([[0, 0, 9, 9]], np.float32), features, 20, 20))
    examples = []
    for n in range(48):
        image, true = ImageKey("x", str(n % CATEGORIES)), n % CAPTIONS
        captions = [str((n + k - true) % CATEGORIES) for k in range(CAPTIONS)]
        examples.append(Example(str(n), tuple(Pair(image, caption) for caption in captions), PositivePair(true)))
    write_table(tmp_path / "t.arrow", examples, lambda texts: [[1000 + int(t)] for t in texts], digest="d")
    source = RegionSource(finish_store(folder, ["a"], info={}))
    return TaskBatches(ExampleTable.open(tmp_path / "t.arrow"), source, TASK, HEAD)


def test_the_family_trains_and_is_scored(captioning: families.Family, data: TaskBatches) -> None:
    torch.manual_seed(0)
    model = Model(preset("small", feature_size=CATEGORIES, vocab_size=1100), [TASK], [HEAD])
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for step in range(60):
        batch = data.train_batch(step)
        optimizer.zero_grad()
        torch.autograd.backward(captioning.loss(model(batch), batch))
        optimizer.step()
    result = score_task(model.eval(), data)
    assert result.example_scores.mean() == 1.0
    assert [record.ranked[0].name for record in result.records[:4]] == ["0", "1", "2", "0"]


def test_the_family_has_baselines(data: TaskBatches, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chance_score(data, range(len(data)), 0) == pytest.approx(1 / CAPTIONS)
    assert score_task(MajorityBaseline(data), data).example_scores.mean() == pytest.approx(1 / CAPTIONS)
    monkeypatch.setattr("twelvefold.evaluation.baselines.TRAIN_STEPS", 3)
    assert set(train_networks(TASK, ("text", "image"), data, data)) == {"text", "image"}


@pytest.mark.slow
def test_the_test_of_the_page_passes(page_folder: Path) -> None:
    (page_folder / "conftest.py").write_text(CONFTEST.format(str(page_folder / FAMILIES)))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=page_folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_a_family_of_the_page_is_listed_after_the_papers(captioning: families.Family) -> None:
    assert families.family_names()[-1] == captioning.name == "captioning"


def test_the_page_explains_every_attribute() -> None:
    attributes = set(families.Family.__annotations__)
    assert "head_kind" in attributes
    assert {name for name in attributes if f"`{name}`" not in PAGE.read_text()} == set()


def test_a_model_chooses_one_of_the_texts_of_a_request(captioning: families.Family) -> None:
    shipped = twelvefold.load()
    config = shipped.network.config
    network = Model(config, [TASK], [HEAD], word_pieces=shipped.network.word_pieces)
    about = dataclasses.replace(shipped.about, temperatures={})
    model = Predictor(network, shipped._regions.detector, about, shipped.device)
    image, texts = load_image(find_sample("room").path), ("a boot", " a red crab ", "two houses", "a chair")
    requests = [Request(TASK.name, (image,), "", texts=texts[:count]) for count in (4, 2, 4)]
    first, second, third = model.answer(requests)
    assert {rank.name for rank in first.ranked} == {"a boot", "a red crab", "two houses", "a chair"}
    assert {rank.name for rank in second.ranked} == {"a boot", "a red crab"}
    assert sum(rank.probability for rank in first.ranked) == pytest.approx(1.0)
    assert first.to_dict() == third.to_dict()
    [explained] = model.answer([dataclasses.replace(requests[0], explain=True)])
    assert len(explained.attention) == 4
    assert explained.draw(attention=True).size[0] > 0
    for request, message in (
        (Request(TASK.name, (image,), "a boot"), "takes a list of `texts`"),
        (Request(TASK.name, (image, image), "", texts=texts), "takes 1 image, got 2"),
        (Request(TASK.name, (image,), "", texts=("a boot", " ")), "needs a text"),
    ):
        with pytest.raises(TwelvefoldError, match=message):
            model.answer([request])
    with pytest.raises(TwelvefoldError, match="takes one `text`"):
        shipped.answer([Request("vqav2", (image,), "", texts=texts)])


def test_the_report_shows_the_captions(captioning: families.Family, tmp_path: Path) -> None:
    pairs = tuple(Pair(ImageKey("pets", "rex"), text) for text in ("a cat", "a dog", "a bird"))
    record = PredictionRecord("a", TASK.name, 0.0, (Ranked(0.7, name="2"), Ranked(0.3, name="1")))
    shown = make_example(TASK, record, Example("a", pairs, PositivePair(1)), Thumbnails({}))
    assert [(answer.name, round(answer.percent)) for answer in shown.answers] == [("a bird", 70), ("a dog", 30)]
    assert (shown.truth, shown.prompt, len(shown.images)) == ("a dog", "Captions", 1)
