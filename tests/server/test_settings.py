"""Settings: a file, the environment, flags, each weightier; what is wrong is named with its place."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from twelvefold import cli
from twelvefold.schema import TwelvefoldError
from twelvefold.server.settings import Settings, gather


def test_flags_outweigh_the_environment_which_outweighs_the_file(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('port = 1\nqueue = 2\nhosts = ["a.example"]\nrate = 3\n')
    said = gather(file, {"TWELVEFOLD_SERVE_PORT": "10", "TWELVEFOLD_SERVE_QUEUE": "20", "HOME": "x"}, {"port": "100"})
    assert (said.port, said.queue, said.rate, said.hosts) == (100, 20, 3, ("a.example",))
    assert said.batch == Settings().batch


def test_texts_become_what_the_setting_is() -> None:
    said = gather(None, {"TWELVEFOLD_SERVE_HOSTS": "a.example, b.example"}, {"batch_wait_ms": "2.5"})
    assert said.hosts == ("a.example", "b.example")
    assert said.batch_wait_ms == 2.5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "did you mean 'port'"),
        ('port = "8000"', "Expected `int`"),
        ("port = 70000", "<= 65535"),
        ("queue = 0", ">= 1"),
        ("port = ", "not TOML"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(text)
    with pytest.raises(TwelvefoldError, match=f"serve.toml.*{said}"):
        gather(file, {}, {})
    with pytest.raises(TwelvefoldError, match="can't read"):
        gather(tmp_path / "none.toml", {}, {})
    with pytest.raises(TwelvefoldError, match=r"environment.*did you mean 'port'"):
        gather(None, {"TWELVEFOLD_SERVE_PROT": "1"}, {})


def test_only_this_machines_names_unless_it_listens_to_others() -> None:
    assert "localhost" in Settings().known_hosts
    assert Settings(host="0.0.0.0").known_hosts == ()
    assert Settings(host="0.0.0.0", hosts=("a.example",)).known_hosts == ("a.example",)


def left(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(["serve", *arguments])
    return int(end.value.code or 0)


def test_the_command_teaches_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert left("--help") == 0
    assert "curl -F image=@photo.jpg" in capsys.readouterr().out
    for arguments, said in (
        (["--set", "prot=1"], "did you mean 'port'"),
        (["--set", "port"], "NAME=VALUE"),
        (["--port", "0", "--model", str(tmp_path / "none")], "none"),
    ):
        assert left(*arguments) == 2
        assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert left("--port", str(taken.getsockname()[1])) == 2
    assert "--port 0" in capsys.readouterr().err


def test_without_the_extra_packages_it_says_which_to_get() -> None:
    hidden = "import sys; sys.modules['uvicorn'] = None; from twelvefold import cli; cli.main(['serve'])"
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'twelvefold[serve]'" in done.stderr


def test_settings_need_no_framework() -> None:
    code = "import sys, json; from twelvefold.server import settings; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "fastapi"} & set(json.loads(done.stdout))
