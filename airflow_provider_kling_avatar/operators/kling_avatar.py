"""
The operators: they render templates, prepare and submit on the worker, and defer with ids only.

What a request may hold, how it is sent once, and when waiting ends is decided in the `kling` room.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow_provider_kling_avatar.base_task import whole_signature
from airflow_provider_kling_avatar.clip_summary import WAITS
from airflow_provider_kling_avatar.compat import own_xcom
from airflow_provider_kling_avatar.completion import (
    ResultContext,
    StorageThenCostLimits,
    before_sending,
    deliver,
    landing_of,
    log_durations,
    look_once_more,
    push,
    push_link,
    read_event,
)
from airflow_provider_kling_avatar.exceptions import airflow_errors
from airflow_provider_kling_avatar.kling.errors import KlingError
from airflow_provider_kling_avatar.kling.models import (
    AvatarRequest,
    ImageToVideoRequest,
    SpeechRequest,
)
from airflow_provider_kling_avatar.kling.polling.decide import (
    DEFAULT_MAX_FAILED_POLLS,
    Finished,
    PollTracker,
)
from airflow_provider_kling_avatar.kling.polling.wait import wait_for_task
from airflow_provider_kling_avatar.kling.submission.state import Policies, note_delivery
from airflow_provider_kling_avatar.operators.base import (
    PAID_FOR_XCOM_KEY,
    SUBMIT_REQUEST_XCOM_KEY,
    KlingOperator,
    KlingSubmitOperator,
)
from airflow_provider_kling_avatar.waiting import (
    DEFAULT_TIMEOUT,
    failed_for_want_of_slot,
    is_about_clip,
    poll_limits,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from airflow.providers.common.compat.sdk import Context, XComArg

    from airflow_provider_kling_avatar.cost_limits import CostLimits
    from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
    from airflow_provider_kling_avatar.kling.models import VideoTask
    from airflow_provider_kling_avatar.kling.polling.decide import PollLimits
    from airflow_provider_kling_avatar.kling.submission.state import OnRerun
    from airflow_provider_kling_avatar.kling.submission.submit import Approval
    from airflow_provider_kling_avatar.landing import Landing, OnExisting
    from airflow_provider_kling_avatar.manifest import VideoManifest
    from airflow_provider_kling_avatar.parameters import (
        AvatarSubmitArguments,
        Duration,
        KlingArguments,
        SubmitArguments,
        Templated,
    )
    from airflow_provider_kling_avatar.waiting import Queueing

AVATAR_FIELDS = AvatarRequest.names()
IMAGE_TO_VIDEO_FIELDS = ImageToVideoRequest.names()
SPEECH_FIELDS = SpeechRequest.names()
LIMITS = ("max_cost", "max_cost_per_run")


@whole_signature
class KlingAvatarSubmitOperator(KlingSubmitOperator):
    """
    Create a talking-head video task: a face and a voice. Returns the vendor's ``task_id``.

    The same fields work on every API that the connection may name; asking one for what it cannot do is an error
    before anything is sent, which names the APIs that can. Everything is checked before anything is paid.

    :param image: the face: an http(s) URL, a path, a storage URI (``s3://conn_id@bucket/key``) or base64.
    :param audio: the voice as a file, like ``image``. Exactly one of ``audio``, ``audio_id`` and ``text``.
    :param audio_id: the voice as an id from text-to-speech, 30 days old at most; or what `KlingTextToSpeechOperator`
        pushes under ``speech``, whose age and length are checked before anything is paid.
    :param text: the voice as words, together with ``voice_id``; spoken first where the API does not speak itself.
        The name of a ``.txt`` or ``.md`` file stands for what the file holds.
    :param voice_id: the vendor's id of the speaking voice.
    :param voice_language: ``zh`` or ``en``; read from the text when left out.
    :param voice_speed: 0.8 to 2.0.
    :param prompt: actions, emotion, camera; 2500 characters at most; or a file, as ``text``.
    :param mode: ``std`` (default) or ``pro``.
    :param aspect_ratio: such as ``16:9``, where the API has it.
    :param watermark: also make a watermarked result.
    :param callback_url: the vendor POSTs here at each change of status.
    :param external_task_id: your own id, unique per account; without one a stable id is made.
    :param audio_duration_seconds: 2 to 300 seconds; what ``generations`` bills; measured when left out.
    :param transcode_audio: re-encode ``audio`` that is too large or of a format that is not taken; needs the extra
        ``media``. Never done unasked.
    :param extra: further fields, passed to the vendor as they are.

    And what every submitting operator takes, see `base.KlingSubmitOperator`, and Airflow's own.
    """

    template_fields: Sequence[str] = ("kling_conn_id", "state_path", *LIMITS, *AVATAR_FIELDS)
    template_fields_renderers: ClassVar[dict[str, str]] = {"extra": "json"}
    request_fields = AVATAR_FIELDS
    request_class = AvatarRequest
    endpoint = "avatar"

    def __init__(
        self,
        *,
        task_id: str,
        image: Templated[str] | None = None,
        audio: Templated[str] | None = None,
        audio_id: Templated[dict[str, Any]] | None = None,
        text: Templated[str] | None = None,
        voice_id: Templated[str] | None = None,
        voice_language: Templated[str] | None = None,
        voice_speed: Templated[float] | None = None,
        prompt: Templated[str] | None = None,
        mode: Templated[str] | None = None,
        aspect_ratio: Templated[str] | None = None,
        watermark: Templated[bool] | None = None,
        callback_url: Templated[str] | None = None,
        external_task_id: Templated[str] | None = None,
        audio_duration_seconds: Templated[float] | None = None,
        transcode_audio: bool = False,
        extra: Templated[dict[str, Any]] | None = None,
        **kwargs: Unpack[SubmitArguments],
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        self.image = image
        self.audio = audio
        self.audio_id = audio_id
        self.text = text
        self.voice_id = voice_id
        self.voice_language = voice_language
        self.voice_speed = voice_speed
        self.prompt = prompt
        self.mode = mode
        self.aspect_ratio = aspect_ratio
        self.watermark = watermark
        self.callback_url = callback_url
        self.external_task_id = external_task_id
        self.audio_duration_seconds = audio_duration_seconds
        self.transcode_audio = transcode_audio
        self.extra = extra


@whole_signature
class KlingImageToVideoSubmitOperator(KlingSubmitOperator):
    """
    Create an image-to-video task. Returns the vendor's ``task_id``.

    :param image: the first frame: an http(s) URL, a path, a storage URI or base64.
    :param image_tail: the last frame, like ``image``. Not together with masks or ``camera_control``.
    :param prompt: what should happen; 2500 characters at most.
    :param negative_prompt: what should not happen; 2500 characters at most.
    :param model_name: such as ``kling-v2-master``.
    :param cfg_scale: 0 to 1; higher follows the prompt more closely.
    :param mode: ``std`` (default) or ``pro``.
    :param duration: seconds: 5 or 10 (3 to 15 on kling-v3 models); 5 only with masks, and with a tail frame on models
        that have no longer one.
    :param static_mask: white areas of this image stay still.
    :param dynamic_masks: up to 6 of ``{"mask": image, "trajectories": [{"x": int, "y": int}, ...]}``, pixels.
    :param camera_control: ``{"type": ..., "config": {...}}``.
    :param sound: let the model make sound (kling-v2.6 and later).
    :param voice_list: up to 2 of ``{"voice_id": ...}``.
    :param watermark: also make a watermarked result.
    :param callback_url: the vendor POSTs here at each change of status.
    :param external_task_id: your own id, unique per account; without one a stable id is made.
    :param extra: further fields, passed to the vendor as they are.

    And what every submitting operator takes, see `base.KlingSubmitOperator`, and Airflow's own.
    """

    template_fields: Sequence[str] = ("kling_conn_id", "state_path", *LIMITS, *IMAGE_TO_VIDEO_FIELDS)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "dynamic_masks": "json",
        "camera_control": "json",
        "extra": "json",
    }
    request_fields = IMAGE_TO_VIDEO_FIELDS
    request_class = ImageToVideoRequest
    endpoint = "image_to_video"

    def __init__(
        self,
        *,
        task_id: str,
        image: Templated[str] | None = None,
        image_tail: Templated[str] | None = None,
        prompt: Templated[str] | None = None,
        negative_prompt: Templated[str] | None = None,
        model_name: Templated[str] | None = None,
        cfg_scale: Templated[float] | None = None,
        mode: Templated[str] | None = None,
        duration: Templated[int] | None = None,
        static_mask: Templated[str] | None = None,
        dynamic_masks: Templated[list[dict[str, Any]]] | None = None,
        camera_control: Templated[dict[str, Any]] | None = None,
        sound: Templated[bool] | None = None,
        voice_list: Templated[list[dict[str, Any]]] | None = None,
        watermark: Templated[bool] | None = None,
        callback_url: Templated[str] | None = None,
        external_task_id: Templated[str] | None = None,
        extra: Templated[dict[str, Any]] | None = None,
        **kwargs: Unpack[SubmitArguments],
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        self.image = image
        self.image_tail = image_tail
        self.prompt = prompt
        self.negative_prompt = negative_prompt
        self.model_name = model_name
        self.cfg_scale = cfg_scale
        self.mode = mode
        self.duration = duration
        self.static_mask = static_mask
        self.dynamic_masks = dynamic_masks
        self.camera_control = camera_control
        self.sound = sound
        self.voice_list = voice_list
        self.watermark = watermark
        self.callback_url = callback_url
        self.external_task_id = external_task_id
        self.extra = extra


@whole_signature
class KlingTextToSpeechOperator(KlingOperator):
    """
    Speak a text. Returns the ``audio_id`` that an avatar takes for 30 days.

    Pushes ``audio_id``, ``duration`` (seconds), ``units`` and ``speech`` to XCom: the last is an object with
    ``audio_id``, ``spoken_at`` (Unix seconds) and ``duration``, which the avatar operators take as ``audio_id`` and
    check. The vendor answers at once: nothing waits. A retry, and a clear within 29 days, hands on the same speech
    and pays nothing, where Airflow's state store (3.3 and newer) or a ``state_path`` keeps it.

    :param text: 1000 characters at most; or the name of a ``.txt`` or ``.md`` file that holds them.
    :param voice_id: the vendor's id of the voice; it must exist in ``voice_language``.
    :param voice_language: ``zh`` or ``en``; read from the text when left out.
    :param voice_speed: 0.8 to 2.0.
    :param for_avatar: fail if the speech is shorter or longer than a clip takes; by default only warn, since it may be
        for something else.
    :param on_rerun: what to do if the task has succeeded and is cleared: ``reuse`` the speech, or ``regenerate`` it.
    :param state_path: a folder in any storage where the speech is noted down, in place of Airflow's task state store.
    :param extra: further fields, passed to the vendor as they are.
    :param validate: ``False`` skips the limits, for a vendor that changed its own.

    And ``kling_conn_id`` and ``retry_policy``, see `base_task.KlingTask`, and Airflow's own.
    """

    template_fields: Sequence[str] = ("kling_conn_id", "state_path", *SPEECH_FIELDS)
    template_fields_renderers: ClassVar[dict[str, str]] = {"extra": "json"}
    request_fields = SPEECH_FIELDS

    def __init__(
        self,
        *,
        task_id: str,
        text: Templated[str] | None = None,
        voice_id: Templated[str] | None = None,
        voice_language: Templated[str] | None = None,
        voice_speed: Templated[float] | None = None,
        for_avatar: bool = False,
        on_rerun: OnRerun = "reuse",
        state_path: Templated[str] | None = None,
        validate: bool = True,
        extra: Templated[dict[str, Any]] | None = None,
        **kwargs: Unpack[KlingArguments],
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        self.for_avatar = for_avatar
        self.on_rerun = on_rerun
        self.state_path = cast("str | None", state_path)
        self.validate = validate
        self.text = text
        self.voice_id = voice_id
        self.voice_language = voice_language
        self.voice_speed = voice_speed
        self.extra = extra

    def execute(self, context: Context) -> str:
        """Speak the text, or find what an earlier try spoke; return the audio id."""
        from airflow_provider_kling_avatar.kling.submission.speech import length_problem, speak_once

        with airflow_errors():
            request = SpeechRequest.from_fields(**self.request_values())
            hook = self.hook()
            this_try = self.try_of(context, Policies(on_rerun=self.on_rerun), self.state_path)
            body = hook.prepare_speech(request, validate=self.validate)
            spoken = speak_once(hook.get_conn(), body, this_try)
            if problem := length_problem(spoken.duration, hook.config.dialect):
                if self.for_avatar is True:
                    raise problem
                self.log.warning("no voice for a clip: %s", problem.message)
        push(
            context,
            task_id=spoken.task_id,
            audio_id=spoken.audio_id,
            duration=spoken.duration,
            units=spoken.units,
            speech=spoken.as_given(),
        )
        self.log.info(
            "speech handed on: audio %s, %s s, %s units deducted, request id %s",
            spoken.audio_id,
            spoken.duration,
            spoken.units or "unknown",
            spoken.request_id,
        )
        note_delivery(this_try)
        return spoken.audio_id


@whole_signature
class KlingAvatarOperator(KlingAvatarSubmitOperator):
    """
    Make a talking-head video: submit, wait without a worker, return the result, in one task.

    Takes the fields of `KlingAvatarSubmitOperator`. Returns the manifest (`manifest.VideoManifest`): ``task_id``,
    ``video_url``, ``file``, ``duration`` (seconds) and more; ``video_url`` is pushed under its own key too.

    :param output_path: where the file goes: a path, or a storage URI such as ``s3://conn_id@bucket/key``. Ending in
        ``/``: a folder, in which it is called ``<the vendor's task id>.mp4``. With ``watermark=True`` the watermarked
        variant lies beside it. Without it the file stays at the vendor's, for 30 days at most.
    :param on_existing: what to do if another file is at that path: ``fail`` (default), before a clip is paid for that
        could not land there, or ``replace``.
    :param timeout: seconds to wait for the clip in all. It stays findable: a retry picks it up again.
    :param queue_timeout: seconds of them that it may spend in the vendor's queue; no limit of its own by default.
    :param render_timeout: seconds of them that it may be rendered; no limit of its own by default.
    :param max_failed_polls: so many failed questions in a row end the waiting.
    """

    template_fields: Sequence[str] = (
        *KlingAvatarSubmitOperator.template_fields,
        "output_path",
        "on_existing",
    )
    sent_state = "queued"
    step = WAITS

    def __init__(
        self,
        *,
        task_id: str,
        output_path: Templated[str] | None = None,
        on_existing: OnExisting | XComArg = "fail",
        timeout: Duration = DEFAULT_TIMEOUT,
        queue_timeout: Duration | None = None,
        render_timeout: Duration | None = None,
        max_failed_polls: int = DEFAULT_MAX_FAILED_POLLS,
        **kwargs: Unpack[AvatarSubmitArguments],
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        self.output_path = cast("str | None", output_path)
        self.on_existing = cast("OnExisting", on_existing)
        self.timeout = timeout
        self.queue_timeout = queue_timeout
        self.render_timeout = render_timeout
        self.max_failed_polls = max_failed_polls

    def carry_out(
        self, context: Context, hook: KlingAvatarHook, event: dict[str, Any] | None
    ) -> VideoManifest:
        """Create the task, or look at that of an earlier try; wait for its clip; return the result."""
        is_waited_for = is_about_clip(event)
        queueing = None if is_waited_for else self.queueing(event)
        while True:
            if is_waited_for:
                ended = self._ended(context, hook, event)
            else:
                ended = self._submit_and_wait(context, hook, queueing)
            try:
                return self._deliver(context, hook, *ended)
            except KlingError as error:
                if not failed_for_want_of_slot(error):
                    raise
                # The vendor took the clip and then failed it for want of a slot: waiting for it would not help.
                queueing, is_waited_for = self.wait_for_slot(context, hook, error, queueing), False

    def _submit_and_wait(
        self, context: Context, hook: KlingAvatarHook, queueing: Queueing | None
    ) -> tuple[str, Finished, VideoTask | None]:
        self._limits()  # wrong ones are said before anything is paid
        if landing := self._landing():
            with before_sending(is_unsent=queueing is None):
                landing.check()
        submission = self.submit(context, hook, queueing)
        task_id, limits = submission.task.task_id, self._limits()
        # Only a clip of an earlier try can be ready: one that was sent just now is not asked for at once.
        finished, task = (None, None) if submission.is_new else self._first_look(hook, task_id, limits)
        if finished is None:
            if self.deferrable:
                self.wait_for_clip(context, task_id, self.endpoint, limits)
            finished = wait_for_task(
                lambda: hook.get_task(task_id, self.endpoint), limits, self.log, is_new=submission.is_new
            )
        return task_id, finished, task

    def _ended(
        self, context: Context, hook: KlingAvatarHook, event: dict[str, Any] | None
    ) -> tuple[str, Finished, VideoTask | None]:
        """Return how the waiting in the triggerer ended, by now; wait on if it turns out not to have."""
        task_id, endpoint, finished = read_event(event)
        log_durations(self.log, task_id, finished)
        self._task_id = task_id
        push_link(context, hook, task_id)
        last, task = look_once_more(hook, endpoint, task_id, finished)
        if last is None:
            self.wait_for_clip(context, task_id, endpoint, self._limits())
        return task_id, last, task

    def approval(self, cost_limits: CostLimits, *, is_unsent: bool) -> Approval:
        """Return who is asked before anything is paid: is the place of the clip free, may it cost so much."""
        landing = self._landing()
        return StorageThenCostLimits(landing, cost_limits, is_unsent=is_unsent) if landing else cost_limits

    def _limits(self) -> PollLimits:
        """Return limits that start now."""
        return poll_limits(
            timeout=self.timeout,
            poll_interval=self.poll_interval,
            max_failed_polls=self.max_failed_polls,
            queue_timeout=self.queue_timeout,
            render_timeout=self.render_timeout,
        )

    def _first_look(
        self, hook: KlingAvatarHook, task_id: str, limits: PollLimits
    ) -> tuple[Finished | None, VideoTask | None]:
        try:
            task = hook.get_task(task_id, self.endpoint)
        except KlingError as error:
            self.log.info("first look failed, waiting all the same: %s", error)
            return None, None
        decision = PollTracker(limits).look(task, now=time.time())
        return (decision, task) if isinstance(decision, Finished) else (None, None)

    def _landing(self) -> Landing | None:
        request = AvatarRequest.from_fields(watermark=self.given("watermark"))
        return landing_of(self.output_path, self.on_existing, watermarked=bool(request.watermark))

    def _mode(self, hook: KlingAvatarHook) -> str | None:
        """Return the mode that was asked for, or the one that the API is asked for otherwise."""
        mode = self.given("mode") or hook.config.dialect.endpoint(self.endpoint).defaults.get("mode")
        return None if mode is None else str(mode)

    def _deliver(
        self,
        context: Context,
        hook: KlingAvatarHook,
        task_id: str,
        finished: Finished,
        task: VideoTask | None,
    ) -> VideoManifest:
        from airflow_provider_kling_avatar.cost_limits import pushed_estimate

        # Of what was paid for, perhaps by an earlier try: by now the inputs may be others.
        paid_for = own_xcom(context, PAID_FOR_XCOM_KEY) or {"mode": self._mode(hook), **self._input_uris()}
        result_context = ResultContext(
            paid_for.get("mode"),
            own_xcom(context, SUBMIT_REQUEST_XCOM_KEY),
            self._landing(),
            inputs=(paid_for.get("image"), paid_for.get("audio")),
            estimate=paid_for.get("estimate") or pushed_estimate(context),
        )
        result = deliver(context, hook, self.endpoint, task_id, finished, task, result_context=result_context)
        self.note_delivery(context)
        return result


__all__ = [
    "KlingAvatarOperator",
    "KlingAvatarSubmitOperator",
    "KlingImageToVideoSubmitOperator",
    "KlingTextToSpeechOperator",
]
