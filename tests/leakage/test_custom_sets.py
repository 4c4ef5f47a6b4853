"""Sets without a reader: all list formats are equivalent, files are known by their paths, invalid input is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twelvefold.leakage import custom_sets
from twelvefold.leakage.audit import AuditConfig, AuditResult, audit, collect_inputs
from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.splits import read_lists

NAMES = ["7", "12", "345"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_image(path: str, color: tuple[int, int, int]) -> None:
    """Write an image with some structure, so that two colors have different looks."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(0, 1, 64)[:, None, None] * np.array(color)[None, None, :] * np.ones((64, 64, 1))
    ramp[10 : 10 + color[0] % 40, 5:50] = 255 - np.array(color)
    Image.fromarray(ramp.astype(np.uint8)).save(path)


def custom_set(**fields: object) -> custom_sets.CustomSet:
    return custom_sets.CustomSet(**{"name": "cats", **fields})  # type: ignore[arg-type]


def run_audit(*sets: custom_sets.CustomSet, **options: object) -> AuditResult:
    return audit(collect_inputs(None, AuditConfig(custom_sets=sets, **options)))  # type: ignore[arg-type]


def test_all_list_formats_are_equivalent() -> None:
    Path("a.txt").write_text("7\n\n 12 \n345\n")
    Path("a.csv").write_text('image_id,caption\n7,"one, two"\n12,\n345,three\n')
    Path("a.tsv").write_text("image_id\tcaption\n7\tone, two\n12\t\n345\tthree\n")
    Path("a.json").write_text(json.dumps([7, 12, 345]))
    Path("objects.json").write_text(json.dumps({"images": [{"id": int(n), "license": 1} for n in NAMES]}))
    Path("a.jsonl").write_text("".join(json.dumps({"image_id": int(n), "caption": "x"}) + "\n" for n in NAMES))
    np.save("a.npy", np.array([7, 12, 345]))
    np.save("text.npy", np.array(NAMES))
    for name in ("a.txt", "a.csv", "a.tsv", "a.json", "objects.json", "a.jsonl", "a.npy", "text.npy"):
        assert [id_ for id_, _ in read_lists.read_entries(Path(name))] == NAMES, name
    assert read_lists.read_entries(Path("a.csv"), column="image_id", text="caption") == [
        ("7", "one, two"),
        ("12", ""),
        ("345", "three"),
    ]
    Path("bare.tsv").write_text("a caption\thttp://x.org/1.jpg\nanother\thttp://x.org/2.jpg\n")
    assert read_lists.read_entries(Path("bare.tsv"), column=2, text=1)[1] == ("http://x.org/2.jpg", "another")


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("a.json", '[1, "2"]', "", "mixed type: record 0 is 1, record 1 is '2'"),
        ("a.json", "[1, 2.5]", "", r"record 1: expected an id or a path, got 2\.5"),
        ("a.json", "[true]", "", "expected an id or a path, got True"),
        ("a.json", '[{"id": 1}, {"x": 1}]', "id", "record 1: expected an id or a path, got None"),
        ("a.json", '[{"id": 1}, 2]', "id", "record 1: expected an id or a path, got None"),
        ("a.json", "[1, 2", "", "truncated or not JSON"),
        ("a.json", '{"pictures": []}', "", "a list under 'images'"),
        ("a.json", "[1]", "image_id", "has no columns"),
        ("a.jsonl", '{"image_id": 1}\n{"image_id": ', "", "truncated or not JSONL"),
        ("a.csv", "image,name\n1,a\n", "imag", "no column 'imag'; it has image, name; did you mean 'image'"),
        ("a.csv", "x,y\n1,a\n", "", "state which of them contains the images"),
        ("a.csv", "image_id,y\n1,a\n,b\n", "", "line 3: expected an id or a path, got nothing"),
        ("a.csv", "image_id,y\n1,a\n2\n", "", "line 3: expected 2 cells"),
        ("a.doc", "", "", "ends in one of .txt"),
        ("a.parquet", "", "", "can't be read as Parquet"),
        ("a.npy", "no array", "", r"not a \.npy file"),
    ],
)
def test_an_invalid_list_is_refused(name: str, content: str, column: str, message: str) -> None:
    Path(name).write_text(content)
    with pytest.raises(TwelvefoldError, match=message):
        read_lists.read_entries(Path(name), column=column)


