"""
Clips as the pages show them, out of what tasks have left about them in Airflow's database.

The rows begin at the index of XCom's keys; of a task instance only its state is looked up, by its whole key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import TYPE_CHECKING, Any

from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import Boolean, and_, case, exists, func, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import aliased
from sqlalchemy.sql.functions import FunctionElement

from airflow_provider_kling_avatar.clip_summary import CLIP_XCOM_KEY, SUMMARY_SCHEMA, told_after
from airflow_provider_kling_avatar.gallery.files import NotServedError, location_of, servable, shown_location
from airflow_provider_kling_avatar.gallery.texts import LONGEST_PATH, shown_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Select
    from sqlalchemy.orm import Session

UNDER_WAY = ("waiting_for_slot", "queued", "rendering", "landing")
"""States of a summary whose task goes on with it."""
SENT = "submitted"
UNFINISHED = (
    "scheduled",
    "queued",
    "running",
    "deferred",
    "restarting",
    "up_for_reschedule",
    "awaiting_input",
)
"""States in which Airflow goes on with a task instance; as are ``up_for_retry`` and none yet."""
TEXTS = (
    "kling_task_id",
    "external_task_id",
    "video_id",
    "api",
    "endpoint",
    "mode",
    "estimated_cost",
    "actual_cost",
    "currency",
    "units",
    "reason",
    "paid",
    "request_id",
    "submit_request_id",
)
NUMBERS = ("queued_seconds", "rendering_seconds", "landing_seconds", "duration", "size")
TIMES = ("state_since", "began_at", "created_at", "updated_at")
LAST_TIME = 2**33
"""Unix seconds, in the year 2242: browsers and databases fail for some later ones, and no clip is of then."""
VENDOR_KEEPS = 30 * 24 * 3600.0
"""Seconds for which a vendor keeps a clip at most: https://klingai.com/document-api/api/video/avatar."""


@dataclass(frozen=True, slots=True)
class Filters:
    """
    What of all clips is wanted.

    :param dag_ids: of the Dags whose clips the user may see.
    :param state: ``under_way``, ``ready`` or ``failed``; ``None`` for all.
    :param since: Unix seconds; changed then or later.
    """

    dag_ids: frozenset[str]
    state: str | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True)
