"""
The vendors' APIs, without Airflow.

What stands here is public, for scripts of one's own; of the modules beside it only `client`, `config` and `errors` are.
Loaded on first use: Airflow imports this package whenever it parses a Dag.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling import errors
    from airflow_provider_kling_avatar.kling.client import AsyncKlingClient, KlingClient
    from airflow_provider_kling_avatar.kling.config import KlingConfig
    from airflow_provider_kling_avatar.kling.errors import KlingError
    from airflow_provider_kling_avatar.kling.models import (
        AvatarRequest,
        ImageToVideoRequest,
        SpeechRequest,
        VideoTask,
    )
    from airflow_provider_kling_avatar.kling.submission.request import prepare
    from airflow_provider_kling_avatar.kling.submission.submit import submit_once

_HOME_OF = {
    "AsyncKlingClient": "client",
    "AvatarRequest": "models",
    "ImageToVideoRequest": "models",
    "KlingClient": "client",
    "KlingConfig": "config",
    "KlingError": "errors",
    "SpeechRequest": "models",
    "VideoTask": "models",
    "prepare": "submission.request",
    "submit_once": "submission.submit",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name == "errors":
        return import_module(f"{__name__}.errors")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


__all__ = [
    "AsyncKlingClient",
    "AvatarRequest",
    "ImageToVideoRequest",
    "KlingClient",
    "KlingConfig",
    "KlingError",
    "SpeechRequest",
    "VideoTask",
    "errors",
    "prepare",
    "submit_once",
]