def test_pickled_arrays_are_never_loaded() -> None:
    np.save("a.npy", np.array([{"id": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(TwelvefoldError, match="holds pickled objects"):
        read_lists.read_entries(Path("a.npy"))
    np.save("b.npy", np.array([True]))
    with pytest.raises(TwelvefoldError, match="integers or text, got bool"):
        read_lists.read_entries(Path("b.npy"))


def test_two_folders_are_compared_by_the_content_of_their_files() -> None:
    write_image("cats/train/1.png", (200, 10, 10))
    write_image("cats/train/2.png", (10, 200, 10))
    write_image("cats/test/1.png", (10, 10, 200))  # has the name of another image, which does not matter
    write_image("cats/test/b.png", (10, 200, 10))  # another name of the same image
    Path("cats/test/readme.md").write_text("not an image")
    result = run_audit(custom_set(train="cats/train", test="cats/test"), evidence=["bytes"])
    assert [(each.count, each.total) for each in result.report.findings] == [(1, 2)]
    assert [(e.key, e.other, e.evidence) for e in result.report.findings[0].examples] == [
        ("file/cats/test/b.png", "file/cats/train/2.png", "bytes")
    ]
    assert result.shared_images_csv().splitlines()[1:] == [
        "cats,test,cats,file/cats/test/b.png,file/cats/train/2.png,bytes"
    ]


def test_missing_listed_files_are_reported_unless_all_names_are_only_ids() -> None:
    write_image("pics/a.png", (200, 10, 10))
    Path("pics/train.txt").write_text("a.png\ngone.png\n")
    Path("pics/test.txt").write_text("a.png\n")
    result = run_audit(custom_set(train="pics/train.txt", test="pics/test.txt"), evidence=["bytes"])
    assert list(result.report.unreadable) == ["file/pics/gone.png"]
    assert result.report.findings[0].examples[0].key == "file/pics/a.png"
    for split in ("train", "test"):
        Path(f"{split}.txt").write_text("x.png\n" + split)
    ids_only = run_audit(custom_set(train="train.txt", test="test.txt"), evidence=["bytes"])
    assert ids_only.report.unreadable == {}
    assert ids_only.report.findings[0].examples[0].key == "cats/x.png"
    assert "have no source" in ids_only.report.limitations[0]
    required = run_audit(custom_set(train="train.txt", test="test.txt", image_folder="pics"), evidence=["bytes"])
    assert list(required.report.unreadable) == ["file/pics/x.png"]


def test_a_broken_picture_is_listed_with_the_reason() -> None:
    write_image("cats/train/1.png", (200, 10, 10))
    Path("cats/test").mkdir()
    Path("cats/test/torn.png").write_bytes(Path("cats/train/1.png").read_bytes()[:100])
    result = run_audit(custom_set(train="cats/train", test="cats/test"), evidence=["bytes", "pixels", "looks"])
    assert list(result.report.unreadable) == ["file/cats/test/torn.png"]
    assert "truncated" in result.report.unreadable["file/cats/test/torn.png"]


@pytest.mark.parametrize(
    ("name", "source", "key"),
    [
        ("COCO_val2014_000000000042.jpg", "coco", "coco/42"),
        ("000000000042.jpg", "coco", "coco/42"),
        ("42", "coco", "coco/42"),
        ("2407890", "vg", "vg/2407890"),
        ("v7w_2407890.jpg", "visual7w", "vg/2407890"),
        ("n161313", "gqa", "gqa/n161313"),
        ("2407890", "gqa", "vg/2407890"),
        ("1000092795.jpg", "flickr30k", "flickr30k/1000092795"),
        ("https://farm4.staticflickr.com/3153/2970773875_164f0c0b83_z.jpg", "url", "flickr30k/2970773875"),
        ("http://www.example.org/a/b.jpg?x=1#top", "url", "url/example.org/a/b.jpg?x=1"),
        ("https://example.org/a/b.jpg?x=1", "url", "url/example.org/a/b.jpg?x=1"),
        ("007", "mine", "mine/007"),
    ],
)
def test_every_form_of_a_publishers_id_is_recognized(name: str, source: str, key: str) -> None:
    assert read_lists.make_key(name, source, Path("list.txt")) == ImageKey.parse(key)


@pytest.mark.parametrize(("name", "source"), [("12.0", "coco"), ("cat", "vg"), ("12", "nlvr2"), ("x7", "flickr30k")])
def test_an_id_that_is_not_the_publishers_is_refused(name: str, source: str) -> None:
    with pytest.raises(TwelvefoldError, match=rf"list.txt: '{name}' is not an image of {source}"):
        read_lists.make_key(name, source, Path("list.txt"))


def test_pretraining_and_detector_sets_are_columns_only() -> None:
    Path("test.txt").write_text("1\n2\n3\n4\n")
    Path("trained.txt").write_text("4\n9\n")
    flags = [
        *custom_sets.parse_flags(["mine@coco:test=test.txt"], "own"),
        *custom_sets.parse_flags(["cc@coco=trained.txt"], "pretraining"),
    ]
    result = run_audit(*flags, *custom_sets.parse_flags(["boxes@coco=test.txt"], "detector"), evidence=["ids"])
    assert [(c.row, c.column, c.count, c.total) for c in result.report.tests] == [
        ("mine", "cc", 1, 4),
        ("mine", "boxes", 4, 4),
    ]
    with pytest.raises(TwelvefoldError, match="pretraining set, so it may only have train"):
        custom_sets.read_custom_set(custom_set(kind="pretraining", train="trained.txt", test="test.txt"))


def test_a_collections_file_has_sets_and_maps_relative_to_itself() -> None:
    Path("deep").mkdir()
    Path("deep/test.txt").write_text("a\nb\n")
    Path("deep/train.csv").write_text("image_id,caption\n5,A cat.\n6,A dog.\n")
    Path("deep/ids.csv").write_text("mine,theirs\nb,6\n")
    Path("deep/sets.toml").write_text(
        '[[collection]]\nname = "pets"\ntest = "test.txt"\n'
        '[[collection]]\nname = "web"\ntrain = ["train.csv"]\nsource = "coco"\ntext = "caption"\n'
        '[[map]]\nfile = "ids.csv"\ncolumns = ["mine", "theirs"]\nsources = ["pets", "coco"]\n'
    )
    result = audit(collect_inputs(None, AuditConfig(collections=Path("deep/sets.toml"), evidence=["ids"])))
    assert [(e.key, e.other) for e in result.report.findings[0].examples] == [("pets/b", "coco/6")]
    assert [each.num_texts for each in result.report.sets] == [{"test": 0}, {"train": 2}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[colection]]\nname = "a"', "no field 'colection'; there are collection, map; did you mean 'collection'"),
        ('[[collection]]\nname = "a"\ntests = "x"', "in collection a, no field 'tests'.*did you mean 'test'"),
        ('[[collection]]\nname = "a"\nkind = "mine"\ntest = "x"', r"Invalid enum value 'mine' - at .*collection\[0\]"),
        ('[[collection]]\nname = "a"', "collection 'a' has no images: give it train, val or test"),
        ('[[collection]]\nname = "a"\ntest = "nowhere"', "but there is no such file or folder"),
        ("collection = 3", "Expected `array`, got `int`"),
        ("[[collection", "is not TOML"),
        ("", "is empty: expected"),
    ],
)
def test_a_typo_in_a_collections_file_is_reported(text: str, message: str) -> None:
    Path("sets.toml").write_text(text)
    with pytest.raises(TwelvefoldError, match=message):
        collect_inputs(None, AuditConfig(collections=Path("sets.toml")))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["cats=x"], "expected NAME:SPLIT=PATH"),
        (["cats"], "expected NAME:SPLIT=PATH"),
        (["cats:tst=x"], "did you mean 'test'"),
        (["cats@coco:test=x", "cats@vg:train=x"], "cats has ids of two sources, coco and vg"),
    ],
)
def test_a_flag_of_another_form_is_refused(flags: list[str], message: str) -> None:
    with pytest.raises(TwelvefoldError, match=message):
        custom_sets.parse_flags(flags, "own")