class TaskKey:
    """Names a task instance; ``map_index`` is -1 where it is not mapped."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1


def clips_page(
    session: Session, filters: Filters, *, limit: int, offset: int, now: float
) -> tuple[list[dict[str, Any]], int]:
    """
    Return some clips, those first that changed last, and how many there are in all.

    :param now: Unix seconds.
    """
    wanted = _wanted(filters)
    total = session.scalar(select(func.count()).select_from(wanted.subquery())) or 0
    order = (XComModel.timestamp.desc(), XComModel.dag_run_id.desc(), XComModel.task_id, XComModel.map_index)
    rows = session.execute(wanted.order_by(*order).limit(limit).offset(offset)).all()
    return _shown(session, rows, now), total


def clip_of(session: Session, key: TaskKey, now: float) -> dict[str, Any] | None:
    """Return the clip of one task instance; ``None`` if it has none."""
    query = _all_clips().where(
        XComModel.dag_id == key.dag_id,
        XComModel.run_id == key.run_id,
        XComModel.task_id == key.task_id,
        XComModel.map_index == key.map_index,
    )
    shown = _shown(session, session.execute(query).all(), now)
    return shown[0] if shown else None


def left_by(session: Session, key: TaskKey, name: str) -> Any:
    """Return what a task instance has left in XCom under a name, as it lies in the database."""
    query = select(XComModel.value).where(
        XComModel.key == name,
        XComModel.dag_id == key.dag_id,
        XComModel.run_id == key.run_id,
        XComModel.task_id == key.task_id,
        XComModel.map_index == key.map_index,
    )
    return session.scalar(query)


def locations_of_others(session: Session, dag_ids: frozenset[str], name: str) -> set[str]:
    """Return where clips of other Dags than some lie whose file has a name."""
    place = _said(XComModel, "file_uri")
    query = select(place).where(
        XComModel.key == CLIP_XCOM_KEY,
        XComModel.dag_id.not_in(dag_ids),
        place.endswith(f"/{shown_text(name, LONGEST_PATH)}", autoescape=True),
    )
    return set(session.scalars(query))


def dags_with_clips(session: Session, dag_ids: frozenset[str]) -> list[str]:
    """Return which of some Dags have clips."""
    query = select(XComModel.dag_id).where(XComModel.key == CLIP_XCOM_KEY, XComModel.dag_id.in_(dag_ids))
    return sorted(session.scalars(query.distinct()))


def summaries_of_dag(session: Session, dag_id: str, since: float) -> list[tuple[str, Any]]:
    """Return run id and summary of all clips of a Dag that have changed since a time in Unix seconds."""
    query = select(XComModel.run_id, XComModel.value).where(
        XComModel.key == CLIP_XCOM_KEY, XComModel.dag_id == dag_id, XComModel.timestamp >= _time(since)
    )
    return [(run_id, summary) for run_id, summary in session.execute(query)]


def _all_clips() -> Select[Any]:
    instance = and_(
        TaskInstance.dag_id == XComModel.dag_id,
        TaskInstance.task_id == XComModel.task_id,
        TaskInstance.run_id == XComModel.run_id,
        TaskInstance.map_index == XComModel.map_index,
    )
    # Scalar subqueries: a join would let the database read all task instances, of which clips are few.
    return select(
        XComModel.dag_id,
        XComModel.run_id,
        XComModel.task_id,
        XComModel.map_index,
        XComModel.dag_run_id,
        XComModel.timestamp,
        XComModel.value.label("summary"),
        select(TaskInstance.state).where(instance).correlate(XComModel).scalar_subquery().label("task_state"),
        select(TaskInstance.try_number)
        .where(instance)
        .correlate(XComModel)
        .scalar_subquery()
        .label("try_number"),
    ).where(XComModel.key == CLIP_XCOM_KEY)


def _wanted(filters: Filters) -> Select[Any]:
    query = _all_clips().where(XComModel.dag_id.in_(filters.dag_ids), ~_is_told_by_later_step())
    if filters.since is not None:
        query = query.where(XComModel.timestamp >= _time(filters.since))
    state = _said(XComModel, "state")
    task_state = query.selected_columns.task_state
    goes_on = or_(task_state.is_(None), task_state.in_((*UNFINISHED, "up_for_retry")))
    if filters.state == "under_way":
        return query.where(state.in_((*UNDER_WAY, "failed")), goes_on)
    if filters.state == "ready":
        return query.where(state == "ready")
    if filters.state == "failed":
        return query.where(state.in_((*UNDER_WAY, "failed")), ~goes_on)
    return query


def _is_told_by_later_step() -> Any:
    """Tell whether another task of the same run, which waited for the same clip or fetched it, tells of it."""
    later = aliased(XComModel)
    return exists().where(
        later.key == CLIP_XCOM_KEY,
        later.dag_run_id == XComModel.dag_run_id,
        _said(later, "kling_task_id") == _said(XComModel, "kling_task_id"),
        # As texts, of one digit: what is no number would end the query.
        _said(later, "step") > _said(XComModel, "step"),
    )


class _IsJson(FunctionElement[bool]):
    """Whether a column's text is JSON: SQLite also keeps what is none, and then fails the query that looks into it."""

    type = Boolean()
    inherit_cache = True


@compiles(_IsJson)
def _is_always(_: _IsJson, __: Any, **___: Any) -> str:
    return "1 = 1"


@compiles(_IsJson, "sqlite")
def _is_asked(element: _IsJson, compiler: Any, **options: Any) -> str:
    return f"json_valid({compiler.process(element.clauses, **options)})"


def _said(xcom: Any, name: str) -> Any:
    """Return a field of a summary as a text."""
    return case((_IsJson(xcom.value), xcom.value[name].as_string()))


def _shown(session: Session, rows: Iterable[Any], now: float) -> list[dict[str, Any]]:
    rows = list(rows)
    steps = _steps(session, rows)
    return [shown_clip(row, steps.get((row.dag_run_id, _vendors_id(row.summary)), []), now) for row in rows]


