"""``find`` and an index compare only the images of a shortlist, by a twin encoder's vectors that the index keeps."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import twelvefold
from twelvefold.export.hub import SHIPPED
from twelvefold.images import load_image
from twelvefold.model.twin_encoder import FILE, TwinEncoder
from twelvefold.schema import Regions, TaskSpec, TwelvefoldError
from twelvefold.serving import search_index
from twelvefold.serving.inference import InferenceContext, embed_images
from twelvefold.serving.load import PretrainedPredictor
from twelvefold.serving.request import Request
from twelvefold.serving.samples import load_samples
from twelvefold.serving.search_index import SearchIndex

TEXTS = ["a green boot on a wooden floor", "three flowers on paper", "a crab by the sea"]
PATHS = [sample.path for sample in load_samples()]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PretrainedPredictor:
    """The shipped model with a twin encoder of random weights: its lists are arbitrary, but fixed."""
    folder = shutil.copytree(SHIPPED, tmp_path_factory.mktemp("model") / "model")
    torch.manual_seed(0)
    TwinEncoder(128, 128).write(folder)
    return twelvefold.load(folder)


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of images that the twin encoder embeds."""
    counts: list[int] = []

    def count(context: InferenceContext, spec: TaskSpec, regions: Sequence[Regions]) -> torch.Tensor:
        counts.append(len(regions))
        return embed_images(context, spec, regions)

    monkeypatch.setattr(search_index, "embed_images", count)
    return counts


def test_a_list_of_all_images_ranks_as_an_exact_search(model: PretrainedPredictor) -> None:
    exact, listed = (model.find(TEXTS, PATHS, top=len(PATHS), shortlist=size) for size in (0, len(PATHS)))
    assert isinstance(exact, list)
    assert isinstance(listed, list)
    for a, b in zip(exact, listed, strict=True):
        assert [rank.name for rank in a.ranked] == [rank.name for rank in b.ranked]
        assert [rank.probability for rank in a.ranked] == pytest.approx(
            [rank.probability for rank in b.ranked], abs=1e-4
        )
        assert a.notes == b.notes


def test_only_listed_images_are_ranked_in_the_order_of_the_exact_search(model: PretrainedPredictor) -> None:
    predictions = model.find(TEXTS, PATHS, top=len(PATHS), shortlist=2)
    exact = model.find(TEXTS, PATHS, top=len(PATHS))
    rankings = model.index(PATHS).search(TEXTS, len(PATHS), shortlist=2)
    assert isinstance(predictions, list)
    assert isinstance(exact, list)
    for prediction, all_images, ranking in zip(predictions, exact, rankings, strict=True):
        names = [rank.name for rank in prediction.ranked]
        assert len(names) == 2
        assert names == [rank.name for rank in all_images.ranked if rank.name in names]
        assert (
            f"Only the images that the twin encoder ranks first were compared: 2 of {len(PATHS)}." in prediction.notes
        )
        assert [rank.name for rank in ranking] == [str(PATHS[int(name)]) for name in names]
        assert sum(rank.probability for rank in ranking) == pytest.approx(1, abs=1e-4)


def test_an_index_keeps_its_vectors_and_embeds_new_images_only(
    model: PretrainedPredictor, embedded: list[int], tmp_path: Path
) -> None:
    index = model.index(PATHS[:-1])
    expected = index.search(TEXTS, shortlist=2)
    assert index.search(TEXTS, shortlist=2) == expected
    assert embedded == [len(PATHS) - 1]
    index.add(PATHS[-1:])
    index.search(TEXTS, shortlist=2)
    assert embedded == [len(PATHS) - 1, 1]
    index.save(tmp_path / "index")
    loaded = SearchIndex.load(tmp_path / "index", model)
    assert loaded.search(TEXTS, shortlist=2) == model.index(PATHS).search(TEXTS, shortlist=2)
    assert embedded == [len(PATHS) - 1, 1, len(PATHS)]  # of the new index, not of the loaded one
    loaded.remove(str(PATHS[0]))
    assert len(loaded.search(TEXTS[0], shortlist=100)) == min(5, len(PATHS) - 1)


def test_an_index_with_vectors_of_another_twin_encoder_is_searched_by_its_own(
    model: PretrainedPredictor, tmp_path: Path
) -> None:
    model.index(PATHS).save(tmp_path / "index")
    folder = shutil.copytree(SHIPPED, tmp_path / "model")
    torch.manual_seed(1)
    TwinEncoder(128, 128).write(folder)
    other = twelvefold.load(folder)
    assert SearchIndex.load(tmp_path / "index", other).search(TEXTS, shortlist=2) == other.index(PATHS).search(
        TEXTS, shortlist=2
    )


def test_a_hub_folder_has_the_twin_encoder(model: PretrainedPredictor, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "hub")
    assert (tmp_path / "hub" / FILE).exists()
    loaded = twelvefold.load(tmp_path / "hub")
    assert loaded.index(PATHS).search(TEXTS, shortlist=2) == model.index(PATHS).search(TEXTS, shortlist=2)


def test_a_wrong_shortlist_is_refused(model: PretrainedPredictor, tmp_path: Path) -> None:
    folder = shutil.copytree(SHIPPED, tmp_path / "model")
    (folder / FILE).unlink(missing_ok=True)
    without = twelvefold.load(folder)
    with pytest.raises(TwelvefoldError, match="index train"):
        without.find(TEXTS[0], PATHS, shortlist=2)
    with pytest.raises(TwelvefoldError, match="index train"):
        without.index(PATHS).search(TEXTS[0], shortlist=2)
    for size in (-1, True, "2"):
        with pytest.raises(TwelvefoldError, match="shortlist: expected a number of images"):
            model.find(TEXTS[0], PATHS, shortlist=size)  # type: ignore[arg-type]
    with pytest.raises(TwelvefoldError, match="searches no images"):
        model.answer([Request("vqav2", (load_image(PATHS[0]),), "What?", shortlist=2)])
