"""``twelvefold clean`` on a world: what it writes, compares and refuses, and that ``prepare`` applies it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from twelvefold import cli, datasets
from twelvefold.config.recipe import DataConfig, Recipe, TaskConfig
from twelvefold.datasets.reading import same_image_links
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.preparation.prepare import prepare, prepare_recipe
from twelvefold.schema import ImageKey, SameImageLink, Split, TwelvefoldError
from twelvefold.splits import decide, manifest
from twelvefold.splits.clean import clean
from twelvefold.splits.policy import POLICIES, get_policy
from twelvefold.store.prepared import Prepared
from twelvefold.world.write import make_world

TASKS = ("vqav2", "vgqa", "refcoco", "visual7w")
"""Two tasks on COCO's images, two on Visual Genome's, half of which are COCO's."""

MAX_SIMILAR = 1.0
"""In so small a world the planted copies of a single image may be more than 5 % of a split."""
PAPER = get_policy("paper", max_similar=MAX_SIMILAR)
ALLOW = ("--max-similar", str(MAX_SIMILAR), "--processes", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("clean") / "world", images=112, seed=4, processes=1).folder


def run_command(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


def task_configs(data: Path, tasks: Sequence[str]) -> dict[str, TaskConfig]:
    return {name: TaskConfig(options=options) for name, options in reader_options(data, tasks).items()}


def images_under_test(data: Path) -> set[ImageKey]:
    """Return the images of all test sets, from the readers."""
    options = reader_options(data, TASKS)
    return {
        pair.image
        for task in TASKS
        for example in datasets.load_dataset(task).read(data, "test", bad=BadRecords(), **options[task])
        for pair in example.pairs
    }


@pytest.mark.parametrize("policy", ["paper", "strict", "ids"])
def test_prepared_tables_contain_no_protected_image(data: Path, tmp_path: Path, policy: Any) -> None:
    prepare(
        data, None, tmp_path, task_configs(data, TASKS), DataConfig(clean=policy, max_similar=MAX_SIMILAR, min_count=1)
    )
    prepared = Prepared.open(tmp_path)
    evidence = decide.collect_policy_evidence(data, POLICIES[policy], cache_dir=tmp_path / "made", bad=BadRecords())
    groups = ImageGroups(evidence.links)

    def images(split: Split) -> set[ImageKey]:
        return {groups.group_of(key) for task in TASKS for key in prepared.table(task, split).all_images()}

    assert images("test") == {groups.group_of(key) for key in images_under_test(data)}
    assert not images("test") & (images("train") | images("val"))
    if policy == "strict":
        assert not images("val") & images("train")
    assert sum(prepared.counts[task]["train"].removed for task in TASKS) > 0


def test_cleaning_removes_exactly_the_leaks_of_the_worlds_truth(data: Path, tmp_path: Path) -> None:
    scenes = [json.loads(line)["keys"] for line in (data / "truth" / "scenes.jsonl").read_text().splitlines()]
    planted = json.loads((data / "truth" / "near_duplicates.json").read_text())
    groups = [*scenes, *(entry["keys"] + entry["of"] for entry in planted if entry["near_duplicate"])]
    truth = ImageGroups(
        SameImageLink(ImageKey.parse(keys[0]), ImageKey.parse(other), "ids", "")
        for keys in groups
        for other in keys[1:]
    )
    cleaned = manifest.read_manifest(clean(data, tmp_path, policy=PAPER, tasks=TASKS).manifest)
    tested = {truth.group_of(key) for key in images_under_test(data)}
    options = reader_options(data, TASKS)
    leaks = 0
    for task in TASKS:
        for split in ("train", "val"):
            removed = cleaned.split(task, split).removed_ids()
            for example in datasets.load_dataset(task).read(data, split, bad=BadRecords(), **options[task]):
                leaked = any(truth.group_of(pair.image) in tested for pair in example.pairs)
                assert (example.id in removed) == leaked
                leaks += leaked
    assert leaks > 100


def test_clean_and_prepare_write_the_same_manifest(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("clean", data, tmp_path / "clean", "--tasks", *TASKS, *ALLOW, "--ids", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    prepare(
        data,
        None,
        tmp_path / "prepared",
        task_configs(data, TASKS[::-1]),
        DataConfig(max_similar=MAX_SIMILAR, min_count=1),
    )
    path = tmp_path / "clean" / "clean.json"
    assert path.read_bytes() == (tmp_path / "prepared" / "clean.json").read_bytes()
    assert summary["digest"] == manifest.read_manifest(path).digest
    prepared = Prepared.open(tmp_path / "prepared")
    for task in TASKS:
        for split in ("train", "val", "test"):
            kept = (tmp_path / "clean" / "ids" / f"{task}-{split}-kept.txt").read_text().splitlines()
            removed = (tmp_path / "clean" / "ids" / f"{task}-{split}-removed.txt").read_text().splitlines()
            assert kept == prepared.table(task, split).ids()
            assert set(removed) == manifest.read_manifest(path).split(task, split).removed_ids()
            counts = summary["counts"][task][split]
            assert (counts["kept"], counts["removed"]) == (len(kept), len(removed))
            assert counts["read"] == len(kept) + len(removed)


def test_cleaning_again_gives_the_same_digest_and_prints_the_counts(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = clean(data, tmp_path / "out", policy=PAPER, tasks=TASKS)
    assert run_command("clean", data, tmp_path / "out", "--tasks", *TASKS, *ALLOW) == 0
    output = capsys.readouterr().out
    assert f"policy paper, digest {first.digest}" in output
    assert f"{first.counts['vgqa']['train'].removed:,}" in output


def test_id_lists_protect_alone_or_in_addition(data: Path, tmp_path: Path) -> None:
    options = reader_options(data, TASKS)
    examples = list(datasets.load_dataset("vqav2").read(data, "train", bad=BadRecords(), **options["vqav2"]))
    image = examples[0].pairs[0].image
    np.save(tmp_path / "coco_test_ids.npy", np.array([int(image.id)]))
    id_list = tmp_path / "coco_test_ids.npy"
    alone = clean(data, tmp_path / "alone", tasks=TASKS, policy="lists", protect=[id_list])
    removed = manifest.read_manifest(alone.manifest).split("vqav2", "train").removed
    assert removed == {str(image): sorted(e.id for e in examples if e.pairs[0].image == image)}
    assert manifest.read_manifest(alone.manifest).why(str(image)) == f"{image} is in the list coco_test_ids.npy"
    added = clean(data, tmp_path / "added", policy=PAPER, tasks=TASKS, protect=[id_list])
    plain = clean(data, tmp_path / "plain", policy=PAPER, tasks=TASKS)
    removed_ids = manifest.read_manifest(added.manifest).split("vqav2", "train").removed_ids()
    assert removed_ids >= manifest.read_manifest(plain.manifest).split("vqav2", "train").removed_ids() | set(
        removed[str(image)]
    )
    # prepare applies a pinned manifest of id lists.
    config = DataConfig(clean="lists", manifest=str(alone.manifest), min_count=1)
    prepare(data, None, tmp_path / "out", task_configs(data, TASKS), config)
    assert not set(removed[str(image)]) & set(Prepared.open(tmp_path / "out").table("vqav2", "train").ids())
    with pytest.raises(TwelvefoldError, match="protects nothing but id lists: add --protect"):
        clean(data, tmp_path / "x", tasks=TASKS, policy="lists")


def test_comparing_a_list_reports_only_its_differences(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    links = list(same_image_links.read_links(data, bad=BadRecords()))
    groups = ImageGroups(links)
    tested = {groups.group_of(key) for key in images_under_test(data)}
    all_keys = {key for link in links for key in (link.first, link.second)} | images_under_test(data)
    ids = sorted(int(key.id) for key in all_keys if key.source == "coco" and groups.group_of(key) in tested)
    np.save(tmp_path / "coco_test_ids.npy", np.array(ids))
    assert (
        run_command("clean", "compare", data, tmp_path / "coco_test_ids.npy", "--tasks", *TASKS, "--processes", "1")
        == 0
    )
    capsys.readouterr()
    np.save(tmp_path / "coco_test_ids.npy", np.array([*ids[1:], 999_999_999]))
    assert (
        run_command(
            "clean", "compare", data, tmp_path / "coco_test_ids.npy", "--tasks", *TASKS, "--processes", "1", "--json"
        )
        == 1
    )
    (comparison,) = json.loads(capsys.readouterr().out)
    assert (comparison["only_theirs"], comparison["only_ours"], comparison["both"]) == (1, 1, len(ids) - 1)
    assert comparison["some_only_theirs"] == ["coco/999999999"]
    assert comparison["some_only_ours"][0].startswith(f"coco/{ids[0]} (")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "papper"], "did you mean 'paper'"),
        (["--tasks", "vqav"], "no dataset 'vqav'"),
        (["--tasks", "vqav2", "vqav2"], "more than once: vqav2"),
        (["--protect", "ids.npy"], "whose ids are these"),
        (["--recipe", "dmeo"], "did you mean 'demo'"),
    ],
)
def test_invalid_input_is_an_error_with_code_2(
    data: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("clean", data, tmp_path / "out", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "clean.json").exists()


def test_a_missing_folder_and_a_missing_file_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match="is not a data folder"):
        clean(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(TwelvefoldError, match="vqav2: expected the file"):
        clean(tmp_path, tmp_path / "out", tasks=["vqav2"])


def test_a_recipe_accepts_exactly_the_existing_policies(data: Path, tmp_path: Path) -> None:
    start = 'name = "r"\ntasks = ["vqav2"]\n[data]\nclean = '
    for name in [*POLICIES, "none"]:
        assert Recipe.parse(f'{start}"{name}"').data.clean == name
    assert Recipe.parse(f"{start}true") == Recipe.parse(f'{start}"paper"')
    assert Recipe.parse(f"{start}false") == Recipe.parse(f'{start}"none"')
    with pytest.raises(
        TwelvefoldError, match=r"\[data\] clean can't be 'papr'; did you mean 'paper'.*strict, ids, lists"
    ):
        Recipe.parse(f'{start}"papr"')
    summary = clean(data, tmp_path / "clean", tasks=["vqav2"])
    recipe = Recipe.parse(
        f'{start}"paper"\nmin_count = 1\nmanifest = "{summary.manifest}"\nclean_digest = "{summary.digest}"'
    )
    prepared = prepare_recipe(recipe, data, None, tmp_path / "out")
    assert prepared.clean_digest == summary.digest
    with pytest.raises(TwelvefoldError, match="made with the policy 'paper', but the policy 'ids' is requested"):
        prepare_recipe(recipe, data, None, tmp_path / "out", config=replace(recipe.data, clean="ids"))


@pytest.mark.parametrize("command", ["clean", "clean compare"])
def test_the_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(*command.split(), "--help") == 0
    assert f"twelvefold {command} data/world" in capsys.readouterr().out


def test_cleaning_never_imports_torch_even_with_a_recipe(data: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from twelvefold import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit as left: sys.exit(f'{left.code} {sys.modules.keys() & {\"torch\"}}')"
    )
    arguments = ["clean", data, tmp_path, "--recipe", "smoke", "--policy", "ids", "--processes", "1", "--json"]
    process = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], check=False, capture_output=True, encoding="utf-8"
    )
    assert process.stderr == "0 set()\n"
