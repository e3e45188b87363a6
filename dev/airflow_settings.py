"""
The settings under which a throw-away Airflow runs: everything by environment variable, nothing by airflow.cfg.

Knows the names of Airflow's options across versions 2.11 to 3.3, and why each differs from its default.
"""

from __future__ import annotations

import base64
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Anonymous visitors of the 2.11 web server and REST API are administrators: it listens on the loopback interface
# only, and a login would cost a user database.
WEBSERVER_CONFIG = 'AUTH_ROLE_PUBLIC = "Admin"\nWTF_CSRF_ENABLED = True\n'


def clean_environment(python: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """
    Return the environment of every Airflow process, apart from Airflow's own settings.

    The developer's settings of another Airflow, and of a pytest this may run under, stay outside.

    :param python: interpreter of the environment Airflow is installed in.
    :param extra: variables that win over everything.
    """
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "_AIRFLOW", "PYTEST_")) and name != "VIRTUAL_ENV"
    }
    env["PATH"] = os.pathsep.join([str(python.parent), env.get("PATH", os.defpath)])  # `airflow`, `gunicorn`
    env["PYTHONUNBUFFERED"] = "1"
    for name in ("NO_PROXY", "no_proxy"):  # the components talk to each other over HTTP
        env[name] = ",".join(filter(None, [env.get(name), "127.0.0.1", "localhost"]))
    env.update(extra)
    return env


def airflow_settings(
    *, major: int, home: Path, dags: Path, port: int, log_ports: tuple[int, int], parallelism: int
) -> dict[str, str]:
    """
    Return Airflow's settings as environment variables.

    :param major: major version of Airflow.
    :param port: of the web server (2.11) or API server (3.x).
    :param log_ports: of the log servers of the worker and the triggerer; their defaults are fixed, so that a second
        Airflow on the machine would clash.
    :param parallelism: workers to start; Airflow's default of 32 forks them all beforehand.
    """
    url = f"http://127.0.0.1:{port}"
    secret = secrets.token_urlsafe(64)  # PyJWT warns below 64 bytes
    settings = {
        "CORE__DAGS_FOLDER": str(dags),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__PARALLELISM": str(parallelism),
        "CORE__FERNET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        "LOGGING__WORKER_LOG_SERVER_PORT": str(log_ports[0]),
        "LOGGING__TRIGGER_LOG_SERVER_PORT": str(log_ports[1]),
        "USAGE_DATA_COLLECTION__ENABLED": "False",  # nothing leaves the machine
        "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",  # healthy sooner
    }
    if major == 2:
        settings |= {
            "CORE__EXECUTOR": "SequentialExecutor",  # the only one 2.11 allows on SQLite
            "METRICS__TIMER_UNIT_CONSISTENCY": "True",  # silences a warning of every command
            "SCHEDULER__DAG_DIR_LIST_INTERVAL": "5",
            "WEBSERVER__BASE_URL": url,
            "WEBSERVER__CONFIG_FILE": str(home / "webserver_config.py"),
            "WEBSERVER__SECRET_KEY": secret,
            "WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",
            "WEBSERVER__WEB_SERVER_PORT": str(port),
            "WEBSERVER__WORKERS": "1",
        }
    else:
        settings |= {
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",  # does not follow the port by itself
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "API__BASE_URL": url,
            "API__HOST": "127.0.0.1",
            "API__PORT": str(port),
            "API__SECRET_KEY": secret,
            "API__WORKERS": "1",
            "API_AUTH__JWT_ISSUER": url,  # 3.0 writes None into its tokens otherwise, which newer PyJWT refuses
            "API_AUTH__JWT_SECRET": secret,
            "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            # Five seconds by default, which a busy machine may take: the scheduler then fails a task that never began.
            "WORKERS__EXECUTION_API_TIMEOUT": "60",
        }
    return {"AIRFLOW_HOME": str(home)} | {f"AIRFLOW__{name}": value for name, value in settings.items()}


def distributed_settings(*, major: int, database: str, broker: str, prefix: str) -> dict[str, str]:
    """
    Return what differs for Celery workers on PostgreSQL and Redis, as environment variables.

    What has died is noticed within half a minute, not five: somebody waits for it.

    :param major: major version of Airflow.
    :param database: URL of the database, ``postgresql://...``.
    :param broker: URL of the Redis database, ``redis://...``.
    :param prefix: begins the name of every key in Redis, so that several Airflows can share it.
    """
    # The driver has to be named: plain `postgresql://` wants psycopg 3 in Celery's result store.
    database = database.replace("postgresql://", "postgresql+psycopg2://", 1)
    settings = {
        "CELERY__BROKER_URL": broker,
        "CELERY__RESULT_BACKEND": f"db+{database}",
        "CELERY_BROKER_TRANSPORT_OPTIONS__GLOBAL_KEYPREFIX": prefix,
        "CORE__EXECUTOR": "CeleryExecutor",
        "DATABASE__SQL_ALCHEMY_CONN": database,
        # A message that a killed worker had taken, but not begun, is sent again.
        "SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
        "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
        "TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
    }
    if major == 2:
        settings |= {
            "SCHEDULER__LOCAL_TASK_JOB_HEARTBEAT_SEC": "2",
            "SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "20",
            # 2.11 reports a dead task at each look until the report has been worked off, which takes the Dag file's
            # next turn; a report that is late fails the next try, even one that has succeeded.
            "SCHEDULER__ZOMBIE_DETECTION_INTERVAL": "15",
            "SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "5",
        }
    else:
        settings |= {
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "WORKERS__EXECUTION_API_TIMEOUT": "5",  # an API server that was frozen or killed is asked again soon
        }
    return {f"AIRFLOW__{name}": value for name, value in settings.items()}
