"""Refuse work whose files would not fit on the disk, before it starts."""

from __future__ import annotations

import shutil
from pathlib import Path

from twelvefold.schema import TwelvefoldError


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the disk that ``folder`` is on, or will be on when it is created."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


def require_free_space(folder: Path, num_bytes: int, *, work: str, advice: str = "") -> None:
    """Check that the disk of ``folder`` has room for files of ``num_bytes``.

    ``work``: what writes them, the beginning of the error. ``advice``: how to write less.

    Raises:
        TwelvefoldError: there is not enough free space; states both numbers.
    """
    free = free_bytes(folder)
    if num_bytes > free:
        raise TwelvefoldError(
            f"{work} writes up to {format_bytes(num_bytes)} to {folder}, but its disk has {format_bytes(free)} free: "
            f"free some space or choose another folder{advice and f', or {advice}'}"
        )


def format_bytes(num_bytes: int) -> str:
    """Return a number of bytes as people read it: ``820 MB``, ``3.2 GB``."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{max(1, round(num_bytes / 1e6)):,} MB"
