"""Recognize files that are something else than their name says: a web page, or a pointer to a file kept elsewhere.

Downloads without the right permission often save the server's page under the file's name, and a repository that was
cloned without Git LFS or git-annex holds pointers.
"""

from __future__ import annotations

import re
from pathlib import Path

from twelvefold.schema import TwelvefoldError

HEAD_BYTES = 1024
"""Bytes at the start of a file that are looked at."""

_KINDS = (
    (
        re.compile(rb"<(?:!doctype\s+html|html|head|body|title|meta|script|style|h1|center)\b", re.IGNORECASE),
        "is a web page, not the data: its server sent the page instead (a login, a license or a wrong address); "
        "download the file again",
    ),
    (
        re.compile(rb"<(?:\?xml|!doctype|error)\b", re.IGNORECASE),
        "is an XML message of a web server, not the data (often: access denied, or no such file); download it again",
    ),
    (
        re.compile(rb"version https?://(?:git-lfs\.github\.com|hawser\.github\.com|git-media\.io)/"),
        "is a Git LFS pointer, not the file itself: run git lfs pull in its repository, or download the file again",
    ),
    (
        re.compile(rb"(?:\.\./)*(?:\.git)?/annex/objects/"),
        "is a git-annex pointer, not the file itself: run git annex get in its repository, or download the file again",
    ),
)
_SKIPPED = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s|<!--.*?-->)*", re.DOTALL)
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


def describe_other_kind(head: bytes | memoryview) -> str:
    """Return what a file is if it is a web page or a pointer, and what to do: the end of a sentence; else ``""``.

    ``head``: the first ``HEAD_BYTES`` bytes of the file, or all of it.
    """
    start = bytes(head[:HEAD_BYTES])
    if start.startswith(_UTF16_BOMS):
        start = start.decode("utf-16", "ignore").encode(errors="ignore")
    match = _SKIPPED.match(start)
    start = start[match.end() :] if match else start
    return next((description for pattern, description in _KINDS if pattern.match(start)), "")


def check_file_kind(path: Path) -> None:
    """Check that a file is neither a web page nor a pointer; a missing file and a folder pass.

    Raises:
        TwelvefoldError: it is; says what to do.
    """
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise TwelvefoldError(f"cannot read {path}: {error.strerror}") from error
    if description := describe_other_kind(head):
        raise TwelvefoldError(f"{path} {description}")
