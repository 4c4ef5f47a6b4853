"""The files of a world have the publishers' names, keys, types and nesting, and their ids exist."""

from __future__ import annotations

import gzip
import json
import pickle
import pickletools
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from twelvefold.datasets import load_dataset
from twelvefold.datasets.reading.image_files import image_files
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.schema import ImageKey, Split
from twelvefold.world.formats import LAYOUTS
from twelvefold.world.formats.official import AnnotationShard, Layout, write_official
from twelvefold.world.sources import TASKS

HEAD = {"info": {}, "task_type": "", "data_type": "", "license": {"url": "", "name": ""}, "data_subtype": ""}
COCO_IMAGE = {
    "license": 3, "file_name": "", "coco_url": "", "height": 1, "width": 1, "date_captured": "", "flickr_url": "",
    "id": 1,
}  # fmt: skip
SENTENCE = {"tokens": [""], "raw": "", "imgid": 0, "sentid": 0}
ANSWER = {"answer": "", "answer_confidence": "", "answer_id": 1}
NLVR2 = {
    "validation": {"*": ""}, "sentence": "", "left_url": "", "writer": "", "label": "", "right_url": "", "synset": "",
    "query": "", "identifier": "",
}  # fmt: skip
GQA = {
    "semantic": [{"operation": "", "dependencies": [0], "argument": ""}], "entailed": [""], "equivalent": [""],
    "question": "", "imageId": "", "isBalanced": True, "groups": {"global": ("", None), "local": ""}, "answer": "",
    "semanticStr": "", "annotations": {"answer": {"*": ""}, "question": {"*": ""}, "fullAnswer": {"*": ""}},
    "types": {"detailed": "", "semantic": "", "structural": ""}, "fullAnswer": "",
}  # fmt: skip
SCENE_GRAPH = {
    "width": 1, "height": 1, "location": "",
    "objects": {"*": {
        "name": "", "x": 1, "y": 1, "w": 1, "h": 1, "attributes": [""], "relations": [{"name": "", "object": ""}],
    }},
}  # fmt: skip
VG_OBJECT = {"object_id": 1, "names": [""], "synsets": [""], "x": 1, "y": 1, "w": 1, "h": 1}
SNLI = {
    "Flikr30kID": "", "annotator_labels": [""], "captionID": "", "gold_label": "", "pairID": "", "sentence1": "",
    "sentence1_binary_parse": "", "sentence1_parse": "", "sentence2": "", "sentence2_binary_parse": "",
    "sentence2_parse": "",
}  # fmt: skip
INSTANCES = {
    "info": {}, "licenses": [{}], "images": [COCO_IMAGE], "categories": [{"supercategory": "", "id": 1, "name": ""}],
    "annotations": [{
        "segmentation": [[1.0]], "area": 1.0, "iscrowd": 0, "image_id": 1, "bbox": [1.0], "category_id": 1, "id": 1,
    }],
}  # fmt: skip
REFS = [{
    "sent_ids": [1], "file_name": "", "ann_id": 1, "ref_id": 1, "image_id": 1, "split": "", "category_id": 1,
    "sentences": [{"tokens": [""], "raw": "", "sent_id": 1, "sent": ""}],
}]  # fmt: skip
GAME = {
    "status": "", "qas": [{"answer": "", "question": "", "id": 1}], "questioner_id": 1, "timestamp": "", "object_id": 1,
    "image": {"file_name": "", "coco_url": "", "height": 1, "width": 1, "flickr_url": "", "id": 1}, "id": 1,
    "objects": [{"category": "", "area": 1.0, "bbox": [1.0], "category_id": 1, "segment": [[1.0]], "id": 1}],
}  # fmt: skip
POINTING = {
    "dataset": "",
    "boxes": [{"box_id": 1, "name": "", "x": 1, "y": 1, "width": 1, "height": 1}],
    "images": [{"image_id": 1, "filename": "", "split": "", "qa_pairs": [
        {"qa_id": 1, "image_id": 1, "question": "", "answer": 1, "multiple_choices": [1], "type": ""}]}],
}  # fmt: skip
ANNOTATION = {
    "question_type": "", "multiple_choice_answer": "", "answers": [ANSWER], "image_id": 1, "answer_type": "",
    "question_id": 1,
}  # fmt: skip
SHAPES: dict[str, Any] = {  # a value stands for its type, "*" for any key, a tuple for one of several types
    **{f"vqav2/v2_OpenEnded_mscoco_{part}_questions.json":
        HEAD | {"questions": [{"image_id": 1, "question": "", "question_id": 1}]}
        for part in ("train2014", "val2014", "test2015", "test-dev2015")},
    **{f"vqav2/v2_mscoco_{part}_annotations.json": HEAD | {"annotations": [ANNOTATION]}
        for part in ("train2014", "val2014", "test2015")},
    "vg/question_answers.json": [{"id": 1, "qas": [{
        "a_objects": [VG_OBJECT], "question": "", "image_id": 1, "qa_id": 1, "answer": "", "q_objects": [VG_OBJECT]}]}],
    "vg/image_data.json": [
        {"width": 1, "url": "", "height": 1, "image_id": 1, "coco_id": (1, None), "flickr_id": (1, None)}],
    **{f"gqa/{part}_{subset}_questions.json": {"*": GQA}
        for part in ("train", "val", "testdev") for subset in ("balanced", "all")},
    **{f"gqa/{part}_sceneGraphs.json": {"*": SCENE_GRAPH} for part in ("train", "val")},
    "coco/dataset_coco.json": {"dataset": "", "images": [{
        "filepath": "", "sentids": [1], "filename": "", "imgid": 0, "split": "", "sentences": [SENTENCE],
        "cocoid": 1}]},
    **{f"coco/captions_{part}.json": {
        "info": {}, "licenses": [{}], "images": [COCO_IMAGE], "annotations": [{"image_id": 1, "id": 1, "caption": ""}]}
        for part in ("train2014", "val2014")},
    "flickr30k/dataset_flickr30k.json": {"dataset": "", "images": [
        {"sentids": [1], "imgid": 0, "sentences": [SENTENCE], "split": "", "filename": ""}]},
    "refcoco/refs(unc).p": REFS, "refcoco+/refs(unc).p": REFS, "refcocog/refs(umd).p": REFS,
    **{f"{task}/instances.json": INSTANCES for task in ("refcoco", "refcoco+", "refcocog")},
    "visual7w/dataset_v7w_pointing.json": POINTING,
    **{f"guesswhat/guesswhat.{split}.jsonl.gz": [GAME] for split in ("train", "valid", "test")},
    "nlvr2/train.json": [NLVR2 | {"directory": 1}],
    **{f"nlvr2/{split}.json": [NLVR2 | {"extra_validations": {"*": ""}}] for split in ("dev", "test1")},
    **{f"snli_ve/snli_ve_{split}.jsonl": [SNLI] for split in ("train", "dev", "test")},
    "flickr30k_entities/annotations.zip": {"*": ""},
    **{f"flickr30k_entities/{split}.txt": [1] for split in ("train", "val", "test")},
}  # fmt: skip


