"""The extra link: leads to the task, works offline, and never holds a signature."""

from __future__ import annotations

import inspect

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred, XCom

from airflow_provider_kling_avatar.compat import HAS_REACT_APPS
from airflow_provider_kling_avatar.links.kling_avatar import LINK_XCOM_KEY, KlingTaskLink
from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarOperator,
    KlingAvatarSubmitOperator,
    KlingImageToVideoSubmitOperator,
)
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor

TI_KEY = object()
needs_pages = pytest.mark.skipif(not HAS_REACT_APPS, reason="the UI has pages of plugins since Airflow 3.1")


@pytest.fixture
def link_of(monkeypatch):
    """Ask for a task's link, with its XComs in place of Airflow's table."""
    signature = inspect.signature(XCom.get_value)

    def ask(xcoms, operator=None):
        def get_value(**arguments):
            signature.bind(**arguments)  # called as this version of Airflow wants it
            assert arguments["ti_key"] is TI_KEY
            return xcoms.get(arguments["key"])

        monkeypatch.setattr(XCom, "get_value", get_value)
        return KlingTaskLink().get_link(operator, ti_key=TI_KEY)

    return ask


def test_a_task_that_has_pushed_nothing_has_an_empty_link(link_of):
    assert link_of({}) == ""


def test_the_link_is_what_the_task_has_pushed(link_of):
    assert link_of({LINK_XCOM_KEY: "https://example.com/831"}) == "https://example.com/831"


def submitted(context, **options):
    return KlingAvatarSubmitOperator(task_id="clip", **options).execute(context)


@needs_pages
def test_the_link_leads_to_the_clips_page(connect, link_of, face, voice, context, monkeypatch):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/team/")
    connect(task_link="https://console.example.com/tasks/{task_id}")

    submitted(context, image=face, audio=voice)

    page = "https://airflow.example.com/team/dags/news/runs/manual__1/tasks/clip/plugin/kling-clip"
    assert link_of(context["ti"].xcoms) == page


@needs_pages
def test_the_page_of_a_row_is_its_own_and_odd_names_are_quoted(connect, link_of, face, voice, make_context):
    context = make_context(map_index=3, run_id="manual__2026-11-29T08:00:00+00:00", task_id="group.clip")

    submitted(context, image=face, audio=voice)

    link = link_of(context["ti"].xcoms)
    assert link.endswith(
        "/runs/manual__2026-11-29T08%3A00%3A00%2B00%3A00/tasks/group.clip/mapped/3/plugin/kling-clip"
    )


@pytest.mark.skipif(HAS_REACT_APPS, reason="from Airflow 3.1 on the link leads to the clip's page")
def test_before_airflow_3_1_it_leads_to_the_vendors_page_if_one_is_named(
    connect, link_of, face, voice, make_context
):
    without, named = make_context(), make_context()
    submitted(without, image=face, audio=voice)
    connect(task_link="https://console.example.com/tasks/{task_id}")
    task_id = submitted(named, image=face, audio=voice)

    assert link_of(without["ti"].xcoms) == "", "an address of the API answers no browser"
    assert link_of(named["ti"].xcoms) == f"https://console.example.com/tasks/{task_id}"


def test_no_link_is_ever_signed_and_no_link_holds_a_key(connect, link_of, face, voice, sim, make_context):
    contexts = [make_context() for _ in range(4)]
    task_id = submitted(contexts[0], image=face, audio=voice)
    KlingImageToVideoSubmitOperator(task_id="b", image=face, prompt="x").execute(contexts[1])
    avatar = KlingAvatarOperator(task_id="c", image=face, audio=voice)
    with pytest.raises(TaskDeferred):
        avatar.execute(contexts[2])
    sim.advance(60)
    event = {"task_id": task_id, "endpoint": "avatar", "verdict": "succeeded"}
    avatar.execute_complete(contexts[2], event)
    KlingAvatarSensor(task_id="d", kling_task_id=task_id).execute(contexts[3])

    links = [link_of(context["ti"].xcoms) for context in contexts]

    assert [bool(link) for link in links] == [HAS_REACT_APPS] * 4
    for link in links:
        assert not link.startswith(sim.url)
        assert "?" not in link
        assert "sk-" not in link


@pytest.mark.parametrize(
    "operator", [KlingAvatarSubmitOperator, KlingImageToVideoSubmitOperator, KlingAvatarOperator]
)
def test_operators_that_make_a_task_have_the_link(operator):
    assert [link.name for link in operator(task_id="clip").operator_extra_links] == [KlingTaskLink.name]


def test_the_sensor_has_the_link():
    assert [link.name for link in KlingAvatarSensor.operator_extra_links] == [KlingTaskLink.name]
