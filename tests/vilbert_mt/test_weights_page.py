"""The commands of docs/weights.md run as written."""

from __future__ import annotations

import json
import pickle
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from twelvefold import cli

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")
LINES = re.sub(r" \\\n +", " ", PAGE).splitlines()  # a command may continue on the next line, as a shell allows it
COMMANDS = [line.strip() for line in LINES if line.startswith("    twelvefold ")]


@pytest.mark.slow
def test_the_commands_run(
    vilbert_tensors: Callable[..., dict[str, Tensor]],
    vilbert_json: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    tensors = vilbert_tensors()
    torch.save(tensors, "multi_task_model.bin")
    Path("trainval_label2ans.pkl").write_bytes(pickle.dumps([f"a{n}" for n in range(9)], protocol=2))
    Path("gqa_label2ans.pkl").write_bytes(pickle.dumps([f"g{n}" for n in range(7)], protocol=2))
    assert json.loads(vilbert_json.read_text())
    assert len(COMMANDS) >= 3
    for line in COMMANDS:
        # The file of this test has 60 word pieces instead of the published 30,522.
        command = f"{line} --other-vocabulary" if " weights import " in line else line
        with pytest.raises(SystemExit) as exit_:
            cli.main(shlex.split(command)[1:])
        assert not exit_.value.code, command
        assert capsys.readouterr().out
    back = torch.load("back.bin")
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
