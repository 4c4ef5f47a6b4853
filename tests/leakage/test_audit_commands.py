"""The audit commands: exit codes, no PyTorch, and every command of docs/audit.md."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from twelvefold import cli
from twelvefold.leakage.audit import AuditConfig, audit, collect_inputs
from twelvefold.preparation.prepare import prepare
from twelvefold.world.draw import draw_scene
from twelvefold.world.duplicates import make_near_duplicate
from twelvefold.world.scene import make_scene

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("twelvefold ")
]


def run_command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    return int(exit_.value.code or 0)


@pytest.fixture
def guide_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write what docs/audit.md uses: two sets of images, lists, a data folder and its prepared tables."""
    monkeypatch.chdir(tmp_path)
    scenes = [draw_scene(make_scene(3, n)) for n in range(8)]
    for path, scene in {
        "cats/train/1.png": scenes[0],
        "cats/train/2.png": scenes[1],
        "cats/test/1.png": scenes[2],
        "cats/test/2.png": scenes[3],
        "cats/test/3.png": scenes[1],
        "cats/test/4.png": scenes[4],
        "dogs/a.png": scenes[1],
        "dogs/b.png": make_near_duplicate(scenes[4], "resized"),
        "dogs/c.png": scenes[5],
    }.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        scene.save(path)
    Path("mine.csv").write_text("image_id,note\n9,x\n391895,y\n")
    np.save("theirs.npy", np.array([391895, 5]))
    Path("captions.csv").write_text("text,url\na cat,https://www.example.org/1.jpg\n")
    Path("boxes.txt").write_text("COCO_val2014_000000391895.jpg\n")
    Path("pets").mkdir()
    Path("pets/test.csv").write_text("animal,caption\nrex,A dog.\nmia,A cat.\n")
    Path("web.tsv").write_text("A cat.\thttp://example.org/mia.jpg\n")
    Path("ids.csv").write_text("animal,page\nmia,https://example.org/mia.jpg\n")
    Path("sets.toml").write_text(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[0])
    write_data(Path("data/world"))
    prepare(Path("data/world"), None, Path("prepared/world"), tasks=["coco", "visual7w"])
    return tmp_path


def write_data(root: Path) -> None:
    """Write COCO retrieval and Visual7W in their official formats; vg/9 is coco/2."""
    captions = [
        {"split": split, "filename": f"{n}.jpg", "cocoid": n, "sentences": [{"raw": "A boat.", "sentid": n}]}
        for n, split in enumerate(("train", "train", "train", "val", "test"))
    ]
    question = {"question": "Which boat?", "answer": 1, "multiple_choices": [2], "type": "which"}
    images = [
        {"image_id": n, "split": split, "filename": f"v7w_{n}.jpg"}
        | {"qa_pairs": [{**question, "qa_id": n, "image_id": n}]}
        for n, split in ((7, "train"), (8, "val"), (9, "test"))
    ]
    boxes = [{"box_id": n, "name": "boat", "x": 0, "y": 0, "width": 9, "height": 9} for n in (1, 2)]
    for name, value in {
        "coco/dataset_coco.json": {"images": captions},
        "visual7w/dataset_v7w_pointing.json": {"boxes": boxes, "images": images},
        "vg/image_data.json": [{"image_id": 9, "coco_id": 2}],
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(value))


@pytest.mark.usefixtures("guide_folder")
def test_every_command_of_the_guide_has_the_documented_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(COMMANDS) >= 12
    codes = {command: run_command(*shlex.split(command)[1:]) for command in COMMANDS}
    captured = capsys.readouterr()
    clean = [command for command, code in codes.items() if code == 0]
    assert [command for command, code in codes.items() if code == 2] == [], captured.err
    assert [command for command in clean if " why " not in command] == [c for c in COMMANDS if "--prepared" in c]
    assert any(" why " in command for command in clean)
    output = [line.split() for line in captured.out.splitlines()]
    documented = re.findall(r"^    (.*)$", PAGE.split("**Lists")[0], re.MULTILINE)
    assert len(documented) > 5
    for line in documented:
        assert line.split() in output or set(line.strip()) <= {"─", " "}, line
    assert "side by side" not in Path("leaks.csv").read_text()
    assert "file/cats/test/4.png,file/dogs/b.png,looks" in Path("leaks.csv").read_text()
    assert "data:image/jpeg" in Path("audit.html").read_text()
    assert Path("audit.csv").read_text().startswith("row,column,split,photographs,shared,percent")


