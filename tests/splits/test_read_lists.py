"""Lists as spreadsheets, pandas and other programs write them give the same ids; what is unclear is refused by line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from twelvefold.leakage.audit import AuditConfig, audit, collect_inputs
from twelvefold.leakage.custom_sets import parse_flags
from twelvefold.leakage.report import AuditReport
from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.splits.read_lists import count_comments, make_key, read_entries

IDS = ["391895", "522418"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ids_of(name: str, content: str | bytes, encoding: str = "utf-8", **columns: str | int) -> list[str]:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return [id_ for id_, _ in read_entries(Path(name), **columns)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "image_id;caption\n391895;A dog, brown\n522418;A cat\n"),
        ("a.csv", "391895;A dog, brown\n522418;A cat, black\n"),
        ("a.csv", "image_id|caption\n391895|A dog\n522418|A cat\n"),
        ("a.csv", "image_id\tcaption\n391895\tA dog\n522418\tA cat\n"),
        ("a.csv", "sep=;\nimage_id;caption\n391895;A dog\n522418;A cat\n"),
        ("a.csv", "391895\n522418\n"),
        ("a.csv", "391895,A dog\n522418,A cat\n"),
        ("a.csv", "391895.0\n522418.0\n"),
        ("a.csv", ",image_id\n0,391895.0\n1,522418.0\n"),
        ("a.csv", ",0\n0,391895\n1,522418\n"),
        ("a.csv", "0,391895\n1,522418\n"),
        ("a.csv", '"","image_id"\n"1",391895\n"2",522418\n'),
        ("a.csv", "image_id,caption\n1,391895,A dog\n2,522418,A cat\n"),
        ("a.csv", "Unnamed: 0,Image ID,caption\n0,391895,a\n1,522418,b\n"),
        ("a.csv", 'caption,image_id\n"A ""big"" dog,\nbrown",391895\nA cat,522418\n'),
        ("a.csv", "391895,0;A dog\n522418,0;A cat\n"),
        ("a.csv", 'image_id\n="391895"\n="522418"\n'),
        ("a.csv", "cocoid\n391895\n522418\n"),
        ("a.csv", "id,image_id\n7,391895\n8,522418\n"),
        ("a.tsv", 'image_id\tcaption\n391895\t"quoted" and not\n522418\t"A cat"\n'),
        ("a.tsv", "image_id,caption\n391895,A dog\n522418,A cat\n"),
        ("a.txt", "391895\tA dog\n522418\tA cat\n"),
        ("a.txt", "image_id\n391895\n522418\n"),
        ("a.txt", '"391895"\n"522418"\n'),
        ("a.lst", "391895\n\n522418"),
        ("a.json", json.dumps({"image_id": {"0": 391895, "1": 522418}, "caption": {"0": "a", "1": "b"}})),
        ("a.json", json.dumps({"columns": ["image_id"], "index": [0, 1], "data": [[391895], [522418]]})),
        ("a.json", json.dumps({"0": {"image_id": 391895}, "1": {"image_id": 522418}})),
        ("a.json", json.dumps({"0": 391895, "1": 522418})),
        ("a.json", '{"image_id": 391895.0}\n{"image_id": 522418.0}\n'),
        ("a.json", json.dumps(["391895.0", "522418.0"])),
        ("a.json", json.dumps({"info": {}, "questions": [{"question_id": n, "image_id": int(n)} for n in IDS]})),
        ("a.json", json.dumps({"images": [{"id": int(n), "license": 1} for n in IDS], "annotations": [{"id": 5}]})),
        ("a.jsonl", '{"image_id": "391895"}\r\n{"image_id": "522418"}\r\n'),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_way_to_write_a_list_gives_the_same_ids(name: str, content: str, encoding: str) -> None:
    assert ids_of(name, content, encoding) == IDS
    if "\n" in content:
        assert ids_of(name, content.replace("\r\n", "\n").replace("\n", "\r\n"), encoding) == IDS


def test_numpy_and_parquet_lists() -> None:
    np.save("a.npy", np.array([391895.0, 522418.0]))
    np.save("b.npy", np.array([b"391895", b"522418"]))
    parquet.write_table(pa.table({"image_id": [391895, 522418], "caption": ["a", "b"]}), "c.parquet")
    for name in ("a.npy", "b.npy", "c.parquet"):
        assert [id_ for id_, _ in read_entries(Path(name))] == IDS
    np.save("d.npy", np.array([1.5]))
    with pytest.raises(TwelvefoldError, match=r"record 0: expected an id or a path, got 1\.5"):
        read_entries(Path("d.npy"))


@pytest.mark.parametrize(
    "name",
    ["C:\\data\\val2014\\COCO_val2014_000000391895.jpg", "val2017\\000000391895.jpg", "./a/391895.jpg", "coco_391895"],
)
def test_paths_of_windows_are_paths(name: str) -> None:
    (entry,) = ids_of("a.txt", name)
    assert "\\" not in entry
    assert make_key(entry, "coco", Path("a.txt")) == ImageKey("coco", "391895")


def test_names_of_files_go_before_ids_and_labels_are_left_out() -> None:
    records = [{"image": "val2014/COCO_val2014_000000391895.jpg", "image_id": "coco_391895", "caption": "A dog"}]
    assert ids_of("coco_karpathy_train.json", json.dumps(records)) == ["val2014/COCO_val2014_000000391895.jpg"]
    assert ids_of("a.csv", "id,file_name\n7,a.jpg\n") == ["a.jpg"]
    assert ids_of("a.txt", "a/x 1.jpg 0\na/y.jpg 3\n") == ["a/x 1.jpg", "a/y.jpg"]
    assert ids_of("a.txt", "x, 1.jpg\ny.jpg\n") == ["x, 1.jpg", "y.jpg"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "image_id,caption\n1,A dog\n2,A cat, black\n", "line 3: expected 2 cells separated by commas, got 3"),
        ("a.csv", "image_id\n391895;A dog\n", "line 2: expected 1 cells separated by semicolons"),
        ("a.csv", 'image_id,caption\n1,x\n2,"A dog\n', "line 3: can't be read as a table.*Do its quotes match"),
        ("a.csv", "image_id\n391895.0\nnan\n", "line 3: expected an id or a path, got nothing"),
        ("a.csv", "image_id\n3.9E+05\n1\n", "line 2: expected a whole number, got '3.9E.05': a spreadsheet"),
        ("a.csv", "image_id;x\n391.895;a\n", "line 2: expected a whole number, got '391.895'"),
        ("a.csv", "photo\nrex\nbella\n", "line 1: 'photo' may be the name of a column or an image"),
        ("a.csv", "question_id,answer\n1,yes\n", 'in a file for `audit --collections`: column = "question_id"'),
        ("a.csv", "5,7\n6,9\n", "2 columns and no header: state which"),
        ("a.txt", b"caf\xe9.jpg\n", "line 1, is not text in UTF-8"),
        ("a.jsonl", '{"image_id": 1}\n{"image_id"\n', "line 2, is truncated or not JSONL"),
        ("a.xlsx", "", "Save the spreadsheet as CSV UTF-8"),
    ],
)
def test_what_is_unclear_is_refused_with_its_line(name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(TwelvefoldError, match=message):
        ids_of(name, content)


def test_the_advice_works() -> None:
    assert ids_of("a.csv", "5,7\n6,9\n", column=2) == ["7", "9"]
    assert ids_of("a.csv", "question_id,answer\n1,yes\n", column="question_id") == ["1"]
    assert ids_of("a.csv", "image_id\nrex\nbella\n") == ["rex", "bella"]
    assert ids_of("a.txt", "rex\nbella\n") == ["rex", "bella"]


def run_audit(*flags: str, data: Path | None = None) -> AuditReport:
    config = AuditConfig(custom_sets=parse_flags(flags, "own"), evidence=["ids"])
    return audit(collect_inputs(data, config)).report


def test_a_list_that_cannot_match_is_a_finding() -> None:
    Path("train.txt").write_text("391895\n99\n")
    Path("sentences.txt").write_text("A dog\nA cat\n")
    Path("padded.txt").write_text("0099\n")
    Path("other.txt").write_text("5\n6\n")
    (problem,) = run_audit("a@shop:test=sentences.txt", "b@shop:train=train.txt").problems[:1]
    assert problem.startswith("sentences.txt (a): none of its 2 ids, such as 'A cat' and 'A dog', is written like")
    (problem,) = run_audit("a@shop:test=padded.txt", "b@shop:train=train.txt").problems[:1]
    assert "leading zeros" in problem
    no_source = run_audit("a:test=other.txt", "b:train=train.txt").problems
    assert len(no_source) == 2
    assert "Name the source of the ids (a@SOURCE)" in no_source[0]
    assert run_audit("a@shop:test=other.txt", "b@shop:train=train.txt").problems == []


def test_an_id_that_its_publisher_does_not_have_is_refused_with_its_line() -> None:
    Path("a.csv").write_text("image_id;x\n391895;a\nmy dog;b\n")
    Path("b.txt").write_text("391895\n")
    with pytest.raises(
        TwelvefoldError, match=r"a\.csv, line 3: 'my dog' is not an image of coco, whose names are like"
    ):
        run_audit("a@coco:test=a.csv", "b@coco:train=b.txt")


def test_ids_that_no_data_folder_knows_are_a_finding(folder_of_coco: Path) -> None:
    Path("known.txt").write_text("391895\n")
    Path("unknown.txt").write_text("5\n")
    assert run_audit("a@coco:train=known.txt", data=folder_of_coco).problems == []
    (problem,) = run_audit("a@coco:train=unknown.txt", data=folder_of_coco).problems
    assert "none of its 1 ids, such as '5', is an image of coco that the data folder knows" in problem


@pytest.fixture
def folder_of_coco(tmp_path: Path) -> Path:
    """Return a data folder with one test image of COCO."""
    sentences = [{"raw": "A dog.", "sentid": 1, "tokens": []}]
    image = {"split": "test", "filename": "x.jpg", "cocoid": 391895, "sentences": sentences}
    (tmp_path / "data/coco").mkdir(parents=True)
    (tmp_path / "data/coco/dataset_coco.json").write_text(json.dumps({"images": [image]}))
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("name", "text", "expected", "num_comments"),
    [
        ("a.txt", "# my list\na\n  #b\n\nc\n#\n", ["a", "c"], 3),
        ("a.txt", "#1.jpg\n#2.jpg\n", ["#1.jpg", "#2.jpg"], 0),
        ("a.txt", "# image_id\n1.0e+00\n", None, 1),
        ("a.csv", "# made by a program\nimage_id,caption\n1,#tag\n2,a\n", ["1", "2"], 1),
        ("a.csv", "# image_id,caption\n1,a\n2,b\n", ["1", "2"], 0),
        ("a.csv", "#,image_id\n0,7\n1,9\n", ["7", "9"], 0),
        ("a.csv", 'image_id,caption\n1,"two\n# lines"\n2,b\n', ["1", "2"], 0),
        ("a.tsv", "## a\n# b\nimage_id\tcaption\r\n1\ta\r\n", ["1"], 2),
    ],
)
def test_comments_are_no_images_and_are_counted(
    name: str, text: str, expected: list[str] | None, num_comments: int, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text, newline="")
    assert count_comments(path) == num_comments
    if expected is None:
        with pytest.raises(TwelvefoldError, match="line 2"):  # lines keep their numbers
            read_entries(path)
    else:
        assert [id_ for id_, _ in read_entries(path)] == expected


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl"])
def test_a_line_beyond_the_limit_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(b"a\n")
        file.write(b"a" * (1 << 20) + b"aa\n")
    with pytest.raises(TwelvefoldError, match="line 2: expected at most 1,048,576 bytes in a line"):
        read_entries(path)
