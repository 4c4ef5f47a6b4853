"""``twelvefold serve``: the page and the REST interface."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from twelvefold.cli.output import Json, say
from twelvefold.schema import TwelvefoldError

if TYPE_CHECKING:
    from twelvefold.server.serve import Serving


def serve(
    *,
    model: str | None = None,
    host: str | None = None,
    port: int | None = None,
    config: Path | None = None,
    set: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    json: Json = False,
) -> int:
    """Serve a model: a page to ask it in a browser, and a REST interface (its reference is at /docs).

    ```
    twelvefold serve
    twelvefold serve --model runs/demo --port 8080
    TWELVEFOLD_SERVE_TOKEN=secret twelvefold serve --host 0.0.0.0 --set rate=120
    curl -F image=@photo.jpg -F question="What color is the dog?" http://127.0.0.1:8000/v1/ask
    ```

    Stops at Ctrl+C or SIGTERM, once it has answered what is under way. docs/serving.md lists every setting.

    Parameters
    ----------
    model
        A run, a model's folder, or user/name of a hub; the small model that ships with the package where left out.
    host
        Address to listen at; 127.0.0.1, which only this machine reaches, where left out.
    port
        Port to listen at; 8000 where left out, 0 takes any that is free.
    config
        A TOML file of settings. Environment variables TWELVEFOLD_SERVE_... outweigh it, flags outweigh both.
    set
        Any setting, as NAME=VALUE; may be repeated.
    """
    from twelvefold.server.serve import serve as work
    from twelvefold.server.settings import gather

    flags: dict[str, object] = {}
    for one in set:
        name, equals, value = one.partition("=")
        if not equals:
            raise TwelvefoldError(f"--set takes NAME=VALUE, got {one!r}")
        flags[name.replace("-", "_")] = value
    named = {"model": model, "host": host, "port": port}
    flags |= {name: value for name, value in named.items() if value is not None}

    def announce(serving: Serving) -> None:
        about = serving.about
        said = {"address": serving.address, **msgspec.to_builtins(about)}
        tasks = f"{about.parameters:,} parameters, {len(about.tasks)} tasks"
        learnt = f", trained on {about.trained_on}" if about.trained_on else ""
        lines = [f"{about.name}: {tasks}{learnt}", f"{serving.address}  (reference: {serving.address}/docs)"]
        say(said, json, "\n".join([*lines, "Ctrl+C stops it."]))
        sys.stdout.flush()  # a program that started this one waits for the address

    work(gather(config, os.environ, flags), announce)
    return 0