@cache
def content(path: Path) -> Any:
    if path.name.endswith(".jsonl.gz"):
        return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    if path.suffix == ".zip":
        archive = zipfile.ZipFile(path)
        return {name: archive.read(name).decode() for name in archive.namelist()}
    if path.suffix == ".p":
        return pickle.loads(path.read_bytes())
    if path.suffix in (".jsonl", ".txt") or path.parent.name == "nlvr2":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return json.loads(path.read_text())


def differences(value: Any, shape: Any, path: str = "") -> Iterator[str]:
    """Yield where a value differs from a shape."""
    if isinstance(shape, tuple):
        if type(value) not in {type(option) for option in shape}:
            yield f"{path}: {type(value).__name__}"
    elif type(value) is not type(shape):
        yield f"{path}: {type(value).__name__} for {type(shape).__name__}"
    elif isinstance(shape, list):
        for item in value:
            yield from differences(item, shape[0], path + "[]")
    elif isinstance(shape, dict) and shape:
        if "*" not in shape and set(value) != set(shape):
            yield f"{path}: keys {sorted(value)} for {sorted(shape)}"
        else:
            for key, item in value.items():
                yield from differences(item, shape[key if key in shape else "*"], f"{path}.{key}")


def test_all_files_exist_and_no_others(small_world: Path) -> None:
    assert {layout.path for layout in LAYOUTS} == set(SHAPES)
    files = {p.relative_to(small_world).as_posix() for p in small_world.rglob("*") if p.is_file()}
    others = {"world.json", "truth/scenes.jsonl", "truth/near_duplicates.json"}
    assert {f for f in files if not f.startswith("images/")} == set(SHAPES) | others


