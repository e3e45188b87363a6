"""The console command: what it prints for a connection of Airflow's, and with which status it ends."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from airflow_provider_kling_avatar.cli import main
from airflow_provider_kling_avatar.kling.dialects import DIALECTS
from airflow_provider_kling_avatar.kling.vendor_check import VendorCheck
from airflow_provider_kling_avatar.simulator.settings import Account

ROOT = Path(__file__).parents[2]


def test_the_package_has_the_command():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["kling-avatar"] == "airflow_provider_kling_avatar.cli:main"


def test_a_good_connection_prints_a_table_and_ends_with_0(connect, capsys):
    assert main(["check"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[2] == "| probe | expected | seen | verdict |"
    assert all(line.count(" | ") == 3 for line in lines if line.startswith("| "))
    assert lines[-1] == "Differences that matter: none"
    assert "sk-simulator" not in out + err


def test_a_difference_that_matters_ends_with_1(connect, sim, capsys):
    sim.fault(kind="html", status=404, method="GET", times=0)
    assert main(["check"]) == 1
    out = capsys.readouterr().out
    assert "| differs, matters: a missing id is believed: no while waiting, no by a later try |" in out
    assert out.splitlines()[-1].startswith("Differences that matter: ")


def test_who_watches_sees_what_is_being_asked_beside_the_report(connect, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["check", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["findings"]
    assert err.splitlines()[:2] == [
        "kling-avatar: asking for a missing id, avatar",
        "kling-avatar: asking for a missing id, image_to_video",
    ]

    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    assert main(["check"]) == 0
    assert capsys.readouterr().err == ""


def test_a_vendor_that_is_busy_ends_with_2_as_one_that_cannot_be_asked(connect, sim, capsys):
    sim.fault(kind="error_code", code=1302, status=429, method="GET", times=0)
    assert main(["check"]) == 2
    assert capsys.readouterr().out.splitlines()[-1] == "Differences that matter: none; not answered: 7"

    sim.reset()
    sim.fault(kind="error_code", code=1302, status=429, method="GET", times=1)
    assert main(["check"]) == 2
    assert capsys.readouterr().out.splitlines()[-1] == "Differences that matter: none; not answered: 1"


def test_a_key_of_the_other_region_is_told_where_it_belongs(connect, sim, start_vendor, monkeypatch, capsys):
    other = start_vendor(accounts=(Account(name="abroad", api_key="sk-abroad"),))
    dialect = dataclasses.replace(DIALECTS["kling"], regions=(sim.url, other.url))
    monkeypatch.setitem(DIALECTS, "kling", dialect)
    connect(password="sk-abroad")

    assert main(["check"]) == 2
    sentence = f"wrong region: the key is good on {other.url}; put that into the connection's host"
    assert capsys.readouterr().err == f"kling-avatar: {sentence}\n"


def test_it_prints_json_too(connect, capsys):
    assert main(["check", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert findings[0]["probe"] == "connection"
    assert set(findings[0]) == {"probe", "expected", "seen", "verdict", "means"}


@pytest.mark.parametrize(
    ("connection", "sentence"),
    [
        ({"password": "sk-wrong-key"}, "kling-avatar: wrong key: the key is not valid on this host"),
        ({"host": "http://127.0.0.1:1"}, "kling-avatar: no connection to http://127.0.0.1:1/"),
        ({"password": None}, "kling-avatar: the connection has no key"),
        (
            {"host": "https://me:hunter22@a.test"},
            "kling-avatar: the connection's host holds a user or password",
        ),
        ({"nonsense": 1}, "kling-avatar: the connection's extra has nonsense"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence_and_status_2(connection, sentence, connect, capsys):
    connect(**connection)
    assert main(["check"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(sentence)
    assert err.count("\n") == 1
    assert "sk-wrong-key" not in err
    assert "hunter22" not in err


@pytest.mark.parametrize(("code", "status"), [(1002, 401), (1103, 403)])
def test_what_a_refusal_says_of_an_account_is_not_printed(code, status, connect, sim, capsys):
    words = "no: user 815 (someone@example.com), key abcd****ijkl, sk-simulator, org-acme-7"
    sim.fault(kind="error_code", code=code, status=status, message=words, method="GET", times=0)

    assert main(["check"]) == 2

    err = capsys.readouterr().err
    assert "the vendor says: no: [id] ([id]), key [id], ***, [id] [code" in err
    assert err.count("\n") == 1


def test_a_fault_of_the_checks_own_ends_with_2_and_its_name_without_its_text(connect, monkeypatch, capsys):
    def fail(*_):
        raise OverflowError("hunter22")

    monkeypatch.setattr(VendorCheck, "run", fail)

    assert main(["check"]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("kling-avatar: the check itself failed (OverflowError in ")
    assert "report" in err
    assert "hunter22" not in err
    assert err.count("\n") == 1


def test_help_and_forms_say_that_a_report_is_read_before_it_is_pasted(capsys):
    with pytest.raises(SystemExit):
        main(["check", "--help"])
    forms = [(ROOT / f".github/ISSUE_TEMPLATE/{form}.yml").read_text("utf-8") for form in ("bug", "vendor")]
    for text in (*forms, capsys.readouterr().out):
        words = " ".join(text.split())
        assert "read it once before you paste it" in words
        assert "no secret" not in words
        assert "without a secret" not in words


def test_a_wrong_option_ends_with_argparses_own_words():
    with pytest.raises(SystemExit) as ended:
        main(["check", "--nonsense"])
    assert ended.value.code == 2


def test_without_a_database_it_takes_a_connection_from_the_environment_and_says_which_is_missing_or_torn(
    sim, tmp_path
):
    connection = {"conn_type": "kling_avatar", "host": sim.url, "password": "sk-simulator"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW_CONN_")} | {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW_CONN_MINE": json.dumps(connection),
        "AIRFLOW_CONN_TORN": json.dumps(connection)[:-1],
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "airflow_provider_kling_avatar.cli", "check", "--conn-id"]

    def run(conn_id):
        return subprocess.run(
            [*command, conn_id], env=environment, capture_output=True, text=True, check=False
        )

    good, missing, torn = run("mine"), run("nobody"), run("torn")
    assert good.returncode == 0, good.stderr
    assert good.stdout.endswith("Differences that matter: none\n")
    assert missing.returncode == 2
    assert "connection 'nobody' cannot be used here" in missing.stderr.splitlines()[-1]
    assert "AIRFLOW_CONN_NOBODY" in missing.stderr.splitlines()[-1]
    assert torn.returncode == 2
    assert "AIRFLOW_CONN_TORN is set but cannot be read" in torn.stderr.splitlines()[-1]
    assert "sk-simulator" not in torn.stderr
    assert "Traceback" not in missing.stderr + torn.stderr