def test_a_folder_of_a_flag_may_have_any_name() -> None:
    name = "a\n=b:c\udcff"
    assert custom_sets.parse_flags([f"cats:train={name}"], "own")[0].train == [name]


def test_ids_that_differ_by_leading_zeros_are_reported() -> None:
    Path("a.txt").write_text("007\n8\n")
    Path("b.txt").write_text("7\n")
    result = run_audit(custom_set(test="a.txt", source="mine"), custom_set(name="dogs", train="b.txt", source="mine"))
    assert result.report.leaks == []
    assert result.report.limitations == ["ids of mine such as 007 and 7 count as different"]


def test_sets_that_cannot_be_compared_are_refused() -> None:
    Path("a.txt").write_text("1\n")
    with pytest.raises(TwelvefoldError, match="expected a test set and a train or val set"):
        run_audit(custom_set(test="a.txt"))
    with pytest.raises(TwelvefoldError, match="two sets have the name 'cats'"):
        run_audit(custom_set(test="a.txt", train="a.txt"), custom_set(train="a.txt"))
    Path("empty.txt").write_text("\n")
    with pytest.raises(TwelvefoldError, match="its train contains no image"):
        custom_sets.read_custom_set(custom_set(train="empty.txt"))
    Path("folder").mkdir()
    with pytest.raises(TwelvefoldError, match="contains no image"):
        custom_sets.read_custom_set(custom_set(train="folder"))
