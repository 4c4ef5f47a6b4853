"""Render a template of this package: everything is escaped, and an unknown name is an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render_template(name: str, filters: Mapping[str, Callable[..., Any]], **values: object) -> str:
    """Return the template ``templates/name`` filled with ``values``."""
    environment = Environment(
        loader=PackageLoader("twelvefold.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= filters
    return environment.get_template(name).render(**values)
