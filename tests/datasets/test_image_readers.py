"""Readers of captions, expressions, pointing, dialogues, statements and hypotheses, with variants of their formats."""

from __future__ import annotations

import pickle
from itertools import product
from typing import Any

import numpy as np
import pytest

from twelvefold.datasets import coco, flickr30k, guesswhat, load_dataset, nlvr2, refcoco, refcocog, snli_ve, visual7w
from twelvefold.datasets.reading.records import BadRecordError, BadRecords
from twelvefold.doctor import doctor
from twelvefold.schema import Candidate, ClassName, ImageKey, Split, TargetBox, TwelvefoldError

from .samples.sample import python2_pickle

BAD = BadRecords()


def test_coco_train_includes_restval_and_test_is_a_pool(folder: Any) -> None:
    root = folder.write()
    train = list(coco.read(root, "train", bad=BAD))
    assert [(e.id, e.pairs[0].image.id) for e in train] == [("0", "7"), ("1", "7"), ("10", "8"), ("11", "8")]
    assert train[0].pairs[0].text == "A boat 00."
    assert [e.id for e in coco.read(root, "test", bad=BAD, pool=1)] == ["30", "31"]
    assert [e.id for e in coco.read(root, "test", bad=BAD, pool=0)] == ["30", "31", "40", "41"]
    assert list(coco.read(root, "test", bad=BAD)) == list(coco.read(root, "test", bad=BAD, pool=0))


def _official(folder: Any) -> dict[str, Any]:
    captions = [{"image_id": 7 + i // 2, "id": 900 + i, "caption": f"An official boat {i}. "} for i in range(10)]
    official = {"images": [{"id": 7 + i} for i in range(5)], "annotations": captions}
    folder.files["coco/captions_train2014.json"] = official
    folder.files["coco/captions_val2014.json"] = {"images": [], "annotations": []}
    return official


@pytest.mark.parametrize("year", [2014, 2017])
def test_coco_official_captions_use_karpathys_splits(folder: Any, year: int) -> None:
    _official(folder)
    for part in ("train", "val"):
        folder.files[f"coco/captions_{part}{year}.json"] = folder.files.pop(f"coco/captions_{part}2014.json")
    examples = list(coco.read(folder.write(), "val", bad=BAD, captions="official"))
    assert [(e.id, e.pairs[0].text) for e in examples] == [
        ("904", "An official boat 4."),
        ("905", "An official boat 5."),
    ]


def test_coco_captions_of_an_unlisted_image_and_result_files_are_rejected(folder: Any) -> None:
    official = _official(folder)
    official["images"].pop()
    with pytest.raises(BadRecordError, match=r"annotations\[8\]: expected an image that the file lists, got 11"):
        list(coco.read(folder.write(), "val", bad=BAD, captions="official"))
    folder.files["coco/captions_val2014.json"] = [{"image_id": 7, "caption": "A boat."}]
    official["images"].append({"id": 11})
    with pytest.raises(TwelvefoldError, match=r"captions_val2014\.json.*result file"):
        list(coco.read(folder.write(), "val", bad=BAD, captions="official"))


@pytest.mark.parametrize("options", [{"pool": -1}, {"captions": "offical"}])
def test_coco_invalid_options_are_rejected(folder: Any, options: dict[str, Any]) -> None:
    with pytest.raises(TwelvefoldError, match="captions one of karpathy, official, got"):
        coco.read(folder.write(), "test", bad=BAD, **options)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"split": "extra"}, "expected one of the splits train, restval, val, test, got 'extra'"),
        ({"sentences": []}, "expected captions, got none"),
        ({"cocoid": None}, "cocoid"),
    ],
)
def test_coco_invalid_images_are_rejected(folder: Any, change: dict[str, Any], error: str) -> None:
    folder.files["coco/dataset_coco.json"]["images"][0].update(change)
    with pytest.raises(BadRecordError, match=rf"images\[0\]: .*{error}"):
        list(coco.read(folder.write(), "train", bad=BAD))


def test_flickr_images_are_named_by_their_files(folder: Any) -> None:
    images = {e.pairs[0].image for e in flickr30k.read(folder.write(), "test", bad=BAD)}
    assert images == {ImageKey("flickr30k", "100003"), ImageKey("flickr30k", "100004")}


