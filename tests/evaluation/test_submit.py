"""Independent scorers read the submission files and find the scores of the predictions."""

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
from twelvefold.evaluation.predictions import predictions_path, read_predictions, write_predictions
from twelvefold.evaluation.submit import submit
from twelvefold.schema import Candidate, Example, TwelvefoldError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "submissions.md"
ReadExamples = Callable[..., list[Example]]


def mean_score(run: Path, task: str) -> float:
    scores = [record.score for record in read_predictions(predictions_path(run, task, "test"))]
    return sum(score or 0.0 for score in scores) / len(scores)


def submit_text(run: Path, data: Path, task: str, tmp_path: Path, **options: Any) -> str:
    out = tmp_path / "out" / task
    assert submit(run, task, out, data=data, **options).questions > 0
    assert list(out.parent.iterdir()) == [out]
    return out.read_text()


# Each scorer follows its published description. The world's files have the layout of the official files.


def mean(hits: Iterable[bool]) -> float:
    values = list(hits)
    return sum(values) / len(values)


def vqa_scorer(text: str, data: Path) -> float:
    answers = {r["question_id"]: r["answer"] for r in json.loads(text)}
    official = json.loads((data / "vqav2" / "v2_mscoco_test2015_annotations.json").read_text())["annotations"]
    assert set(answers) == {a["question_id"] for a in official}
    most = [max((b := [x["answer"] for x in a["answers"]]), key=b.count) == answers[a["question_id"]] for a in official]
    return mean(most)


def gqa_scorer(text: str, data: Path) -> float:
    answers = {p["questionId"]: p["prediction"] for p in json.loads(text)}
    questions = json.loads((data / "gqa" / "testdev_balanced_questions.json").read_text())
    missing = [q for q in questions if q not in answers]
    assert missing == []
    return mean(answers[q] == record["answer"] for q, record in questions.items())


def nlvr2_scorer(text: str, data: Path) -> float:
    answers = {}
    for line in text.splitlines():
        identifier, word = line.strip().split(",")
        answers[identifier] = word
    labeled = [json.loads(line) for line in (data / "nlvr2" / "test1.json").read_text().splitlines()]
    assert set(answers) == {e["identifier"] for e in labeled}
    return mean(answers[e["identifier"]].lower() == e["label"].lower() for e in labeled)


def visual7w_scorer(text: str, data: Path) -> float:
    images = json.loads(next((data / "visual7w").glob("dataset*.json")).read_text())["images"]
    pairs = {qa["qa_id"]: qa for image in images if image["split"] == "test" for qa in image["qa_pairs"]}
    results = json.loads(text)
    assert sorted(entry["qa_id"] for entry in results) == sorted(pairs)
    assert all(entry["question"].strip() == pairs[entry["qa_id"]]["question"].strip() for entry in results)
    right = [str(e["candidates"][:1][0]["answer"]) == str(pairs[e["qa_id"]]["answer"]) for e in results]
    return mean(right)


def guesswhat_scorer(text: str, data: Path) -> float:
    with gzip.open(data / "guesswhat" / "guesswhat.test.jsonl.gz") as lines:
        games = {(g := json.loads(line))["id"]: g["object_id"] for line in lines}
    answers = {r["id"]: r["object_id"] for r in json.loads(text)}
    assert answers.keys() == games.keys()
    return mean(answers[i] == games[i] for i in games)


def snli_ve_scorer(text: str, data: Path) -> float:
    answers = {r["pairID"]: r["prediction"] for r in map(json.loads, text.splitlines())}
    gold = [json.loads(line) for line in (data / "snli_ve" / "snli_ve_test.jsonl").read_text().splitlines()]
    assert answers.keys() == {g["pairID"] for g in gold}
    return mean(answers[g["pairID"]] == g["gold_label"] for g in gold)


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
    return mean(hits)


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
def test_a_scorer_finds_our_score_in_the_file(run: Path, data: Path, tmp_path: Path, task: str) -> None:
    text = submit_text(run, data, task, tmp_path, **({"subset": True} if task == "gqa" else {}))
    if task == "gqa":  # entailed questions have predictions too, but this scorer reads the balanced ones only
        questions = json.loads((data / "gqa" / "testdev_balanced_questions.json").read_text())
        records = [x for x in read_predictions(predictions_path(run, task, "test")) if x.id in questions]
        expected = sum(record.score or 0.0 for record in records) / len(records)
    else:
        expected = mean_score(run, task)
    assert SCORERS[task](text, data) == pytest.approx(expected)


