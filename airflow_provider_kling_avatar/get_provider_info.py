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
CONFIG_SECTION = "kling_avatar"
"""Of ``airflow.cfg``."""
OPTIONS: dict[str, Any] = {
    "description": "Settings of the Kling Avatar provider.",
    "options": {
        "default_deferrable": {
            "description": "Whether operators and the sensor wait in the triggerer unless the task says "
            "``deferrable`` itself.",
            "version_added": "0.1.0",
            "type": "boolean",
            "example": None,
            "default": "True",
        },
        "gallery_roots": {
            "description": "What of finished clips the gallery may show (Airflow 3.1 and newer), separated "
            "by commas: folders of the API server's machine, and storage URIs such as "
            "``s3://aws_default@bucket/news``. Without a folder no local file is shown; without a storage "
            "URI what lies in any storage is, if its own URI names a connection.",
            "version_added": "0.1.0",
            "type": "string",
            "example": "/shared/clips,s3://aws_default@newsroom/clips",
            "default": "",
        },
    },
}


def _modules(package: str, *names: str) -> list[dict[str, Any]]:
    modules = [f"{_PACKAGE}.{package}.{name}" for name in ("kling_avatar", *names)]
    return [{"integration-name": _INTEGRATION, "python-modules": modules}]


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
        "config": {CONFIG_SECTION: OPTIONS},
        "hooks": _modules("hooks"),
        "operators": _modules("operators", "kling_video_download"),
        "sensors": _modules("sensors"),
        "triggers": _modules("triggers", "kling_slot", "kling_clips"),
        "plugins": [
            {"name": "kling_clips", "plugin-class": f"{_PACKAGE}.plugins.kling_clips.KlingClipsPlugin"}
        ],
        "notifications": [f"{_PACKAGE}.notifications.kling_avatar.KlingFailureNotifier"],
        "task-decorators": [
            {"name": "kling_avatar", "class-name": f"{_PACKAGE}.decorators.kling_avatar.kling_avatar_task"}
        ],
        "extra-links": [f"{_PACKAGE}.links.kling_avatar.KlingTaskLink"],
    }
