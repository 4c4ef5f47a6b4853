"""A cleaning that would remove much of a split by similarity alone stops, and shows the pairs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from twelvefold import cli
from twelvefold.config.recipe import DataConfig, Recipe
from twelvefold.preparation.prepare import prepare
from twelvefold.schema import TwelvefoldError
from twelvefold.splits.clean import clean
from twelvefold.splits.manifest import read_manifest
from twelvefold.splits.policy import get_policy

NUM_IMAGES, NUM_SIMILAR = 19, 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write training images of COCO, and as a test set compressed copies of four and equal files of two of them."""
    root = tmp_path_factory.mktemp("similar")
    rows: dict[str, list[dict[str, object]]] = {"coco": [], "flickr30k": []}
    for n in range(NUM_IMAGES):
        noise = np.random.default_rng(n).integers(0, 255, (9, 12, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC)
        write(image, root / "images" / "coco" / "val2014" / f"COCO_val2014_{n:012}.jpg", 95)
        sentences = [{"raw": f"Noise of seed {n}.", "sentid": n}]
        rows["coco"].append({"split": "train", "filename": f"{n}.jpg", "cocoid": n, "sentences": sentences})
        if n < NUM_SIMILAR + 2:
            write(image, root / "images" / "flickr30k" / f"{n}.jpg", 60 if n < NUM_SIMILAR else 95)
            rows["flickr30k"].append({"split": "test", "filename": f"{n}.jpg", "sentences": sentences})
    for n, split in enumerate(("train", "val", "test"), start=97):
        sentences = [{"raw": "Nothing.", "sentid": n}]
        rows["coco"].append({"split": split, "filename": f"{n}.jpg", "cocoid": n, "sentences": sentences})
        rows["flickr30k"].append({"split": split, "filename": f"{n}.jpg", "sentences": sentences})
    for task, images in rows.items():
        (root / task).mkdir()
        (root / task / f"dataset_{task}.json").write_text(json.dumps({"images": images}))
    return root


def write(image: Image.Image, path: Path, quality: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=quality)


def run_command(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main([*map(str, arguments), "--tasks", "coco", "flickr30k", "--processes", "1"])
    return int(exit_.value.code or 0)


def test_clean_stops_shows_the_pairs_and_goes_on_if_they_are_accepted(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("clean", data, tmp_path, "--ids") == 2
    error = capsys.readouterr().err
    assert "coco, train: cleaning would remove 20.0 % of the examples" in error
    assert "coco/0 and flickr30k/0" in error
    assert "--max-similar" in error
    assert not (tmp_path / "clean.json").exists()
    assert not (tmp_path / "ids").exists()
    sheet = (tmp_path / "similar.html").read_text()
    assert sheet.count("<figure>") == NUM_SIMILAR
    assert sheet.count("<img") == 2 * NUM_SIMILAR
    assert run_command("clean", data, tmp_path, "--max-similar", "0.1") == 2
    assert run_command("clean", data, tmp_path, "--max-similar", "0.2", "--ids") == 0
    assert f"look alike: {NUM_SIMILAR} examples" in capsys.readouterr().out
    removed = read_manifest(tmp_path / "clean.json").split("coco", "train").removed
    assert sorted(removed) == [f"coco/{n}" for n in range(NUM_SIMILAR + 2)]
    assert (tmp_path / "ids" / "coco-train-removed.txt").exists()


def test_a_single_image_stops_too_and_the_limit_itself_is_allowed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twenty examples of twenty images: one similar image is 5 %, which is not more than 5 %; two are."""
    kept = tmp_path / "data" / "images" / "flickr30k"
    shutil.copytree(data, tmp_path / "data")
    for path in sorted(kept.glob("*.jpg")):
        path.unlink()
    shutil.copy(data / "images" / "flickr30k" / "0.jpg", kept)
    assert run_command("clean", tmp_path / "data", tmp_path / "out") == 0
    shutil.copy(data / "images" / "flickr30k" / "1.jpg", kept)
    assert run_command("clean", tmp_path / "data", tmp_path / "out") == 2
    assert "10.0 % of the examples" in capsys.readouterr().err
    assert run_command("clean", tmp_path / "data", tmp_path / "out", "--max-similar", "0.1") == 0


def test_equal_files_are_no_similarity(data: Path, tmp_path: Path) -> None:
    summary = clean(data, tmp_path, policy="exact", tasks=["coco", "flickr30k"])
    assert summary.counts["coco"]["train"].removed == 2
    assert summary.removed_by_similarity == 0


def test_prepare_stops_too_and_a_recipe_can_accept(data: Path, tmp_path: Path) -> None:
    tasks = ("coco", "flickr30k")
    with pytest.raises(TwelvefoldError, match=r"20\.0 % .*at most 5 %"):
        prepare(data, None, tmp_path, tasks)
    assert not (tmp_path / "clean.json").exists()
    assert (tmp_path / "similar.html").exists()
    config = Recipe.parse('name = "r"\ntasks = ["coco"]\n[data]\nmax_similar = 1').data
    assert prepare(data, None, tmp_path, tasks, config).counts["coco"]["train"].removed == NUM_SIMILAR + 2
    with pytest.raises(TwelvefoldError, match="at most 5 %"):
        prepare(data, None, tmp_path, tasks)
    with pytest.raises(TwelvefoldError, match="0 to 1; got 5"):
        prepare(data, None, tmp_path, tasks, DataConfig(max_similar=5))


def test_an_example_with_an_equal_image_is_not_removed_by_similarity_alone(data: Path, tmp_path: Path) -> None:
    policy = get_policy("paper", max_similar=1)
    manifest = read_manifest(clean(data, tmp_path, policy=policy, tasks=["coco", "flickr30k"]).manifest)
    similar: Mapping[str, Any] = {
        image: any(step.evidence == "looks" for step in reasons[0].steps) for image, reasons in manifest.reasons.items()
    }
    assert similar == {f"coco/{n}": n < NUM_SIMILAR for n in range(NUM_SIMILAR + 2)}
