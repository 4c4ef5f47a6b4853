"""``twelvefold compare-runs`` pairs examples by id, names what it leaves out, and refuses other data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from twelvefold import cli, datasets
from twelvefold.data.write_table import write_table
from twelvefold.evaluation.compare_runs import compare_runs
from twelvefold.evaluation.predictions import PredictionRecord, predictions_path, write_predictions
from twelvefold.evaluation.scores import Scores, TaskScore, write_scores
from twelvefold.schema import CONSISTENCY_ONLY, ClassName, Example, ImageKey, Pair
from twelvefold.store import atomic_files
from twelvefold.store.prepared import MANIFEST, FileEntry, PreparedManifest

IMAGES, PER_IMAGE = 60, 4
TASKS = ("nlvr2", "snli_ve")
BASELINE = np.random.default_rng(0).random(IMAGES * PER_IMAGE) < 0.6
"""Which examples the baseline answers correctly."""


def prepare(folder: Path, ids: Sequence[str], tasks: Sequence[str] = TASKS, text: str = "it is red") -> Path:
    """Write the tables of tasks with four examples an image, and two that only a consistency metric uses."""
    entries: dict[str, dict[str, FileEntry]] = {}
    for task in tasks:
        examples = [
            Example(id_, (Pair(ImageKey("coco", str(n // PER_IMAGE)), text),), ClassName("True"))
            for n, id_ in enumerate(ids)
        ]
        extra = Example("extra", (Pair(ImageKey("coco", "0"), text),), None, question_type=CONSISTENCY_ONLY)
        path, digest = folder / "tables" / f"{task}-test.arrow", f"{text} {len(ids)} {ids[0]}"
        count = write_table(path, [*examples, extra], lambda texts: [[1]] * len(texts), digest=digest)
        entries[task] = {"test": FileEntry(f"tables/{path.name}", path.stat().st_size, count, digest)}
    specs = [datasets.load_dataset(task).TASK for task in tasks]
    manifest = PreparedManifest(clean=True, regions="r", tasks=specs, tables=entries, counts={})
    atomic_files.write_json(folder / MANIFEST, msgspec.to_builtins(manifest))
    return folder


def ids(count: int = IMAGES * PER_IMAGE, first: int = 0) -> list[str]:
    return [f"e{n}" for n in range(first, first + count)]


def evaluated(
    run: Path,
    prepared: Path,
    right: Mapping[str, Sequence[bool] | np.ndarray],
    *,
    seed: int = 0,
    first: int = 0,
    rank: int | None = None,
    recipe: str = "",
) -> Path:
    """Write an evaluated run, whose example ``n`` of a task is right if ``right[task][n]``."""
    names = ", ".join(f'"{task}"' for task in right)
    atomic_files.write_text(run / "recipe.toml", f'name = "toy"\nseed = {seed}\ntasks = [{names}]\n{recipe}')
    atomic_files.write_json(run / "data_folders.json", {"prepared": str(prepared)})
    tasks = {}
    for task, each in right.items():
        records = [
            PredictionRecord(id_, task, float(score), (), rank=rank)
            for id_, score in zip(ids(len(each), first), each, strict=True)
        ]
        write_predictions(predictions_path(run, task, "test"), [*records, PredictionRecord("extra", task, 0.0, ())])
        score = round(100 * float(np.mean(each)), 2)
        tasks[task] = TaskScore("accuracy", "test", score, len(each), (score - 1, score + 1))
    write_scores(run / "scores.json", Scores(tasks, "latest", 1.0, 1.0))
    return run


def changed(share: float, *, to: bool, seed: int = 1) -> np.ndarray:
    """Return the baseline's answers, of which those of a share of the images become all right or all wrong."""
    images = np.repeat(np.random.default_rng(seed).random(IMAGES) < share, PER_IMAGE)
    return np.where(images, to, BASELINE)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    return prepare(tmp_path / "prepared", ids())


@pytest.fixture
def baseline(tmp_path: Path, prepared: Path) -> Path:
    return evaluated(tmp_path / "a", prepared, dict.fromkeys(TASKS, BASELINE))


