"""
A small Airflow that people have to log in to, with rights by Dag: FAB's auth manager on Airflow 3.

Wants `apache-airflow-providers-fab` in the environment. Knows nothing about this provider.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_api import AirflowApi
from local_airflow import LocalAirflow
from managed_airflow import PATIENCE, ManagedAirflowError

if TYPE_CHECKING:
    from collections.abc import Sequence

FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"


@dataclass(frozen=True)
class User:
    """
    Somebody who may log in.

    :param role: one of FAB's, or another name: then of a role that may see what a viewer may and the pages of plugins,
        but only those Dags that name it in their ``access_control``.
    """

    name: str
    password: str
    role: str


class GuardedAirflow(LocalAirflow):
    """
    An Airflow with a login.

    :param users: the first one is the administrator in whose name the tools ask.
    :param options: what `ManagedAirflow` takes.
    """

    def __init__(self, dags: Path, *, users: Sequence[User], **options: Any) -> None:
        self.users = list(users)
        super().__init__(dags, **options)
        self.api = AirflowApi(self.url, self.major, (users[0].name, users[0].password))

    def _settings(self) -> dict[str, str]:
        """Have FAB decide who may see what."""
        return {
            "AIRFLOW__CORE__AUTH_MANAGER": FAB,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",  # 3.2 heeds it whatever the auth manager is
            "AIRFLOW__FAB__CONFIG_FILE": str(self.home / "fab_config.py"),
            "AIRFLOW__FAB__ENABLE_PROXY_FIX": "False",
        }

    def _prepare(self) -> None:
        """Create roles and users: before the Dags are read, which name them."""
        (self.home / "fab_config.py").write_text("WTF_CSRF_ENABLED = True\nRATELIMIT_ENABLED = False\n")
        done = subprocess.run(
            [str(self.python), str(Path(__file__).with_name("guarded_users.py"))],
            input=json.dumps([asdict(user) for user in self.users]).encode(),
            capture_output=True,
            check=False,
            timeout=PATIENCE,
            env=self.env,
            cwd=self.home,
        )
        if done.returncode:
            raise ManagedAirflowError(f"the users could not be created\n{done.stderr.decode()}")
