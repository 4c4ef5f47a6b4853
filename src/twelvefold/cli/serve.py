"""``twelvefold serve``: the web page and the REST API."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from twelvefold.cli.computing import computing_on
from twelvefold.cli.from_function import Device, Json, Output, print_result
from twelvefold.schema import TwelvefoldError

if TYPE_CHECKING:
    from twelvefold.serving.model_info import ModelInfo


def serve(
    *,
    model: str | None = None,
    host: str | None = None,
    port: int | None = None,
    device: Device = None,
    config: Path | None = None,
    set: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    json: Json = False,
) -> int:
    """Serve a model: a web page at / and a REST API with its reference at /docs.

    ```
    twelvefold serve
    twelvefold serve --model runs/demo --port 8080
    TWELVEFOLD_SERVE_TOKEN=secret twelvefold serve --host 0.0.0.0 --set rate_limit=120
    curl -F image=@photo.jpg -F question="What color is the dog?" http://127.0.0.1:8000/v1/ask
    ```

    Ctrl+C or SIGTERM stops the server after it has answered the requests in progress. docs/serving.md lists all
    settings.

    Args:
        model: Folder of a run or a model, or user/name on a hub. Default: the small model that ships with the package.
        host: Address to listen at. Default: 127.0.0.1, which only this machine can reach.
        port: Port to listen at; 0 takes any free port. Default: 8000.
        config: TOML file of settings. Environment variables TWELVEFOLD_SERVE_... override it, and flags override both.
        set: Any setting as NAME=VALUE; may be repeated.
    """
    from twelvefold.server.serve import serve as run_server
    from twelvefold.server.settings import gather

    flags: dict[str, object] = {}
    for assignment in set:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise TwelvefoldError(f"--set takes NAME=VALUE, got {assignment!r}")
        flags[name.replace("-", "_")] = value
    options = {"model": model, "host": host, "port": port, "device": device}
    flags |= {name: value for name, value in options.items() if value is not None}

    def announce(address: str, about: ModelInfo) -> None:
        result = {"address": address, **msgspec.to_builtins(about)}
        size = f"{about.parameters:,} parameters, {len(about.tasks)} task{'s' if len(about.tasks) != 1 else ''}"
        data = f", trained on {about.trained_on}" if about.trained_on else ""
        lines = [f"{about.name}: {size}{data}", f"{address}  (reference: {address}/docs)"]
        print_result(result, Output("\n".join([*lines, "Press Ctrl+C to stop."])), json=json)
        sys.stdout.flush()  # a program that started the server waits for the address

    with computing_on(device):
        run_server(gather(config, os.environ, flags), announce)
    return 0