def leave(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(["compare-runs", *map(str, arguments)])
    return int(left.value.code or 0)


def test_a_worse_task_is_found_and_the_command_exits_with_1(
    tmp_path: Path, prepared: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = evaluated(tmp_path / "b", prepared, {TASKS[0]: BASELINE, TASKS[1]: changed(0.3, to=False)})
    assert leave(baseline, other, "--json") == 1
    result = json.loads(capsys.readouterr().out)
    assert result["worse"] == [TASKS[1], "average"]
    same, worse = result["tasks"][TASKS[0]], result["tasks"][TASKS[1]]
    assert (same["difference"], same["ci95"], same["p"], same["detectable"]) == (0.0, [0.0, 0.0], 1.0, None)
    assert (worse["n"], worse["images"], worse["verdict"]) == (IMAGES * PER_IMAGE, IMAGES, "worse")
    assert worse["difference"] == pytest.approx(worse["other"] - worse["baseline"], abs=0.011)
    assert worse["p_corrected"] == pytest.approx(2 * worse["p"], abs=1e-5)
    assert result["average"]["difference"] == pytest.approx(worse["difference"] / 2, abs=0.011)
    assert result["average"]["p_corrected"] is None
    assert leave(baseline, other) == 1
    assert f"Significantly worse on 1 of 2 tasks: {TASKS[1]}" in capsys.readouterr().out


def test_a_better_run_and_an_equal_run_exit_with_0(tmp_path: Path, prepared: Path, baseline: Path) -> None:
    better = evaluated(tmp_path / "b", prepared, dict.fromkeys(TASKS, changed(0.3, to=True)))
    equal = evaluated(tmp_path / "c", prepared, dict.fromkeys(TASKS, BASELINE))
    assert leave(baseline, better) == 0
    assert leave(baseline, equal) == 0
    assert {row.verdict for row in compare_runs(baseline, better).tasks.values()} == {"better"}


def test_a_tolerance_accepts_smaller_losses(
    tmp_path: Path, prepared: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = evaluated(tmp_path / "b", prepared, dict.fromkeys(TASKS, changed(0.3, to=False)))
    loss = -compare_runs(baseline, other).tasks[TASKS[0]].difference
    assert leave(baseline, other, "--tolerance", loss - 0.5) == 1
    assert leave(baseline, other, "--tolerance", loss + 0.5) == 0
    assert "Accepted, as they lose at most" in capsys.readouterr().out


def test_tasks_and_examples_of_one_side_are_counted_named_and_exit_with_3(
    tmp_path: Path, prepared: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = evaluated(tmp_path / "b", prepared, {TASKS[0]: BASELINE[:-3]})
    assert leave(baseline, fewer) == 3
    text = capsys.readouterr().out
    assert f"{TASKS[0]}: 3 scored examples that only the baseline has, such as e237, e238, e239" in text
    assert f"not compared: {TASKS[1]}: {fewer}: its recipe does not have this task" in text
    assert compare_runs(baseline, fewer).tasks[TASKS[0]].n == IMAGES * PER_IMAGE - 3
    whole = evaluated(tmp_path / "c", prepared, {TASKS[0]: BASELINE})
    assert leave(baseline, whole, "--tasks", TASKS[0]) == 0


def test_withheld_labels_cannot_be_compared(tmp_path: Path, prepared: Path, baseline: Path) -> None:
    other = evaluated(tmp_path / "b", prepared, dict.fromkeys(TASKS, BASELINE))
    for run in (baseline, other):
        content = json.loads((run / "scores.json").read_text())
        content["tasks"][TASKS[1]] |= {"score": None, "ci95": None, "n": 0}
        (run / "scores.json").write_text(json.dumps(content))
    result = compare_runs(baseline, other)
    assert list(result.tasks) == [TASKS[0]]
    assert "labels are withheld" in result.not_compared[TASKS[1]]
    assert result.average is None
    assert result.exit_code == 3


def test_retrieval_in_other_sets_of_images_is_not_compared(tmp_path: Path, prepared: Path) -> None:
    runs = [
        evaluated(tmp_path / name, prepared, {TASKS[0]: answers, TASKS[1]: BASELINE}, rank=1)
        for name, answers in (("a", BASELINE), ("b", BASELINE[:-4]))
    ]
    assert "different sets of images" in compare_runs(*runs).not_compared[TASKS[0]]


def test_equal_tables_in_two_folders_are_the_same_data(tmp_path: Path, baseline: Path) -> None:
    copy = prepare(tmp_path / "copy", ids())
    other = evaluated(tmp_path / "b", copy, dict.fromkeys(TASKS, BASELINE))
    larger = prepare(tmp_path / "larger", ids(IMAGES * PER_IMAGE + 4))
    third = evaluated(tmp_path / "c", larger, dict.fromkeys(TASKS, BASELINE))
    assert leave(baseline, other) == 0
    assert leave(baseline, third) == 0


OTHER_DATA: dict[str, tuple[dict[str, Any], int]] = {
    "nothing in common": ({"ids": ids(first=1000)}, 1000),
    "another image, text or label": ({"ids": ids(), "text": "it is blue"}, 0),
}


@pytest.mark.parametrize("difference", OTHER_DATA)
def test_other_data_are_refused(
    difference: str, tmp_path: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables, first = OTHER_DATA[difference]
    other_data = prepare(tmp_path / "other", **tables)
    other = evaluated(tmp_path / "b", other_data, dict.fromkeys(TASKS, BASELINE), first=first)
    assert leave(baseline, other) == 2
    error = capsys.readouterr().err
    assert "evaluated on other data" in error
    assert {"nothing in common": "no example id in common"}.get(difference, difference) in error


def break_predictions(run: Path) -> None:
    predictions_path(run, TASKS[0], "test").unlink()


def break_scores(run: Path) -> None:
    path = predictions_path(run, TASKS[0], "test")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))


def break_ids(run: Path) -> None:
    path = predictions_path(run, TASKS[0], "test")
    path.write_bytes(path.read_bytes().replace(b'"e7"', b'"f7"'))


BROKEN: dict[str, Callable[[Path], object]] = {
    "was not evaluated": lambda run: (run / "scores.json").unlink(),
    "is missing, but nlvr2 has a score": break_predictions,
    "they are of different evaluations": break_scores,
    "'f7' is not in the tables": break_ids,
    "is not a run": lambda run: (run / "recipe.toml").unlink(),
    "its tables, which have the image of each example": lambda run: (run / "data_folders.json").write_text("{}"),
}


@pytest.mark.parametrize("error", BROKEN)
def test_runs_that_cannot_be_read_are_refused(
    error: str, tmp_path: Path, prepared: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = evaluated(tmp_path / "b", prepared, dict.fromkeys(TASKS, BASELINE))
    BROKEN[error](other)
    assert leave(baseline, other) == 2
    assert error in capsys.readouterr().err


def test_wrong_arguments_are_refused(
    tmp_path: Path, prepared: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = evaluated(tmp_path / "b", prepared, dict.fromkeys(TASKS, BASELINE))
    calls = {
        "is on both sides": (baseline, baseline),
        "did you mean 'nlvr2'": (baseline, other, "--tasks", "nlvr"),
        "--tolerance must be 0 to 100": (baseline, other, "--tolerance", -1),
        "the baseline has 1 and the other side 2 runs": (baseline, other, "--more-other", seeded(tmp_path, prepared)),
        "is no folder": (baseline, tmp_path / "missing"),
        "scores-val.json is missing": (baseline, other, "--split", "val"),
    }
    for error, arguments in calls.items():
        assert leave(*arguments) == 2
        assert error in capsys.readouterr().err
    alone = evaluated(tmp_path / "alone", prepare(tmp_path / "vqa", ids(), ["gqa"]), {"gqa": BASELINE})
    assert leave(baseline, alone) == 2
    assert "no task of" in capsys.readouterr().err


def seeded(folder: Path, prepared: Path, seed: int = 1, gain: float = 0.0, recipe: str = "") -> Path:
    """Write a run of a seed, which has a few answers of its own."""
    answers = np.where(np.random.default_rng(seed).random(len(BASELINE)) < 0.05, ~BASELINE, BASELINE)
    answers |= changed(gain, to=True, seed=7)
    return evaluated(folder / f"seed-{seed}", prepared, dict.fromkeys(TASKS, answers), seed=seed, recipe=recipe)


def test_with_several_seeds_the_seed_is_the_unit(tmp_path: Path, prepared: Path) -> None:
    first = [seeded(tmp_path / "a", prepared, seed) for seed in (0, 1, 2)]
    second = [seeded(tmp_path / "b", prepared, seed, gain=0.3) for seed in (0, 1, 2, 3)]
    welch = compare_runs(tmp_path / "a", tmp_path / "b")
    assert (welch.unit, welch.units, welch.test) == ("seed", (3, 4), "Welch's t-test over seeds")
    assert welch.average is not None
    assert welch.average.verdict == "better"
    assert len(welch.average.other_by_seed) == 4
    paired = compare_runs(first[0], second[2], more_baseline=first[1:], more_other=second[:2])
    assert (paired.units, paired.test) == ((3, 3), "paired t-test by seed")
    assert paired.other == tuple(str(run) for run in second[:3])  # in the order of their seeds
    assert paired.tasks[TASKS[0]].verdict == "better"


def test_the_runs_of_a_side_are_seeds_of_one_recipe(
    tmp_path: Path, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = [seeded(tmp_path / "a", prepared, seed) for seed in (0, 1)]
    larger = seeded(tmp_path / "b", prepared, 1, recipe="[training]\nlr_factor = 3.0\n")
    sides = (first[0], first[1], "--more-baseline")
    assert leave(*sides, larger, "--more-other", first[0]) == 2
    assert "not of the same recipe" in capsys.readouterr().err
    assert leave(*sides, first[0], "--more-other", larger) == 2
    assert "stated twice on one side" in capsys.readouterr().err


def test_the_page_is_written_next_to_the_result(
    tmp_path: Path, prepared: Path, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = evaluated(tmp_path / "b", prepared, dict.fromkeys(TASKS, changed(0.3, to=False)))
    assert leave(baseline, other, "--html", tmp_path / "page.html", "--json") == 1
    difference = json.loads(capsys.readouterr().out)["average"]["difference"]
    page = (tmp_path / "page.html").read_text()
    assert "<h1>Significantly worse on 2 of 2 tasks</h1>" in page
    assert f"{difference:+.2f} points" in page