@pytest.mark.parametrize("name", SHAPES)
def test_keys_and_types_are_the_publishers(small_world: Path, name: str) -> None:
    value = content(small_world / name)
    errors = Counter(differences(value, SHAPES[name]))
    assert not errors, errors.most_common(3)
    assert value["images"] if isinstance(value, dict) and "images" in value else value


def test_the_comparison_of_shapes_finds_differences() -> None:
    """Otherwise the test above would accept anything."""
    game = {**GAME, "qas": [{"answer": "", "question": "", "id": "1"}]}
    assert list(differences([game], [GAME])) == ["[].qas[].id: str for int"]
    assert list(differences({"a": 1}, {"b": 1})) == [": keys ['a'] for ['b']"]
    assert list(differences({"x": None}, {"*": ("", 1)})) == [".x: NoneType"]


@pytest.mark.parametrize("task", [*TASKS, "flickr30k_entities"])
def test_readers_return_the_stated_numbers_of_examples(small_world: Path, task: str) -> None:
    state = content(small_world / "world.json")
    images = image_files(small_world)
    assert set(state["examples"][task]) == {"train", "val", "test"}
    for split, count in state["examples"][task].items():
        examples = list(_read(small_world, task, split))
        assert len(examples) == count > 0
        assert len({example.id for example in examples}) == count
        assert all(pair.image in images for example in examples for pair in example.pairs)


def _read(root: Path, task: str, split: Split) -> Iterable[Any]:
    options = content(root / "world.json")["reader_options"].get(task, {})
    return load_dataset(task).read(root, split, bad=BadRecords(), **options)  # a bad record raises


def test_val_and_test_of_the_tail_readers_share_no_image_with_train(small_world: Path) -> None:
    for task in ("vqav2", "vgqa", "gqa"):
        images = {s: {e.pairs[0].image for e in _read(small_world, task, s)} for s in ("train", "val", "test")}
        assert not images["test"] & (images["train"] | images["val"])
        # VG's val and test have one length, so the questions of one image may be in both val and train.
        assert len(images["val"] & images["train"]) <= (task == "vgqa")


def test_every_image_can_be_opened_and_has_the_stated_size(small_world: Path) -> None:
    sizes = {}
    for key, path in image_files(small_world).items():
        with Image.open(path) as image:
            image.load()
            assert image.mode == "RGB"
            sizes[key] = image.size
    assert {key.source for key in sizes} == {"coco", "vg", "gqa", "flickr30k", "nlvr2"}
    for record in content(small_world / "vg/image_data.json"):
        assert sizes[ImageKey("vg", str(record["image_id"]))] == (record["width"], record["height"])
    for task in ("refcoco", "refcoco+", "refcocog"):
        for record in content(small_world / f"{task}/instances.json")["images"]:
            assert sizes[ImageKey("coco", str(record["id"]))] == (record["width"], record["height"])
    boxes = list(_boxes(small_world))
    assert len(boxes) > 1000
    for box, key in boxes:
        x, y, width, height = box
        assert x >= 0
        assert y >= 0
        assert width >= 1
        assert height >= 1
        assert x + width <= sizes[key][0] + 0.02  # two decimals
        assert y + height <= sizes[key][1] + 0.02


def _boxes(root: Path) -> Iterator[tuple[list[float], ImageKey]]:
    for task in ("refcoco", "refcoco+", "refcocog"):
        for record in content(root / f"{task}/instances.json")["annotations"]:
            yield record["bbox"], ImageKey("coco", str(record["image_id"]))
    for split in ("train", "valid", "test"):
        for game in content(root / f"guesswhat/guesswhat.{split}.jsonl.gz"):
            for obj in game["objects"]:
                yield obj["bbox"], ImageKey("coco", str(game["image"]["id"]))
    pointing = content(root / "visual7w/dataset_v7w_pointing.json")
    boxes = {box["box_id"]: [box[k] for k in ("x", "y", "width", "height")] for box in pointing["boxes"]}
    assert len(boxes) == len(pointing["boxes"])
    for image in pointing["images"]:
        for qa in image["qa_pairs"]:
            for id_ in (qa["answer"], *qa["multiple_choices"]):
                yield boxes[id_], ImageKey("vg", str(image["image_id"]))
    for record in content(root / "vg/question_answers.json"):
        for qa in record["qas"]:
            for obj in qa["a_objects"] + qa["q_objects"]:
                yield [obj[k] for k in "xywh"], ImageKey("vg", str(qa["image_id"]))
    for split in ("train", "val"):
        for id_, graph in content(root / f"gqa/{split}_sceneGraphs.json").items():
            for obj in graph["objects"].values():
                yield [obj[k] for k in "xywh"], ImageKey("vg", id_)


