"""
The few calls of Airflow's public REST API that local tools need, on Airflow 2.11 (v1) and 3.x (v2).

Standard library only, so that it runs in any environment. Knows nothing about processes.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from typing import Any


class ApiError(Exception):
    """
    The API answered with an error, or not at all.

    :param status: HTTP status, 0 if there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def may_pass(self) -> bool:
        """Whether asking again may help: SQLite and a busy machine make Airflow stumble now and then."""
        return self.status == 0 or self.status >= 500


class AirflowApi:
    """
    A client that is allowed everything.

    Without a login the SimpleAuthManager of 3.x must have ``simple_auth_manager_all_admins`` on; on 2.11 anonymous
    visitors must have the role Admin.

    :param base_url: e.g. ``http://127.0.0.1:8080``.
    :param major: major version of Airflow.
    :param login: name and password of a user, on 3.x.
    """

    def __init__(self, base_url: str, major: int, login: tuple[str, str] | None = None) -> None:
        self.base_url = base_url
        self.major = major
        self._login = login
        self._token: str | None = None
        # No proxy: the server is on this machine, whatever HTTP_PROXY says.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def request(self, method: str, path: str, body: Any = None, timeout: float = 120.0) -> Any:
        """
        Call the API and return the decoded JSON, ``None`` for an empty answer.

        :param path: below the API's root, e.g. ``/dags``; quoted already.
        :param timeout: seconds.
        :raises ApiError: no answer, or one with a status of 400 and above.
        """
        root = "/api/v1" if self.major == 2 else "/api/v2"
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self.major > 2:
            headers["Authorization"] = f"Bearer {self.token(timeout)}"
        return self._send(method, root + path, body, headers, timeout)

    def token(self, timeout: float = 120.0) -> str:
        """Return the token that proves who asks, on 3.x; it is asked for once."""
        if self._token is None:
            login = self._login and dict(zip(("username", "password"), self._login, strict=True))
            method, headers = ("POST", {"Content-Type": "application/json"}) if login else ("GET", None)
            answer = self._send(method, "/auth/token", login, headers, timeout)
            self._token = str(answer["access_token"])
        return self._token

    def _send(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        timeout: float = 120.0,
    ) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base_url + path, data=data, headers=headers or {}, method=method
        )
        try:
            with self._opener.open(request, timeout=timeout) as response:
                raw = response.read()
        except urllib.error.HTTPError as error:
            with error:
                detail = error.read().decode(errors="replace")[:2000]
            raise ApiError(f"{method} {path}: HTTP {error.code}: {detail}", error.code) from None
        except OSError as error:
            raise ApiError(f"{method} {path}: {error}") from None
        return json.loads(raw) if raw else None

    def unhealthy(self) -> list[str]:
        """Return which of Airflow's parts do not report good health; an empty list means all is well."""
        if self.major == 2:
            report, parts = self.request("GET", "/health"), ["metadatabase", "scheduler", "triggerer"]
        else:
            report = self.request("GET", "/monitor/health")
            parts = ["metadatabase", "scheduler", "triggerer", "dag_processor"]
        return [part for part in parts if (report.get(part) or {}).get("status") != "healthy"]

    def import_errors(self) -> str:
        """Return the stack traces of Dag files that could not be imported."""
        answer = self.request("GET", "/importErrors")
        return "\n".join(f"{entry['filename']}:\n{entry['stack_trace']}" for entry in answer["import_errors"])

    def create_run(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
        """Create a Dag run."""
        body: dict[str, Any] = {"dag_run_id": run_id, "conf": conf}
        if self.major > 2:
            body["logical_date"] = None
        self.request("POST", f"/dags/{quote(dag_id)}/dagRuns", body)

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a Dag run."""
        return str(self.request("GET", f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}")["state"])

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a Dag run as the API describes them."""
        path = f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}/taskInstances?limit=100"
        found: list[dict[str, Any]] = self.request("GET", path)["task_instances"]
        return found

    def clear(self, dag_id: str, run_id: str, task_ids: list[str]) -> None:
        """Clear tasks of a Dag run, whatever state they are in: they run again."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": task_ids,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self.request("POST", f"/dags/{quote(dag_id)}/clearTaskInstances", body)

    def create_pool(self, name: str, slots: int) -> None:
        """Create a pool in which deferred tasks keep their slots."""
        body = {"name": name, "slots": slots, "include_deferred": True}
        self.create("/pools", body)

    def create(self, path: str, body: Any) -> None:
        """Make something by a ``POST``, again if SQLite is locked while Dags are being read."""
        for left in range(9, -1, -1):
            try:
                self.request("POST", path, body)
            except ApiError as error:
                if error.status == 409:  # an earlier request was carried out
                    return
                if not left or not error.may_pass:
                    raise
                time.sleep(1)
            else:
                return

    def create_backfill(self, dag_id: str, from_date: str, to_date: str) -> None:
        """
        Start a backfill. One that SQLite, locked, has left without its runs is cancelled, and begun anew.

        :param from_date: of the first run, ISO 8601.
        :param to_date: of the last one.
        """
        body = {"dag_id": dag_id, "from_date": from_date, "to_date": to_date, "max_active_runs": 1}
        for left in range(9, -1, -1):
            try:
                self.request("POST", "/backfills", body)
            except ApiError as error:
                if not left or not (error.may_pass or error.status == 409):
                    raise
                time.sleep(1)
                self._cancel_backfills(dag_id)
            else:
                return

    def _cancel_backfills(self, dag_id: str) -> None:
        for backfill in self.request("GET", f"/backfills?dag_id={quote(dag_id)}")["backfills"]:
            if backfill["completed_at"] is None:
                with suppress(ApiError):  # it will be met again
                    self.request("PUT", f"/backfills/{backfill['id']}/cancel")

    def pause(self, dag_id: str) -> None:
        """Have nothing start a Dag any more but a person."""
        self.request("PATCH", f"/dags/{quote(dag_id)}", {"is_paused": True})

    def answer_person(self, dag_id: str, run_id: str, task_id: str, option: str) -> None:
        """Answer a task that asks a person, unless that was done before; Airflow 3.1 and newer."""
        path = f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}/taskInstances/{quote(task_id)}/-1/hitlDetails"
        try:
            self.request("PATCH", path, {"chosen_options": [option]})
        except ApiError as error:
            if error.status != 409:
                raise

    def run_ids(self, dag_id: str) -> dict[str, str]:
        """Return the runs of a Dag and their states."""
        runs = self.request("GET", f"/dags/{quote(dag_id)}/dagRuns?limit=100")["dag_runs"]
        return {run["dag_run_id"]: run["state"] for run in runs}

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str, map_index: int) -> Any:
        """Return the value of an XCom."""
        path = f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}/taskInstances/{quote(task_id)}/xcomEntries/{quote(key)}"
        query = urllib.parse.urlencode({"map_index": map_index, "stringify": "false"})
        return self.request("GET", f"{path}?{query}")["value"]


def quote(part: str) -> str:
    """Quote one segment of a path; run ids contain ``+`` and ``:``."""
    return urllib.parse.quote(part, safe="")
