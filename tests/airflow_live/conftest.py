"""PostgreSQL and Redis, for the tests that kill parts of a distributed Airflow."""

import pytest
from crash_services import find_services


@pytest.fixture(scope="module")
def services():
    """PostgreSQL and Redis; without them the tests are skipped, or fail if REQUIRE_SERVICES=1."""
    return find_services()
