"""Eight rows of which three do not fit into the run's budget, on several workers at once, in a real Airflow."""

import json
import textwrap
from pathlib import Path

import pytest
from local_airflow import LocalAirflow

from airflow_provider_kling_avatar.simulator.server import SimulatorServer
from airflow_provider_kling_avatar.simulator.settings import SimulatorSettings

ASSETS = Path(__file__).parents[2] / "airflow_provider_kling_avatar" / "simulator" / "assets"

DAG = """
    import os

    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_kling_avatar.operators.kling_avatar import KlingImageToVideoSubmitOperator

    with DAG("budget", schedule=None):
        KlingImageToVideoSubmitOperator.partial(
            task_id="row", image=os.environ["LIVE_FACE"], duration=5, max_cost_per_run="2.5"
        ).expand(prompt=[f"wave {number} times" for number in range(8)])
"""


@pytest.fixture(scope="module")
def simulator():
    with SimulatorServer(SimulatorSettings(slots=50)) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(simulator, tmp_path_factory):
    dags = tmp_path_factory.mktemp("dags")
    (dags / "budget.py").write_text(textwrap.dedent(DAG))
    connection = {
        "conn_type": "kling_avatar",
        "host": simulator.url,
        "password": "sk-simulator",
        "extra": {"prices": {"image_to_video.std": "0.1", "currency": "USD"}},
    }
    env = {
        "AIRFLOW_CONN_KLING_AVATAR_DEFAULT": json.dumps(connection),
        "LIVE_FACE": str(ASSETS / "presenter.jpg"),
    }
    with LocalAirflow(dags, home=tmp_path_factory.mktemp("home"), env=env, parallelism=4) as running:
        yield running


def test_exactly_the_three_rows_that_do_not_fit_are_refused_and_nothing_is_paid_for_them(airflow, simulator):
    run_id = airflow.trigger("budget")
    airflow.wait_for_run("budget", run_id, timeout=400)

    states = sorted(airflow.task_states("budget", run_id).values())

    assert states == ["failed"] * 3 + ["success"] * 5
    assert simulator.ledger()["total"]["tasks"] == 5
