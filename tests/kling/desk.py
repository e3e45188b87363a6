"""A clip that is tried again and again: everything a try needs, so that the next one can be made the same way."""

from __future__ import annotations

import dataclasses
import json

from airflow_provider_kling_avatar.kling.submission.identity import TaskIdentity
from airflow_provider_kling_avatar.kling.submission.state import Policies, Try, leave_mark
from airflow_provider_kling_avatar.kling.submission.submit import Submitter

WORK = TaskIdentity(
    dag_id="news", task_id="clip", run_id="manual__2026", map_index=-1, conn_id="kling_default"
)


class Notebook:
    """A store that outlives a try."""

    def __init__(self):
        self.pages = []

    def load(self):
        return json.loads(self.pages[-1]) if self.pages else {}

    def save(self, record):
        self.pages.append(json.dumps(record))


@dataclasses.dataclass
class Desk:
    """Everything a try needs, so that the next one can be made the same way."""

    sim: object
    client: object
    prepared: object
    store: Notebook | None = None
    naps: list = dataclasses.field(default_factory=list)

    def a_try(self, work=WORK, policy="fail", *, on_changed_input="keep", on_rerun="reuse", **facts):
        """Return a try with this desk's store."""
        return Try(work, self.store, Policies(policy, on_changed_input, on_rerun), **facts)

    def try_it(
        self, *, first=False, anew=False, policy="fail", work=WORK, round_number=0, refused=False, **more
    ):
        """Make one try; ``more``: policies, or further arguments of a `Submitter`."""
        policies = {name: more.pop(name) for name in ("on_changed_input", "on_rerun") if name in more}
        facts = {"first": first, "asked_anew": first or anew, "round": round_number, "refused": refused}
        this_try = self.a_try(work, policy, **policies, **facts)
        leave_mark(this_try)
        return Submitter(self.client, self.prepared, this_try, sleep=self.naps.append, **more).run()

    def paid(self, endpoint="avatar"):
        return [entry for entry in self.sim.ledger()["entries"] if entry["endpoint"] == endpoint]

    def methods(self):
        return [request.method for request in self.sim.requests]
