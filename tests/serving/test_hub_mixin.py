"""A predictor goes to a hub and comes back the same: against a server on this machine that speaks the hub's tongue."""

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
from twelvefold.export.hub import FILES
from twelvefold.model import card
from twelvefold.schema import TwelvefoldError
from twelvefold.serving.predictor import Predictor

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """A hub with one commit for each repository, in memory."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Asked(BaseHTTPRequestHandler):
    """One request: what huggingface_hub asks to make, fill and fetch a repository, and nothing else."""

    server: Hub

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        self.server.asked.append(f"POST {path} {self.headers.get('Authorization')}")
        if path == "/api/repos/create":
            name = json.loads(data)["name"]
            owner = json.loads(data).get("organization", "me")
            self.server.repositories[f"{owner}/{name}"] = {}
            self._say({"url": f"{self.server.address}/{owner}/{name}"})
        elif path == "/api/validate-yaml":
            self._say({"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            wanted = [file["path"] for file in json.loads(data)["files"]]
            self._say({"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in wanted]})
        elif path.endswith("/commit/main"):
            repository = self.server.repositories[path.removeprefix("/api/models/").removesuffix("/commit/main")]
            for line in map(json.loads, data.splitlines()):
                if line["key"] == "file":
                    repository[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._say({"success": True, "commitOid": COMMIT, "commitUrl": f"{self.server.address}/c/{COMMIT}"})
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        if path.startswith("/api/models/"):
            name = "/".join(path.split("/")[3:5])
            if name in self.server.repositories and "/tree/" in path:
                held = self.server.repositories[name].items()
                self._say([{"type": "file", "path": p, "size": len(c), "oid": COMMIT} for p, c in held])
                return
            if name in self.server.repositories:
                files = [{"rfilename": file} for file in self.server.repositories[name]]
                self._say({"id": name, "sha": COMMIT, "siblings": files, "private": False, "tags": []})
                return
        elif "/resolve/" in path:
            name, _, place = path.strip("/").partition("/resolve/")
            content = self.server.repositories.get(name, {}).get(place.partition("/")[2])
            if content is not None:
                tag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
                self._send(content, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})
                return
        self.send_error(404)

    def _say(self, value: object) -> None:
        self._send(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()


def test_what_is_pushed_has_the_right_files_and_comes_back_by_its_name(hub: Hub, tmp_path: Path) -> None:
    code = (
        "import twelvefold; from twelvefold.serving.predictor import Predictor\n"
        "twelvefold.load().push_to_hub('me/small', private=True)\n"
        "back = Predictor.from_pretrained('me/small', device='cpu'); print(back)\n"
        "back.save_pretrained('back')\n"
        "try: twelvefold.load('me/other')\n"
        "except twelvefold.schema.TwelvefoldError as error: print(error)"
    )
    env = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_mine"}
    env |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(FILES) <= set(hub.repositories["me/small"])
    assert any(line.startswith("POST /api/models/me/small/commit/main Bearer hf_mine") for line in hub.asked)
    assert "me/other, and the hub gives no model of that name" in done.stdout
    same_as_shipped(tmp_path / "back")


def same_as_shipped(folder: Path) -> None:
    shipped, back = twelvefold.load(device="cpu"), Predictor.from_pretrained(folder, device="cpu")
    before, after = shipped.network.state_dict(), back.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (back.about.tasks, back.about.scores) == (shipped.about.tasks, shipped.about.scores)
    assert (back.about.temperatures, back.about.detector) == (shipped.about.temperatures, shipped.about.detector)


def test_a_saved_predictor_is_a_hub_folder_and_may_be_saved_again(tmp_path: Path) -> None:
    model = twelvefold.load(device="cpu")
    model.save_pretrained(tmp_path / "saved")
    model.save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == set(FILES)
    assert card.read(tmp_path / "saved").trained_on == model.about.trained_on
    same_as_shipped(tmp_path / "saved")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(TwelvefoldError, match=r"holds something else than a model \(thesis.txt\)"):
        twelvefold.load(device="cpu").save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "thesis.txt"}
