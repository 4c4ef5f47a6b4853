"""NLVR2: statements."""

from __future__ import annotations

from typing import Any

from twelvefold.schema import ClassName

from .sample import FirstRecord, Sample, get_key


def make_statement(id_: str, label: str) -> dict[str, Any]:
    return {"identifier": id_, "sentence": "There are two boats.", "label": label, "synset": "boat", "writer": "61"}


def make_files() -> dict[str, Any]:
    return {
        "nlvr2/train.json": [{**make_statement("train-10171-0-0", "True"), "directory": 47}],
        "nlvr2/dev.json": [make_statement("dev-850-0-0", "False"), make_statement("dev-850-2-0", "True")],
        "nlvr2/test1.json": [make_statement("test1-0-1-2", "False"), make_statement("test1-0-3-2", "True")],
    }


SAMPLE = Sample(make_files, FirstRecord("nlvr2/train.json", "line 1", get_key("sentence")), ClassName, has_lines=True)
