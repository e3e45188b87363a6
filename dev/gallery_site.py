"""
A real Airflow with logins and clips in every state, for tests with a browser and for the pictures in the docs.

The clips are made by its tasks, of the simulator: one is ready, one goes on being rendered, one was rejected, one
belongs to a Dag that only administrators may see, one is there to be tampered with.
"""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from guarded_airflow import GuardedAirflow, User

from airflow_provider_kling_avatar.simulator.server import SimulatorServer
from airflow_provider_kling_avatar.simulator.settings import DEFAULT_API_KEY, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

ADMIN = User("admin", "all-of-it", "Admin")
EDITOR = User("editor", "only-the-news", "newsroom")
PATIENCE = 180.0
"""Seconds that the clips may take, which are there within 20 on an idle machine."""
NEWSROOM, BOARD, FORGED = "newsroom_clips", "board_clips", "forged_clips"
ENDS = {NEWSROOM: {"morning": "success", "evening": "deferred", "rejected[0]": "failed"}}
"""How tasks stand when the site is ready; where nothing is said, all have succeeded."""


@dataclass(frozen=True)
class Texts:
    """What people may read on the pages, and who may edit a Dag or a vendor decides."""

    title: str = "Newsroom"
    prompt: str = "A calm presenter reads the news"
    reason: str = "The picture was refused by content moderation"


class GallerySite:
    """
    The site; ready when ``with`` has been entered.

    :param folder: an empty one, for everything it makes.
    :param texts: what people may read.
    :param dags: ids of the Dags that are run once each, all by default.
    """

    def __init__(
        self, folder: Path, texts: Texts | None = None, dags: Sequence[str] = (NEWSROOM, BOARD, FORGED)
    ) -> None:
        self.clips = folder / "clips"
        self.texts = texts or Texts()
        self.dags = tuple(dags)
        self.runs: dict[str, str] = {}
        """The id of the run of each Dag."""
        self.vendor = SimulatorServer(SimulatorSettings(port=0, queue_seconds=1, render_seconds=2))
        self._folder = folder
        self._open = ExitStack()
        self.airflow: GuardedAirflow

    def __enter__(self) -> Self:
        """Start everything and wait for the clips."""
        with ExitStack() as opened:
            opened.enter_context(self.vendor)
            self.vendor.fault(kind="stuck", path="^/kling/", times=0)
            self.vendor.fault(kind="fail_task", path="^/relay/", reason=self.texts.reason, times=0)
            self.airflow = opened.enter_context(self._airflow())
            self.runs = {dag_id: self.airflow.trigger(dag_id, run_id=f"of-{dag_id}") for dag_id in self.dags}
            for dag_id in self.dags:
                self.wait_for(dag_id)
            self._open = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self._open.close()

    def _airflow(self) -> GuardedAirflow:
        dags, home = self._folder / "dags", self._folder / "airflow"
        dags.mkdir()
        self.clips.mkdir()
        shutil.copy(Path(__file__).with_name("gallery_dags.py"), dags)
        env = {
            "GALLERY_SITE": json.dumps({"folder": str(self.clips), **asdict(self.texts)}),
            "AIRFLOW__KLING_AVATAR__GALLERY_ROOTS": f"{self.clips},s3://clips-of-ours",
            "AIRFLOW_CONN_KLING_AVATAR_DEFAULT": self._connection(api="kling"),
            "AIRFLOW_CONN_NEVER_READY": self._connection(api="cometapi"),
            "AIRFLOW_CONN_REJECTS": self._connection(api="relay", path_prefix="/relay/kling"),
        }
        return GuardedAirflow(dags, home=home, users=[ADMIN, EDITOR], env=env, parallelism=4)

    def _connection(self, **extra: str) -> str:
        connection = {"conn_type": "kling_avatar", "host": self.vendor.url, "password": DEFAULT_API_KEY}
        return json.dumps(connection | {"extra": extra})

    def wait_for(self, dag_id: str) -> None:
        """
        Wait until the tasks of a Dag's run stand as they shall.

        :raises RuntimeError: the run has ended otherwise.
        """
        run_id, states = self.runs[dag_id], dict[str, str]()
        for state, states in self.airflow.watch(dag_id, run_id, PATIENCE):
            if states == ENDS.get(dag_id, dict.fromkeys(states, "success")) and states:
                return
            if state == "failed":
                break
        logs = [self.airflow.task_log(dag_id, run_id, task.partition("[")[0]) for task in states]
        raise RuntimeError("\n".join([f"{dag_id} ended with {states}", *logs]))
