"""Submission files, read back by small plain scorers that know nothing of ours, and every refusal by name."""

from __future__ import annotations

import gzip
import json
import pickle
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from twelvefold import cli, datasets
from twelvefold.datasets.options import reader_options
from twelvefold.datasets.records import BadRecords
from twelvefold.results import predictions
from twelvefold.results.predictions import Line
from twelvefold.schema import (
    Candidate,
    ClassName,
    Example,
    Ranked,
    SoftAnswers,
    TargetBox,
    TwelvefoldError,
)
from twelvefold.submit import submit
from twelvefold.training.recipe import Recipe
from twelvefold.world.write import world

PAGE = Path(__file__).resolve().parents[2] / "docs" / "submissions.md"
WRONG_BOX = (0.0, 0.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("submit") / "world"
    world(folder, images=100, seed=3, workers=1)
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of all twelve: every third example is answered wrongly, the others rightly."""
    folder = tmp_path_factory.mktemp("submit") / "run"
    folder.mkdir()
    (folder / "recipe.toml").write_text(Recipe.load("demo").to_toml())
    for task in datasets.NAMES:
        said = [answer(task, example, right=i % 3 > 0) for i, example in enumerate(examples(data, task))]
        predictions.write(predictions.file_of(folder, task, "test"), said)
    return folder


def examples(data: Path, task: str, **options: Any) -> list[Example]:
    chosen = reader_options(data, [task], {task: Recipe.load("demo").choice(task).options})[task] | options
    return list(datasets.load(task).read(data, "test", bad=BadRecords(), **chosen))


def answer(task: str, example: Example, *, right: bool) -> Line:
    """One prediction, best first, whose best is right or not."""
    label, pair = example.label, example.pairs[0]
    if isinstance(label, SoftAnswers):
        said = Ranked(0.9, name=max(label.scores, key=label.scores.__getitem__, default="") if right else "no such")
    elif isinstance(label, ClassName):
        names = datasets.load(task).TASK.classes
        said = Ranked(0.9, name=label.name if right else next(n for n in names if n != label.name))
    elif isinstance(label, TargetBox):
        said = Ranked(0.9, box_px=label.box_px if right else WRONG_BOX)
    elif isinstance(label, Candidate):
        other = next(b for b in pair.candidates_px if b != pair.candidates_px[label.index])
        said = Ranked(0.9, box_px=pair.candidates_px[label.index] if right else other)
    else:
        return Line(example.id, task, float(right), (Ranked(0.9, name=str(pair.image)),), rank=0 if right else 7)
    return Line(example.id, task, float(right), (said, Ranked(0.1, name="second")))


def share_right(run: Path, task: str) -> float:
    scores = [line.score for line in predictions.read(predictions.file_of(run, task, "test"))]
    return sum(score or 0.0 for score in scores) / len(scores)


def written(run: Path, data: Path, task: str, tmp_path: Path, **options: Any) -> str:
    out = tmp_path / "out" / task
    assert submit(run, task, out, data=data, **options).questions > 0
    assert list(out.parent.iterdir()) == [out]
    return out.read_text()


# What each scorer reads and demands, written from its description; the world has the official files' layouts.


def share(right: Iterable[bool]) -> float:
    each = list(right)
    return sum(each) / len(each)


def vqa_scorer(text: str, data: Path) -> float:
    answers = {r["question_id"]: r["answer"] for r in json.loads(text)}
    official = json.loads((data / "vqav2" / "v2_mscoco_test2015_annotations.json").read_text())["annotations"]
    assert set(answers) == {a["question_id"] for a in official}
    most = [max((b := [x["answer"] for x in a["answers"]]), key=b.count) == answers[a["question_id"]] for a in official]
    return share(most)


def gqa_scorer(text: str, data: Path) -> float:
    said = {p["questionId"]: p["prediction"] for p in json.loads(text)}
    questions = json.loads((data / "gqa" / "testdev_balanced_questions.json").read_text())
    missing = [q for q in questions if q not in said]
    assert missing == []
    return share(said[q] == record["answer"] for q, record in questions.items())


def nlvr2_scorer(text: str, data: Path) -> float:
    said = {}
    for line in text.splitlines():
        identifier, word = line.strip().split(",")
        said[identifier] = word
    labelled = [json.loads(line) for line in (data / "nlvr2" / "test1.json").read_text().splitlines()]
    assert set(said) == {e["identifier"] for e in labelled}
    return share(said[e["identifier"]].lower() == e["label"].lower() for e in labelled)


def visual7w_scorer(text: str, data: Path) -> float:
    images = json.loads(next((data / "visual7w").glob("dataset*.json")).read_text())["images"]
    pairs = {qa["qa_id"]: qa for image in images if image["split"] == "test" for qa in image["qa_pairs"]}
    results = json.loads(text)
    assert sorted(entry["qa_id"] for entry in results) == sorted(pairs)
    assert all(entry["question"].strip() == pairs[entry["qa_id"]]["question"].strip() for entry in results)
    right = [str(e["candidates"][:1][0]["answer"]) == str(pairs[e["qa_id"]]["answer"]) for e in results]
    return share(right)


def guesswhat_scorer(text: str, data: Path) -> float:
    with gzip.open(data / "guesswhat" / "guesswhat.test.jsonl.gz") as lines:
        games = {(g := json.loads(line))["id"]: g["object_id"] for line in lines}
    said = {r["id"]: r["object_id"] for r in json.loads(text)}
    assert said.keys() == games.keys()
    return share(said[i] == games[i] for i in games)


def snli_ve_scorer(text: str, data: Path) -> float:
    said = {r["pairID"]: r["prediction"] for r in map(json.loads, text.splitlines())}
    gold = [json.loads(line) for line in (data / "snli_ve" / "snli_ve_test.jsonl").read_text().splitlines()]
    assert said.keys() == {g["pairID"] for g in gold}
    return share(said[g["pairID"]] == g["gold_label"] for g in gold)


def refer_scorer(text: str, data: Path) -> float:
    refs = {r["ref_id"]: r for r in pickle.loads((data / "refcoco" / "refs(unc).p").read_bytes(), encoding="latin1")}
    annotations = json.loads((data / "refcoco" / "instances.json").read_text())["annotations"]
    boxes = {a["id"]: a["bbox"] for a in annotations}
    hits = []
    for entry in json.loads(text):
        ref = refs[entry["ref_id"]]
        assert entry["sent_id"] in {s["sent_id"] for s in ref["sentences"]}
        assert entry["image_id"] == ref["image_id"]
        hits.append(overlap(entry["pred_box"], boxes[ref["ann_id"]]) >= 0.5)
    sentences = sum(len(r["sentences"]) for r in refs.values() if "test" in r["split"])
    assert len(hits) == sentences
    return share(hits)


def overlap(a: list[float], b: list[float]) -> float:
    """The toolkit's rule for x, y, width, height."""
    right, lower = min(a[0] + a[2] - 1, b[0] + b[2] - 1), min(a[1] + a[3] - 1, b[1] + b[3] - 1)
    left, upper = max(a[0], b[0]), max(a[1], b[1])
    inter = (right - left + 1) * (lower - upper + 1) if left < right and upper < lower else 0.0
    return inter / (a[2] * a[3] + b[2] * b[3] - inter)


SCORERS: dict[str, Callable[[str, Path], float]] = {
    "gqa": gqa_scorer,
    "nlvr2": nlvr2_scorer,
    "visual7w": visual7w_scorer,
    "guesswhat": guesswhat_scorer,
    "snli_ve": snli_ve_scorer,
    "refcoco": refer_scorer,
}


@pytest.mark.parametrize("task", SCORERS)
def test_a_scorer_reads_the_file_and_finds_our_score(run: Path, data: Path, tmp_path: Path, task: str) -> None:
    text = written(run, data, task, tmp_path, **({"subset": True} if task == "gqa" else {}))
    if task == "gqa":  # entailed questions are answered too, but the plain scorer asks only the balanced ones
        asked = json.loads((data / "gqa" / "testdev_balanced_questions.json").read_text())
        lines = [x for x in predictions.read(predictions.file_of(run, task, "test")) if x.id in asked]
        expected = sum(line.score or 0.0 for line in lines) / len(lines)
    else:
        expected = share_right(run, task)
    assert SCORERS[task](text, data) == pytest.approx(expected)


def test_vqa_answers_every_question_by_its_number(run: Path, data: Path, tmp_path: Path) -> None:
    assert vqa_scorer(written(run, data, "vqav2", tmp_path), data) > 0.5
    official = json.loads((data / "vqav2" / "v2_OpenEnded_mscoco_test2015_questions.json").read_text())["questions"]
    asked = {question["question_id"] for question in official}
    assert {row["question_id"] for row in json.loads((tmp_path / "out" / "vqav2").read_text())} == asked


def test_gqa_ids_keep_their_leading_zeros(run: Path, data: Path, tmp_path: Path) -> None:
    ids = {row["questionId"] for row in json.loads(written(run, data, "gqa", tmp_path))}
    assert any(id_.startswith("0") for id_ in ids)
    assert ids >= set(json.loads((data / "gqa" / "testdev_balanced_questions.json").read_text()))


@pytest.mark.parametrize("task", ["coco", "flickr30k"])
def test_captions_carry_the_rank_that_recall_is_made_of(run: Path, data: Path, tmp_path: Path, task: str) -> None:
    rows = [json.loads(line) for line in written(run, data, task, tmp_path).splitlines()]
    assert sum(row["rank"] < 1 for row in rows) / len(rows) == pytest.approx(share_right(run, task))
    assert [str(row["caption"]) for row in rows] == [example.id for example in examples(data, task)]


def test_the_original_projects_retrieval_file_names_places_in_the_pool(run: Path, data: Path, tmp_path: Path) -> None:
    rows = json.loads(written(run, data, "flickr30k", tmp_path, form="original"))
    pool = list(dict.fromkeys(str(e.pairs[0].image) for e in examples(data, "flickr30k")))
    assert [pool[row[0]] for row in rows] == [str(e.pairs[0].image) for e in examples(data, "flickr30k")]


@pytest.mark.parametrize("task", ["visual7w", "guesswhat"])
def test_the_original_projects_pointing_file_names_slots(run: Path, data: Path, tmp_path: Path, task: str) -> None:
    rows = json.loads(written(run, data, task, tmp_path, form="original"))
    for i, (row, example) in enumerate(zip(rows, examples(data, task), strict=True)):
        assert isinstance(example.label, Candidate)
        assert row["id"] == int(example.pairs[0].image.id)
        same = example.pairs[0].candidates_px[row["target"]] == example.pairs[0].candidates_px[example.label.index]
        assert same == (i % 3 > 0)


def test_boxes_come_as_two_corners_on_request(run: Path, data: Path, tmp_path: Path) -> None:
    sides = [row["pred_box"] for row in json.loads(written(run, data, "refcoco", tmp_path))]
    corners = [r["pred_box"] for r in json.loads(written(run, data, "refcoco", tmp_path, box_form="xyxy"))]
    assert [[x, y, x + w, y + h] for x, y, w, h in sides] == [pytest.approx(box) for box in corners]


# What is refused


@pytest.fixture
def own(run: Path, tmp_path: Path) -> Path:
    """A run of one's own to spoil."""
    folder = tmp_path / "run"
    (folder / "predictions").mkdir(parents=True)
    for name in ("recipe.toml", "predictions/nlvr2.jsonl", "predictions/visual7w.jsonl"):
        (folder / name).write_bytes((run / name).read_bytes())
    return folder


def spoil(run: Path, task: str, change: Callable[[list[Line]], Iterable[Line]]) -> None:
    path = predictions.file_of(run, task, "test")
    predictions.write(path, change(list(predictions.read(path))))


def of(line: Line, **changes: Any) -> Line:
    return Line(**{name: getattr(line, name) for name in line.__struct_fields__} | changes)


BAD: dict[str, tuple[Callable[[list[Line]], Iterable[Line]], str]] = {
    "missing": (lambda lines: lines[3:], r"3 questions \(test1-.*\) of [\d,]+ not answered.*Nothing was written"),
    "unknown": (lambda lines: [*lines, of(lines[0], id="dev-1-2-3")], r"1 question \(dev-1-2-3\).*not asked.*--subset"),
    "twice": (lambda lines: [*lines, lines[0]], r"1 question \(test1-.*\) predicted more than once"),
    "another split": (
        lambda lines: [of(line, id=line.id.replace("test1", "dev")) for line in lines],
        "predictions are of other questions: another split",
    ),
    "another task": (lambda lines: [of(lines[0], task="gqa"), *lines[1:]], "expected predictions of nlvr2, got .* gqa"),
    "no class": (lambda lines: [of(lines[0], ranked=(Ranked(1.0, name="yes"),)), *lines[1:]], "'yes'.*False, True"),
    "none": (lambda lines: [], "not answered"),
}


@pytest.mark.parametrize("what", BAD)
def test_predictions_that_do_not_fit_are_refused_before_anything_is_written(
    own: Path, data: Path, tmp_path: Path, what: str
) -> None:
    change, said = BAD[what]
    spoil(own, "nlvr2", change)
    out = tmp_path / "out" / "nlvr2.csv"
    with pytest.raises(TwelvefoldError, match=said):
        submit(own, "nlvr2", out, data=data)
    assert not out.parent.exists()


def test_a_refusal_leaves_an_older_file_as_it_was(own: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "nlvr2.csv"
    submit(own, "nlvr2", out, data=data)
    before = out.read_bytes()
    spoil(own, "nlvr2", lambda lines: lines[1:])
    with pytest.raises(TwelvefoldError):
        submit(own, "nlvr2", out, data=data)
    assert out.read_bytes() == before


def test_a_subset_leaves_other_questions_out_and_counts_them(own: Path, data: Path, tmp_path: Path) -> None:
    spoil(own, "nlvr2", lambda lines: [*lines, of(lines[0], id="dev-1-2-3"), of(lines[0], id="dev-1-2-4")])
    summary = submit(own, "nlvr2", tmp_path / "out.csv", data=data, subset=True)
    assert (summary.left_out, summary.questions) == (2, len(examples(data, "nlvr2")))
    assert "dev-1-2" not in (tmp_path / "out.csv").read_text()


def test_a_box_that_is_no_candidate_is_refused(own: Path, data: Path, tmp_path: Path) -> None:
    spoil(own, "visual7w", lambda lines: [of(lines[0], ranked=(Ranked(1.0, box_px=(1.0, 2.0, 3.0, 4.5)),)), *lines[1:]])
    with pytest.raises(TwelvefoldError, match="none of its candidates"):
        submit(own, "visual7w", tmp_path / "out.json", data=data)


def test_an_expression_without_regions_gets_an_empty_box_and_is_counted(run: Path, data: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    (own / "predictions").mkdir(parents=True)
    (own / "recipe.toml").write_bytes((run / "recipe.toml").read_bytes())
    lines = list(predictions.read(predictions.file_of(run, "refcoco", "test")))
    predictions.write(predictions.file_of(own, "refcoco", "test"), [of(lines[0], ranked=()), *lines[1:]])
    assert submit(own, "refcoco", tmp_path / "out.json", data=data).unanswered == 1
    assert json.loads((tmp_path / "out.json").read_text())[0]["pred_box"] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--task", "nlvr"), "did you mean 'nlvr2'"),
        (("--task", "gqa"), "there are those of nlvr2, visual7w"),
        (("--task", "nlvr2", "--split", "test-1"), "nlvr2 has no part 'test-1'.*did you mean 'test1'"),
        (("--task", "nlvr2", "--split", "val"), "no predictions .*predictions-val"),
        (("--task", "nlvr2", "--form", "original"), "no original form"),
    ],
)
def test_what_cannot_be_asked_is_said_with_the_closest(
    own: Path, data: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["submit", str(own), *arguments, "--data", str(data), "--out", str(own / "out")])
    assert left.value.code == 2
    assert re.search(said, capsys.readouterr().err)


def test_without_the_official_files_nothing_is_written(own: Path) -> None:
    with pytest.raises(TwelvefoldError, match="checked against the official question file"):
        submit(own, "nlvr2", own / "out")


def test_the_command_says_what_it_wrote(own: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = own / "nlvr2.csv"
    with pytest.raises(SystemExit) as left:
        cli.main(["submit", str(own), "--task", "nlvr2", "--data", str(data), "--out", str(out), "--json"])
    assert left.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert said["questions"] == len(out.read_text().splitlines())


def test_gqas_submission_part_is_the_all_file_without_answers(run: Path, data: Path, tmp_path: Path) -> None:
    asked = json.loads((data / "gqa" / "testdev_balanced_questions.json").read_text())
    folder, own = tmp_path / "data", tmp_path / "run"
    (folder / "gqa" / "submission_all_questions").mkdir(parents=True)
    for place in (0, 1):  # the publishers cut large files into a folder of parts
        some = {q: {"question": r["question"], "imageId": r["imageId"]} for q, r in list(asked.items())[place::2]}
        (folder / "gqa" / "submission_all_questions" / f"questions_{place}.json").write_text(json.dumps(some))
    own.mkdir()
    (own / "recipe.toml").write_bytes((run / "recipe.toml").read_bytes())
    said = [x for x in predictions.read(predictions.file_of(run, "gqa", "test")) if x.id in asked]
    predictions.write(predictions.file_of(own, "gqa", "test"), said)
    out = tmp_path / "gqa.json"
    assert submit(own, "gqa", out, data=folder, part_name="submission").questions == len(asked)
    assert {row["questionId"] for row in json.loads(out.read_text())} == set(asked)


def test_vqas_test_dev_is_a_part_of_what_was_predicted(run: Path, data: Path, tmp_path: Path) -> None:
    official = json.loads((data / "vqav2" / "v2_OpenEnded_mscoco_test2015_questions.json").read_text())
    official["questions"] = official["questions"][:7]
    (tmp_path / "vqav2").mkdir()
    (tmp_path / "vqav2" / "v2_OpenEnded_mscoco_test-dev2015_questions.json").write_text(json.dumps(official))
    out = tmp_path / "vqa.json"
    with pytest.raises(TwelvefoldError, match="--subset"):
        submit(run, "vqav2", out, data=tmp_path, part_name="test-dev")
    summary = submit(run, "vqav2", out, data=tmp_path, part_name="test-dev", subset=True)
    assert summary.left_out == sum(1 for _ in predictions.read(predictions.file_of(run, "vqav2", "test"))) - 7
    assert [r["question_id"] for r in json.loads(out.read_text())] == sorted(
        question["question_id"] for question in official["questions"]
    )


@pytest.mark.parametrize("form", ["publishers", "original"])
def test_searches_without_their_ranks_are_refused(run: Path, data: Path, tmp_path: Path, form: Any) -> None:
    own = tmp_path / "run"
    own.mkdir()
    (own / "recipe.toml").write_bytes((run / "recipe.toml").read_bytes())
    lines = [of(line, rank=None) for line in predictions.read(predictions.file_of(run, "coco", "test"))]
    predictions.write(predictions.file_of(own, "coco", "test"), lines)
    with pytest.raises(TwelvefoldError, match=r"remove the run's scores/\*/coco\.json and evaluate again"):
        submit(own, "coco", tmp_path / "out", data=data, form=form)


def test_the_page_shows_the_commands_and_rows_as_they_are(run: Path, data: Path, tmp_path: Path) -> None:
    page = PAGE.read_text()
    for line in re.findall(r"^    twelvefold (submit .*)$", page, re.MULTILINE):
        cli.app.parse_args(line.split(), exit_on_error=False, print_error=False)
    shown: dict[str, str] = {}
    for tasks, row in re.findall(r"^\| ([a-z0-9_+, ]+) \| [^|]+ \| `([^`]+)`", page, re.MULTILINE):
        shown.update(dict.fromkeys(tasks.split(", "), row))
    assert set(shown) == set(datasets.NAMES)
    for task, row in shown.items():
        first = written(run, data, task, tmp_path).strip("[\n").split("\n")[0].rstrip(",")
        (tmp_path / "out" / task).unlink()
        keys = re.compile(r'"(\w+)":')
        assert keys.findall(row) == keys.findall(first), task
        assert row.count(",") == first.count(",") or task not in ("nlvr2", "gqa")