def test_the_vqa_file_answers_every_question_id(run: Path, data: Path, tmp_path: Path) -> None:
    assert vqa_scorer(submit_text(run, data, "vqav2", tmp_path), data) > 0.5
    official = json.loads((data / "vqav2" / "v2_OpenEnded_mscoco_test2015_questions.json").read_text())["questions"]
    questions = {question["question_id"] for question in official}
    assert {row["question_id"] for row in json.loads((tmp_path / "out" / "vqav2").read_text())} == questions


def test_gqa_ids_keep_their_leading_zeros(run: Path, data: Path, tmp_path: Path) -> None:
    ids = {row["questionId"] for row in json.loads(submit_text(run, data, "gqa", tmp_path))}
    assert any(id_.startswith("0") for id_ in ids)
    assert ids >= set(json.loads((data / "gqa" / "testdev_balanced_questions.json").read_text()))


@pytest.mark.parametrize("task", ["coco", "flickr30k"])
def test_retrieval_rows_have_the_rank_that_recall_needs(
    examples: ReadExamples, run: Path, data: Path, tmp_path: Path, task: str
) -> None:
    rows = [json.loads(line) for line in submit_text(run, data, task, tmp_path).splitlines()]
    assert sum(row["rank"] < 1 for row in rows) / len(rows) == pytest.approx(mean_score(run, task))
    assert [str(row["caption"]) for row in rows] == [example.id for example in examples(data, task)]


def test_the_vilbert_mt_retrieval_file_holds_pool_indices(
    examples: ReadExamples, run: Path, data: Path, tmp_path: Path
) -> None:
    rows = json.loads(submit_text(run, data, "flickr30k", tmp_path, form="vilbert_mt"))
    pool = list(dict.fromkeys(str(e.pairs[0].image) for e in examples(data, "flickr30k")))
    assert [pool[row[0]] for row in rows] == [str(e.pairs[0].image) for e in examples(data, "flickr30k")]


@pytest.mark.parametrize("task", ["visual7w", "guesswhat"])
def test_the_vilbert_mt_pointing_file_holds_candidate_indices(
    examples: ReadExamples, run: Path, data: Path, tmp_path: Path, task: str
) -> None:
    rows = json.loads(submit_text(run, data, task, tmp_path, form="vilbert_mt"))
    assert rows
    for i, (row, example) in enumerate(zip(rows, examples(data, task), strict=True)):
        assert isinstance(example.label, Candidate)
        assert row["id"] == int(example.pairs[0].image.id)
        same = example.pairs[0].candidates_px[row["target"]] == example.pairs[0].candidates_px[example.label.index]
        assert same == (i % 3 > 0)


def test_boxes_can_be_written_as_two_corners(run: Path, data: Path, tmp_path: Path) -> None:
    sides = [row["pred_box"] for row in json.loads(submit_text(run, data, "refcoco", tmp_path))]
    corners = [r["pred_box"] for r in json.loads(submit_text(run, data, "refcoco", tmp_path, box_format="xyxy"))]
    assert [[x, y, x + w, y + h] for x, y, w, h in sides] == [pytest.approx(box) for box in corners]


