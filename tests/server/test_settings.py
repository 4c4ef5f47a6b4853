"""Settings from a file, the environment and flags: their priority, and errors that name the source."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from twelvefold import cli
from twelvefold.schema import TwelvefoldError
from twelvefold.server.settings import RENAMED, Settings, gather


def test_flags_override_the_environment_which_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('port = 1\nmax_queue = 2\nallowed_hosts = ["a.example"]\nrate_limit = 3\n')
    environment = {"TWELVEFOLD_SERVE_PORT": "10", "TWELVEFOLD_SERVE_MAX_QUEUE": "20", "HOME": "x"}
    settings = gather(file, environment, {"port": "100"})
    assert (settings.port, settings.max_queue, settings.rate_limit) == (100, 20, 3)
    assert settings.allowed_hosts == ("a.example",)
    assert settings.max_batch_size == Settings().max_batch_size


def test_texts_are_converted_to_the_type_of_the_setting() -> None:
    settings = gather(None, {"TWELVEFOLD_SERVE_ALLOWED_HOSTS": "a.example, b.example"}, {"max_wait_ms": "2.5"})
    assert settings.allowed_hosts == ("a.example", "b.example")
    assert settings.max_wait_ms == 2.5


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_earlier_name_is_refused_with_the_current_name(old: str, new: str, tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(f"{old} = 1\n")
    assert new in Settings.__struct_fields__
    sources: list[tuple[Path | None, dict[str, str], dict[str, str]]] = [
        (file, {}, {}),
        (None, {f"TWELVEFOLD_SERVE_{old.upper()}": "1"}, {}),
        (None, {}, {old: "1"}),
    ]
    for source in sources:
        with pytest.raises(TwelvefoldError, match=f"{old!r} is now called {new};"):
            gather(*source)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "did you mean 'port'"),
        ('port = "8000"', "Expected `int`"),
        ("port = 70000", "<= 65535"),
        ("max_queue = 0", ">= 1"),
        ("port = ", "not TOML"),
    ],
)
def test_an_invalid_setting_is_named_with_its_source(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(text)
    with pytest.raises(TwelvefoldError, match=f"serve.toml.*{message}"):
        gather(file, {}, {})
    with pytest.raises(TwelvefoldError, match="cannot read"):
        gather(tmp_path / "none.toml", {}, {})
    with pytest.raises(TwelvefoldError, match=r"environment.*did you mean 'port'"):
        gather(None, {"TWELVEFOLD_SERVE_PROT": "1"}, {})


def test_a_local_server_accepts_local_host_names_by_default() -> None:
    assert "localhost" in Settings().accepted_hosts
    assert Settings(host="0.0.0.0").accepted_hosts == ()
    assert Settings(host="0.0.0.0", allowed_hosts=("a.example",)).accepted_hosts == ("a.example",)


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["serve", *arguments])
    return int(exit_info.value.code or 0)


def test_the_command_shows_help_and_refuses_invalid_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("--help") == 0
    assert "curl -F image=@photo.jpg" in capsys.readouterr().out
    for arguments, message in (
        (["--set", "prot=1"], "did you mean 'port'"),
        (["--set", "port"], "NAME=VALUE"),
        (["--port", "0", "--model", str(tmp_path / "none")], "none"),
    ):
        assert exit_code(*arguments) == 2
        assert message in capsys.readouterr().err


def test_a_port_in_use_is_refused_before_the_model_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert exit_code("--port", str(listening.getsockname()[1])) == 2
    assert "--port 0" in capsys.readouterr().err


def test_missing_packages_are_named() -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from twelvefold import cli; cli.main(['serve'])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert "pip install 'twelvefold[serve]'" in process.stderr


def test_settings_import_neither_torch_nor_fastapi() -> None:
    code = "import sys, json; from twelvefold.server import settings; print(json.dumps(sorted(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "fastapi"} & set(json.loads(process.stdout))
