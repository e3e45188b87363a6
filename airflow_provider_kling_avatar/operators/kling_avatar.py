"""
The operators: they render templates, prepare and submit on the worker, and defer with ids only.

What a request may hold, how it is sent once, and when waiting ends is decided in the `kling` room.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow_provider_kling_avatar.exceptions import airflow_errors
from airflow_provider_kling_avatar.kling.errors import KlingError
from airflow_provider_kling_avatar.kling.model import (
    AvatarRequest,
    ImageToVideoRequest,
    SpeechRequest,
)
from airflow_provider_kling_avatar.kling.polling import Finished, decide
from airflow_provider_kling_avatar.kling.waiting import wait_for_task
from airflow_provider_kling_avatar.operators.base import KlingOperator, KlingSubmitOperator
from airflow_provider_kling_avatar.outcome import (
    DEFAULT_MAX_FAILED_POLLS,
    DEFAULT_POLL_INTERVAL,
    DEFAULT_TIMEOUT,
    budget,
    collect,
    look_once_more,
    push,
    push_link,
    read_event,
    trigger_for,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_kling_avatar.kling.polling import Budget
    from airflow_provider_kling_avatar.results import VideoResult

AVATAR_FIELDS = AvatarRequest.names()
IMAGE_TO_VIDEO_FIELDS = ImageToVideoRequest.names()
SPEECH_FIELDS = SpeechRequest.names()


class KlingAvatarSubmitOperator(KlingSubmitOperator):
    """
    Create a talking-head video task: a face and a voice. Returns the vendor's ``task_id``.

    The same fields work on every API that the connection may name; asking one for what it cannot do is an error
    before anything is sent, which names the APIs that can. Everything is checked before anything is paid.

    :param image: the face: an http(s) URL, a path, a storage URI (``s3://conn_id@bucket/key``) or base64.
    :param audio: the voice as a file, like ``image``. Exactly one of ``audio``, ``audio_id`` and ``text``.
    :param audio_id: the voice as an id from text-to-speech, 30 days old at most.
    :param text: the voice as words, together with ``voice_id``; spoken first where the API does not speak itself.
    :param voice_id: the vendor's id of the speaking voice.
    :param voice_language: ``zh`` or ``en``; read from the text when left out.
    :param voice_speed: 0.8 to 2.0.
    :param prompt: actions, emotion, camera; 2500 characters at most.
    :param mode: ``std`` (default) or ``pro``.
    :param aspect_ratio: such as ``16:9``, where the API has it.
    :param watermark: also make a watermarked result.
    :param callback_url: the vendor POSTs here at each change of status.
    :param external_task_id: your own id, unique per account; without one a stable id is made.
    :param audio_duration_seconds: what ``generations`` bills; measured when left out.
    :param extra: further fields, passed to the vendor as they are.
    :param validate: ``False`` skips the limits, for a vendor that changed its own.
    """

    template_fields: Sequence[str] = ("kling_conn_id", *AVATAR_FIELDS)
    template_fields_renderers: ClassVar[dict[str, str]] = {"extra": "json"}
    request_fields = AVATAR_FIELDS
    request_class = AvatarRequest
    endpoint = "avatar"

    def __init__(
        self,
        *,
        image: str | None = None,
        audio: str | None = None,
        audio_id: str | None = None,
        text: str | None = None,
        voice_id: str | None = None,
        voice_language: str | None = None,
        voice_speed: float | str | None = None,
        prompt: str | None = None,
        mode: str | None = None,
        aspect_ratio: str | None = None,
        watermark: bool | str | None = None,
        callback_url: str | None = None,
        external_task_id: str | None = None,
        audio_duration_seconds: float | str | None = None,
        extra: dict[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
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
        self.extra = extra


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
    :param duration: seconds: 5 or 10 (3 to 15 on kling-v3 models); 5 only with a tail frame or masks.
    :param static_mask: white areas of this image stay still.
    :param dynamic_masks: up to 6 of ``{"mask": image, "trajectories": [{"x": int, "y": int}, ...]}``, pixels.
    :param camera_control: ``{"type": ..., "config": {...}}``.
    :param sound: let the model make sound (kling-v2.6 and later).
    :param voice_list: up to 2 of ``{"voice_id": ...}``.
    :param watermark: also make a watermarked result.
    :param callback_url: the vendor POSTs here at each change of status.
    :param external_task_id: your own id, unique per account; without one a stable id is made.
    :param extra: further fields, passed to the vendor as they are.
    :param validate: ``False`` skips the limits, for a vendor that changed its own.
    """

    template_fields: Sequence[str] = ("kling_conn_id", *IMAGE_TO_VIDEO_FIELDS)
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
        image: str | None = None,
        image_tail: str | None = None,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        model_name: str | None = None,
        cfg_scale: float | str | None = None,
        mode: str | None = None,
        duration: int | str | None = None,
        static_mask: str | None = None,
        dynamic_masks: list[dict[str, Any]] | str | None = None,
        camera_control: dict[str, Any] | str | None = None,
        sound: bool | str | None = None,
        voice_list: list[dict[str, Any]] | str | None = None,
        watermark: bool | str | None = None,
        callback_url: str | None = None,
        external_task_id: str | None = None,
        extra: dict[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
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


class KlingTextToSpeechOperator(KlingOperator):
    """
    Speak a text. Returns the ``audio_id`` that an avatar takes for 30 days.

    Pushes ``audio_id``, ``duration`` (seconds) and ``units`` to XCom. The vendor answers at once: nothing waits.

    :param text: 1000 characters at most; under 2 seconds of speech is too short for an avatar.
    :param voice_id: the vendor's id of the voice; it must exist in ``voice_language``.
    :param voice_language: ``zh`` or ``en``; read from the text when left out.
    :param voice_speed: 0.8 to 2.0.
    :param extra: further fields, passed to the vendor as they are.
    :param validate: ``False`` skips the limits, for a vendor that changed its own.
    """

    template_fields: Sequence[str] = ("kling_conn_id", *SPEECH_FIELDS)
    template_fields_renderers: ClassVar[dict[str, str]] = {"extra": "json"}
    request_fields = SPEECH_FIELDS

    def __init__(
        self,
        *,
        text: str | None = None,
        voice_id: str | None = None,
        voice_language: str | None = None,
        voice_speed: float | str | None = None,
        extra: dict[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.text = text
        self.voice_id = voice_id
        self.voice_language = voice_language
        self.voice_speed = voice_speed
        self.extra = extra

    def execute(self, context: Context) -> str:
        """Speak the text; return the audio id."""
        with airflow_errors():
            request = SpeechRequest.from_fields(**self.request_values())
            speech = self.hook().synthesize_speech(request, validate=self.validate)
        push(
            context,
            task_id=speech.task_id,
            audio_id=speech.audio_id,
            duration=speech.duration,
            units=speech.units,
        )
        self.log.info(
            "text spoken: audio %s, %s s, %s units deducted, request id %s",
            speech.audio_id,
            speech.duration,
            speech.units or "unknown",
            speech.request_id,
        )
        return speech.audio_id


class KlingAvatarOperator(KlingAvatarSubmitOperator):
    """
    Make a talking-head video: submit, wait without a worker, return the result, in one task.

    Takes the fields of `KlingAvatarSubmitOperator`. Returns a dict with ``task_id``, ``video_url``, ``video_id``,
    ``duration`` (seconds), ``units`` and more; ``video_url`` is pushed under its own key too.

    :param deferrable: wait in the triggerer (default). ``False`` holds the worker, for those without a triggerer.
    :param poll_interval: seconds between two questions.
    :param timeout: seconds to wait in all. The task stays findable: a retry picks it up again.
    :param max_failed_polls: so many failed questions in a row end the waiting.
    """

    def __init__(
        self,
        *,
        deferrable: bool = True,
        poll_interval: float | timedelta = DEFAULT_POLL_INTERVAL,
        timeout: float | timedelta = DEFAULT_TIMEOUT,
        max_failed_polls: int = DEFAULT_MAX_FAILED_POLLS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.max_failed_polls = max_failed_polls
        self._task_id: str | None = None

    def execute(self, context: Context) -> VideoResult:
        """Submit, look once, then wait; return the result."""
        with airflow_errors():
            hook = self.hook()
            limits = budget(self.timeout, self.poll_interval, self.max_failed_polls)
            task_id = self._task_id = self.submit(context, hook).task.task_id
            try:
                task = hook.get_task(task_id, self.endpoint)
            except KlingError as error:
                self.log.info("first look failed, waiting all the same: %s", error)
            else:
                decision = decide(task, now=time.time(), budget=limits)
                if isinstance(decision, Finished):
                    return collect(context, hook, self.endpoint, task_id, decision, task)
            if self.deferrable:
                self._defer(task_id, limits)
            finished = wait_for_task(lambda: hook.get_task(task_id, self.endpoint), limits, self.log)
            return collect(context, hook, self.endpoint, task_id, finished)

    def _defer(self, task_id: str, limits: Budget) -> NoReturn:
        trigger, backstop = trigger_for(task_id, self.endpoint, self.kling_conn_id, limits)
        self.log.info("waiting for task %s in the triggerer, no worker is held", task_id)
        self.defer(trigger=trigger, method_name="execute_complete", timeout=backstop)
        raise AssertionError("defer() raises")  # pragma: no cover

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> VideoResult:
        """Resume after the trigger; return the result or raise what went wrong."""
        with airflow_errors():
            task_id, endpoint, finished = read_event(event)
            hook = self.hook()
            push_link(context, hook, endpoint, task_id)
            finished, task = look_once_more(hook, endpoint, task_id, finished)
            return collect(context, hook, endpoint, task_id, finished, task)

    def on_kill(self) -> None:
        """Say that the vendor goes on: Kling has no way to cancel a task."""
        if self._task_id:
            self.log.warning(
                "killed; Kling cannot cancel: task %s runs on and is billed. A new try picks it up again",
                self._task_id,
            )


__all__ = [
    "KlingAvatarOperator",
    "KlingAvatarSubmitOperator",
    "KlingImageToVideoSubmitOperator",
    "KlingTextToSpeechOperator",
]
