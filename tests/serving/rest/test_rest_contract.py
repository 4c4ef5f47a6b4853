"""The OpenAPI document is kept to, whatever is sent: schemathesis makes requests from it, good ones and bad ones."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import positive_data_acceptance
from tests.serving.rest.conftest import Server


@pytest.fixture(scope="session")
def api(server: Server) -> Any:
    return schemathesis.openapi.from_url(f"{server.address}/openapi.json")


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_document_is_kept_to(case: Any) -> None:
    # Left out: that whatever fits the document is taken. Bytes that are no picture fit it, and are refused.
    case.call_and_validate(excluded_checks=[positive_data_acceptance])
