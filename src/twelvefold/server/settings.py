"""Settings of the server, from a TOML file, environment variables and flags; later sources override earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from twelvefold.config.validation import check_name
from twelvefold.parsing.toml_text import read_toml
from twelvefold.schema import TwelvefoldError

PREFIX = "TWELVEFOLD_SERVE_"
LOOPBACK = ("localhost", "127.0.0.1", "::1")

RENAMED = {
    "hosts": "allowed_hosts",
    "max_pictures": "max_images",
    "requests": "max_requests",
    "flight_bytes": "max_inflight_bytes",
    "keep_bytes": "image_cache_bytes",
    "queue": "max_queue",
    "batch": "max_batch_size",
    "batch_wait_ms": "max_wait_ms",
    "decoders": "num_decode_threads",
    "rate": "rate_limit",
}
"""Earlier names of settings, which are refused with the current name."""

Positive = Annotated[int, Meta(ge=1)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings; docs/serving.md describes each. The defaults suit one machine used by its owner.

    ``max_pixels`` admits photographs of 48-megapixel phones. ``max_inflight_bytes`` holds a few of those decoded (3
    bytes a pixel) with their files; ``image_cache_bytes`` holds 2,000 images of 500 x 400.
    """

    model: str = ""
    detector: str = ""
    detector_weights: str = ""
    device: str = "auto"
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    allowed_hosts: tuple[str, ...] = ()
    token: str = ""
    max_bytes: Positive = 32_000_000
    max_pixels: Positive = 50_000_000
    max_images: Positive = 32
    max_search_images: Positive = 200
    max_text: Positive = 2_000
    max_boxes: Positive = 100
    max_phrases: Positive = 20
    max_requests: Positive = 256
    max_inflight_bytes: Positive = 1_000_000_000
    image_cache_bytes: Positive = 400_000_000
    max_queue: Positive = 64
    max_batch_size: Positive = 16
    max_wait_ms: Annotated[float, Meta(ge=0, le=1000)] = 4.0
    num_decode_threads: Positive = 2
    time_limit: Annotated[float, Meta(gt=0, le=86_400)] = 30.0
    rate_limit: Annotated[int, Meta(ge=0)] = 0
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def accepted_hosts(self) -> tuple[str, ...]:
        """Return the host names under which clients may call this server; empty means any."""
        return self.allowed_hosts or (LOOPBACK if self.host in LOOPBACK else ())


def gather(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """Merge the settings of a file (if any), the environment and flags; later ones override earlier ones.

    Raises:
        TwelvefoldError: the file cannot be read, a name is unknown, or a value has a wrong type or is out of range.
    """
    merged: dict[str, Any] = {}
    if file is not None:
        merged |= _validated(_read(file), str(file), strict=True)
    variables = {key[len(PREFIX) :].lower(): value for key, value in environment.items() if key.startswith(PREFIX)}
    merged |= _validated(variables, f"the environment ({PREFIX}...)", strict=False)
    merged |= _validated(flags, "the flags", strict=False)
    return Settings(**merged)


def _read(file: Path) -> dict[str, Any]:
    return read_toml(file)


def _validated(values: Mapping[str, Any], source: str, *, strict: bool) -> dict[str, Any]:
    """Check the settings of one source, so that an error names it. Texts are converted unless ``strict``."""
    for name in values:
        check_name(name, Settings.__struct_fields__, RENAMED, f"{source}: the setting {name!r}")
    if not strict and isinstance(values.get("allowed_hosts"), str):
        hosts = [host.strip() for host in values["allowed_hosts"].split(",") if host.strip()]
        values = {**values, "allowed_hosts": hosts}
    try:
        converted = msgspec.convert(dict(values), Settings, strict=strict)
    except msgspec.ValidationError as error:
        raise TwelvefoldError(f"{source}: {error}") from error
    return {name: getattr(converted, name) for name in values}
