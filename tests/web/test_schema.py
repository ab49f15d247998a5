"""What schemathesis makes of the OpenAPI schema: no request of any shape is a server error."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from small_index import URL

from vpmsearch.web.app import create_app
from vpmsearch.web.settings import ServeSettings

pytestmark = pytest.mark.slow
LOOPBACK = {"Host": "127.0.0.1"}  # the guard knows no other


@pytest.fixture
def api(service):
    schemathesis = pytest.importorskip("schemathesis")  # not above: the fast tests collect this file and do without
    app = create_app(service, ServeSettings(searches_a_minute=10**9, max_pixels=10**6))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = schemathesis.openapi.from_asgi("/api/openapi.json", app, headers=LOOPBACK)
    found.config.update(base_url=URL)
    return found


def test_no_request_is_a_server_error(api):
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) >= 8
    for operation in operations:

        @settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None, database=None)
        @given(case=operation.as_strategy())
        def attempt(case):
            case.call_and_validate(checks=checks, headers=LOOPBACK)

        attempt()
