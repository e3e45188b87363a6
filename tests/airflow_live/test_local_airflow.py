"""
The tool that starts a real Airflow does what the other live tests and the demo rely on.

One Airflow of the version installed here, one Dag with a task that defers and one that fails.
"""

import textwrap
import time
from pathlib import Path

import pytest
from local_airflow import LocalAirflow, LocalAirflowError
from processes import ManagedProcess, stop_all

DAG = """
    import os
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import DAG, BaseOperator
    from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger


    class Greet(BaseOperator):
        def __init__(self, *, word, **kwargs):
            super().__init__(**kwargs)
            self.word = word

        def execute(self, context):
            print("defers now")
            seconds = context["params"]["seconds"]
            self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=seconds)), method_name="resume")

        def resume(self, context, event=None):
            print("resumed")
            if self.word == "fail":
                raise RuntimeError("failed as told")
            return {"word": self.word, "variable": os.environ["LIVE_TEST"], "numbers": [1, 2.5, None]}


    for dag_id in ("live_good", "live_bad"):
        with DAG(dag_id, schedule=None, params={"seconds": 60}):
            Greet(task_id="greet", word="fail" if dag_id == "live_bad" else "hello")
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    dags = tmp_path_factory.mktemp("dags")
    (dags / "live.py").write_text(textwrap.dedent(DAG))
    with LocalAirflow(
        dags, home=tmp_path_factory.mktemp("home"), env={"LIVE_TEST": "from outside"}
    ) as running:
        yield running
        begin = time.monotonic()
        running.stop()
        assert running.survivors() == []
        assert time.monotonic() - begin < 120


def test_a_deferred_task_succeeds_and_its_xcom_comes_back_as_it_was(airflow):
    run_id = airflow.trigger("live_good", conf={"seconds": 1}, run_id="run:1+1")

    assert airflow.wait_for_run("live_good", run_id, timeout=240) == "success"
    assert airflow.task_states("live_good", run_id) == {"greet": "success"}
    assert airflow.xcom("live_good", run_id, "greet") == {
        "word": "hello",
        "variable": "from outside",
        "numbers": [1, 2.5, None],
    }
    log = airflow.task_log("live_good", run_id, "greet")
    assert "defers now" in log
    assert "resumed" in log


def test_a_failing_task_is_told_apart_and_its_log_says_why(airflow):
    run_id = airflow.trigger("live_bad", conf={"seconds": 0})

    assert airflow.wait_for_run("live_bad", run_id, timeout=240) == "failed"
    assert airflow.task_states("live_bad", run_id) == {"greet": "failed"}
    assert "failed as told" in airflow.task_log("live_bad", run_id, "greet")


def test_an_unknown_dag_is_reported_with_the_log_of_the_parser(airflow):
    with pytest.raises(
        LocalAirflowError, match=r"'nowhere' did not appear\n--- (dag-processor|scheduler)\.log"
    ):
        airflow.trigger("nowhere", timeout=0)


def test_a_failed_start_shows_the_log_and_leaves_nothing_behind(tmp_path):
    broken = LocalAirflow(
        tmp_path, home=tmp_path / "home", env={"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "nonsense://"}
    )

    with pytest.raises(LocalAirflowError, match=r"(?s)db migrate.*nonsense"):
        broken.__enter__()
    assert broken.survivors() == []


def test_grandchildren_that_ignore_signals_are_ended_too(tmp_path):
    shell = "trap '' TERM INT; (trap '' TERM INT; sleep 60) & echo ready; wait; sleep 60"
    process = ManagedProcess("stubborn", ["sh", "-c", shell], log=tmp_path / "log")
    process.start()
    deadline = time.monotonic() + 60
    while "ready" not in Path(process.log).read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(process.survivors()) > 1

    stop_all([process], grace=0.2)

    assert process.survivors() == []
