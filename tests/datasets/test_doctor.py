"""``twelvefold datasets`` lists what the readers ask for; ``twelvefold doctor`` finds what is wrong and no more."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from twelvefold.cli import app
from twelvefold.datasets import NAMES, load
from twelvefold.datasets.reading.cards import PICTURES, PUBLISHED, agrees
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.doctor import doctor
from twelvefold.schema import Split, TwelvefoldError

TAILS = {"vqav2": {"minval": 1}, "gqa": {"minval": 1}, "vgqa": {"tail": 1}}


def small_world(folder: Any, pictures: bool = True) -> Path:
    """The hand-written data folder, with the tails and counts that a world states, and a picture of each key."""
    root: Path = folder.write()
    examples: dict[str, dict[str, int]] = {}
    for name in NAMES:
        examples[name] = {}
        for split in get_args(Split):
            found = list(load(name).read(root, split, bad=BadRecords(), **TAILS.get(name, {})))
            examples[name][split] = len(found)
            for key in {pair.image for example in found for pair in example.pairs} if pictures else ():
                coco = f"coco/val2014/COCO_val2014_{int(key.id):012}" if key.source == "coco" else ""
                path = root / "images" / f"{coco or key}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    (root / "world.json").write_text(json.dumps({"reader_options": TAILS, "examples": examples}))
    return root


def test_the_twelve_are_listed_with_every_file_that_their_readers_read(folder: Any) -> None:
    assert tuple(PUBLISHED) == NAMES
    root = folder.write()
    for name, one in PUBLISHED.items():
        listed = {part.path for part in one.files if "optional" not in part.holds and "cleaning" not in part.holds}
        read = {p for split in get_args(Split) for p in load(name).files(root, split, **TAILS.get(name, {}))}
        if name == "vqav2":  # the hand-written folder has answers of the test questions, as a world does
            read = {path for path in read if "test2015_annotations" not in path.name}
        assert {path.relative_to(root).as_posix() for path in read} == listed
        assert one.title == load(name).TASK.title
        assert set(one.pictures) <= set(PICTURES)
        assert one.home
        assert one.licence


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_those_of_the_readers_own_pages(name: str) -> None:
    page = load(name).__doc__ or ""
    said = {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d{3}", page)}
    counted = PUBLISHED[name].examples
    if name == "vgqa":
        assert 1_440_069 in said
        assert agrees("vgqa", "train", 1_440_069 - 5_000)
        return
    assert counted["train"] in said
    assert not agrees(name, "train", counted["train"] - 1)


def test_a_whole_folder_is_well(folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    root = small_world(folder)
    health = doctor(root)
    assert health.well, [task.next for task in health.tasks.values()]
    assert [task.state for task in health.tasks.values()] == ["whole"] * 12
    assert app(f"doctor {root} --json", result_action="return_value") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["tasks"]["nlvr2"]["splits"]["train"]["examples"] > 0


def test_a_missing_file_is_named_with_its_publisher(folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    root = small_world(folder)
    (root / "snli_ve" / "snli_ve_dev.jsonl").unlink()
    for path in (root / "nlvr2").iterdir():
        path.unlink()
    health = doctor(root)
    assert (health.tasks["snli_ve"].state, health.tasks["nlvr2"].state) == ("incomplete", "missing")
    [step] = health.tasks["snli_ve"].next
    assert step.startswith("val: ")
    assert "snli_ve_dev.jsonl" in step
    assert "SNLI-VE" in step
    assert len(health.tasks["nlvr2"].next) == 3
    assert {name for name, task in health.tasks.items() if task.next} == {"snli_ve", "nlvr2"}
    assert app(f"doctor {root}", result_action="return_value") == 1
    assert "snli_ve, val: " in capsys.readouterr().out
    assert app(f"doctor {root} --tasks vqav2 gqa", result_action="return_value") == 0


def test_malformed_records_are_counted_and_the_first_are_shown(folder: Any) -> None:
    root = small_world(folder)
    path = root / "nlvr2" / "train.json"
    path.write_bytes(b'{"nonsense": 1}\n' * 5 + path.read_bytes())
    split = doctor(root, tasks=["nlvr2"]).tasks["nlvr2"].splits["train"]
    assert split.malformed == 5
    assert len(split.bad) == 3
    assert "line 1" in split.bad[0]
    assert split.count_is_right
    assert "5 malformed records" in doctor(root, tasks=["nlvr2"]).tasks["nlvr2"].next[0]


def test_a_damaged_file_and_a_short_one(folder: Any) -> None:
    root = small_world(folder)
    questions = root / "vg" / "question_answers.json"
    questions.write_bytes(questions.read_bytes()[:-20])
    lines = (root / "snli_ve" / "snli_ve_train.jsonl").read_bytes().splitlines(keepends=True)
    (root / "snli_ve" / "snli_ve_train.jsonl").write_bytes(b"".join(lines[:-1]))
    health = doctor(root, tasks=["vgqa", "snli_ve"])
    assert "truncated" in health.tasks["vgqa"].next[0]
    assert f"{len(lines) - 1} examples, where the full files give {len(lines)}" in health.tasks["snli_ve"].next[0]
    assert not health.well


def test_pictures_and_maps_that_are_missing(folder: Any) -> None:
    root = small_world(folder)
    lost = next((root / "images" / "vg").iterdir())
    lost.unlink()
    (root / "vg" / "image_data.json").unlink()
    health = doctor(root)
    found = [split for task in health.tasks.values() for split in task.splits.values() if split.pictures_missing]
    assert found
    assert {name for split in found for name in split.lost} == {f"vg/{lost.stem}"}
    assert any("image_data.json is missing" in hint for hint in health.hidden)
    assert not health.well
    assert doctor(root, tasks=["nlvr2"]).well


@pytest.mark.parametrize(
    ("text", "why"), [('[{"image_id": 1}, {"coco_id": 3}]', "1 malformed record.*image_data.json"), ("[{", "truncated")]
)
def test_a_malformed_map(folder: Any, text: str, why: str) -> None:
    root = small_world(folder)
    (root / "vg" / "image_data.json").write_text(text)
    [hint] = doctor(root, tasks=["vgqa"]).hidden
    assert re.search(why, hint)


def test_a_picture_with_a_name_of_another_kind(folder: Any) -> None:
    root = small_world(folder)
    (root / "images" / "coco" / "val2014" / "holiday.jpg").touch()
    [hint] = doctor(root, tasks=["coco"]).hidden
    assert "holiday.jpg" in hint


def test_no_pictures_at_all(folder: Any) -> None:
    health = doctor(small_world(folder, pictures=False), tasks=["coco"])
    assert any("features can be imported instead" in hint for hint in health.hidden)
    assert health.tasks["coco"].splits["train"].pictures_missing == 0


def test_a_sample_of_the_real_files_is_no_full_set(folder: Any) -> None:
    root = small_world(folder)
    (root / "world.json").unlink()
    steps = doctor(root, tasks=["nlvr2"]).tasks["nlvr2"].next
    assert "where the full files give 86,373" in steps[0]


def test_bad_input_is_said(tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match="there is no data folder"):
        doctor(tmp_path / "nowhere")
    with pytest.raises(TwelvefoldError, match="did you mean 'nlvr2'"):
        doctor(tmp_path, tasks=["nlvr"])
    with pytest.raises(TwelvefoldError, match="did you mean 'vqav2'"):
        app("datasets vqa2", result_action="return_value")


def test_datasets_says_what_and_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert app("datasets --json", result_action="return_value") == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said["datasets"]) == list(NAMES)
    assert said["datasets"]["nlvr2"]["files"][0]["path"] == "nlvr2/train.json"
    assert app("datasets flickr30k", result_action="return_value") == 0
    text = capsys.readouterr().out
    for word in ("flickr30k/dataset_flickr30k.json", "must be asked for", "licence", "145,000"):
        assert word in text


def test_the_page_s_commands_do_what_it_says(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    root = small_world(folder)
    (root / "data").mkdir()
    (root / "data" / "real").symlink_to(root)
    monkeypatch.chdir(root)
    commands = re.findall(r"^twelvefold ([^#\n]*)", page, re.MULTILINE)
    assert len(commands) == 3
    assert [app(command, result_action="return_value") for command in commands] == [0, 0, 0]