@pytest.mark.parametrize(("name", "parts"), [("refcoco", "AB"), ("refcoco+", "AB"), ("refcocog", "")])
def test_refer_test_includes_test_a_and_test_b(folder: Any, name: str, parts: str) -> None:
    examples = list(load_dataset(name).read(folder.write(), "test", bad=BAD))
    assert [e.question_type for e in examples] == ([f"test{k}" for k in parts for _ in range(2)] or ["", ""])
    assert examples[0].label == TargetBox((263.5, 216.0, 284.5, 231.25))
    assert [e.pairs[0].text for e in examples[:2]] == ["THE BOAT", "a café"]
    ref = 1 if parts else 2
    assert examples[0].id == f"{ref}-{2 * ref}"
    assert examples[0].pairs[0].image == ImageKey("coco", str(581857 + ref))


@pytest.mark.parametrize("protocol", [0, 2])
def test_refer_pickles_of_both_python_2_protocols(folder: Any, protocol: int) -> None:
    root = folder.write()
    expected = list(refcoco.read(root, "train", bad=BAD))
    (root / "refcoco/refs(unc).p").write_bytes(python2_pickle(folder.files["refcoco/refs(unc).p"], protocol))
    assert list(refcoco.read(root, "train", bad=BAD)) == expected


def test_refs_that_were_saved_again_with_numpy_are_the_same(folder: Any) -> None:
    for ref in folder.files["refcoco/refs(unc).p"]:
        ref["sentences"][1]["raw"] = "a caf\u00e9"
    root = folder.write()
    expected = list(refcoco.read(root, "train", bad=BAD))
    again = [
        {key: np.int64(value) if isinstance(value, int) else value for key, value in ref.items()}
        | {"sent_ids": np.array(ref["sent_ids"])}
        for ref in folder.files["refcoco/refs(unc).p"]
    ]
    for value in (again, np.array(again, dtype=object)):
        (root / "refcoco/refs(unc).p").write_bytes(pickle.dumps(value, protocol=2))
        assert list(refcoco.read(root, "train", bad=BAD)) == expected


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda f: f["annotations"].pop(0), "expected annotation 1719310 in instances.json, got none"),
        (lambda f: f["images"].pop(0), "expected image 581857 in instances.json, got none"),
        (lambda f: f["annotations"][0].update(image_id=581858), "on image 581857, got image 581858"),
        (lambda f: f["annotations"][0].update(bbox=[700.0, 20.0, 30.0, 40.0]), r"inside the image \(640 x 424\)"),
        (lambda f: f["annotations"][0].update(bbox=[10.0, 20.0, 0.0, 40.0]), "a box of finite numbers with an area"),
    ],
)
def test_refer_invalid_boxes_are_rejected(folder: Any, change: Any, error: str) -> None:
    change(folder.files["refcoco/instances.json"])
    with pytest.raises(BadRecordError, match=rf"refs\(unc\)\.p, \[0\] \(ref_id 0\): .*{error}"):
        list(refcoco.read(folder.write(), "train", bad=BAD))


def test_refer_keeps_a_box_that_exceeds_the_image_as_annotated(folder: Any) -> None:
    folder.files["refcoco/instances.json"]["annotations"][0]["bbox"] = [600.0, 20.0, 40.25, 30.0]
    assert next(refcoco.read(folder.write(), "train", bad=BAD)).label == TargetBox((600.0, 20.0, 640.25, 50.0))


def test_visual7w_candidates_are_sorted_by_box_id_and_clipped_at_0(folder: Any) -> None:
    example = next(visual7w.read(folder.write(), "train", bad=BAD))
    assert example.label == Candidate(2)
    corners = [list(box) for box in example.pairs[0].candidates_px]
    assert corners == [[0, 0, 19, 29], [9, 0, 29, 29], [19, 0, 39, 29], [29, 0, 49, 29]]
    assert (example.id, example.pairs[0].image) == ("400", ImageKey("vg", "2318324"))


