"""
What all Kling operators share: fields that render without being shown, and the one submission over all tries.

Knows Airflow's context and how to wait for a free slot. `kling.submission` decides how a clip is found again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow_provider_kling_avatar import metrics
from airflow_provider_kling_avatar.base_task import KlingTask, whole_signature
from airflow_provider_kling_avatar.clip_summary import SENDS, tell
from airflow_provider_kling_avatar.compat import is_asked_anew, own_xcom, round_of
from airflow_provider_kling_avatar.completion import push, push_link
from airflow_provider_kling_avatar.exceptions import airflow_errors
from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook, open_storage
from airflow_provider_kling_avatar.kling.errors import InvalidRequestError, KlingError, NoFreeSlotError
from airflow_provider_kling_avatar.kling.submission.identity import TaskIdentity
from airflow_provider_kling_avatar.kling.submission.speech import given_speech
from airflow_provider_kling_avatar.kling.submission.state import (
    Policies,
    Try,
    leave_mark,
    load,
    note_delivery,
)
from airflow_provider_kling_avatar.lineage import uri_of
from airflow_provider_kling_avatar.links.kling_avatar import KlingTaskLink
from airflow_provider_kling_avatar.masking import mask, unmask
from airflow_provider_kling_avatar.state_store import state_store_of
from airflow_provider_kling_avatar.text_files import EXTENSIONS, FIELDS, names_file, source_of, words_of
from airflow_provider_kling_avatar.waiting import (
    DEFAULT_DEFERRABLE,
    DEFAULT_SLOT_TIMEOUT,
    Queueing,
    interval,
    is_not_now,
    seconds,
    slot_trigger,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Unpack

    import jinja2
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_kling_avatar.cost_limits import CostLimits
    from airflow_provider_kling_avatar.kling.models import (
        AvatarRequest,
        EndpointName,
        ImageToVideoRequest,
        VideoRequest,
    )
    from airflow_provider_kling_avatar.kling.submission.request import Prepared
    from airflow_provider_kling_avatar.kling.submission.speech import Spoken
    from airflow_provider_kling_avatar.kling.submission.state import (
        OnChangedInput,
        OnRerun,
        OnUnknownSubmission,
    )
    from airflow_provider_kling_avatar.kling.submission.submit import Approval, Submission, Submitter
    from airflow_provider_kling_avatar.parameters import Duration, KlingArguments, Money, Templated

SPEECH_XCOM_KEY = "kling_speech"
"""
Where a try leaves the voice of its text while it waits for a slot, so that it is not spoken again:
``input_fingerprint`` beside what `KlingTextToSpeechOperator` leaves under ``speech``.
"""


QUEUEING_XCOM_KEY = "kling_queueing"
"""
Where a try leaves how long it has been waiting for a slot: ``try_number``, ``since`` and ``deadline`` (Unix seconds).
"""

SUBMIT_REQUEST_XCOM_KEY = "kling_submit_request_id"
"""Where a try leaves the vendor's id of the answer to its submission, for the manifest."""


PAID_FOR_XCOM_KEY = "kling_paid_for"
"""
Where a try leaves what the clip was made from and thought to cost when it was paid for, perhaps by an earlier try with
other inputs: ``mode``, ``image``, ``audio`` (places, without what signs a link) and ``estimate``.
"""


def identity_of(context: Context, kling_conn_id: str) -> TaskIdentity:
    """Return what the running task instance is over all its tries."""
    ti = context["ti"]
    map_index = -1 if ti.map_index is None else ti.map_index
    return TaskIdentity(ti.dag_id, ti.task_id, ti.run_id, map_index, kling_conn_id)