@pytest.mark.usefixtures("guide_folder")
def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = ("audit", "data/world", "--evidence", "ids")
    assert run_command(*tasks) == 1
    assert run_command(*tasks, "--threshold", "99") == 1
    assert run_command(*tasks, "--threshold", "100") == 0
    for nonsense in ("nan", "inf", "100.5", "-1"):
        assert run_command(*tasks, "--threshold", nonsense) == 2
    assert run_command(*tasks, "--tasks", "coco") == 0
    assert run_command(*tasks, "--tasks", "cocoa") == 2
    assert "did you mean 'coco'" in capsys.readouterr().err
    assert run_command("audit", "data/world", "--evidence", "id") == 2
    assert run_command("audit", "nowhere") == 2


@pytest.mark.usefixtures("guide_folder")
def test_json_has_all_results_and_nothing_else_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("audit", "data/world", "--evidence", "ids", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert [(finding["row"], finding["column"], finding["examples"]) for finding in report["findings"]] == [
        ("visual7w", "coco", [{"key": "vg/9", "other": "coco/2", "evidence": "ids"}])
    ]
    assert sorted(report["left_out"])[0] == "flickr30k"
    assert run_command("audit", "why", "vg/9", "coco/2", "data/world", "--evidence", "ids", "--json") == 0
    explanation = json.loads(capsys.readouterr().out)
    assert explanation["held"] == {"vg/9": ["visual7w test"], "coco/2": ["coco train"]}
    assert [(step[2], step[3]) for step in explanation["steps"]] == [("ids", "coco_id in image_data.json")]
    assert run_command("audit", "why", "vg/9", "coco/0", "data/world", "--evidence", "ids") == 1


@pytest.mark.usefixtures("guide_folder")
def test_an_unreadable_image_is_reported_with_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    Path("dogs/torn.png").write_bytes(b"not an image")
    own = ("--own", "cats:test=cats/test", "--own", "dogs:train=dogs", "--threshold", "100")
    assert run_command("audit", *own) == 3
    output = capsys.readouterr().out
    assert "Could not be read:" in output
    assert "file/dogs/torn.png" in output


def test_malformed_records_stop_the_audit_or_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data(tmp_path)
    path = tmp_path / "coco" / "dataset_coco.json"
    value = json.loads(path.read_text())
    value["images"][0]["sentences"] = []
    path.write_text(json.dumps(value))
    arguments = ("audit", str(tmp_path), "--evidence", "ids", "--threshold", "100")
    assert run_command(*arguments) == 2
    assert "images[0]: expected captions, got none" in capsys.readouterr().err
    assert run_command(*arguments, "--skip-bad") == 3
    assert "Missing or malformed:" in capsys.readouterr().out


def test_the_number_of_processes_does_not_change_the_report(tmp_path: Path) -> None:
    write_data(tmp_path)
    first, second = (
        audit(collect_inputs(tmp_path, AuditConfig(evidence=["ids"], processes=count))).report for count in (1, 2)
    )
    assert first == second
    assert first.leaks


def test_an_audit_never_imports_torch(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    code = (
        "import sys; from twelvefold import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit as left: code = left.code\n"
        "loaded = {'torch', 'torchvision', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'{code} {loaded}' if loaded or code != 1 else 0)"
    )
    page = tmp_path / "a.html"
    arguments = ["audit", str(tmp_path / "data"), "--html", str(page), "--notes", str(tmp_path / "notes")]
    process = subprocess.run([sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")
    assert page.exists()


@pytest.mark.parametrize("command", ["audit", "audit why"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(*command.split(), "--help") == 0
    assert f"twelvefold {command} " in capsys.readouterr().out.replace("Usage: twelvefold", "")
