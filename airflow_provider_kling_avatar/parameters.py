"""
The parameters of our tasks by name and type, for type checkers only: nobody loads this at run time.

What a parameter means is said once, at the class that names it. Those who only hand parameters on take them from here
(`PEP 692 <https://peps.python.org/pep-0692/>`_).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, MutableMapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar

from airflow.providers.common.compat.sdk import DAG, Context, TaskGroup, XComArg

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import RetryPolicy

    from airflow_provider_kling_avatar.kling.submission.state import (
        OnChangedInput,
        OnRerun,
        OnUnknownSubmission,
    )
    from airflow_provider_kling_avatar.landing import OnExisting

T = TypeVar("T")
Templated: TypeAlias = T | str | XComArg
"""A value, a template that renders to it, or what another task returns."""
Duration: TypeAlias = float | timedelta
"""Seconds, or a timedelta."""
Money: TypeAlias = Templated[float | Decimal]
Callbacks: TypeAlias = Callable[[Context], object] | Collection[Callable[[Context], object]] | None


class TaskArguments(TypedDict, total=False):
    """What every task takes from Airflow itself, of 2.11 to 3.3: see its `BaseOperator`."""

    owner: str
    email: str | Sequence[str] | None
    email_on_retry: bool
    email_on_failure: bool
    retries: int | None
    retry_delay: Duration
    retry_exponential_backoff: float
    max_retry_delay: Duration | None
    start_date: datetime | None
    end_date: datetime | None
    depends_on_past: bool
    ignore_first_depends_on_past: bool
    wait_for_past_depends_before_skipping: bool
    wait_for_downstream: bool
    dag: DAG | None
    params: MutableMapping[str, Any] | None
    default_args: dict[str, Any] | None
    priority_weight: int
    weight_rule: Any
    queue: str
    pool: str | None
    pool_slots: int
    sla: timedelta | None
    execution_timeout: timedelta | None
    on_execute_callback: Callbacks
    on_failure_callback: Callbacks
    on_success_callback: Callbacks
    on_retry_callback: Callbacks
    on_skipped_callback: Callbacks
    pre_execute: Callable[[Context], object] | None
    post_execute: Callable[[Context, Any], object] | None
    trigger_rule: str
    resources: dict[str, Any] | None
    run_as_user: str | None
    map_index_template: str | None
    max_active_tis_per_dag: int | None
    max_active_tis_per_dagrun: int | None
    executor: str | None
    executor_config: dict[str, Any] | None
    do_xcom_push: bool
    multiple_outputs: bool
    inlets: Any
    outlets: Any
    task_group: TaskGroup | None
    doc: str | None
    doc_md: str | None
    doc_json: str | None
    doc_yaml: str | None
    doc_rst: str | None
    task_display_name: str | None
    logger_name: str | None
    allow_nested_operators: bool
    render_template_as_native_obj: bool | None


class KlingArguments(TaskArguments, total=False):
    """What `KlingTask` takes."""

    kling_conn_id: Templated[str]
    retry_policy: RetryPolicy | None


class SensorArguments(KlingArguments, total=False):
    """What a sensor takes from Airflow besides: see its `BaseSensorOperator`."""

    soft_fail: bool
    mode: str
    exponential_backoff: bool
    max_wait: Duration | None
    silent_fail: bool
    never_fail: bool


class SubmitArguments(KlingArguments, total=False):
    """What `operators.base.KlingSubmitOperator` takes."""

    validate: bool
    deferrable: bool
    poll_interval: Duration | None
    slot_timeout: Duration
    on_unknown_submission: OnUnknownSubmission
    on_changed_input: OnChangedInput
    on_rerun: OnRerun
    state_path: Templated[str] | None
    max_cost: Money | None
    max_cost_per_run: Money | None


class AvatarSubmitArguments(SubmitArguments, total=False):
    """What `operators.kling_avatar.KlingAvatarSubmitOperator` takes."""

    image: Templated[str] | None
    audio: Templated[str] | None
    audio_id: Templated[str | dict[str, Any]] | None
    text: Templated[str] | None
    voice_id: Templated[str] | None
    voice_language: Templated[str] | None
    voice_speed: Templated[float] | None
    prompt: Templated[str] | None
    mode: Templated[str] | None
    aspect_ratio: Templated[str] | None
    watermark: Templated[bool] | None
    callback_url: Templated[str] | None
    external_task_id: Templated[str] | None
    audio_duration_seconds: Templated[float] | None
    transcode_audio: bool
    extra: Templated[dict[str, Any]] | None


class AvatarArguments(AvatarSubmitArguments, total=False):
    """What `operators.kling_avatar.KlingAvatarOperator` takes, and ``@task.kling_avatar``."""

    task_id: str
    output_path: Templated[str] | None
    on_existing: OnExisting | XComArg
    timeout: Duration
    queue_timeout: Duration | None
    render_timeout: Duration | None
    max_failed_polls: int