def _given(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip() == "None" else value


class KlingOperator(KlingTask):
    """What all Kling operators share: fields that render without being shown, and the connection's hook."""

    request_fields: ClassVar[Sequence[str]] = ()
    template_ext: Sequence[str] = EXTENSIONS

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: jinja2.Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """
        Render as usual, then wrap payloads: what templates render to is stored and shown by Airflow.

        A text is never taken for a file here: which field may name one is decided in `text_files`.
        """
        if isinstance(content, str) and content.endswith(EXTENSIONS):
            env = jinja_env or self.get_template_env()
            return mask(self._render(env.from_string(content), context))
        return mask(super().render_template(content, context, jinja_env, seen_oids))

    def resolve_template_files(self) -> None:
        """Leave files alone while the Dag is parsed: they are read when the task runs."""
        self.prepare_template()

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        """Put what a file holds in the place of its name, and render it as if it stood there."""
        for name in FIELDS if parent is self else ():
            value = getattr(self, name, None)
            words = source_of(str(value), jinja_env) if names_file(value) else None
            if words is not None:
                setattr(self, name, words)
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)

    def request_values(self) -> dict[str, Any]:
        """
        Return the request's fields as they rendered.

        The word ``None`` counts as not given: it is what a template makes of a value that an upstream task did not
        return, and to have it spoken or filmed would cost money.
        """
        values = {name: self.given(name) for name in self.request_fields}
        for name in FIELDS:
            if isinstance(values.get(name), str):
                values[name] = _given(words_of(name, values[name], open_storage))
        return values

    def given(self, field: str) -> Any:
        """Return one of the request's fields as it rendered, without reading the file that it may name."""
        return _given(unmask(getattr(self, field)))

    def hook(self) -> KlingAvatarHook:
        """Return a hook for this task's connection."""
        return KlingAvatarHook(self.kling_conn_id)

    def try_of(
        self, context: Context, policies: Policies, state_path: str | None, *, refused: bool = False
    ) -> Try:
        """
        Return what is known of the running try.

        :param policies: what the user wants where there is a choice.
        :param state_path: see `KlingSubmitOperator`.
        :param refused: the vendor has just refused this work for want of a slot.
        """
        retries, work = self.retries or 0, identity_of(context, self.kling_conn_id)
        return Try(
            work,
            state_store_of(context, state_path, work),
            policies,
            first=context["ti"].try_number <= 1 and not refused,
            asked_anew=is_asked_anew(context, retries),
            round=round_of(context, retries),
            refused=refused,
        )


