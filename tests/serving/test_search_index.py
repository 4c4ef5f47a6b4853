"""An index ranks as ``find`` does, whatever came, went, or lay on disk in between."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import twelvefold
from twelvefold.schema import Ranked, TwelvefoldError
from twelvefold.serving import search_index as indexing
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.result import Prediction
from twelvefold.serving.samples import samples
from twelvefold.serving.search_index import Index
from twelvefold.store import atomic_files

TEXTS = ["a green boot on a wooden floor", "three flowers on paper", "a crab by the sea"]
PATHS = [one.path for one in samples()]


@pytest.fixture(scope="module")
def model() -> Predictor:
    return twelvefold.load()


@pytest.fixture
def index(model: Predictor) -> Index:
    return model.index(PATHS)


def same(ranking: tuple[Ranked, ...], found: Prediction) -> None:
    assert [one.name for one in ranking] == [str(PATHS[int(one.name)]) for one in found.ranked]
    assert [one.probability for one in ranking] == pytest.approx([one.probability for one in found.ranked], abs=1e-4)


@pytest.mark.parametrize("task", ["coco", "flickr30k"])
def test_it_ranks_as_find_does_block_by_block_with_or_without_memory(
    model: Predictor, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "BLOCK", 3)
    found = model.find(TEXTS, PATHS, task=task, top=len(PATHS))
    assert isinstance(found, list)
    kept, forgetful = model.index(PATHS), Index(model, kept_bytes=0)
    forgetful.add(PATHS)
    for index in (kept, kept, forgetful):
        for ranking, one in zip(index.search(TEXTS, len(PATHS), task=task), found, strict=True):
            same(ranking, one)
    alone = [one.name for one in index.search(TEXTS[0], 2, task=task)]
    assert alone == [one.name for one in index.search(TEXTS, 2, task=task)[0]]


def test_saved_and_loaded_it_is_the_same_and_a_second_save_replaces_it(
    model: Predictor, index: Index, tmp_path: Path
) -> None:
    index.save(tmp_path / "index")
    again = Index.load(tmp_path / "index", model)
    assert again.names == index.names
    assert again.search(TEXTS, 3) == index.search(TEXTS, 3)
    again.remove(again.names[3:])
    again.save(tmp_path / "index")
    assert Index.load(tmp_path / "index", model).names == index.names[:3]


def test_pictures_come_and_go(model: Predictor, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "BLOCK", 4)
    before = index.search(TEXTS, len(PATHS))
    index.remove(str(PATHS[0]))
    assert str(PATHS[0]) not in index
    assert all(str(PATHS[0]) != one.name for ranking in index.search(TEXTS, len(PATHS)) for one in ranking)
    index.add([PATHS[0]])
    for ranking, one in zip(index.search(TEXTS, len(PATHS)), before, strict=True):
        assert [r.name for r in ranking] == [r.name for r in one]
    index.add([PATHS[1].read_bytes()], names=["twin"])  # the same photograph by another name
    [(first, second)] = index.search(["three flowers on paper"], 2)
    assert first.probability >= second.probability
    assert len(index) == len(PATHS) + 1


def test_what_is_refused_changes_nothing(model: Predictor, index: Index, tmp_path: Path) -> None:
    names = index.names
    for images, called, said in (
        ([np.zeros((8, 8), np.uint8)], None, "needs a name"),
        ([PATHS[0]], None, "two pictures called"),
        ([PATHS[0]], ["a", "b"], "1 pictures came with 2 names"),
        ([PATHS[0], tmp_path / "none.jpg"], ["a", "b"], "none.jpg"),
    ):
        with pytest.raises(TwelvefoldError, match=said):
            index.add(images, names=called)
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


def test_an_index_of_another_detector_or_a_broken_one_is_refused(
    model: Predictor, index: Index, tmp_path: Path
) -> None:
    folder = tmp_path / "index"
    index.save(folder)
    other = Predictor.__new__(Predictor)
    other.__dict__.update(model.__dict__)
    other.about = replace(model.about, detector=type(model.about.detector)(name="mine", digest="0", feature_size=256))
    with pytest.raises(TwelvefoldError, match="another detector"):
        Index.load(folder, other)
    shutil.copytree(folder, tmp_path / "cut")
    shard = tmp_path / "cut" / "00000.regions"
    shard.write_bytes(shard.read_bytes()[:-64])
    with pytest.raises(TwelvefoldError, match="cut short"):
        Index.load(tmp_path / "cut", model)
    atomic_files.write_json(folder / "index.json", json.loads((folder / "index.json").read_text()) | {"version": 9})
    with pytest.raises(TwelvefoldError, match="version 9"):
        Index.load(folder, model)
    with pytest.raises(TwelvefoldError, match="none"):
        Index.load(tmp_path / "none", model)
