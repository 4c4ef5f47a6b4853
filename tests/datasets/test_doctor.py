"""``twelvefold datasets`` lists the files that readers need; ``twelvefold doctor`` finds what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from twelvefold.cli import app
from twelvefold.config.recipe import DataConfig
from twelvefold.datasets import load_dataset, paper_task_names
from twelvefold.datasets.reading.cards import IMAGE_SOURCES, dataset_cards
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.doctor import doctor
from twelvefold.preparation.prepare import prepare
from twelvefold.schema import Split, TwelvefoldError

from .conftest import load_sample

JPEG_START = b"\xff\xd8\xff\xe0"
"""All that a walk through a folder reads of an image."""


def small_world(folder: Any, images: bool = True) -> Path:
    """Write the sample data folder as a world: with reader options, example counts, and an image file for each key."""
    root: Path = folder.write()
    examples: dict[str, dict[str, int]] = {}
    options = {name: load_sample(name).options for name in paper_task_names()}
    for name in paper_task_names():
        examples[name] = {}
        for split in get_args(Split):
            samples = list(load_dataset(name).read(root, split, bad=BadRecords(), **load_sample(name).options))
            examples[name][split] = len(samples)
            for key in {pair.image for example in samples for pair in example.pairs} if images else ():
                coco = f"coco/val2014/COCO_val2014_{int(key.id):012}" if key.source == "coco" else ""
                path = root / "images" / f"{coco or key}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(JPEG_START)
    (root / "world.json").write_text(json.dumps({"reader_options": options, "examples": examples}))
    return root


def test_cards_list_every_file_that_the_readers_read(folder: Any) -> None:
    assert set(dataset_cards()) >= set(paper_task_names())
    root = folder.write()
    for name, card in dataset_cards().items():
        required = {
            file.path for file in card.files if "optional" not in file.content and "cleaning" not in file.content
        }
        read = {
            p for split in get_args(Split) for p in load_dataset(name).files(root, split, **load_sample(name).options)
        }
        assert {path.relative_to(root).as_posix() for path in read} == required
        assert card.title == load_dataset(name).TASK.title
        assert set(card.image_sources) <= set(IMAGE_SOURCES)
        assert card.publisher
        assert card.license


@pytest.mark.parametrize("name", dataset_cards())
def test_card_counts_equal_the_counts_in_the_module_docstrings(name: str) -> None:
    page = load_dataset(name).__doc__ or ""
    stated = {int(number.replace(",", "")) for number in re.findall(r"\d+(?:,\d{3})*", page)}
    card = dataset_cards()[name]
    if name == "vgqa":
        assert 1_440_069 in stated
        assert card.matches("train", 1_440_069 - 5_000)
        return
    assert card.examples["train"] in stated
    assert not card.matches("train", card.examples["train"] - 1)


def test_a_complete_folder_passes(folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    root = small_world(folder)
    check = doctor(root)
    assert check.is_complete, [task.next for task in check.tasks.values()]
    assert [task.state for task in check.tasks.values()] == ["whole"] * 12
    assert app(f"doctor {root} --json", result_action="return_value") == 0
    output = json.loads(capsys.readouterr().out)
    assert output["tasks"]["nlvr2"]["splits"]["train"]["examples"] > 0


def test_a_file_of_several_splits_is_missing_once(folder: Any) -> None:
    root = small_world(folder)
    (root / "visual7w" / "dataset_v7w_pointing.json").unlink()
    [step] = doctor(root, tasks=["visual7w"]).tasks["visual7w"].next
    assert step.startswith("train, val, test: ")


def test_a_missing_file_is_reported_with_its_publisher(folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    root = small_world(folder)
    (root / "snli_ve" / "snli_ve_dev.jsonl").unlink()
    for path in (root / "nlvr2").iterdir():
        path.unlink()
    check = doctor(root)
    assert (check.tasks["snli_ve"].state, check.tasks["nlvr2"].state) == ("incomplete", "missing")
    [step] = check.tasks["snli_ve"].next
    assert step.startswith("val: ")
    assert "snli_ve_dev.jsonl" in step
    assert "SNLI-VE" in step
    assert len(check.tasks["nlvr2"].next) == 3
    assert {name for name, task in check.tasks.items() if task.next} == {"snli_ve", "nlvr2"}
    assert app(f"doctor {root}", result_action="return_value") == 1
    assert "snli_ve, val: " in capsys.readouterr().out
    assert app(f"doctor {root} --tasks vqav2 gqa", result_action="return_value") == 0


def test_malformed_records_are_counted_and_the_first_are_shown(folder: Any) -> None:
    root = small_world(folder)
    path = root / "nlvr2" / "train.json"
    path.write_bytes(b'{"nonsense": 1}\n' * 5 + path.read_bytes())
    split = doctor(root, tasks=["nlvr2"]).tasks["nlvr2"].splits["train"]
    assert split.num_malformed == 5
    assert len(split.first_malformed) == 3
    assert "line 1" in split.first_malformed[0]
    assert split.count_is_right
    assert "5 malformed records" in doctor(root, tasks=["nlvr2"]).tasks["nlvr2"].next[0]


def test_a_truncated_file_and_missing_examples_are_reported(folder: Any) -> None:
    root = small_world(folder)
    questions = root / "vg" / "question_answers.json"
    questions.write_bytes(questions.read_bytes()[:-20])
    lines = (root / "snli_ve" / "snli_ve_train.jsonl").read_bytes().splitlines(keepends=True)
    (root / "snli_ve" / "snli_ve_train.jsonl").write_bytes(b"".join(lines[:-1]))
    check = doctor(root, tasks=["vgqa", "snli_ve"])
    assert "truncated" in check.tasks["vgqa"].next[0]
    assert f"{len(lines) - 1} examples, but the full files hold {len(lines)}" in check.tasks["snli_ve"].next[0]
    assert not check.is_complete


def test_missing_images_and_id_maps_are_reported(folder: Any) -> None:
    root = small_world(folder)
    lost = next((root / "images" / "vg").iterdir())
    lost.unlink()
    (root / "vg" / "image_data.json").unlink()
    check = doctor(root)
    incomplete = [split for task in check.tasks.values() for split in task.splits.values() if split.num_images_missing]
    assert incomplete
    assert {name for split in incomplete for name in split.first_missing_images} == {f"vg/{lost.stem}"}
    assert any("image_data.json is missing" in hint for hint in check.limitations)
    assert not check.is_complete
    assert doctor(root, tasks=["nlvr2"]).is_complete


@pytest.mark.parametrize(
    ("text", "why"), [('[{"image_id": 1}, {"coco_id": 3}]', "1 malformed record.*image_data.json"), ("[{", "truncated")]
)
def test_a_malformed_id_map_is_reported(folder: Any, text: str, why: str) -> None:
    root = small_world(folder)
    (root / "vg" / "image_data.json").write_text(text)
    [hint] = doctor(root, tasks=["vgqa"]).limitations
    assert re.search(why, hint)


def test_an_image_with_an_unexpected_file_name_is_reported(folder: Any) -> None:
    root = small_world(folder)
    (root / "images" / "coco" / "val2014" / "holiday.jpg").touch()
    [hint] = doctor(root, tasks=["coco"]).limitations
    assert "holiday.jpg" in hint


def test_files_that_cannot_be_read_as_images_are_reported(folder: Any) -> None:
    root = small_world(folder)
    check = doctor(root, tasks=["coco"])
    assert check.is_complete
    images = root / "images" / "coco" / "val2014"
    (images / "COCO_val2014_000000000001.jpg").write_text("version https://git-lfs.github.com/spec/v1")
    (images / "notes.txt").write_text("a note")
    check = doctor(root, tasks=["coco"])
    [hint] = check.limitations
    assert re.search("coco/1: images/coco/.*is a Git LFS pointer", hint)
    assert [each.file for each in check.skipped] == ["coco/val2014/notes.txt"]


def test_a_folder_without_images_is_reported_once(folder: Any) -> None:
    check = doctor(small_world(folder, images=False), tasks=["coco"])
    assert any("they can be imported instead" in hint for hint in check.limitations)
    assert check.tasks["coco"].splits["train"].num_images_missing == 0


def test_a_sample_of_the_real_files_is_not_complete(folder: Any) -> None:
    root = small_world(folder)
    (root / "world.json").unlink()
    steps = doctor(root, tasks=["nlvr2"]).tasks["nlvr2"].next
    assert "but the full files hold 86,373" in steps[0]


def test_tables_of_a_prepared_folder_are_read_instead_of_unchanged_files(
    folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = small_world(folder)
    path = root / "nlvr2" / "train.json"
    path.write_bytes(b'{"nonsense": 1}\n' + path.read_bytes())
    expected = doctor(root, tasks=["nlvr2", "snli_ve"])
    config = DataConfig(clean="none", skip_bad=True)
    prepare(root, None, root / "prepared", ["nlvr2", "snli_ve"], config)
    with (root / "snli_ve" / "snli_ve_dev.jsonl").open("ab") as file:
        file.write(b"\n")  # a file that changed is read again

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("an official file was read")

    monkeypatch.setattr(load_dataset("nlvr2"), "read", fail)
    check = doctor(root, tasks=["nlvr2", "snli_ve"], prepared=root / "prepared")
    assert check == expected
    assert check.tasks["nlvr2"].splits["train"].num_malformed == 1
    assert app(f"doctor {root} --tasks nlvr2 --prepared {root / 'prepared'}", result_action="return_value") == 1


def test_an_unknown_folder_or_task_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match="there is no data folder"):
        doctor(tmp_path / "nowhere")
    with pytest.raises(TwelvefoldError, match="did you mean 'nlvr2'"):
        doctor(tmp_path, tasks=["nlvr"])
    with pytest.raises(TwelvefoldError, match="did you mean 'vqav2'"):
        app("datasets vqa2", result_action="return_value")


def test_the_datasets_command_prints_cards(capsys: pytest.CaptureFixture[str]) -> None:
    assert app("datasets --json", result_action="return_value") == 0
    output = json.loads(capsys.readouterr().out)
    assert list(output["datasets"]) == list(dataset_cards())
    assert output["datasets"]["nlvr2"]["files"][0]["path"] == "nlvr2/train.json"
    assert app("datasets flickr30k", result_action="return_value") == 0
    text = capsys.readouterr().out
    for word in ("flickr30k/dataset_flickr30k.json", "request them", "license", "145,000"):
        assert word in text


def test_the_commands_of_the_page_succeed(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    root = small_world(folder)
    (root / "data").mkdir()
    (root / "data" / "real").symlink_to(root)
    monkeypatch.chdir(root)
    commands = re.findall(r"^twelvefold ([^#\n]*)", page.split("```")[1], re.MULTILINE)  # others need downloads
    assert len(commands) == 3
    assert [app(command, result_action="return_value") for command in commands] == [0, 0, 0]