def test_visual7w_reads_the_toolkits_file_name(folder: Any) -> None:
    expected = list(visual7w.read(folder.write(), "test", bad=BAD))
    (folder.root / "visual7w/dataset_v7w_pointing.json").rename(folder.root / "visual7w/dataset.json")
    assert list(visual7w.read(folder.root, "test", bad=BAD)) == expected


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda f: f["boxes"][0].update(x=-21), "an area inside the image"),
        (lambda f: f["boxes"][0].update(height=0), "an area inside the image"),
        (lambda f: f["boxes"][0].update(x=1e308, width=1e308), "finite numbers"),
        (lambda f: f["boxes"].pop(0), "expected boxes that the file lists, got box_id 100"),
        (lambda f: f["images"][0]["qa_pairs"][0].update(answer=107), "expected an answer and other boxes"),
        (lambda f: f["images"][0]["qa_pairs"][0].update(image_id=1), "expected image 2318324"),
    ],
)
def test_visual7w_invalid_candidates_are_rejected(folder: Any, change: Any, error: str) -> None:
    change(folder.files["visual7w/dataset_v7w_pointing.json"])
    with pytest.raises(BadRecordError, match=rf"images\[0\]\.qa_pairs\[0\] \(qa_id 400\): .*{error}"):
        list(visual7w.read(folder.write(), "train", bad=BAD))


def test_visual7w_unusual_candidates_are_counted_and_named(folder: Any) -> None:
    content = folder.files["visual7w/dataset_v7w_pointing.json"]
    content["boxes"][0].update(x=9)
    content["images"][1]["qa_pairs"][0]["multiple_choices"].pop()
    root = folder.write()
    bad = BadRecords()
    assert len(list(visual7w.read(root, "train", bad=bad))) == 1
    [note] = bad.notes()
    assert note.endswith("1 questions with equal boxes, such as images[0].qa_pairs[0] (qa_id 400)")
    splits = doctor(root, tasks=["visual7w"]).tasks["visual7w"].splits
    assert "1 questions with other than 3 wrong boxes, such as" in splits["val"].notes[0]
    assert splits["test"].notes == ()


def test_an_unknown_split_is_rejected(folder: Any) -> None:
    folder.files["visual7w/dataset_v7w_pointing.json"]["images"][1]["split"] = "dev"
    folder.files["refcoco/refs(unc).p"][1]["split"] = "testC"
    folder.write()
    for reader in (visual7w, refcoco):
        with pytest.raises(BadRecordError, match="expected one of the splits train, val, test"):
            list(reader.read(folder.root, "train", bad=BAD))


def test_guesswhat_flattens_the_dialogue_and_sorts_the_objects(folder: Any) -> None:
    examples = list(guesswhat.read(folder.write(), "train", bad=BAD))
    assert examples[0].pairs[0].text == "start is it a boat? answer No stop start red? answer Yes stop"
    assert examples[0].label == Candidate(1)
    assert examples[0].pairs[0].candidates_px == (  # by ascending id, clipped at x = 340
        (201.0, 20.0, 340.0, 56.5),
        (100.5, 20.0, 240.75, 56.5),
        (0.0, 20.0, 140.25, 56.5),
    )
    assert [(e.question_type, e.pairs[0].text == "") for e in examples] == [("success", False), ("incomplete", True)]


def _newer_layout(game: dict[str, Any], id_: type = int) -> dict[str, Any]:
    """Return a game in the layout of the authors' newer code."""
    image = {k: v for k, v in game["image"].items() if k != "id"}
    objects = {str(o["id"]): {k: v for k, v in o.items() if k != "id"} for o in game["objects"]}
    turns = [{"q": turn["question"], "a": turn["answer"]} for turn in game["qas"]]
    ids = {"dialogue_id": id_(game["id"]), "picture_id": id_(game["image"]["id"]), "object_id": id_(game["object_id"])}
    return {**ids, "picture": image, "objects": objects} | {
        "qas": turns,
        "status": game["status"],
    }