def test_the_command_prints_what_it_wrote(run_copy: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run_copy / "nlvr2.csv"
    with pytest.raises(SystemExit) as exit_:
        cli.main(["submit", str(run_copy), "--task", "nlvr2", "--data", str(data), "--out", str(out), "--json"])
    assert exit_.value.code == 0
    assert json.loads(capsys.readouterr().out)["questions"] == len(out.read_text().splitlines())


def test_the_former_name_of_the_vilbert_mt_format_is_refused_with_the_new_one(
    run_copy: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", str(run_copy), "--task", "visual7w", "--data", str(data), "--form", "original"]
    with pytest.raises(SystemExit) as exit_:
        cli.main([*words, "--out", str(run_copy / "original")])
    assert exit_.value.code == 2
    assert "vilbert_mt" in capsys.readouterr().err


def test_the_gqa_submission_part_reads_the_file_of_all_questions(run_copy: Path, run: Path, data: Path) -> None:
    questions = json.loads((data / "gqa" / "testdev_balanced_questions.json").read_text())
    folder = run_copy / "data" / "gqa" / "submission_all_questions"
    folder.mkdir(parents=True)
    unlabeled = [(q, {"question": r["question"], "imageId": r["imageId"]}) for q, r in questions.items()]
    for part in (0, 1):  # the publishers split large files into a folder of parts
        (folder / f"questions_{part}.json").write_text(json.dumps(dict(unlabeled[part::2])))
    records = [x for x in read_predictions(predictions_path(run, "gqa", "test")) if x.id in questions]
    write_predictions(predictions_path(run_copy, "gqa", "test"), records)
    out = run_copy / "gqa.json"
    assert submit(run_copy, "gqa", out, data=run_copy / "data", part="submission").questions == len(questions)
    assert {row["questionId"] for row in json.loads(out.read_text())} == set(questions)


@pytest.mark.parametrize("phase", ["test-dev", "test2015"])
def test_vqas_server_gets_every_question_in_each_phase(run: Path, data: Path, tmp_path: Path, phase: str) -> None:
    questions = json.loads((data / "vqav2" / "v2_OpenEnded_mscoco_test2015_questions.json").read_text())["questions"]
    for flags in ([], ["--subset"]):
        out = tmp_path / "vqa.json"
        command = ["submit", str(run), "--task", "vqav2", "--split", phase, "--data", str(data), "--out", str(out)]
        assert cli.app([*command, *flags], result_action="return_value") == 0
        assert {row["question_id"] for row in json.loads(out.read_text())} == {q["question_id"] for q in questions}


def test_split_only_writes_the_questions_of_vqas_test_dev(run: Path, data: Path, tmp_path: Path) -> None:
    official = json.loads((data / "vqav2" / "v2_OpenEnded_mscoco_test2015_questions.json").read_text())
    official["questions"] = official["questions"][:7]
    (tmp_path / "vqav2").mkdir()
    (tmp_path / "vqav2" / "v2_OpenEnded_mscoco_test-dev2015_questions.json").write_text(json.dumps(official))
    out = tmp_path / "vqa.json"
    summary = submit(run, "vqav2", out, data=tmp_path, part="test-dev-only")
    assert summary.left_out == sum(1 for _ in read_predictions(predictions_path(run, "vqav2", "test"))) - 7
    expected = sorted(question["question_id"] for question in official["questions"])
    assert [r["question_id"] for r in json.loads(out.read_text())] == expected
    out.unlink()
    command = f"submit {run} --task vqav2 --split test-dev --split-only --data {tmp_path} --out {out}"
    assert cli.app(command, result_action="return_value") == 0
    assert [r["question_id"] for r in json.loads(out.read_text())] == expected
    with pytest.raises(TwelvefoldError, match="nlvr2 has no part 'test1-only'"):
        submit(run, "nlvr2", out, data=data, part="test1-only")


def test_the_page_shows_valid_commands_and_the_real_rows(run: Path, data: Path, tmp_path: Path) -> None:
    page = PAGE.read_text()
    for line in re.findall(r"^    twelvefold (submit .*)$", page, re.MULTILINE):
        cli.app.parse_args(line.split(), exit_on_error=False, print_error=False)
    rows: dict[str, str] = {}
    for tasks, row in re.findall(r"^\| ([a-z0-9_+, ]+) \| [^|]+ \| `([^`]+)`", page, re.MULTILINE):
        rows.update(dict.fromkeys(tasks.split(", "), row))
    assert set(rows) == set(datasets.task_names())
    for task, row in rows.items():
        first = submit_text(run, data, task, tmp_path).strip("[\n").split("\n")[0].rstrip(",")
        (tmp_path / "out" / task).unlink()
        keys = re.compile(r'"(\w+)":')
        assert keys.findall(row) == keys.findall(first), task
        assert row.count(",") == first.count(",") or task not in ("nlvr2", "gqa")
