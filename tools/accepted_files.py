"""Write docs/accepted-files.md: every file, name, encoding and layout that is read, taken from the code that reads it.

python tools/accepted_files.py            # writes the page
python tools/accepted_files.py --check    # exit code 1 if the page is not current
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from twelvefold import image_formats
from twelvefold.config.extract import FeatureFormat
from twelvefold.datasets import Dataset, caption_set_names, load_dataset, task_names
from twelvefold.datasets.reading.image_sources import NAME_EXAMPLES, NAME_PATTERNS
from twelvefold.features.formats import fields
from twelvefold.features.formats.open_feature_file import READERS
from twelvefold.features.formats.record import FeatureFile
from twelvefold.model import tensor_files
from twelvefold.parsing import text
from twelvefold.splits.list_tables import DELIMITERS, IMAGE_COLUMNS, describe_delimiter
from twelvefold.splits.read_lists import LIST_SUFFIXES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "accepted-files.md"
HEAD = """# Accepted files

`python tools/accepted_files.py` writes this page from the code that reads the files; do not edit it. [data.md](data.md)
shows where to put them, `twelvefold doctor` checks a folder.
"""


def make_page() -> str:
    """Return the text of the page."""
    sections = [HEAD, *(_dataset_section(name) for name in (*task_names(), *caption_set_names()))]
    sections.insert(1, _text_section())
    sections.insert(2, "## Official files, by dataset\n")
    sections += [_image_section(), _feature_section(), _list_section(), _weights_section(), _submission_section()]
    return "\n".join(sections)


def _text_section() -> str:
    encodings = dict.fromkeys(encoding.upper() for _, encoding in text.BOMS)
    return _section(
        "Text, JSON and TOML",
        f"""Text is UTF-8. With a byte order mark it may be {", ".join(encodings)}; without one, JSON and lists of
        images may be UTF-16. Lines may end in LF, CRLF or CR. A file has at most {_size(text.MAX_FILE_BYTES)}, a line
        or a record {_size(text.MAX_LINE_BYTES)}. Web pages and pointers of Git LFS or git-annex are named as such.""",
    )


def _dataset_section(name: str) -> str:
    dataset = load_dataset(name)
    module: Any = importlib.import_module(inspect.getmodule(dataset.read).__name__)  # type: ignore[union-attr]
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(module.__doc__ or ""))
    files = [_plain(p) for p in paragraphs if re.match(r"Files?\b", p)]
    splits = [_plain(p) for p in paragraphs if p.startswith("Splits:")]
    paragraphs = [*files, *splits]
    if options := list(_options(dataset)):
        paragraphs.append(f"Reader options: {'; '.join(options)}.")
    return "\n\n".join([f"### {dataset.TASK.title} (`{name}`)", *map(_fill, paragraphs)]) + "\n"


def _options(dataset: Dataset) -> Iterator[str]:
    hints = get_type_hints(dataset.read)
    for parameter in list(inspect.signature(dataset.read).parameters.values())[2:]:
        if parameter.name == "bad":
            continue
        hint = hints[parameter.name]
        values = " or ".join(f"`{each}`" for each in get_args(hint)) if get_origin(hint) is Literal else hint.__name__
        yield f"`{parameter.name}` ({values}; default `{parameter.default}`)"


def _image_section() -> str:
    formats = [each for each in vars(image_formats).values() if isinstance(each, image_formats.ImageFormat)]
    readable = [each.name for each in formats if each.pillow and each != image_formats.HEIC]
    rows = [(f"`images/{source}`", _codes(NAME_EXAMPLES[source])) for source in NAME_PATTERNS]
    return _section(
        "Images",
        f"""The content decides, not the suffix: {", ".join(readable)}, and HEIC with the package pillow-heif.
        Recognized, but not read: {", ".join(each.name for each in formats if not each.pillow)}. Suffixes that an error
        expects of an image: {_codes(sorted(image_formats.IMAGE_SUFFIXES))}.""",
        """Names of publishers' images, in image folders, feature files, id maps and lists; folders, suffixes, queries
        of URLs and leading zeros do not matter:""",
        _table(("folder, or source of ids", "names"), rows),
    )


def _feature_section() -> str:
    names_by_reader: dict[type[FeatureFile], list[str]] = {}
    for name in get_args(FeatureFormat):
        if name in READERS:
            names_by_reader.setdefault(READERS[name], []).append(name)
    rows = []
    for reader, formats in names_by_reader.items():
        paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(sys.modules[reader.__module__].__doc__ or ""))
        rows.append((_codes(formats), " ".join(map(_plain, paragraphs[:2]))))
    aliases = (fields.FEATURES, fields.BOXES, fields.WIDTH, fields.HEIGHT, fields.PROBABILITIES, fields.NAME)
    what = ("features", "boxes", "width", "height", "class probabilities", "image")
    names = [(title, _codes(each)) for title, each in zip(what, aliases, strict=True)]
    return _section(
        "Region features",
        "For `twelvefold features import`; [features.md](features.md) says how to use it.",
        _table(("`--format`", "files"), rows),
        _table(("field of a record", "names"), names),
    )


def _list_section() -> str:
    return _section(
        "Lists of images, for an audit",
        f"""Suffixes: {_codes(LIST_SUFFIXES)}. Tables may be separated by
        {", ".join(map(describe_delimiter, DELIMITERS))}, have a header or none, quotes, and numbers of rows. Columns
        that are recognized, whatever their case: {_codes(IMAGE_COLUMNS)}. JSON may be a list, JSON lines, COCO's
        object with `images`, or any form of pandas' `to_json`. Ids may be floats (`391895.0`).""",
    )


def _weights_section() -> str:
    return _section(
        "Weights",
        f"""PyTorch files and safetensors. The tensors may be under {_codes(tensor_files.STATE_KEYS)}, and their names
        may begin with {_codes(tensor_files.WRAPPERS)}; [weights.md](weights.md) has the rest.""",
    )


def _submission_section() -> str:
    rows = []
    for name in task_names():
        submission: Any = getattr(load_dataset(name), "SUBMISSION", None)
        if submission is not None:
            parts = _codes(["test", "val", *submission.parts]) + (
                f"; with `--split-only` {_codes(submission.own_parts)}" if submission.own_parts else ""
            )
            rows.append((f"`{name}`", submission.publishers.container.upper(), parts))
    return _section("Submission files that are written", _table(("task", "container", "`--split`"), rows))


def _section(title: str, *paragraphs: str) -> str:
    return "\n\n".join([f"## {title}", *(p if p.startswith("|") else _fill(p) for p in paragraphs)]) + "\n"


def _fill(paragraph: str) -> str:
    return textwrap.fill(" ".join(paragraph.split()), 120, break_long_words=False, break_on_hyphens=False)


def _plain(paragraph: str) -> str:
    """Return a paragraph of a docstring as Markdown on a single line."""
    joined = re.sub(r"\s+", " ", re.sub(r"\(:mod:`[^`]*`\)", "", paragraph))
    joined = re.sub(r":mod:`twelvefold\.datasets\.(\w+)`", r"`\1`", joined)
    return joined.replace("``", "`").replace(" ,", ",").replace(" .", ".").strip()


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _size(num_bytes: int) -> str:
    return f"{num_bytes >> 30} GiB" if num_bytes >= 1 << 30 else f"{num_bytes >> 20} MiB"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == make_page() else 1)
    PAGE.write_text(make_page(), encoding="utf-8")
