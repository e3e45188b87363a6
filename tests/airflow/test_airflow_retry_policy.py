"""The ready-made retry policy: where Airflow has such policies it decides, elsewhere it is missed without harm."""

from __future__ import annotations

import pytest
from airflow import __version__ as airflow_version

from airflow_provider_kling_avatar.exceptions import as_final
from airflow_provider_kling_avatar.kling import errors as e
from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarOperator,
    KlingAvatarSubmitOperator,
    KlingTextToSpeechOperator,
)
from airflow_provider_kling_avatar.retry_policies import RETRIED, kling_retry_policy
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor

AIRFLOW_HAS_THEM = tuple(int(part) for part in airflow_version.split(".")[:2]) >= (3, 3)
OPERATORS = [KlingAvatarSubmitOperator, KlingAvatarOperator, KlingTextToSpeechOperator]
PASSING = [
    kind
    for kind in vars(e).values()
    if isinstance(kind, type)
    and issubclass(kind, e.KlingError)
    and not kind.permanent
    and kind is not e.KlingError
]


def decide(error, **wishes):
    decision = kling_retry_policy(**wishes).evaluate(error, 1, 3)
    return decision.action.value, decision.retry_delay, decision.reason


def test_it_is_there_exactly_where_airflow_has_such_policies():
    assert (kling_retry_policy() is not None) is AIRFLOW_HAS_THEM


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_take_it_on_every_airflow(operator):
    task = operator(task_id="clip", retry_policy=kling_retry_policy())

    assert (getattr(task, "retry_policy", None) is not None) is AIRFLOW_HAS_THEM


def test_the_sensor_takes_it_on_every_airflow():
    assert KlingAvatarSensor(task_id="wait", kling_task_id="1", retry_policy=kling_retry_policy())


def test_mapped_operators_take_it_on_every_airflow():
    mapped = KlingAvatarOperator.partial(task_id="clips", retry_policy=kling_retry_policy()).expand(
        image=["a", "b"]
    )

    assert mapped.task_id == "clips"


def test_every_passing_error_has_a_rule_or_is_left_to_the_dag():
    left_to_the_dag = {e.NotFoundError, e.TaskFailedError}

    assert {kind for kind, *_ in RETRIED} == set(PASSING) - left_to_the_dag


if AIRFLOW_HAS_THEM:

    @pytest.mark.parametrize(("kind", "delay", "reason"), RETRIED)
    def test_what_passes_is_tried_again_after_a_delay_of_its_own(kind, delay, reason):
        assert decide(kind("what to do")) == ("retry", delay, reason)

    def test_a_clip_that_the_vendor_failed_is_the_dags_business_unless_told_otherwise():
        assert decide(e.TaskFailedError("no"))[0] == "default"
        assert decide(e.TaskFailedError("no"), on_task_failed="fail")[0] == "fail"

    def test_it_survives_the_serialization_of_the_dag():
        policy = kling_retry_policy(on_task_failed="fail")
        again = type(policy).deserialize(policy.serialize())

        assert again.serialize() == policy.serialize()
        assert again.evaluate(e.TaskFailedError("no"), 1, 3).action.value == "fail"

    def test_permanent_errors_never_come_to_it():
        from airflow.providers.common.compat.sdk import AirflowFailException

        assert isinstance(as_final(e.AccountError("no money")), AirflowFailException)
