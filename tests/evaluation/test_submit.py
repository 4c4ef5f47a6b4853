"""Submission files, read back by small plain scorers that know nothing of ours, and held against what was predicted."""

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
from twelvefold.evaluation import predictions
from twelvefold.evaluation.submit import submit
from twelvefold.schema import Candidate, Example, TwelvefoldError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "submissions.md"
Read = Callable[..., list[Example]]


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
def test_captions_carry_the_rank_that_recall_is_made_of(
    examples: Read, run: Path, data: Path, tmp_path: Path, task: str
) -> None:
    rows = [json.loads(line) for line in written(run, data, task, tmp_path).splitlines()]
    assert sum(row["rank"] < 1 for row in rows) / len(rows) == pytest.approx(share_right(run, task))
    assert [str(row["caption"]) for row in rows] == [example.id for example in examples(data, task)]


def test_the_original_projects_retrieval_file_names_places_in_the_pool(
    examples: Read, run: Path, data: Path, tmp_path: Path
) -> None:
    rows = json.loads(written(run, data, "flickr30k", tmp_path, form="original"))
    pool = list(dict.fromkeys(str(e.pairs[0].image) for e in examples(data, "flickr30k")))
    assert [pool[row[0]] for row in rows] == [str(e.pairs[0].image) for e in examples(data, "flickr30k")]


@pytest.mark.parametrize("task", ["visual7w", "guesswhat"])
def test_the_original_projects_pointing_file_names_slots(
    examples: Read, run: Path, data: Path, tmp_path: Path, task: str
) -> None:
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
