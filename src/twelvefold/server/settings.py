"""How a server is set up: a TOML file, then environment variables, then flags, each weightier than the one before."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from twelvefold.schema import TwelvefoldError, did_you_mean

PREFIX = "TWELVEFOLD_SERVE_"
LOOPBACK = ("localhost", "127.0.0.1", "::1")

Positive = Annotated[int, Meta(ge=1)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be set. docs/serving.md has a line for each; the defaults suit one machine and its owner.

    ``max_pixels`` lets through what a phone of 48 million pixels takes. ``flight_bytes`` holds a few of those
    decoded (3 bytes a pixel) with their files; ``keep_bytes``, 2,000 pictures of 500 x 400.
    """

    model: str = ""
    detector: str = ""
    detector_weights: str = ""
    device: str = "auto"
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    hosts: tuple[str, ...] = ()
    token: str = ""
    max_bytes: Positive = 32_000_000
    max_pixels: Positive = 50_000_000
    max_pictures: Positive = 32
    max_text: Positive = 2_000
    max_boxes: Positive = 100
    max_phrases: Positive = 20
    requests: Positive = 256
    flight_bytes: Positive = 1_000_000_000
    keep_bytes: Positive = 400_000_000
    queue: Positive = 64
    batch: Positive = 16
    batch_wait_ms: Annotated[float, Meta(ge=0, le=1000)] = 4.0
    decoders: Positive = 2
    time_limit: Annotated[float, Meta(gt=0)] = 30.0
    rate: Annotated[int, Meta(ge=0)] = 0
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def known_hosts(self) -> tuple[str, ...]:
        """Names by which clients may call this server; empty: any."""
        return self.hosts or (LOOPBACK if self.host in LOOPBACK else ())


def gather(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """The settings of a file (where one is given), the environment and flags, the later ones weightier.

    Raises:
        TwelvefoldError: the file can't be read, a name is unknown, or a value is of a wrong kind or out of range.
    """
    said: dict[str, Any] = {}
    if file is not None:
        said |= _settle(_read(file), str(file), strict=True)
    named = {key[len(PREFIX) :].lower(): value for key, value in environment.items() if key.startswith(PREFIX)}
    said |= _settle(named, f"the environment ({PREFIX}...)", strict=False)
    said |= _settle(flags, "the flags", strict=False)
    return Settings(**said)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise TwelvefoldError(f"can't read {file}: {error.strerror}") from error
    except ValueError as error:
        raise TwelvefoldError(f"{file} is not TOML: {error}") from error


def _settle(said: Mapping[str, Any], where: str, *, strict: bool) -> dict[str, Any]:
    """The values of one place, checked there, so that an error names the place. Texts are read where not ``strict``."""
    names = Settings.__struct_fields__
    for name in said:
        if name not in names:
            known = ", ".join(names)
            raise TwelvefoldError(f"{where}: no setting {name!r}; there are {known}{did_you_mean(name, names)}")
    if not strict and isinstance(said.get("hosts"), str):
        said = {**said, "hosts": [host.strip() for host in said["hosts"].split(",") if host.strip()]}
    try:
        checked = msgspec.convert(dict(said), Settings, strict=strict)
    except msgspec.ValidationError as error:
        raise TwelvefoldError(f"{where}: {error}") from error
    return {name: getattr(checked, name) for name in said}
