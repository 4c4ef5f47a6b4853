"""``twelvefold clean`` on a world: what it writes, compares and refuses, and that ``prepare`` does what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twelvefold import cli, datasets
from twelvefold.config.recipe import Recipe
from twelvefold.datasets.reading import same_image_links
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.preparation.from_recipe import prepare_recipe
from twelvefold.preparation.prepare import prepare
from twelvefold.schema import ImageKey, SameImageLink, Split, TwelvefoldError
from twelvefold.splits import decide, manifest
from twelvefold.splits.clean import clean
from twelvefold.splits.policy import POLICIES
from twelvefold.store.prepared import Prepared
from twelvefold.world.write import world

TASKS = ("vqav2", "vgqa", "refcoco", "visual7w")
"""Two of COCO's pictures, two of Visual Genome's, which are half the same photographs."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world(tmp_path_factory.mktemp("clean") / "world", images=112, seed=4, workers=1).folder


def leave(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def pictures_under_test(data: Path) -> set[ImageKey]:
    """The pictures of all test sets, straight from the readers."""
    options = reader_options(data, TASKS)
    return {
        pair.image
        for task in TASKS
        for example in datasets.load_dataset(task).read(data, "test", bad=BadRecords(), **options[task])
        for pair in example.pairs
    }


@pytest.mark.parametrize("policy", ["paper", "strict", "ids"])
def test_prepared_by_a_policy_no_table_holds_what_the_policy_protects(data: Path, tmp_path: Path, policy: str) -> None:
    prepare(data, None, tmp_path, tasks=TASKS, clean=policy, min_count=1, reader_options=reader_options(data, TASKS))
    prepared = Prepared.open(tmp_path)
    found = decide.collect_policy_evidence(data, POLICIES[policy], cache_dir=tmp_path / "made", bad=BadRecords())
    names = ImageGroups(found.links)

    def photographs(split: Split) -> set[ImageKey]:
        return {names.group_of(key) for task in TASKS for key in prepared.table(task, split).all_images()}

    assert photographs("test") == {names.group_of(key) for key in pictures_under_test(data)}
    assert not photographs("test") & (photographs("train") | photographs("val"))
    if policy == "strict":
        assert not photographs("val") & photographs("train")
    assert sum(prepared.counts[task]["train"].removed for task in TASKS) > 0


def test_cleaning_removes_exactly_the_leaks_of_the_worlds_truth(data: Path, tmp_path: Path) -> None:
    scenes = [json.loads(line)["keys"] for line in (data / "truth" / "scenes.jsonl").read_text().splitlines()]
    planted = json.loads((data / "truth" / "near_duplicates.json").read_text())
    groups = [*scenes, *(one["keys"] + one["of"] for one in planted if one["near_duplicate"])]
    truth = ImageGroups(
        SameImageLink(ImageKey.parse(keys[0]), ImageKey.parse(other), "looks", "")
        for keys in groups
        for other in keys[1:]
    )
    made = manifest.read_manifest(clean(data, tmp_path, tasks=TASKS).manifest)
    tested = {truth.group_of(key) for key in pictures_under_test(data)}
    options = reader_options(data, TASKS)
    leaks = 0
    for task in TASKS:
        for split in ("train", "val"):
            gone = made.split(task, split).removed_ids()
            for example in datasets.load_dataset(task).read(data, split, bad=BadRecords(), **options[task]):
                leaked = any(truth.group_of(pair.image) in tested for pair in example.pairs)
                assert (example.id in gone) == leaked
                leaks += leaked
    assert leaks > 100


def test_clean_and_prepare_write_the_same_manifest(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave("clean", data, tmp_path / "clean", "--tasks", *TASKS, "--ids", "--json", "--processes", "1") == 0
    said = json.loads(capsys.readouterr().out)
    options = reader_options(data, TASKS)
    prepare(data, None, tmp_path / "prepared", tasks=TASKS[::-1], min_count=1, reader_options=options)
    path = tmp_path / "clean" / "clean.json"
    assert path.read_bytes() == (tmp_path / "prepared" / "clean.json").read_bytes()
    assert said["digest"] == manifest.read_manifest(path).digest
    prepared = Prepared.open(tmp_path / "prepared")
    for task in TASKS:
        for split in ("train", "val", "test"):
            kept = (tmp_path / "clean" / "ids" / f"{task}-{split}-kept.txt").read_text().splitlines()
            removed = (tmp_path / "clean" / "ids" / f"{task}-{split}-removed.txt").read_text().splitlines()
            assert kept == prepared.table(task, split).ids()
            assert set(removed) == manifest.read_manifest(path).split(task, split).removed_ids()
            counts = said["counts"][task][split]
            assert (counts["kept"], counts["removed"]) == (len(kept), len(removed))
            assert counts["read"] == len(kept) + len(removed)


def test_cleaning_twice_says_the_same_and_prints_the_counts(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = clean(data, tmp_path / "one", tasks=TASKS)
    assert leave("clean", data, tmp_path / "one", "--tasks", *TASKS, "--processes", "1") == 0
    shown = capsys.readouterr().out
    assert f"policy paper, digest {one.digest}" in shown
    assert f"{one.counts['vgqa']['train'].removed:,}" in shown


def test_the_originals_lists_protect_alone_or_besides(data: Path, tmp_path: Path) -> None:
    options = reader_options(data, TASKS)
    trained = list(datasets.load_dataset("vqav2").read(data, "train", bad=BadRecords(), **options["vqav2"]))
    picture = trained[0].pairs[0].image
    np.save(tmp_path / "coco_test_ids.npy", np.array([int(picture.id)]))
    listed = tmp_path / "coco_test_ids.npy"
    alone = clean(data, tmp_path / "alone", tasks=TASKS, policy="lists", protect=[listed])
    gone = manifest.read_manifest(alone.manifest).split("vqav2", "train").removed
    assert gone == {str(picture): sorted(e.id for e in trained if e.pairs[0].image == picture)}
    assert manifest.read_manifest(alone.manifest).why(str(picture)) == f"{picture} is in the list coco_test_ids.npy"
    besides = clean(data, tmp_path / "besides", tasks=TASKS, protect=[listed])
    plain = clean(data, tmp_path / "plain", tasks=TASKS)
    more = manifest.read_manifest(besides.manifest).split("vqav2", "train").removed_ids()
    assert more >= manifest.read_manifest(plain.manifest).split("vqav2", "train").removed_ids() | set(
        gone[str(picture)]
    )
    # prepare applies such a manifest where it is pinned.
    chosen: dict[str, Any] = {"tasks": TASKS, "min_count": 1, "reader_options": options}
    prepare(data, None, tmp_path / "out", clean="lists", clean_manifest=alone.manifest, **chosen)
    assert not set(gone[str(picture)]) & set(Prepared.open(tmp_path / "out").table("vqav2", "train").ids())
    with pytest.raises(TwelvefoldError, match="none is given: add --protect"):
        clean(data, tmp_path / "x", tasks=TASKS, policy="lists")


def test_comparing_a_list_of_ours_finds_no_difference_and_another_does(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    joined = list(same_image_links.read_links(data, bad=BadRecords()))
    names = ImageGroups(joined)
    tested = {names.group_of(key) for key in pictures_under_test(data)}
    every = {key for link in joined for key in (link.first, link.second)} | pictures_under_test(data)
    ids = sorted(int(key.id) for key in every if key.source == "coco" and names.group_of(key) in tested)
    np.save(tmp_path / "coco_test_ids.npy", np.array(ids))
    assert leave("clean", "compare", data, tmp_path / "coco_test_ids.npy", "--tasks", *TASKS, "--processes", "1") == 0
    capsys.readouterr()
    np.save(tmp_path / "coco_test_ids.npy", np.array([*ids[1:], 999_999_999]))
    assert (
        leave("clean", "compare", data, tmp_path / "coco_test_ids.npy", "--tasks", *TASKS, "--processes", "1", "--json")
        == 1
    )
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["only_theirs"], found["only_ours"], found["both"]) == (1, 1, len(ids) - 1)
    assert found["some_only_theirs"] == ["coco/999999999"]
    assert found["some_only_ours"][0].startswith(f"coco/{ids[0]} (")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policy", "papper"], "did you mean 'paper'"),
        (["--tasks", "vqav"], "no dataset 'vqav'"),
        (["--tasks", "vqav2", "vqav2"], "more than once: vqav2"),
        (["--protect", "ids.npy"], "whose ids are these"),
        (["--recipe", "dmeo"], "did you mean 'demo'"),
    ],
)
def test_bad_input_is_said_in_a_sentence_with_code_2(
    data: Path, tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave("clean", data, tmp_path / "out", *arguments) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "clean.json").exists()


def test_a_folder_that_is_none_and_a_missing_file_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match="is not a data folder"):
        clean(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(TwelvefoldError, match="vqav2: expected the file"):
        clean(tmp_path, tmp_path / "out", tasks=["vqav2"])


def test_a_recipe_names_exactly_the_policies_there_are(data: Path, tmp_path: Path) -> None:
    start = 'name = "r"\ntasks = ["vqav2"]\n[data]\nclean = '
    for name in [*POLICIES, "none"]:
        assert Recipe.parse(f'{start}"{name}"').data.clean == name
    assert Recipe.parse(f"{start}true") == Recipe.parse(f'{start}"paper"')
    assert Recipe.parse(f"{start}false") == Recipe.parse(f'{start}"none"')
    with pytest.raises(
        TwelvefoldError, match=r"\[data\] clean can't be 'papr'; did you mean 'paper'.*strict, ids, lists"
    ):
        Recipe.parse(f'{start}"papr"')
    kept = clean(data, tmp_path / "clean", tasks=["vqav2"])
    recipe = Recipe.parse(
        f'{start}"paper"\nmin_count = 1\nmanifest = "{kept.manifest}"\nclean_digest = "{kept.digest}"'
    )
    made = prepare_recipe(recipe, data, None, tmp_path / "out")
    assert made.clean_digest == kept.digest
    with pytest.raises(TwelvefoldError, match="made with the policy 'paper', asked for is 'ids'"):
        prepare_recipe(recipe, data, None, tmp_path / "out", clean="ids")


@pytest.mark.parametrize("command", ["clean", "clean compare"])
def test_the_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(*command.split(), "--help") == 0
    assert f"twelvefold {command} data/world" in capsys.readouterr().out


def test_it_never_imports_torch_not_even_by_a_recipe(data: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from twelvefold import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit as left: sys.exit(f'{left.code} {sys.modules.keys() & {\"torch\"}}')"
    )
    asked = ["clean", data, tmp_path, "--recipe", "smoke", "--policy", "ids", "--processes", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, asked)], check=False, capture_output=True, encoding="utf-8"
    )
    assert done.stderr == "0 set()\n"
