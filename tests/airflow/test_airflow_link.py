"""The extra link: leads to the task, works offline, and never holds a signature."""

from __future__ import annotations

import inspect

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred, XCom

from airflow_provider_kling_avatar.links.kling_avatar import LINK_XCOM_KEY, KlingTaskLink
from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarOperator,
    KlingAvatarSubmitOperator,
    KlingImageToVideoSubmitOperator,
)
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor

TI_KEY = object()


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


def test_the_link_leads_to_where_the_status_is_asked_for(connect, link_of, face, voice, sim, context):
    operator = KlingAvatarSubmitOperator(task_id="clip", image=face, audio=voice)

    task_id = operator.execute(context)

    assert link_of(context["ti"].xcoms, operator) == f"{sim.url}/v1/videos/avatar/image2video/{task_id}"


def test_a_page_for_people_can_be_named_instead(connect, link_of, face, voice, context):
    connect(task_link="https://console.example.com/tasks/{task_id}")

    task_id = KlingAvatarSubmitOperator(task_id="clip", image=face, audio=voice).execute(context)

    assert link_of(context["ti"].xcoms) == f"https://console.example.com/tasks/{task_id}"


def test_no_link_is_ever_signed_and_no_link_holds_a_key(connect, link_of, face, voice, sim, make_context):
    contexts = [make_context() for _ in range(4)]
    submitted = KlingAvatarSubmitOperator(task_id="a", image=face, audio=voice).execute(contexts[0])
    KlingImageToVideoSubmitOperator(task_id="b", image=face, prompt="x").execute(contexts[1])
    avatar = KlingAvatarOperator(task_id="c", image=face, audio=voice)
    with pytest.raises(TaskDeferred):
        avatar.execute(contexts[2])
    sim.advance(60)
    event = {"task_id": submitted, "endpoint": "avatar", "verdict": "succeeded"}
    avatar.execute_complete(contexts[2], event)
    KlingAvatarSensor(task_id="d", kling_task_id=submitted).execute(contexts[3])

    links = [link_of(context["ti"].xcoms) for context in contexts]

    assert all(link.startswith(sim.url) for link in links)
    for link in links:
        assert "?" not in link
        assert "/media/" not in link
        assert "sk-" not in link


@pytest.mark.parametrize(
    "operator", [KlingAvatarSubmitOperator, KlingImageToVideoSubmitOperator, KlingAvatarOperator]
)
def test_operators_that_make_a_task_have_the_link(operator):
    assert [link.name for link in operator(task_id="clip").operator_extra_links] == [KlingTaskLink.name]


def test_the_sensor_has_the_link():
    assert [link.name for link in KlingAvatarSensor.operator_extra_links] == [KlingTaskLink.name]