def test_sources_that_share_an_image_state_it(small_world: Path) -> None:
    """Visual Genome's copies: some the same bytes, some larger, all with the COCO id of the same image."""
    known = {tuple(sorted(facts["keys"])) for facts in content(small_world / "truth/scenes.jsonl")}
    images = image_files(small_world)
    same, larger = 0, 0
    for record in content(small_world / "vg/image_data.json"):
        if record["coco_id"] is None:
            continue
        ours, theirs = ImageKey("vg", str(record["image_id"])), ImageKey("coco", str(record["coco_id"]))
        assert tuple(sorted((str(ours), str(theirs)))) in known
        same += images[ours].read_bytes() == images[theirs].read_bytes()
        with Image.open(images[ours]) as a, Image.open(images[theirs]) as b:
            larger += a.width > b.width
    assert same > larger > 0


def test_an_object_is_in_the_same_position_in_both_copies(small_world: Path) -> None:
    """Objects have one id in all files, so Visual7W's boxes can be compared with COCO's, including the scale."""
    sizes = {str(r["image_id"]): (r["width"], r["height"]) for r in content(small_world / "vg/image_data.json")}
    coco_boxes = {}
    for split in ("train", "valid", "test"):
        for game in content(small_world / f"guesswhat/guesswhat.{split}.jsonl.gz"):
            size = (game["image"]["width"], game["image"]["height"])
            coco_boxes.update({obj["id"]: (obj["bbox"], size) for obj in game["objects"]})
    pointing = content(small_world / "visual7w/dataset_v7w_pointing.json")
    boxes = {box["box_id"]: [box[k] for k in ("x", "y", "width", "height")] for box in pointing["boxes"]}
    scales = Counter[bool]()
    for image in pointing["images"]:
        for qa in image["qa_pairs"]:
            if qa["answer"] not in coco_boxes:
                continue
            box, (width, height) = coco_boxes[qa["answer"]]
            x, y = (a / b for a, b in zip(sizes[str(image["image_id"])], (width, height), strict=True))
            expected = [box[0] * x, box[1] * y, box[2] * x, box[3] * y]
            assert boxes[qa["answer"]] == pytest.approx(expected, abs=1.5)
            scales[x > 1.1] += 1
    assert scales[True] > 0 < scales[False]


def test_images_of_nlvr2_are_png_by_name_and_mostly_jpeg_by_content(small_world: Path) -> None:
    formats: Counter[str | None] = Counter()
    for path in (small_world / "images/nlvr2").iterdir():
        assert path.suffix == ".png"
        with Image.open(path) as image:
            formats[image.format] += 1
    assert formats["JPEG"] > formats["PNG"] > 0


def test_gqa_programs_and_entailments_refer_to_the_same_file(small_world: Path) -> None:
    num_linked = num_dependencies = num_objects = 0
    for split in ("train", "val", "testdev"):
        everything = content(small_world / f"gqa/{split}_all_questions.json")
        balanced = content(small_world / f"gqa/{split}_balanced_questions.json")
        assert balanced.items() <= everything.items()
        assert all(record["isBalanced"] == (id_ in balanced) for id_, record in everything.items())
        for id_, record in everything.items():
            linked = record["entailed"] + record["equivalent"]
            assert all(everything[other]["imageId"] == record["imageId"] for other in linked)
            num_linked += len(linked)
            assert len(id_) == 8, "eight digits, so that order by text is order by number"
            for index, step in enumerate(record["semantic"]):
                assert all(before < index for before in step["dependencies"])
                num_dependencies += len(step["dependencies"])
    graphs = content(small_world / "gqa/train_sceneGraphs.json")
    for record in content(small_world / "gqa/train_all_questions.json").values():
        pointed = {obj for spans in record["annotations"].values() for obj in spans.values()}
        assert pointed <= set(graphs[record["imageId"]]["objects"])
        num_objects += len(pointed)
    assert min(num_linked, num_dependencies, num_objects) > 100


