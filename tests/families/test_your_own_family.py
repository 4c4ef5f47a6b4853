"""The family that docs/your-own-family.md shows works in training, evaluation and baselines from its one file."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from twelvefold import families
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_loader import TaskBatches
from twelvefold.evaluation.baselines import MajorityBaseline, chance_score, train_networks
from twelvefold.evaluation.score import score_task
from twelvefold.families import load_family
from twelvefold.model import Model, preset
from twelvefold.schema import Example, HeadSpec, ImageKey, Pair, PositivePair, Regions, TaskSpec
from twelvefold.store.example_table import ExampleTable, write_table
from twelvefold.store.region_store import ShardWriter, finish_store

PAGE = Path(__file__).resolve().parents[2] / "docs" / "your-own-family.md"
CATEGORIES, CAPTIONS = 4, 3
TASK = TaskSpec("caption_choice", "", "captioning", "captions", "accuracy", 6, 8, 1e-3, pairs_per_example=CAPTIONS)
HEAD = HeadSpec("captions", "captioning", (), CAPTIONS)


@pytest.fixture
def captioning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[families.Family]:
    """Put the page's file where families are found."""
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    path, name = tmp_path / "captioning.py", "twelvefold.families.captioning"
    path.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, name, module)
    names = (*families.family_names(), "captioning")
    monkeypatch.setattr(families, "family_names", lambda: names)
    yield load_family("captioning")
    families._load.cache_clear()


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
