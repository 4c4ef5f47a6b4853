"""RefCOCO+ in the refer toolkit's format."""

from __future__ import annotations

from .refcoco import refer_sample

SAMPLE = refer_sample("refcoco+", "unc", ["train", "testA", "val", "testB"])
