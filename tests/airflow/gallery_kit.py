"""
A database as Airflow's, with task instances and what they left about clips, for tests of the gallery.

Only the tables' columns are used; no Dag is parsed, no task is run.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import airflow.models
import sqlalchemy as sa
from airflow.models.base import Base

from airflow_provider_kling_avatar.clip_summary import CLIP_XCOM_KEY, SUMMARY_SCHEMA

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

HERE = Path(__file__).parent
NOW = 1_800_000_000.0
"""Unix seconds: "now" of these tests."""


def make_tables(engine: sa.engine.Engine) -> None:
    """Make Airflow's tables in an empty database."""
    airflow.models.import_all_models()
    Base.metadata.create_all(engine)


class Filler:
    """
    Puts task instances and their XComs into a database.

    :param session: of the database, which is to be empty.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.runs: dict[tuple[str, str], int] = {}
        if session.get_bind().dialect.name == "postgresql":  # what rows refer to is not wanted here
            session.execute(sa.text("set session_replication_role = replica"))

    def insert(self, table: str, **values: Any) -> None:
        """Put in a row."""
        self.session.execute(Base.metadata.tables[table].insert().values(**values))

    def run(self, dag_id: str, run_id: str) -> int:
        """Return the number of a run, which is made if there is none."""
        if (dag_id, run_id) not in self.runs:
            self.runs[dag_id, run_id] = number = len(self.runs) + 1
            at = datetime.fromtimestamp(NOW, UTC)
            self.insert(
                "dag_run",
                id=number,
                dag_id=dag_id,
                run_id=run_id,
                run_type="manual",
                run_after=at,
                state="running",
            )
        return self.runs[dag_id, run_id]

    def task(
        self,
        task_id: str = "clip",
        *,
        dag_id: str = "news",
        run_id: str = "run",
        map_index: int = -1,
        state: str | None = "success",
        changed_at: float = NOW - 60,
        summary: Any = None,
        xcoms: dict[str, Any] | None = None,
    ) -> None:
        """
        Put in a task instance.

        :param changed_at: Unix seconds, of its XComs.
        :param summary: what it left of its clip, whatever that is; ``None`` if nothing.
        :param xcoms: what else it left.
        """
        number = self.run(dag_id, run_id)
        names = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
        number_of_ti = (
            uuid4() if isinstance(Base.metadata.tables["task_instance"].c.id.type, sa.Uuid) else str(uuid4())
        )
        self.insert(
            "task_instance",
            **names,
            id=number_of_ti,
            state=state,
            try_number=1,
            pool="default_pool",
            pool_slots=1,
        )
        left = dict(xcoms or {}) | ({} if summary is None else {CLIP_XCOM_KEY: summary})
        at = datetime.fromtimestamp(changed_at, UTC)
        for key, value in left.items():
            self.insert("xcom", **names, dag_run_id=number, key=key, value=value, timestamp=at)


def clip_summary(**facts: Any) -> dict[str, Any]:
    """Return a summary of a clip that is ready, unless told otherwise."""
    return {
        "schema": SUMMARY_SCHEMA,
        "state": "ready",
        "state_since": NOW - 60,
        "began_at": NOW - 200,
        "step": 2,
        "kling_task_id": "831",
        "api": "kling",
        "endpoint": "avatar",
        "estimated_cost": "0.34",
        "actual_cost": "0.28",
        "currency": "USD",
        "duration": 5.0,
        **facts,
    }


def fill_with_many(engine: sa.engine.Engine, *, clips: int, others: int) -> None:
    """Fill an empty PostgreSQL database of Airflow's with clips among other tasks, see `gallery_scale.sql`."""
    ready = clip_summary(kling_task_id="%", video_id="v" * 20, request_id="r" * 36, file_uri="s3://c@b/%.mp4")
    sql = (HERE / "gallery_scale.sql").read_text()
    for name, value in {"CLIPS": str(clips), "OTHERS": str(others), "READY": json.dumps(ready)}.items():
        sql = sql.replace(name, value)
    with engine.begin() as connection:
        connection.exec_driver_sql(sql.replace("%", "%%"))
