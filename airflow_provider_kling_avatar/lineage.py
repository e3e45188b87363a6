"""
Tells the rest of Airflow of a finished clip: asset events, hook lineage, metrics, OpenLineage.

Nothing here ever fails a task: the clip is there and paid for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_kling_avatar import metrics
from airflow_provider_kling_avatar.kling.redact import redact, scheme_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
    from airflow_provider_kling_avatar.manifest import VideoManifest

SIGNED = ("video_url", "watermark_url")
"""What of a manifest is a permission, and stays out of events."""
_LONGEST = 2048
_ACCOUNT_IS_LOCATION = ("abfs", "abfss", "wasb", "wasbs")


def report_clip(
    context: Context, hook: KlingAvatarHook, manifest: VideoManifest, inputs: Sequence[object] = ()
) -> None:
    """
    Tell of a finished clip: its metrics, the events of the task's outlets, hook lineage.

    :param inputs: image and audio as they were given; what is no location, such as base64, is left out.
    """
    metrics.succeeded(manifest)
    report_file(context, hook, manifest, inputs)


def report_file(
    context: Context, hook: KlingAvatarHook, facts: Mapping[str, Any], inputs: Sequence[object] = ()
) -> None:
    """
    Tell assets and lineage of a file; metrics are left out.

    :param facts: name the file, as a manifest does; the event's ``extra``, without the signed URLs in them.
    """
    known = {name: value for name, value in facts.items() if name not in SIGNED}
    reports: dict[str, Callable[[], None]] = {
        "assets": lambda: _add_to_asset_events(context, known),
        "hook lineage": lambda: _add_to_hook_lineage(hook, known, _uris(inputs)),
        "OpenLineage": lambda: _leave_for_openlineage(context, known, _uris(inputs)),
    }
    for what, report in reports.items():
        try:
            report()
        except Exception as error:  # noqa: BLE001  # the clip is there: nothing may fail the task now
            hook.log.warning(
                "%s could not be told of the clip: %s: %s", what, type(error).__name__, redact(error)
            )


def uri_of(location: object) -> str | None:
    """Return the URI of a location without account and query; ``None`` for what is none, such as base64."""
    if isinstance(location, Mapping):  # a manifest, or another object that names a file
        location = location.get("file_uri") or location.get("file")
    if not isinstance(location, str) or not 0 < len(location.strip()) <= _LONGEST:
        return None
    location = location.strip()
    if scheme_of(location):
        parts = urlsplit(location)
        host = parts.netloc if parts.scheme in _ACCOUNT_IS_LOCATION else parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}"
    # A JPEG in base64 begins with a slash too, but has no full stop.
    return f"file://{location}" if location.startswith("/") and PurePosixPath(location).suffix else None


def dataset_name(uri: str) -> tuple[str, str]:
    """Return an OpenLineage dataset's namespace and name."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return "file", parts.path
    return f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/") or "/"


def _uris(locations: Iterable[object]) -> list[str]:
    return [uri for uri in map(uri_of, locations) if uri]


def _add_to_asset_events(context: Context, facts: Mapping[str, Any]) -> None:
    outlets = getattr(context.get("task"), "outlets", None)
    events = context.get("outlet_events")
    if not outlets or events is None:
        return
    from airflow.providers.common.compat.sdk import Asset, AssetAlias

    for outlet in outlets:
        if not isinstance(outlet, AssetAlias):
            events[outlet].extra.update(facts)
        elif uri := uri_of(facts):
            events[outlet].add(Asset(uri), extra=dict(facts))


def _add_to_hook_lineage(hook: KlingAvatarHook, facts: Mapping[str, Any], inputs: Sequence[str]) -> None:
    from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

    collector = get_hook_lineage_collector()
    for uri in inputs:
        collector.add_input_asset(context=hook, uri=uri)
    for uri in _uris([facts]):
        collector.add_output_asset(context=hook, uri=uri)


def _leave_for_openlineage(context: Context, facts: Mapping[str, Any], inputs: Sequence[str]) -> None:
    task: object = context.get("task")
    if isinstance(task, LineageMixin):
        task.reported, task.reported_inputs = facts, inputs


class LineageMixin:
    """What OpenLineage asks an operator for. Knows what `report_file` left on it."""

    reported: Mapping[str, Any] | None = None
    reported_inputs: Sequence[str] = ()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:  # noqa: ARG002
        """Return inputs, the file, and what the clip cost and how long it took; ``None`` if there is no clip."""
        if self.reported is None:
            return None
        try:
            from airflow_provider_kling_avatar.openlineage_facets import lineage_of

            files = _uris([self.reported, self.reported.get("watermark_file")])
            return lineage_of(
                self.reported, map(dataset_name, self.reported_inputs), map(dataset_name, files)
            )
        except Exception:  # noqa: BLE001  # lineage is no reason to fail
            return None
