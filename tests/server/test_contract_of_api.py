"""The server follows its OpenAPI document: schemathesis generates valid and invalid requests from it."""

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
    *(f"POST /v1/{name}" for name in ("guess", "compare", "entails", "ground", "answer")),
    *(f"GET /v1/{name}" for name in ("model", "samples", "samples/{name}")),
    *(f"GET /{name}" for name in ("health", "ready", "metrics")),
)

CASES = [
    (name, mode) for name in OPERATIONS for mode in GenerationMode if name.startswith("POST") or mode == "positive"
]
"""A GET has no parameters that could be invalid."""


@pytest.fixture(scope="session")
def operations(server: Server) -> dict[str, Any]:
    document = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    # A form may break the document and also hold more images than the server accepts, which is refused first.
    rejection = document.config.checks.negative_data_rejection
    rejection.expected_statuses = [*rejection.expected_statuses, "413"]
    results: Any = document.get_all_operations()
    return {operation.label: operation for operation in (result.ok() for result in results)}


def test_every_operation_is_covered(operations: dict[str, Any]) -> None:
    assert set(operations) == set(OPERATIONS)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_the_server_follows_the_document(name: str, mode: GenerationMode, operations: dict[str, Any]) -> None:
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
    def check(case: Any) -> None:
        # Excluded: that valid data is accepted. Bytes that are no image fit the document, and are refused.
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    check()