@whole_signature
class KlingSubmitOperator(KlingOperator):
    """
    Create one video task and hand on its id. Subclasses say which fields it is made from.

    A retry finds the task that an earlier try created, and pays for nothing. While the account is full, the task
    waits for a slot without using up a retry.

    Airflow comes in by `execute` and, after a deferral, by `execute_complete`; both `carry_out` the rest.

    :param validate: ``False`` skips the limits, for a vendor that changed its own.
    :param deferrable: wait in the triggerer; ``False`` holds the worker, for those without a triggerer. By default as
        ``[kling_avatar] default_deferrable`` says, which is true.
    :param poll_interval: seconds between two questions while it waits in the triggerer. By default as often as costs
        little: every 1.8 s by one list for all who wait, or every 10 s for each where there is no list.
    :param slot_timeout: seconds to wait for a free slot while the account is full.
    :param on_unknown_submission: what to do where neither a store nor the vendor can tell whether an earlier try has
        paid: ``fail`` (default), or ``resubmit`` and risk paying twice.
    :param on_changed_input: what to do if the inputs differ from those that an earlier try submitted. ``keep``
        (default): a retry goes on with that clip, whatever its prompt, its text and the queries of its links are by
        now, and stops if it was made from other media or on another account; a clear makes a new clip. ``submit_new``
        pays for a new clip in a retry too, ``fail`` stops. ``fail`` needs Airflow 3.3 or a ``state_path``.
    :param on_rerun: what to do if the task has succeeded and is cleared: ``reuse`` its clip (default, free), or
        ``regenerate`` a new one.
    :param state_path: a folder in any storage (``/shared/state``, ``s3://conn_id@bucket/prefix``) where submissions
        are noted down, in place of Airflow's task state store; for Airflow before 3.3, which has none.
    :param max_cost: what the clip may cost at most, in the currency of its price, such as ``"1.50"``; more is refused
        before it is paid. If the connection has a ``max_cost`` too, the smaller one counts.
    :param max_cost_per_run: what all rows of this mapped task may cost together in this run.
    """

    operator_extra_links = (KlingTaskLink(),)
    request_class: ClassVar[type[AvatarRequest | ImageToVideoRequest]]
    endpoint: ClassVar[EndpointName]
    transcode_audio: bool = False
    sent_state: ClassVar[str] = "submitted"
    """How a clip that was sent stands, for its summary; and what this task does for it."""
    step: ClassVar[int] = SENDS

    def __init__(
        self,
        *,
        task_id: str,
        validate: bool = True,
        deferrable: bool = DEFAULT_DEFERRABLE,
        poll_interval: Duration | None = None,
        slot_timeout: Duration = DEFAULT_SLOT_TIMEOUT,
        on_unknown_submission: OnUnknownSubmission = "fail",
        on_changed_input: OnChangedInput = "keep",
        on_rerun: OnRerun = "reuse",
        state_path: Templated[str] | None = None,
        max_cost: Money | None = None,
        max_cost_per_run: Money | None = None,
        **kwargs: Unpack[KlingArguments],
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        self.validate = validate
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.slot_timeout = slot_timeout
        self.on_unknown_submission = on_unknown_submission
        self.on_changed_input = on_changed_input
        self.on_rerun = on_rerun
        self.state_path = cast("str | None", state_path)
        self.max_cost = max_cost
        self.max_cost_per_run = max_cost_per_run
        self._task_id: str | None = None

    def execute(self, context: Context) -> Any:
        """Create the task and do what has to be done with it; return that."""
        return self.begin(context)

    def begin(self, context: Context) -> Any:
        """Do what `execute` does; Airflow wants that one to be called by itself alone."""
        with airflow_errors(context):
            leave_mark(self._this_try(context))
            return self.carry_out(context, self.hook(), None)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Resume after a deferral: go on with what the trigger reported; return what `execute` returns."""
        with airflow_errors(context):
            return self.carry_out(context, self.hook(), event or {})

    def carry_out(self, context: Context, hook: KlingAvatarHook, event: dict[str, Any] | None) -> Any:
        """
        Create the task; return its id, also under ``task_id``, with ``external_task_id`` beside it.

        :param event: what a trigger reported; ``None`` at the beginning of a try, empty if it ended without a report.
        """
        submission = self.submit(context, hook, self.queueing(event))
        self.note_delivery(context)
        return submission.task.task_id

    def queueing(self, event: dict[str, Any] | None) -> Queueing | None:
        """Return how long this try has been waiting for a slot, if that is what it was deferred for."""
        if event is None:
            return None
        queueing = Queueing.from_event(event)
        # Airflow overwrites the triggerer's part of the log at the next deferral: this line tells what it told.
        self.log.info("sending again after waiting for a free slot for %.0f s", time.time() - queueing.since)
        return queueing

    def submit(self, context: Context, hook: KlingAvatarHook, queueing: Queueing | None) -> Submission:
        """
        Bring the request to the vendor exactly once over all tries, waiting for a slot if the account is full.

        :param queueing: how long this try has been waiting for a slot, if it has.
        :raises KlingError: nothing was sent, or nobody can say whether the vendor took it.
        :raises TaskDeferred: the account is full.
        """
        from airflow_provider_kling_avatar.cost_limits import release_share

        prepared, cost_limits = self._prepare(context, hook)
        while True:
            submitter = self._submitter(context, hook, prepared, queueing, cost_limits)
            try:
                submission = submitter.run()
            except KlingError as error:
                if not (submitter.was_refused and is_not_now(error)):
                    if submitter.was_refused:
                        release_share(context)
                    raise
                self._keep_speech(context, prepared, submitter.spoken)
                push_link(context, hook, None)
                queueing = self.wait_for_slot(context, hook, error, queueing)
            else:
                self._hand_on(context, hook, submission)
                self._keep_speech(context, prepared, submitter.spoken)
                if not submission.is_new:
                    spoken = submitter.spoken
                    cost_limits.note_bought(submission.paid_for, spoken.duration if spoken else None)
                return submission

    def _prepare(self, context: Context, hook: KlingAvatarHook) -> tuple[Prepared, CostLimits]:
        """
        Return what is to be bought, checked, and what it may cost. Free.

        :raises InvalidRequestError: the vendor would refuse it, or a parameter is wrong.
        """
        from airflow_provider_kling_avatar.cost_limits import CostLimits, declared_length, parse_limit

        seconds("slot_timeout", self.slot_timeout)  # wrong ones are said before anything is paid
        interval(self.poll_interval)
        for name in ("max_cost", "max_cost_per_run"):
            parse_limit(name, getattr(self, name))
        request: VideoRequest = self.request_class.from_fields(**self.request_values())
        request, declared = declared_length(request, hook.config.dialect)
        try:
            prepared = hook.prepare(
                request, validate=self.validate, transcode_audio=self.transcode_audio is True
            )
        except InvalidRequestError:
            self._log_what_is_bought(context)
            raise
        self.log.info(
            "a clip from %s at %s: %s",
            hook.config.dialect.title,
            hook.config.base_url,
            _inputs_in_words(request, prepared.audio_seconds),
        )
        return prepared, CostLimits(
            context,
            hook.config,
            request,
            prepared,
            declared=declared,
            max_cost=self.max_cost,
            max_cost_per_run=self.max_cost_per_run,
        )

    def wait_for_slot(
        self, context: Context, hook: KlingAvatarHook, error: KlingError, queueing: Queueing | None
    ) -> Queueing:
        """
        Wait until the vendor may take one more; uses up no retry.

        :param error: how the vendor said that it takes none.
        :raises NoFreeSlotError: ``slot_timeout`` has passed.
        :raises TaskDeferred: waiting goes on in the triggerer.
        """
        from airflow_provider_kling_avatar.cost_limits import release_share

        if queueing is None:  # a clip of this try may have been taken and failed for want of a slot before
            queueing = self._queued_before(context) or Queueing.begin(
                seconds("slot_timeout", self.slot_timeout)
            )
        try:
            queueing.check(error)
        except NoFreeSlotError:
            release_share(context)
            raise
        if hint := queueing.hint(error):
            self.log.warning("%s", hint)
        self._push_summary(context, hook, "waiting_for_slot")
        queued = {
            "try_number": context["ti"].try_number,
            "since": queueing.since,
            "deadline": queueing.deadline,
        }
        push(context, **{QUEUEING_XCOM_KEY: queued})
        if self.deferrable:
            deferral = slot_trigger(hook, self.endpoint, error, queueing, interval(self.poll_interval))
            self.log.info(
                "%s: waiting for a free slot in the triggerer, no worker and no retry is used", error
            )
            self.give_way(context, deferral)
        pause = queueing.pause(error)
        self.log.info("%s: sending again in %.0f s, no retry is used", error, pause)
        time.sleep(pause)
        return queueing

    def approval(self, cost_limits: CostLimits, *, is_unsent: bool) -> Approval:  # noqa: ARG002 - for subclasses
        """
        Return who is asked right before anything is paid.

        :param cost_limits: the limits of cost.
        :param is_unsent: this try has sent nothing yet.
        """
        return cost_limits

    def _submitter(
        self,
        context: Context,
        hook: KlingAvatarHook,
        prepared: Prepared,
        queueing: Queueing | None,
        cost_limits: CostLimits,
    ) -> Submitter:
        from airflow_provider_kling_avatar.cost_limits import pushed_estimate
        from airflow_provider_kling_avatar.kling.submission.submit import Submitter

        return Submitter(
            hook.get_conn(),
            prepared,
            self._this_try(context, refused=queueing is not None),
            spoken=self._spoken(context, prepared) if queueing else None,
            paid_for=lambda: {
                "mode": cost_limits.mode,
                "estimate": pushed_estimate(context),
                **self._input_uris(),
            },
            approval=self.approval(cost_limits, is_unsent=queueing is None),
        )

    def _hand_on(self, context: Context, hook: KlingAvatarHook, submission: Submission) -> None:
        """Tell everybody who may want to know which task it is. The state store knows already."""
        task = submission.task
        self._task_id = task.task_id
        metrics.submitted(hook.config.dialect.name, self.endpoint, is_new=submission.is_new)
        try:
            push(context, task_id=task.task_id, external_task_id=submission.external_task_id)
            push_link(context, hook, task.task_id)
            push(context, **{PAID_FOR_XCOM_KEY: dict(submission.paid_for) or None})
            if submission.is_new:
                push(context, **{SUBMIT_REQUEST_XCOM_KEY: task.request_id})
        except Exception:
            self.log.exception("task %s is paid for, but its id could not be handed on", task.task_id)
            raise
        estimate = submission.paid_for.get("estimate") or {}
        self._push_summary(
            context,
            hook,
            self.sent_state,
            kling_task_id=task.task_id,
            external_task_id=submission.external_task_id,
            mode=submission.paid_for.get("mode"),
            estimated_cost=estimate.get("amount"),
            currency=estimate.get("currency"),
        )
        self.log.info(
            "task %s %s (%s), external id %s, request id %s",
            task.task_id,
            "created" if submission.is_new else "found again",
            task.status,
            submission.external_task_id,
            task.request_id,
        )

    def _push_summary(self, context: Context, hook: KlingAvatarHook, state: str, **facts: object) -> None:
        """Say in the clip's summary how it stands."""
        tell(context, state, step=self.step, api=hook.config.dialect.name, endpoint=self.endpoint, **facts)

    def _log_what_is_bought(self, context: Context) -> None:
        """Name the clip that an earlier try has paid for, when its inputs can no longer be read."""
        with suppress(KlingError):
            if task_id := load(self._this_try(context).store).task_id:
                self.log.warning(
                    "an earlier try has paid for task %s; a KlingAvatarSensor fetches it by this id without the inputs",
                    task_id,
                )

    def _keep_speech(self, context: Context, prepared: Prepared, spoken: Spoken | None) -> None:
        """Leave the voice for this try: it may wait for a slot, before its clip is taken or after that failed."""
        if spoken:
            push(
                context,
                **{SPEECH_XCOM_KEY: {"input_fingerprint": str(prepared.fingerprint), **spoken.as_given()}},
            )

    def _spoken(self, context: Context, prepared: Prepared) -> Spoken | None:
        """Return the voice that this try got before it began to wait for a slot."""
        left = own_xcom(context, SPEECH_XCOM_KEY)
        return given_speech(left) if left and left["input_fingerprint"] == str(prepared.fingerprint) else None

    def _queued_before(self, context: Context) -> Queueing | None:
        """Return how long this try has waited for a slot already."""
        left = own_xcom(context, QUEUEING_XCOM_KEY)
        is_of_this_try = left is not None and left["try_number"] == context["ti"].try_number
        return Queueing(left["since"], left["deadline"]) if is_of_this_try else None

    def _this_try(self, context: Context, *, refused: bool = False) -> Try:
        policies = Policies(self.on_unknown_submission, self.on_changed_input, self.on_rerun)
        return self.try_of(context, policies, self.state_path, refused=refused)

    def _input_uris(self) -> dict[str, str | None]:
        """Return where image and audio came from, without what signs a link."""
        return {name: uri_of(self.given(name)) for name in ("image", "audio") if name in self.request_fields}

    def note_delivery(self, context: Context) -> None:
        """Note that the task has done its work, so that a clear after this is known as a wish for another run."""
        try:
            note_delivery(self._this_try(context))
        except Exception as error:  # noqa: BLE001  # the clip is there: nothing may fail the task now
            self.log.warning("could not note down that the clip was delivered: %s", type(error).__name__)

    def on_kill(self) -> None:
        """Say that the vendor goes on: Kling has no way to cancel a task."""
        if self._task_id:
            self.log.warning(
                "killed; Kling cannot cancel: task %s runs on and may be billed. A new try picks it up again",
                self._task_id,
            )


def _inputs_in_words(request: VideoRequest, audio_seconds: float | None) -> str:
    """Say what a clip is made from, without a payload or a permission in it."""
    told = [
        f"{name} {mask(str(value))}" for name in ("image", "audio") if (value := getattr(request, name, None))
    ]
    if text := getattr(request, "text", None):
        told.append(f"text of {len(text)} characters")
    if getattr(request, "audio_id", None):
        told.append("a voice that was spoken before")
    if audio_seconds:
        told.append(f"{audio_seconds:.1f} s of audio")
    return ", ".join(told)
