"""
What all Kling operators share: fields that render without being shown, and the one submission over all tries.

Knows Airflow's context and stores. How a clip is found again is decided in `kling.submission`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_kling_avatar.compat import BaseOperator, is_asked_anew, state_store
from airflow_provider_kling_avatar.exceptions import airflow_errors
from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling.identity import Work
from airflow_provider_kling_avatar.links.kling_avatar import KlingTaskLink
from airflow_provider_kling_avatar.outcome import push, push_link
from airflow_provider_kling_avatar.rendering import hide, reveal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import jinja2
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_kling_avatar.compat import StateStore
    from airflow_provider_kling_avatar.kling.model import (
        AvatarRequest,
        EndpointName,
        ImageToVideoRequest,
        VideoRequest,
    )
    from airflow_provider_kling_avatar.kling.submission import OnUnknownSubmission, Submission


class KlingOperator(BaseOperator):
    """
    What all Kling operators share: the connection, and fields that render without being shown.

    :param kling_conn_id: the connection.
    """

    request_fields: ClassVar[Sequence[str]] = ()
    ui_color = "#d7f0e5"

    def __init__(
        self, *, kling_conn_id: str = KlingAvatarHook.default_conn_name, validate: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.kling_conn_id = kling_conn_id
        self.validate = validate

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: jinja2.Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """Render as usual, then wrap payloads: what templates render to is stored and shown by Airflow."""
        return hide(super().render_template(content, context, jinja_env, seen_oids))

    def request_values(self) -> dict[str, Any]:
        """
        Return the request's fields as they rendered.

        The word ``None`` counts as not given: it is what a template makes of a value that an upstream task did not
        return, and to have it spoken or filmed would cost money.
        """
        values = {name: reveal(getattr(self, name)) for name in self.request_fields}
        return {
            name: None if isinstance(value, str) and value.strip() == "None" else value
            for name, value in values.items()
        }

    def hook(self) -> KlingAvatarHook:
        """Return a hook for this task's connection."""
        return KlingAvatarHook(self.kling_conn_id)


class _Memory:
    """What Airflow 3.3's task state store keeps of a submission; it survives retries and clears."""

    KEY = "kling_submission"

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def recall(self) -> dict[str, Any]:
        record = self._store.get(self.KEY)
        return record if isinstance(record, dict) else {}

    def remember(self, record: dict[str, Any]) -> None:
        self._store.set(self.KEY, record)


class KlingSubmitOperator(KlingOperator):
    """
    Create one video task and hand on its id. Subclasses say which fields it is made from.

    A retry finds the task that an earlier try created, and pays for nothing.

    :param on_unknown_submission: what to do where neither Airflow's state store (3.3+) nor the vendor can tell
        whether an earlier try has paid: ``fail`` (default), or ``resubmit`` and risk paying twice.
    """

    operator_extra_links = (KlingTaskLink(),)
    request_class: ClassVar[type[AvatarRequest | ImageToVideoRequest]]
    endpoint: ClassVar[EndpointName]

    def __init__(self, *, on_unknown_submission: OnUnknownSubmission = "fail", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.on_unknown_submission = on_unknown_submission

    def execute(self, context: Context) -> Any:
        """Create the task; return its id, also under ``task_id``, with ``external_task_id`` beside it."""
        with airflow_errors():
            return self.submit(context, self.hook()).task.task_id

    def submit(self, context: Context, hook: KlingAvatarHook) -> Submission:
        """
        Bring the request to the vendor exactly once over all tries.

        :raises KlingError: nothing was sent, or nobody can say whether the vendor took it.
        """
        from airflow_provider_kling_avatar.kling.submission import Submitter

        request: VideoRequest = self.request_class.from_fields(**self.request_values())
        prepared = hook.prepare(request, validate=self.validate)
        self.log.info(
            "sending to %s at %s%s",
            hook.config.dialect.title,
            hook.config.base_url,
            f": {prepared.audio_seconds:.1f} s of audio" if prepared.audio_seconds else "",
        )
        ti = context["ti"]
        store = state_store(context)
        submission = Submitter(
            hook.get_conn(),
            prepared,
            Work(
                ti.dag_id,
                ti.task_id,
                ti.run_id,
                -1 if ti.map_index is None else ti.map_index,
                self.kling_conn_id,
            ),
            memory=_Memory(store) if store is not None else None,
            first_try=ti.try_number <= 1,
            asked_anew=is_asked_anew(context, self.retries or 0),
            on_unknown_submission=self.on_unknown_submission,
        ).run()
        task = submission.task
        push(context, task_id=task.task_id, external_task_id=submission.external_task_id)
        push_link(context, hook, self.endpoint, task.task_id)
        self.log.info(
            "task %s %s (%s), external id %s, request id %s",
            task.task_id,
            "created" if submission.is_new else "found again",
            task.status,
            submission.external_task_id,
            task.request_id,
        )
        return submission
