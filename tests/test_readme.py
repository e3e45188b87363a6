"""What the README says is what the package does: its table, its connection lines, its Dags."""

import json
import re
import sys
from pathlib import Path

import pytest

from airflow_provider_kling_avatar.kling.config import KlingConfig
from airflow_provider_kling_avatar.kling.dialects import DIALECTS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
CONNECTIONS = [
    json.loads(line)
    for line in re.findall(r"^export AIRFLOW_CONN_KLING_AVATAR_DEFAULT='(.+)'$", README, re.MULTILINE)
]


def test_the_table_of_apis_is_printed_from_the_dialects_themselves(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT / "dev")])
    from dialect_table import BEGIN, END, table

    assert README.partition(BEGIN)[2].partition(END)[0].strip() == table().strip()


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


def test_every_page_the_readme_links_to_is_there():
    links = re.findall(r"\]\(((?!http)[^)#]+)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
