"""A predictor survives a round trip to a hub, tested against a local server with the hub's API."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import torch

import twelvefold
from twelvefold.export.hub import ALL_FILES
from twelvefold.model import card
from twelvefold.schema import TwelvefoldError
from twelvefold.serving.load import PretrainedPredictor

COMMIT = "0123456789abcdef0123456789abcdef01234567"

SHIPPED_FILES = {*ALL_FILES}


class Hub(ThreadingHTTPServer):
    """An in-memory hub with one commit for each repository."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class HubHandler(BaseHTTPRequestHandler):
    """The requests with which huggingface_hub creates, fills and downloads a repository."""

    server: Hub

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        self.server.requests.append(f"POST {path} {self.headers.get('Authorization')}")
        if path == "/api/repos/create":
            name = json.loads(data)["name"]
            owner = json.loads(data).get("organization", "me")
            self.server.repositories[f"{owner}/{name}"] = {}
            self._send_json({"url": f"{self.server.address}/{owner}/{name}"})
        elif path == "/api/validate-yaml":
            self._send_json({"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            paths = [file["path"] for file in json.loads(data)["files"]]
            self._send_json({"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]})
        elif path.endswith("/commit/main"):
            repository = self.server.repositories[path.removeprefix("/api/models/").removesuffix("/commit/main")]
            for line in map(json.loads, data.splitlines()):
                if line["key"] == "file":
                    repository[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._send_json({"success": True, "commitOid": COMMIT, "commitUrl": f"{self.server.address}/c/{COMMIT}"})
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        if path.startswith("/api/models/"):
            name = "/".join(path.split("/")[3:5])
            if name in self.server.repositories and "/tree/" in path:
                files = self.server.repositories[name].items()
                self._send_json([{"type": "file", "path": p, "size": len(c), "oid": COMMIT} for p, c in files])
                return
            if name in self.server.repositories:
                siblings = [{"rfilename": file} for file in self.server.repositories[name]]
                self._send_json({"id": name, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []})
                return
        elif "/resolve/" in path:
            name, _, revision_and_file = path.strip("/").partition("/resolve/")
            content = self.server.repositories.get(name, {}).get(revision_and_file.partition("/")[2])
            if content is not None:
                tag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
                self._send(content, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})
                return
        self.send_error(404)

    def _send_json(self, value: object) -> None:
        self._send(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()


@pytest.mark.slow
def test_a_pushed_model_can_be_loaded_by_name(hub: Hub, tmp_path: Path) -> None:
    code = (
        "import twelvefold; from twelvefold.serving.load import PretrainedPredictor\n"
        "twelvefold.load().push_to_hub('me/small', private=True)\n"
        "back = PretrainedPredictor.from_pretrained('me/small', device='cpu'); print(back)\n"
        "back.save_pretrained('back')\n"
        "try: twelvefold.load('me/other')\n"
        "except twelvefold.schema.TwelvefoldError as error: print(error)"
    )
    env = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_mine"}
    env |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert set(hub.repositories["me/small"]) >= SHIPPED_FILES
    assert any(line.startswith("POST /api/models/me/small/commit/main Bearer hf_mine") for line in hub.requests)
    assert "me/other" in process.stdout
    check_equals_shipped(tmp_path / "back")


def check_equals_shipped(folder: Path) -> None:
    shipped, back = twelvefold.load(device="cpu"), PretrainedPredictor.from_pretrained(folder, device="cpu")
    before, after = shipped.network.state_dict(), back.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (back.about.tasks, back.about.scores) == (shipped.about.tasks, shipped.about.scores)
    assert (back.about.temperatures, back.about.detector) == (shipped.about.temperatures, shipped.about.detector)


def test_save_pretrained_writes_a_hub_folder_and_can_be_repeated(tmp_path: Path) -> None:
    model = twelvefold.load(device="cpu")
    model.save_pretrained(tmp_path / "saved")
    model.save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == SHIPPED_FILES
    assert card.read(tmp_path / "saved").trained_on == model.about.trained_on
    check_equals_shipped(tmp_path / "saved")


def test_save_pretrained_refuses_a_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(TwelvefoldError, match=r"not a model's \(thesis.txt\)"):
        twelvefold.load(device="cpu").save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "thesis.txt"}
