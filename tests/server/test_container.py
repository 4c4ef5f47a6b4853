"""The container's user, files and rights, checked without building it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def lines() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions as (name, rest)."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in text.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return dict(services["twelvefold"])


def test_it_is_not_root_and_downloads_nothing_by_url(lines: list[tuple[str, str]]) -> None:
    names = [name for name, _ in lines]
    assert "ADD" not in names
    assert [rest for name, rest in lines if name == "USER"] == ["10001:10001"]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert {rest.split()[0] for name, rest in lines if name == "FROM"} == {"python:3.11-slim"}
    assert not re.search(r"https?://(?!127\.0\.0\.1)", (ROOT / "Dockerfile").read_text())


def test_copied_files_exist_and_are_not_ignored(lines: list[tuple[str, str]]) -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [path for name, rest in lines if name == "COPY" and "--from" not in rest for path in rest.split()[:-1]]
    assert set(copied) == allowed
    assert [path for path in copied if not (ROOT / path).exists()] == []


def test_its_sed_command_extracts_the_locked_versions(lines: list[tuple[str, str]], tmp_path: Path) -> None:
    [build] = [rest for name, rest in lines if name == "RUN"]
    command = build.split("&&")[0]
    assert shlex.split(command)[0] == "sed"
    (tmp_path / "requirements.lock").write_text((ROOT / "requirements.lock").read_text())
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    versions = [line for line in (tmp_path / "versions.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in versions if not re.fullmatch(r"[\w.\[\]-]+==[\w.+]+( *;.*)?", line)] == []
    assert "fastapi==" in "\n".join(versions)


def test_dockerfile_and_compose_have_the_same_health_check(
    lines: list[tuple[str, str]], service: dict[str, Any]
) -> None:
    [check] = [rest for name, rest in lines if name == "HEALTHCHECK"]
    command = json.loads(check[check.index("[") :])
    assert service["healthcheck"]["test"] == ["CMD", *command]
    assert "/ready" in command[-1]
    compile(command[-1], "healthcheck", "exec")


def test_compose_drops_all_rights(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]
    assert service["ports"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
