"""Makes the developer tools importable: they are scripts in a folder, not a package. Services; who comes first."""

import os
import sys
from pathlib import Path

import pytest

DEV = str(Path(__file__).parents[2] / "dev")
if DEV not in sys.path:
    sys.path.append(DEV)  # at the end: a tool must never hide a library


@pytest.fixture(scope="module")
def services():
    """PostgreSQL and Redis; without them the tests are skipped, or fail if REQUIRE_SERVICES=1."""
    from distributed_airflow import Services, ServicesMissingError

    try:
        return Services.find()
    except ServicesMissingError as missing:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(f"REQUIRE_SERVICES=1, but there is {missing}")
        pytest.skip(f"KILLING AIRFLOW WAS NOT TESTED: there is {missing}")


def pytest_collection_modifyitems(items):
    """Begin with the files that start an Airflow: they take longest, and wait while others compute."""
    items.sort(key=lambda item: Path(__file__).parent not in item.path.parents)
