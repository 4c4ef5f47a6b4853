"""The OpenAPI document is kept to, whatever is sent: schemathesis makes requests from it, good ones and bad ones."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import positive_data_acceptance

from .conftest import Server

OPERATIONS = (
    *(f"POST /v1/{name}" for name in ("pictures", "ask", "find", "point", "choose")),
    *(f"POST /v1/{name}" for name in ("guess", "compare", "entails", "ground")),
    *(f"GET /v1/{name}" for name in ("model", "samples", "samples/{name}")),
    *(f"GET /{name}" for name in ("health", "ready", "metrics")),
)

CASES = [
    (name, mode) for name in OPERATIONS for mode in GenerationMode if name.startswith("POST") or mode == "positive"
]
"""A GET takes nothing that could be wrong."""


@pytest.fixture(scope="session")
def operations(server: Server) -> dict[str, Any]:
    document = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    found: Any = document.get_all_operations()
    return {one.label: one for one in (result.ok() for result in found)}


def test_every_operation_is_tried(operations: dict[str, Any]) -> None:
    assert set(operations) == set(OPERATIONS)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_the_document_is_kept_to(name: str, mode: GenerationMode, operations: dict[str, Any]) -> None:
    cases = operations[name].as_strategy(generation_mode=mode)

    @settings(
        max_examples=8,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=cases)
    def each(case: Any) -> None:
        # Left out: that whatever fits the document is taken. Bytes that are no picture fit it, and are refused.
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    each()
