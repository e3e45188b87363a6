"""What README and docs say is what the package does: tables, connection lines, voices, links."""

import json
import re
from pathlib import Path

import pytest
from dialect_table import BEGIN, END, table

from airflow_provider_kling_avatar.kling.config import KlingConfig
from airflow_provider_kling_avatar.kling.dialects import DIALECTS
from airflow_provider_kling_avatar.kling.voices import IN_SAMPLES, VOICES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def page_of(name):
    return (ROOT / "docs" / f"{name}.md").read_text("utf-8")


CONNECTIONS = [
    json.loads(line)
    for page in (
        README,
        *map(page_of, ("connection", "gateways", "quickstart", "simulator", "troubleshooting")),
    )
    for line in re.findall(r"^export AIRFLOW_CONN_KLING_AVATAR_DEFAULT='(.+)'$", page, re.MULTILINE)
]


def test_the_table_of_apis_is_printed_from_the_dialects_themselves():
    assert page_of("dialects").partition(BEGIN)[2].partition(END)[0].strip() == table().strip()


@pytest.mark.parametrize("connection", CONNECTIONS, ids=lambda c: f"{c['extra']['api']}-{c.get('host', '')}")
def test_every_connection_line_is_a_good_one(connection):
    config = KlingConfig.build(
        host=connection.get("host"),
        login=connection.get("login"),
        password=connection["password"],
        extra=connection["extra"],
    )
    assert config.dialect.name == connection["extra"]["api"]


def test_every_api_has_a_connection_line():
    assert {connection["extra"]["api"] for connection in CONNECTIONS} == set(DIALECTS)


def test_the_readme_is_short_enough_to_be_read():
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("language", VOICES)
def test_the_page_of_voices_lists_those_that_the_errors_list(language):
    row = re.search(rf"^\| {language} \| (.*)$", page_of("voices"), re.MULTILINE)[1]

    assert re.findall(r"`([^`]+)`", row) == list(VOICES[language])
    assert VOICES[language][: len(IN_SAMPLES[language])] == IN_SAMPLES[language]


def test_the_figures_of_waiting_are_those_of_the_benchmark():
    """Rounded, but the same: CPU and requests of each who waits."""
    results = (
        (ROOT / "benchmarks" / "results.md")
        .read_text("utf-8")
        .partition("## 1,000 tasks")[2]
        .partition("\n## ")[0]
    )
    measured = {
        row[1].strip(" *†"): row for row in (line.split("|") for line in results.splitlines()) if len(row) > 5
    }
    section = page_of("waiting").partition("## What it costs")[2].partition("\n## ")[0]
    told = [row for row in (line.split("|") for line in section.splitlines()) if len(row) > 5][2:]
    names = {
        "ours": "`KlingAvatarTrigger`",
        "ours, at its default interval": "`KlingAvatarTrigger`, default interval",
    }

    assert len(told) == 3
    for row in told:
        name = row[1].strip(" *")
        there = measured[names.get(name, name)]
        assert abs(float(row[2]) - float(there[2])) < 0.051
        assert row[3].strip() == there[3].strip()


def test_the_readme_leads_to_the_quick_start_before_it_shows_code():
    assert "(docs/quickstart.md)" in README.partition("```python")[0]


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("triggerer", "waits for many tasks"),
        ("deferrable=False", "wait on their workers"),
        ("storage URI", "a storage, by Airflow's connection"),
        ("voice_id", "one of [the vendor's voices]"),
        ("gateway", "others who sell Kling's API"),
        ("task state store", "where a task notes"),
        ("state_path", "a folder for such notes"),
        ("mapped task", "once for each row of a list"),
        ("manifest", "a dictionary of all that is known"),
    ],
)
def test_a_word_of_the_readme_comes_with_its_meaning(word, meaning):
    where = README.index(word)

    assert meaning in README[where : where + 140]
