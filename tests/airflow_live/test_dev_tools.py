"""What the developer's tools decide by themselves: which Python, what runs where, what counts as passed, as a video."""

import os
import re
import subprocess
import sys
import textwrap
import time
from importlib.resources import files
from pathlib import Path

import check_video
import environment
import matrix
import pytest
import totals
import under_test
from airflow_api import AirflowApi, ApiError
from processes import pids_of_session
from versions import SUPPORTED, Supported, supported

ASSETS = files("airflow_provider_kling_avatar") / "simulator" / "assets"
ANCIENT = Supported("2.11.2", (3, 10))


def test_an_airflow_too_old_for_every_python_here_is_refused_and_not_skipped(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(SystemExit, match=r"Airflow 2\.11\.2 supports Python up to 3\.10"):
        environment.python_for(ANCIENT)


def test_an_older_python_on_the_path_is_taken_for_an_older_airflow(monkeypatch, tmp_path, capsys):
    older = tmp_path / "python3.11"
    older.symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "version_info", (3, 15, 0))

    assert environment.python_for(supported("2.11.2")) == str(older)
    assert "does not support Python" in capsys.readouterr().out


def test_a_python_older_than_ours_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))

    with pytest.raises(SystemExit, match=r"(?s)Python 3\.11 or newer is needed.*make PYTHON="):
        environment.python_for(SUPPORTED[-1])


@pytest.mark.parametrize("entry", SUPPORTED, ids=lambda entry: entry.airflow)
def test_every_tested_airflow_is_pinned_without_a_word_about_where_packages_come_from(entry):
    lines = environment.constraints_file(entry).read_text().splitlines()

    assert f"apache-airflow=={entry.airflow}" in lines
    assert all("==" in line and "://" not in line and not line.startswith("-") for line in lines)


def test_errors_count_as_failures_and_a_missing_report_as_one(tmp_path, capsys):
    report = tmp_path / "a.xml"
    report.write_text('<testsuites><testsuite tests="10" failures="1" errors="2" skipped="3"/></testsuites>')

    totals.main([report, tmp_path / "missing.xml"])

    assert capsys.readouterr().out.splitlines()[-1] == "4 passed, 4 failed"


def test_how_long_the_tests_took_is_read_from_their_report(tmp_path):
    report = tmp_path / "a.xml"
    report.write_text('<testsuites><testsuite tests="1" time="61.2"/></testsuites>')

    assert totals.seconds(report) == 62
    assert totals.seconds(tmp_path / "missing.xml") is None


@pytest.mark.parametrize(("error", "count"), [(None, (1, 0)), ("broken", (0, 1))])
def test_a_check_that_is_not_pytests_is_counted_too(tmp_path, error, count):
    totals.write(tmp_path / "new" / "demo.xml", "demo", error)

    read = totals.read(tmp_path / "new" / "demo.xml")
    assert (read.passed, read.failed) == count


@pytest.mark.parametrize(("tests", "beside", "status"), [(0, 0, 0), (0, 3, 3), (1, 0, 1)])
def test_what_runs_beside_the_tests_is_shown_after_them_and_fails_them(
    tests, beside, status, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(under_test, "REPORTS", tmp_path / "new")
    monkeypatch.setattr(under_test, "run_pytest", lambda arguments: print(arguments) or tests)  # noqa: T201

    assert under_test.run_beside(f"chaos sh -c 'nice; exit {beside}'", ["-m", "slow"]) == status

    told = capsys.readouterr().out
    assert told.index("slow") < told.index(f"chaos, run meanwhile, ended with status {beside}")
    assert told.splitlines()[-1] == str(min(os.nice(0) + 19, 19)), "whatever is left over by others"


def test_a_lean_matrix_leaves_out_what_knows_no_airflow_but_not_on_the_oldest():
    options = matrix.options_of(["--older", "--lean", "--crash", "2.11.2", "--", "-m", "quick"])
    suites = {suite.name: suite.arguments for suite in matrix.suites_of(options)}

    assert list(suites) == ["2.11.2", "2.11.2-crash", *(entry.airflow for entry in SUPPORTED[1:-1])]
    assert suites["2.11.2"] == ["-m", "quick"]
    assert suites["2.11.2-crash"] == ["-m", "crash"]
    assert suites["3.1.8"] == ["-m", "quick", *(f"--ignore={path}" for path in matrix.WITHOUT_AIRFLOW)]


def test_what_a_lean_matrix_leaves_out_is_there_and_imports_no_airflow():
    for path in map(environment.ROOT.joinpath, matrix.WITHOUT_AIRFLOW):
        assert path.exists()
        for file in path.rglob("*.py") if path.is_dir() else [path]:
            assert not re.search(r"^\s*(from|import) airflow\b", file.read_text("utf-8"), re.MULTILINE), file


def test_sound_alone_is_no_video():
    with pytest.raises(ValueError, match=r"expected H\.264 and AAC"):
        check_video.check(Path(str(ASSETS / "greeting.mp3")), Path(str(ASSETS / "greeting.mp3")))


def test_what_a_dead_starter_left_behind_is_ended(tmp_path):
    code = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path

        sys.path.append(sys.argv[1])
        import processes

        process = processes.ManagedProcess("orphan", ["sleep", "60"], log=Path(sys.argv[2]))
        process.start()
        print(process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    dev = str(Path(environment.__file__).parent)
    died = subprocess.run(
        [sys.executable, "-c", code, dev, str(tmp_path / "log")], capture_output=True, text=True, check=False
    )

    deadline = time.monotonic() + 60
    while pids_of_session(int(died.stdout)):
        assert time.monotonic() < deadline, "the warden did not end it"
        time.sleep(0.1)


def test_a_backfill_that_was_left_without_its_runs_is_cancelled_and_begun_anew(monkeypatch):
    """As SQLite leaves one that is locked between a backfill and its first run: asked again, there is one already."""
    api = AirflowApi("http://127.0.0.1:1", 3)
    backfills = []

    def request(method, path, body=None):
        if method == "PUT":
            backfills[-1]["completed_at"] = "now"
        elif method == "GET":
            return {"backfills": backfills}
        elif any(backfill["completed_at"] is None for backfill in backfills):
            raise ApiError("there is one", 409)
        else:
            backfills.append({"id": len(backfills), "completed_at": None, "dates": body["from_date"]})
            if len(backfills) == 1:
                raise ApiError("database is locked", 500)
        return None

    monkeypatch.setattr(api, "request", request)
    monkeypatch.setattr("time.sleep", lambda _: None)

    api.create_backfill("clips", "2025-01-01", "2025-01-02")

    assert [backfill["completed_at"] for backfill in backfills] == ["now", None]