@pytest.mark.parametrize("id_", [int, str])
def test_guesswhat_reads_both_layouts_and_plain_files(folder: Any, id_: type) -> None:
    expected = list(guesswhat.read(folder.write(), "test", bad=BAD))
    games = folder.files.pop("guesswhat/guesswhat.test.jsonl.gz")
    (folder.root / "guesswhat/guesswhat.test.jsonl.gz").unlink()
    folder.files["guesswhat/guesswhat.test.jsonl"] = [_newer_layout(game, id_) for game in games]
    assert list(guesswhat.read(folder.write(), "test", bad=BAD)) == expected
    assert [id_ for id_, _ in guesswhat.candidate_ids(folder.root, "test", bad=BAD)] == [e.id for e in expected]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda g: g.update(object_id=1), r"object_id to be one of the objects \[180746, 180747, 180748\], got 1"),
        (lambda g: g["objects"].append(dict(g["objects"][0])), "expected 4 objects with an id each, got 3 ids"),
        (lambda g: g["objects"][2].pop("id"), "expected 3 objects with an id each, got 2 ids"),
        (lambda g: g["objects"][0].update(bbox=[340.0, 1.0, 5.0, 5.0]), r"inside the image \(340 x 426\)"),
        (lambda g: g["objects"][0].update(bbox=[1.0, 1.0, 5.0, -5.0]), "with an area"),
        (lambda g: g["objects"][0].update(bbox=[float("nan"), 1.0, 5.0, 5.0]), "it holds NaN, which is no number"),
        (lambda g: g["objects"][0].update(bbox=[1e308, 1.0, 1e308, 5.0]), "finite numbers"),
        (lambda g: g["qas"][1].pop("answer"), "a question and an answer in every turn"),
        (lambda g: g["qas"][1].update(answer="maybe"), "one of the answers yes, no, n/a, got 'maybe'"),
        (lambda g: g.update(status="won"), "one of the states success, failure, incomplete, got 'won'"),
        (lambda g: g.update(object_id="boat"), "matching regex"),
        (lambda g: g.pop("id"), "id and image, or dialogue_id and picture"),
        (lambda g: g["image"].pop("id"), r"image\.id or picture_id"),
    ],
)
def test_guesswhat_invalid_games_are_rejected(folder: Any, change: Any, error: str) -> None:
    change(folder.files["guesswhat/guesswhat.train.jsonl.gz"][0])
    with pytest.raises(BadRecordError, match=rf"line 1: .*{error}"):
        list(guesswhat.read(folder.write(), "train", bad=BAD))


def test_nlvr2_pairs_are_left_and_right_images_grouped_by_sentence(folder: Any) -> None:
    first, second = nlvr2.read(folder.write(), "test", bad=BAD)
    assert [pair.image for pair in first.pairs] == [
        ImageKey("nlvr2", "test1-0-1-img0"),
        ImageKey("nlvr2", "test1-0-1-img1"),
    ]
    assert first.group == second.group == "test1-0-2"
    assert [e.label for e in (first, second)] == [ClassName("False"), ClassName("True")]


def test_nlvr2_test_file_may_have_its_older_name_or_be_test2(folder: Any) -> None:
    root = folder.write()
    expected = list(nlvr2.read(root, "test", bad=BAD))
    (root / "nlvr2/test1.json").rename(root / "nlvr2/test.json")
    assert list(nlvr2.read(root, "test", bad=BAD)) == expected
    with pytest.raises(TwelvefoldError, match=r"test2\.json"):
        nlvr2.files(root, "test", test="test2")


@pytest.mark.parametrize(
    ("change", "error"), [({"identifier": "train-1-0"}, "got 'train-1-0'"), ({"label": "true"}, "got 'true'")]
)
def test_nlvr2_invalid_statements_are_rejected(folder: Any, change: dict[str, str], error: str) -> None:
    folder.files["nlvr2/train.json"][0].update(change)
    with pytest.raises(BadRecordError, match=f"line 1: expected .*{error}"):
        list(nlvr2.read(folder.write(), "train", bad=BAD))


def test_snli_ve_reads_every_spelling_of_the_image_field_and_a_missing_gold_label(folder: Any) -> None:
    folder.files["snli_ve/snli_ve_test.jsonl"][0]["gold_label"] = "-"
    root = folder.write()
    train, dev, test = (list(snli_ve.read(root, s, bad=BAD)) for s in ("train", "val", "test"))
    assert [e.pairs[0].image.id for e in (train[0], dev[0], test[0])] == ["900", "902", "903"]
    assert [e.label for e in train] == [ClassName(c) for c in snli_ve.TASK.classes]
    assert test[0].label == ClassName("")
    assert train[0].pairs[0].text == "A boat sails."


