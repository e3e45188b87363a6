"""The tool that starts a real Airflow leaves nothing behind; what it does while all is well, `test_whole_dag` uses."""

import time
from pathlib import Path

import pytest
from local_airflow import LocalAirflow, LocalAirflowError
from processes import ManagedProcess, stop_all


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


def test_what_a_locked_sqlite_has_ended_is_started_again_and_nothing_else(tmp_path):
    airflow = LocalAirflow(tmp_path, home=tmp_path)
    script = (
        "if [ -e again ]; then echo another reason; else touch again; echo database is locked; fi; exit 1"
    )
    log = tmp_path / "scheduler.log"
    scheduler = ManagedProcess("scheduler", ["sh", "-c", f"cd {tmp_path}; {script}"], log=log)
    airflow.components = {"scheduler": scheduler}
    scheduler.start()
    scheduler.wait(60)

    airflow.check_alive()
    scheduler.wait(60)
    log.write_text("another reason")

    with pytest.raises(LocalAirflowError, match="the scheduler ended with status 1"):
        airflow.check_alive()
