"""What happens where PostgreSQL or Redis is missing: never a silent skip."""

from __future__ import annotations

import os

import pytest
from distributed_airflow import Services, ServicesMissingError


def find_services() -> Services:
    """Return the services of this machine, or end the test loudly."""
    try:
        return Services.find()
    except ServicesMissingError as missing:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(f"REQUIRE_SERVICES=1, but there is {missing}")
        pytest.skip(f"KILLING AIRFLOW WAS NOT TESTED: there is {missing}")
