"""RefCOCOg in the refer toolkit's format."""

from __future__ import annotations

from .refcoco import refer_sample

SAMPLE = refer_sample("refcocog", "umd", ["train", "val", "test"])
