"""VQAv2, GQA and VG QA: the questions of each split, and the scores of their answers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from twelvefold.datasets import gqa, vgqa, vqav2
from twelvefold.datasets.reading.records import BadRecordError, BadRecords
from twelvefold.schema import CONSISTENCY_ONLY, ImageKey, SoftAnswers, TwelvefoldError

BAD = BadRecords()


def ids(examples: Any) -> list[str]:
    return [example.id for example in examples]


def test_vqa_train_is_both_files_without_the_end_of_sorted_val(folder: Any) -> None:
    root = folder.write()
    assert ids(vqav2.read(root, "train", bad=BAD, minval=2)) == [
        *("9000", "9001", "10000", "10001"),
        *("42000", "42001", "43000"),
    ]
    assert ids(vqav2.read(root, "val", bad=BAD, minval=2)) == ["43001", "44000"]
    assert ids(vqav2.read(root, "test", bad=BAD, minval=2)) == ["1000", "1001"]
    assert ids(vqav2.read(root, "val", bad=BAD, minval=0)) == []
    with pytest.raises(TwelvefoldError, match="minval=3000 cannot be held out of 5 questions"):
        list(vqav2.read(root, "val", bad=BAD))


def test_vqa_answers_are_raw_in_train_and_normalized_elsewhere(folder: Any) -> None:
    root = folder.write()
    train = next(vqav2.read(root, "train", bad=BAD, minval=2))
    assert train.label == SoftAnswers({"Two.": 0.3, "2": 1.0, "3": 0.6, "a dog": 0.3})
    val = next(vqav2.read(root, "val", bad=BAD, minval=2))
    assert val.label == SoftAnswers({"2": 1.0, "3": 0.6, "dog": 0.3})
    assert (val.question_type, val.pairs[0].image) == ("number", ImageKey("coco", "43"))
    assert {example.chosen_answer for example in vqav2.read(root, "train", bad=BAD, minval=2)} == {"2"}


def test_vqa_test_labels_are_none_unless_there_is_an_annotations_file(folder: Any) -> None:
    assert [e.label for e in vqav2.read(folder.write(), "test", bad=BAD)] == [None, None]
    template = folder.files["vqav2/v2_mscoco_val2014_annotations.json"]
    annotations = [{**template["annotations"][0], "question_id": i, "image_id": 1} for i in (1000, 1001)]
    folder.files["vqav2/v2_mscoco_test2015_annotations.json"] = {**template, "annotations": annotations}
    assert [type(e.label) for e in vqav2.read(folder.write(), "test", bad=BAD)] == [SoftAnswers, SoftAnswers]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda a: a.pop(0), "expected an annotation of question 9000, got none"),
        (lambda a: a[0].update(image_id=99), "expected image 9, the question's, got 99"),
        (lambda a: a[0].update(answers=[]), "expected the annotators' answers, got none"),
        (lambda a: a[0].pop("answers"), "missing required field `answers`"),
        (lambda a: a[0].pop("question_id"), "missing required field `question_id`"),
    ],
)
def test_vqa_invalid_annotations_are_rejected(folder: Any, change: Any, error: str) -> None:
    change(folder.files["vqav2/v2_mscoco_train2014_annotations.json"]["annotations"])
    with pytest.raises(BadRecordError, match=error):
        list(vqav2.read(folder.write(), "train", bad=BAD, minval=2))
    bad = BadRecords(skip=True)
    assert len(list(vqav2.read(folder.root, "train", bad=bad, minval=2))) == 6


def test_vqa_reads_annotations_without_optional_fields(folder: Any) -> None:
    for annotation in folder.files["vqav2/v2_mscoco_train2014_annotations.json"]["annotations"]:
        for name in ("question_type", "answer_type", "image_id", "multiple_choice_answer"):
            del annotation[name]
    root = folder.write()
    example = next(vqav2.read(root, "train", bad=BAD, minval=2))
    assert (example.question_type, example.chosen_answer) == ("", "")


def test_gqa_val_is_the_end_of_train_and_val_sorted_by_id_as_text(folder: Any) -> None:
    root = folder.write()
    assert ids(gqa.read(root, "train", bad=BAD, minval=2)) == ["01", "02", "09"]
    assert ids(gqa.read(root, "val", bad=BAD, minval=2)) == ["10", "11"]
    first = next(gqa.read(root, "test", bad=BAD))
    assert (first.id, first.question_type, first.label) == ("07998", "verify", SoftAnswers({"yes": 1.0}))
    assert first.linked == ("07999", "08000")  # without itself
    assert first.pairs[0].image == ImageKey("gqa", "n161313")
    assert next(gqa.read(root, "train", bad=BAD, minval=2)).pairs[0].image == ImageKey("vg", "2318324")


def test_gqa_consistency_appends_the_missing_entailed_questions(folder: Any) -> None:
    examples = list(gqa.read(folder.write(), "test", bad=BAD, consistency=True))
    assert ids(examples) == ["07998", "07999", "08000"]
    assert (examples[2].question_type, examples[2].linked) == (CONSISTENCY_ONLY, ())
    assert sorted(p.name for p in gqa.files(folder.root, "test", consistency=True)) == [
        "testdev_all_questions.json",
        "testdev_balanced_questions.json",
    ]


def test_gqa_keeps_repeated_entailed_questions(folder: Any) -> None:
    for name in ("balanced", "all"):
        folder.files[f"gqa/testdev_{name}_questions.json"]["07998"]["entailed"] = ["08000", "07998", "08000", "07999"]
    examples = list(gqa.read(folder.write(), "test", bad=BAD, consistency=True))
    assert examples[0].linked == ("08000", "08000", "07999")
    assert ids(examples) == ["07998", "07999", "08000"]


def test_gqa_reads_a_folder_of_files_like_one_file(folder: Any) -> None:
    whole = folder.files.pop("gqa/testdev_balanced_questions.json")
    for i, (id_, question) in enumerate(whole.items()):
        folder.files[f"gqa/testdev_balanced_questions/testdev_balanced_questions_{i}.json"] = {id_: question}
    root = folder.write()
    assert ids(gqa.read(root, "test", bad=BAD)) == ["07998", "07999"]
    for path in gqa.files(root, "test"):
        path.unlink()
    with pytest.raises(TwelvefoldError, match="testdev_balanced_questions holds nothing"):
        gqa.files(root, "test")


def test_gqa_a_missing_answer_is_a_bad_record_except_in_unlabeled_parts(folder: Any) -> None:
    questions = folder.files["gqa/testdev_balanced_questions.json"]
    for question in questions.values():
        del question["answer"]
    folder.files["gqa/challenge_balanced_questions.json"] = questions
    root = folder.write()
    with pytest.raises(BadRecordError, match="question 07998: expected an answer, got none"):
        list(gqa.read(root, "test", bad=BAD))
    assert [e.label for e in gqa.read(root, "test", bad=BAD, test="challenge")] == [None, None]


def test_gqa_chosen_answers_are_not_modified(folder: Any) -> None:
    folder.files["gqa/val_balanced_questions.json"]["09"]["answer"] = "The boat"
    examples = [example for split in ("train", "val") for example in gqa.read(folder.write(), split, bad=BAD, minval=2)]
    assert Counter(example.chosen_answer for example in examples) == {"yes": 4, "The boat": 1}


def test_vg_holds_out_val_and_test_by_qa_id(folder: Any) -> None:
    root = folder.write()
    assert ids(vgqa.read(root, "train", bad=BAD, tail=2)) == ["12", "13", "14"]
    assert ids(vgqa.read(root, "val", bad=BAD, tail=2)) == ["966490", "987278"]
    assert ids(vgqa.read(root, "test", bad=BAD, tail=2)) == ["987280", "987452"]
    example = next(vgqa.read(root, "train", bad=BAD, tail=2))
    assert example.label == SoftAnswers({"teddy bear": 1.0})
    assert (example.question_type, example.pairs[0].image) == ("what", ImageKey("vg", "5"))


@pytest.mark.parametrize(
    "rename",
    [
        lambda record, qa: (record.pop("id"),),
        lambda record, qa: (record.update(image_id=record.pop("id")), qa.pop("image_id")),
        lambda record, qa: (qa.pop("image_id"),),
        lambda record, qa: (qa.update(image=qa.pop("image_id"), id=qa.pop("qa_id")),),
    ],
)
def test_vg_ids_have_the_same_meaning_under_each_of_their_names(folder: Any, rename: Any) -> None:
    expected = list(vgqa.read(folder.write(), "train", bad=BAD, tail=2))
    for record in folder.files["vg/question_answers.json"]:
        rename(record, record["qas"][0])
    assert list(vgqa.read(folder.write(), "train", bad=BAD, tail=2)) == expected


def test_vg_a_question_of_another_image_than_its_list_is_rejected(folder: Any) -> None:
    folder.files["vg/question_answers.json"][0]["qas"][0]["image_id"] = 99
    with pytest.raises(BadRecordError, match=r"expected one image, that of its list, got \[5, 99\]"):
        list(vgqa.read(folder.write(), "train", bad=BAD, tail=2))


def test_vg_answers_of_articles_only_have_no_label_and_empty_answers_are_rejected(folder: Any) -> None:
    qas = folder.files["vg/question_answers.json"][0]["qas"]
    qas[2].update(answer="The.", question="Is it red?")
    example = next(vgqa.read(folder.write(), "train", bad=BAD, tail=2))
    assert (example.label, example.question_type) == (SoftAnswers({}), "other")
    qas[2]["answer"] = " "
    with pytest.raises(BadRecordError, match=r"\[0\]\.qas\[2\]: expected an answer"):
        list(vgqa.read(folder.write(), "train", bad=BAD, tail=2))


def test_vg_a_malformed_question_is_rejected_and_the_others_of_its_image_are_kept(folder: Any) -> None:
    whole = ids(vgqa.read(folder.write(), "train", bad=BAD, tail=2))
    del folder.files["vg/question_answers.json"][0]["qas"][2]["question"]
    bad = BadRecords(skip=True)
    left = ids(vgqa.read(folder.write(), "train", bad=bad, tail=2))
    assert [rejection.record for rejection in bad.rejected] == ["[0].qas[2]"]
    assert len(left) == len(whole) - 1
    assert set(left) < set(whole)


def test_vqa_files_have_the_publishers_names(folder: Any) -> None:
    names = [p.name for p in vqav2.files(folder.write(), "train")]
    assert names == [
        "v2_OpenEnded_mscoco_train2014_questions.json",
        "v2_mscoco_train2014_annotations.json",
        "v2_OpenEnded_mscoco_val2014_questions.json",
        "v2_mscoco_val2014_annotations.json",
    ]
    other = Path(folder.root, "vqav2", "v2_OpenEnded_mscoco_test-dev2015_questions.json")
    other.write_text(json.dumps({"questions": [{"image_id": 1, "question": "Why?", "question_id": 7}]}))
    assert ids(vqav2.read(folder.root, "test", bad=BAD, test="test-dev2015")) == ["7"]