@pytest.mark.parametrize(
    ("change", "error"), [({"gold_label": "maybe"}, "got 'maybe'"), ({"Flikr30kID": ""}, "Flickr30K_ID, got none")]
)
def test_snli_ve_invalid_hypotheses_are_rejected(folder: Any, change: dict[str, str], error: str) -> None:
    folder.files["snli_ve/snli_ve_train.jsonl"][0].update(change)
    with pytest.raises(BadRecordError, match=f"line 1: expected .*{error}"):
        list(snli_ve.read(folder.write(), "train", bad=BAD))


@pytest.mark.parametrize(
    ("reader", "file", "field"),
    [(nlvr2, "nlvr2/{}.json", "label"), (snli_ve, "snli_ve/snli_ve_{}.jsonl", "gold_label")],
)
def test_a_test_file_may_have_no_labels(folder: Any, reader: Any, file: str, field: str) -> None:
    test = file.format("test1" if reader is nlvr2 else "test")
    expected = [(e.id, e.pairs) for e in reader.read(folder.write(), "test", bad=BAD)]
    for record in folder.files[test]:
        del record[field]
    examples = list(reader.read(folder.write(), "test", bad=BAD))
    assert [(e.id, e.pairs) for e in examples] == expected
    assert [e.label for e in examples] == [None] * len(examples)
    del folder.files[file.format("train")][0][field]
    with pytest.raises(BadRecordError, match=r"expected a (gold_)?label"):
        list(reader.read(folder.write(), "train", bad=BAD))


@pytest.mark.parametrize("name", ["coco", "flickr30k"])
def test_albefs_caption_files_have_the_same_captions_as_karpathys(folder: Any, name: str) -> None:
    dataset, karpathy = load_dataset(name), f"{name}/dataset_{name}.json"
    splits: tuple[Split, ...] = ("train", "val", "test")
    root = folder.write()
    expected = {split: [e.pairs for e in dataset.read(root, split, bad=BAD)] for split in splits}
    images = folder.files.pop(karpathy)["images"]
    (root / karpathy).unlink()
    for split, stem in product(splits, [{"coco": "coco_karpathy", "flickr30k": "flickr30k"}[name]]):
        chosen = [image for image in images if image["split"] in (split, "restval" if split == "train" else split)]
        path = {"coco": "val2014/", "flickr30k": "flickr30k-images/"}[name]
        texts = [(path + image["filename"], [s["raw"] for s in image["sentences"]]) for image in chosen]
        records = [{"image": image, "caption": captions} for image, captions in texts]
        if split == "train":
            records = [{"image": i, "caption": c, "image_id": "coco_1"} for i, captions in texts for c in captions]
        folder.files[f"{name}/{stem}_{split}.json"] = records
    folder.write()
    for split in splits:
        examples = list(dataset.read(root, split, bad=BAD))
        assert [e.pairs for e in examples] == expected[split]
        assert len({e.id for e in examples}) == len(examples)
    if name == "coco":
        assert len({e.pairs for e in dataset.read(root, "test", bad=BAD, pool=1)}) == 2
    folder.files[f"{name}/{stem}_val.json"][0]["image"] = "dog.jpg"
    with pytest.raises(BadRecordError, match=r"\[0\]: expected an image like"):
        list(dataset.read(folder.write(), "val", bad=BAD))


def test_refcocog_has_the_older_splits_by_an_option(folder: Any) -> None:
    folder.files["refcocog/refs(google).p"] = folder.files["refcocog/refs(umd).p"][:2]
    root = folder.write()
    umd = list(refcocog.read(root, "train", bad=BAD))
    assert list(refcocog.read(root, "train", bad=BAD, split_by="google")) == umd[: len(umd)]
    assert refcocog.files(root, "test", split_by="google")[0].name == "refs(google).p"
    assert list(refcocog.read(root, "test", bad=BAD, split_by="google")) == []
    (root / "refcocog/refs(umd).p").unlink()
    with pytest.raises(TwelvefoldError, match=r'options\.split_by = "google" under \[per_task\.refcocog\]'):
        list(refcocog.read(root, "train", bad=BAD))
