"""A search index ranks as ``Predictor.find`` does, also after images were added, removed, saved or loaded."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import twelvefold
from twelvefold.schema import Ranked, TwelvefoldError
from twelvefold.serving import search_index
from twelvefold.serving.load import PretrainedPredictor
from twelvefold.serving.result import Prediction
from twelvefold.serving.samples import load_samples
from twelvefold.serving.search_index import SearchIndex
from twelvefold.store import atomic_files

TEXTS = ["a green boot on a wooden floor", "three flowers on paper", "a crab by the sea"]
PATHS = [sample.path for sample in load_samples()]


@pytest.fixture(scope="module")
def model() -> PretrainedPredictor:
    return twelvefold.load()


@pytest.fixture
def index(model: PretrainedPredictor) -> SearchIndex:
    return model.index(PATHS)


def check_equal(ranking: tuple[Ranked, ...], prediction: Prediction) -> None:
    assert [rank.name for rank in ranking] == [str(PATHS[int(rank.name)]) for rank in prediction.ranked]
    probabilities = [rank.probability for rank in prediction.ranked]
    assert [rank.probability for rank in ranking] == pytest.approx(probabilities, abs=1e-4)


@pytest.mark.parametrize("task", ["coco", "flickr30k"])
def test_it_ranks_as_find_does_with_and_without_cached_streams(
    model: PretrainedPredictor, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "BLOCK_IMAGES", 3)
    predictions = model.find(TEXTS, PATHS, task=task, top=len(PATHS))
    assert isinstance(predictions, list)
    cached, uncached = model.index(PATHS), SearchIndex(model, PATHS, cache_bytes=0)
    for index in (cached, cached, uncached):
        for ranking, prediction in zip(index.search(TEXTS, len(PATHS), task=task), predictions, strict=True):
            check_equal(ranking, prediction)
    single = [rank.name for rank in index.search(TEXTS[0], 2, task=task)]
    assert single == [rank.name for rank in index.search(TEXTS, 2, task=task)[0]]


def test_a_saved_index_loads_unchanged_and_can_be_replaced(
    model: PretrainedPredictor, index: SearchIndex, tmp_path: Path
) -> None:
    index.save(tmp_path / "index")
    loaded = SearchIndex.load(tmp_path / "index", model)
    assert loaded.names == index.names
    assert loaded.search(TEXTS, 3) == index.search(TEXTS, 3)
    loaded.remove(loaded.names[3:])
    loaded.save(tmp_path / "index")
    assert SearchIndex.load(tmp_path / "index", model).names == index.names[:3]


def test_images_are_added_and_removed(
    model: PretrainedPredictor, index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "BLOCK_IMAGES", 4)
    before = index.search(TEXTS, len(PATHS))
    index.remove(str(PATHS[0]))
    assert str(PATHS[0]) not in index
    assert all(str(PATHS[0]) != rank.name for ranking in index.search(TEXTS, len(PATHS)) for rank in ranking)
    index.add([PATHS[0]])
    for after, earlier in zip(index.search(TEXTS, len(PATHS)), before, strict=True):
        assert [r.name for r in after] == [r.name for r in earlier]
    index.add([PATHS[1].read_bytes()], names=["copy"])  # the same image under another name
    [(first, second)] = index.search(["three flowers on paper"], 2)
    assert first.probability >= second.probability
    assert len(index) == len(PATHS) + 1


def test_refused_calls_change_nothing(model: PretrainedPredictor, index: SearchIndex, tmp_path: Path) -> None:
    names = index.names
    for images, given_names, message in (
        ([np.zeros((8, 8), np.uint8)], None, "needs a name"),
        ([PATHS[0]], None, "two images called"),
        ([PATHS[0]], ["a", "b"], "got 1 images, 2 names"),
        ([PATHS[0], tmp_path / "none.jpg"], ["a", "b"], "none.jpg"),
    ):
        with pytest.raises(TwelvefoldError, match=message):
            index.add(images, names=given_names)
    with pytest.raises(TwelvefoldError, match="did you mean"):
        index.remove([names[0], names[1] + "x"])
    assert index.names == names
    with pytest.raises(TwelvefoldError, match="needs a text"):
        index.search(" ")
    with pytest.raises(TwelvefoldError, match="at least 1"):
        index.search("a boot", 0)
    with pytest.raises(TwelvefoldError, match="did you mean 'coco'"):
        index.search("a boot", task="cocoa")
    with pytest.raises(TwelvefoldError, match="empty"):
        model.index().search("a boot")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(TwelvefoldError, match="something else"):
        index.save(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_damaged_index_or_that_of_another_detector_is_refused(
    model: PretrainedPredictor, index: SearchIndex, tmp_path: Path
) -> None:
    folder = tmp_path / "index"
    index.save(folder)
    other = PretrainedPredictor.__new__(PretrainedPredictor)
    other.__dict__.update(model.__dict__)
    other.about = replace(model.about, detector=type(model.about.detector)(name="mine", digest="0", feature_size=256))
    with pytest.raises(TwelvefoldError, match="another detector"):
        SearchIndex.load(folder, other)
    shutil.copytree(folder, tmp_path / "cut")
    shard = tmp_path / "cut" / "00000.regions"
    shard.write_bytes(shard.read_bytes()[:-64])
    with pytest.raises(TwelvefoldError, match="truncated"):
        SearchIndex.load(tmp_path / "cut", model)
    atomic_files.write_json(folder / "index.json", json.loads((folder / "index.json").read_text()) | {"version": 9})
    with pytest.raises(TwelvefoldError, match="version 9"):
        SearchIndex.load(folder, model)
    with pytest.raises(TwelvefoldError, match="none"):
        SearchIndex.load(tmp_path / "none", model)