def _steps(session: Session, rows: list[Any]) -> dict[tuple[int, str | None], list[dict[str, Any]]]:
    """Return what all tasks have said of the clips of some rows, step by step, by run and vendor's id."""
    ids = {found for row in rows if (found := _vendors_id(row.summary)) and row.summary.get("step") != 1}
    if not ids:
        return {}
    query = select(XComModel.dag_run_id, XComModel.value).where(
        XComModel.key == CLIP_XCOM_KEY,
        XComModel.dag_run_id.in_({row.dag_run_id for row in rows}),
        _said(XComModel, "kling_task_id").in_(ids),
    )
    said: dict[tuple[int, str | None], list[dict[str, Any]]] = {}
    summaries = [(run, summary) for run, summary in session.execute(query) if isinstance(summary, dict)]
    for run, summary in sorted(summaries, key=lambda found: _step(found[1])):
        said.setdefault((run, _vendors_id(summary)), []).append(summary)
    return said


def shown_clip(row: Any, steps: Sequence[dict[str, Any]], now: float) -> dict[str, Any]:
    """
    Return a clip as the pages get it.

    :param row: of `_all_clips`.
    :param steps: what the tasks of its run have said of the same clip, step by step; the earlier ones count.
    :param now: Unix seconds.
    """
    is_known = isinstance(row.summary, dict) and row.summary.get("schema") == SUMMARY_SCHEMA
    summary: dict[str, Any] = {}
    if isinstance(row.summary, dict):
        earlier = [step for step in steps if _step(step) < _step(row.summary)]
        summary = reduce(told_after, [*earlier, row.summary], summary)
    state = state_of(summary.get("state"), row.task_state)
    clip: dict[str, Any] = {
        "dag_id": row.dag_id,
        "run_id": row.run_id,
        "task_id": row.task_id,
        "map_index": row.map_index,
        "task_state": row.task_state,
        "try_number": row.try_number,
        "state": state,
        "under_way": state in (*UNDER_WAY, "retrying"),
        "changed_at": row.timestamp.timestamp(),
        "problem": None
        if is_known
        else "this version of the provider cannot read what the task left of its clip",
    }
    clip |= {name: shown_text(summary.get(name)) for name in TEXTS}
    clip |= {name: _number(summary.get(name)) for name in NUMBERS}
    clip |= {name: _time_of(summary.get(name)) for name in TIMES}
    uri = location_of(summary)
    clip["file"] = shown_text(shown_location(uri), LONGEST_PATH) if uri else None
    clip["not_playable"] = _not_playable(state, uri, clip["state_since"] or 0.0, now)
    clip["playable"] = clip["not_playable"] is None
    return clip


def state_of(told: object, task_state: str | None) -> str:
    """
    Return how a clip stands.

    :param told: the state in its summary.
    :param task_state: that of its task instance, whose process may have ended without a word.
    """
    if told in ("ready", SENT):
        return str(told)
    if told not in (*UNDER_WAY, "failed"):
        return "unknown"
    goes_on = task_state is None or task_state in UNFINISHED
    if task_state == "up_for_retry" or (told == "failed" and goes_on):
        return "retrying"
    return str(told) if told == "failed" or goes_on else "stopped"


def _not_playable(state: str, uri: str | None, ready_at: float, now: float) -> str | None:
    """Return why there is nothing to play; ``None`` if there is."""
    if state != "ready":
        return "There is no video yet." if state in (*UNDER_WAY, SENT, "retrying") else "There is no video."
    if uri is None:
        is_old = now - ready_at > VENDOR_KEEPS
        return "It was never landed, and the vendor keeps clips for 30 days." if is_old else None
    try:
        servable(uri)
    except NotServedError as error:
        return str(error)
    return None


def _vendors_id(summary: Any) -> str | None:
    return shown_text(summary.get("kling_task_id")) if isinstance(summary, dict) else None


def _step(summary: Mapping[str, Any]) -> float:
    return _number(summary.get("step")) or 0.0


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e15 else None


def _time_of(value: Any) -> float | None:
    seconds = _number(value)
    return seconds if seconds is not None and 0 <= seconds < LAST_TIME else None


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
