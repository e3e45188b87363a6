"""
The connection form, as data: read by `get_provider_info` (Airflow 3.2+) and by the hook's form methods (2.11).

Imports nothing: Airflow reads it at every start.
"""

from __future__ import annotations

from typing import Any

CONN_TYPE = "kling_avatar"
CONN_NAME = "Kling Avatar"

APIS = ("kling", "kling-broadcast", "cometapi", "generations", "relay")

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "port"],
    "relabeling": {
        "host": "Base URL",
        "login": "Access key (only with a secret key)",
        "password": "API key, or secret key",
    },
    "placeholders": {
        "host": "https://api-singapore.klingai.com (default), https://api-beijing.klingai.com, or your gateway",
        "login": "leave empty if you have one API key",
    },
}


def _field(label: str, description: str, kind: str = "string", **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], **schema}}


CONN_FIELDS: dict[str, dict[str, Any]] = {
    "api": _field(
        "API",
        "Which Kling API the key is for. A Dag never changes when this does.",
        enum=list(APIS),
        default="kling",
    ),
    "path_prefix": _field("Path prefix", "Goes before every path of a gateway, such as /kling."),
    "query_path": _field(
        "Query path", "Where one task is asked for, with {path} and {id}. Empty: {path}/{id}."
    ),
    "list_path": _field(
        "List path",
        "Where tasks are listed, with {path}. Empty: as documented. false: this gateway cannot list.",
    ),
    "limits": _field(
        "Limits",
        'Limits that differ from the documents, as JSON: {"avatar.prompt.maxLength": 500}',
    ),
    "connect_timeout": _field(
        "Connect time-out", "Seconds to wait for a connection. Empty: 10.", "number", exclusiveMinimum=0
    ),
    "read_timeout": _field(
        "Read time-out", "Seconds to wait for an answer. Empty: 120.", "number", exclusiveMinimum=0
    ),
    "task_link": _field(
        "Task link",
        "Address of the vendor's page about a task, with {task_id}, for the extra link before Airflow 3.1.",
    ),
    "prices": _field(
        "Prices",
        'What this account pays a second, as JSON: {"avatar.std": "0.05", "avatar.pro": "0.10", "currency": "USD"}',
    ),
    "max_cost": _field(
        "Most per clip",
        "What one clip may cost at most, such as 1.50, in the currency of the prices. Empty: no limit.",
    ),
    "allow_private_addresses": _field(
        "Files in a private network",
        "true: clips, and audio to be measured, may be fetched from a private network. Empty: only from this host.",
    ),
}