def test_premises_of_entailment_are_captions_of_the_same_image(small_world: Path) -> None:
    captions = {
        f"{image['filename']}#{number}": sentence["raw"].strip()
        for image in content(small_world / "flickr30k/dataset_flickr30k.json")["images"]
        for number, sentence in enumerate(image["sentences"])
    }
    for split in ("train", "dev", "test"):
        records = content(small_world / f"snli_ve/snli_ve_{split}.jsonl")
        assert records
        for record in records:
            assert captions[record["captionID"]] == record["sentence1"]
            assert record["captionID"].startswith(record["Flikr30kID"])
            assert record["sentence2_binary_parse"].count("(") == record["sentence2_binary_parse"].count(")")


def test_karpathys_file_and_cocos_own_contain_the_same_captions(small_world: Path) -> None:
    ours = {
        (image["cocoid"], sentence["sentid"], sentence["raw"])
        for image in content(small_world / "coco/dataset_coco.json")["images"]
        for sentence in image["sentences"]
    }
    theirs = {
        (record["image_id"], record["id"], record["caption"])
        for part in ("train2014", "val2014")
        for record in content(small_world / f"coco/captions_{part}.json")["annotations"]
    }
    assert ours == theirs


def test_refs_are_a_python_2_pickle_of_plain_values(small_world: Path) -> None:
    for task, split_by in (("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd")):
        data = (small_world / task / f"refs({split_by}).p").read_bytes()
        operations = list(pickletools.genops(data))
        assert operations[0][1] == 2, "protocol"
        names = {operation.name for operation, _, _ in operations}
        assert not names & {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "EXT1"}
        refs = pickle.loads(data)
        sentences = [s["sent_id"] for ref in refs for s in ref["sentences"]]
        assert len(set(sentences)) == len(sentences)
        assert sentences == [id_ for ref in refs for id_ in ref["sent_ids"]]


def test_files_do_not_depend_on_the_division_into_shards(tmp_path: Path) -> None:
    """The same records, in one block, in many, or with empty blocks between, make the same file."""
    layouts = [
        Layout("a/list.json", "list"),
        Layout("a/dict.json", "dict"),
        Layout("fields.json", "fields", {"info": 1}, ("x", "y")),
        Layout("lines.jsonl", "lines"),
        Layout("lines.jsonl.gz", "lines.gz"),
        Layout("refs.p", "pickle"),
        Layout("a/list.txt", "text"),
        Layout("files.zip", "zip"),
    ]
    records = [{"id": n, "text": 'quotes " and\nlines', "tokens": ["ü", "b"], "long": "x" * 300} for n in range(6)]
    contents = {}
    for name, cuts in {"single": [0, 6], "many": [0, 2, 2, 5, 6], "none": [0, 0]}.items():
        folders = []
        for number, (start, end) in enumerate(pairwise(cuts)):
            shard = AnnotationShard(layouts)
            for record in records[start:end]:
                for layout in layouts:
                    id_ = str(record["id"])
                    forms = {"dict": (id_, record), "text": record["long"], "zip": (f"x/{id_}.txt", record["text"])}
                    for part in layout.parts:
                        shard.add(layout.path, forms.get(layout.form, record), part)
            folders.append(tmp_path / name / str(number))
            folders[-1].mkdir(parents=True)
            shard.save(folders[-1])
        for layout in layouts:
            target = tmp_path / name / "out" / layout.path
            assert write_official(target, layout, folders) == len(target.read_bytes())
            contents[name, layout.path] = target.read_bytes()
    for layout in layouts:
        assert contents["single", layout.path] == contents["many", layout.path]
    whole = tmp_path / "many" / "out"
    assert content(whole / "a/list.json") == records
    assert content(whole / "a/dict.json") == {str(record["id"]): record for record in records}
    assert content(whole / "fields.json") == {"info": 1, "x": records, "y": records}
    assert content(whole / "lines.jsonl") == content(whole / "lines.jsonl.gz") == content(whole / "refs.p") == records
    assert content(whole / "files.zip") == {f"x/{record['id']}.txt": record["text"] for record in records}
    empty = tmp_path / "none" / "out"
    assert content(empty / "a/list.json") == content(empty / "refs.p") == []
    assert content(empty / "fields.json") == {"info": 1, "x": [], "y": []}
