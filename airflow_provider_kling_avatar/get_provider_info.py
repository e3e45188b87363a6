"""What Airflow reads about this provider. Imports nothing heavy: every Airflow process reads it at its start."""

from __future__ import annotations

from typing import Any

from airflow_provider_kling_avatar import __version__
from airflow_provider_kling_avatar.connection_form import (
    CONN_FIELDS,
    CONN_NAME,
    CONN_TYPE,
    UI_FIELD_BEHAVIOUR,
)

_PACKAGE = "airflow_provider_kling_avatar"
_INTEGRATION = "Kling Avatar"


def _modules(room: str) -> list[dict[str, Any]]:
    return [{"integration-name": _INTEGRATION, "python-modules": [f"{_PACKAGE}.{room}.kling_avatar"]}]


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata in the shape of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-kling-avatar",
        "name": _INTEGRATION,
        "description": "Talking-head videos from a face and a voice, on whichever Kling Avatar API you have a key for.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://klingai.com/document-api/api/video/avatar",
                "tags": ["service"],
            }
        ],
        "connection-types": [
            {
                "connection-type": CONN_TYPE,
                "hook-class-name": f"{_PACKAGE}.hooks.kling_avatar.KlingAvatarHook",
                "hook-name": CONN_NAME,
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
                "conn-fields": CONN_FIELDS,
            }
        ],
        "hooks": _modules("hooks"),
        "operators": _modules("operators"),
        "sensors": _modules("sensors"),
        "triggers": _modules("triggers"),
        "extra-links": [f"{_PACKAGE}.links.kling_avatar.KlingTaskLink"],
    }
