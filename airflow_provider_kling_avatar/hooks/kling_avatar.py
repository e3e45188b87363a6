"""
From an Airflow connection to a Kling client, and the same calls as public methods.

Knows connections and storage paths. What a call means, and when it may be repeated, is the client's business.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

from airflow_provider_kling_avatar.compat import (
    AirflowNotFoundException,
    BaseHook,
    ObjectStoragePath,
    get_async_connection,
    get_async_extra_dejson,
)
from airflow_provider_kling_avatar.connection_form import (
    CONN_FIELDS,
    CONN_NAME,
    CONN_TYPE,
    UI_FIELD_BEHAVIOUR,
)
from airflow_provider_kling_avatar.kling.errors import ConfigurationError, KlingError
from airflow_provider_kling_avatar.kling.redact import hidden_links

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

    from airflow_provider_kling_avatar.kling.client import AsyncKlingClient, KlingClient
    from airflow_provider_kling_avatar.kling.config import KlingConfig
    from airflow_provider_kling_avatar.kling.models import (
        AvatarRequest,
        EndpointName,
        ImageToVideoRequest,
        Speech,
        SpeechRequest,
        VideoRequest,
        VideoTask,
    )
    from airflow_provider_kling_avatar.kling.submission.request import Prepared


class ConnectionUnreadableError(KlingError):
    """This process finds no such connection, or cannot read it. Another one, or a later try, may."""

    @classmethod
    def of(cls, kling_conn_id: str, problem: BaseException) -> Self:
        """
        Return the error for a connection.

        :param kling_conn_id: the connection.
        :param problem: what was met; its text may hold the connection, so only its name is told.
        """
        variable = f"AIRFLOW_CONN_{kling_conn_id.upper()}"
        if variable in os.environ:  # Airflow goes on to look elsewhere, and says of it that it is missing
            remedy = f"{variable} is set but cannot be read: check its quotes and its JSON or URI"
        else:
            remedy = (
                "give all processes of Airflow the same one, for instance as the environment variable "
                f"{variable}. One that is there, but wrong, may count as missing"
            )
        return cls(f"connection {kling_conn_id!r} cannot be used here ({type(problem).__name__}): {remedy}")


class KlingAvatarHook(BaseHook):
    """
    Talk to a Kling Avatar API.

    The connection's ``host`` is the base URL, ``password`` the API key (or ``login`` the access key and
    ``password`` the secret key), and ``api`` in its extra names the API: ``kling``, ``kling-broadcast``,
    ``cometapi``, ``generations`` or ``relay``.

    The methods that create something pay each time they are called. They repeat nothing that the vendor may have
    taken; the operators add what is needed to find it again.

    :param kling_conn_id: the connection.
    """

    conn_name_attr = "kling_conn_id"
    default_conn_name = "kling_avatar_default"
    conn_type = CONN_TYPE
    hook_name = CONN_NAME

    def __init__(self, kling_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.kling_conn_id = kling_conn_id
        self._client: KlingClient | None = None

    # ------------------------------------------------------------ connection

    @property
    def config(self) -> KlingConfig:
        """
        The account behind the connection.

        :raises ConfigurationError: names the field of the connection and what to put there.
        """
        return self.get_conn().config

    def get_conn(self) -> KlingClient:
        """
        Return the worker's client, one session per hook.

        :raises ConfigurationError: names the field of the connection and what to put there.
        :raises ConnectionUnreadableError: there is no such connection.
        """
        if self._client is None:
            from airflow_provider_kling_avatar.kling.client import KlingClient

            try:
                connection = self.get_connection(self.kling_conn_id)
            except AirflowNotFoundException as error:
                raise ConnectionUnreadableError.of(self.kling_conn_id, error) from None
            _check_extra(connection)
            self._client = KlingClient(_config(connection, connection.extra_dejson))
        return self._client

    async def get_async_conn(self) -> AsyncKlingClient:
        """
        Return the triggerer's client; use it as an async context manager.

        :raises ConfigurationError: names the field of the connection and what to put there.
        """
        # In a thread: the first trigger of a triggerer reads these modules from disk.
        await asyncio.to_thread(importlib.import_module, "airflow_provider_kling_avatar.kling.client")
        from airflow_provider_kling_avatar.kling.client import AsyncKlingClient

        connection = await get_async_connection(self.kling_conn_id)
        _check_extra(connection)
        extra = await get_async_extra_dejson(connection)
        # In a thread: limits in the extra are checked against schema files.
        return AsyncKlingClient(await asyncio.to_thread(_config, connection, extra))

    def test_connection(self) -> tuple[bool, str]:
        """Tell whether host, route and key are right, by a call that costs nothing."""
        try:
            works, message = self.get_conn().test_connection()
        except KlingError as error:
            works, message = False, str(error)
        # Airflow's command line prints with rich, which takes this for a style and leaves it out.
        return works, re.sub(r"(?<!//)\[([a-z#/@][^\[\]]*)\]", r"(\1)", message)

    # --------------------------------------------------------------- methods

    def get_task(self, task_id: str, endpoint: EndpointName = "avatar") -> VideoTask:
        """Ask for one task; parameters and errors are those of `KlingClient.get_task`."""
        return self.get_conn().get_task(task_id, endpoint)

    def list_tasks(
        self, endpoint: EndpointName = "avatar", *, page: int = 1, page_size: int = 30
    ) -> list[VideoTask]:
        """List the account's tasks, the newest first; parameters and errors are those of `KlingClient.list_tasks`."""
        return self.get_conn().list_tasks(endpoint, page=page, page_size=page_size)

    def submit_avatar(self, request: AvatarRequest, *, validate: bool = True) -> VideoTask:
        """
        Create a talking-head video. Costs money.

        :param request: what is wanted; text is spoken first where the API does not speak itself.
        :param validate: ``False`` skips the limits.
        :raises InvalidRequestError: wrong input, found before anything was paid.
        :raises KlingError: ``error.accepted`` tells whether the vendor may have taken it.
        """
        return self._submit(request, validate=validate)

    def submit_image_to_video(self, request: ImageToVideoRequest, *, validate: bool = True) -> VideoTask:
        """Create a video from a picture. Costs money. Parameters and errors are those of `submit_avatar`."""
        return self._submit(request, validate=validate)

    def synthesize_speech(self, request: SpeechRequest, *, validate: bool = True) -> Speech:
        """Speak a text. Costs a little. Parameters and errors are those of `prepare_speech`."""
        return self.get_conn().synthesize(self.prepare_speech(request, validate=validate))

    def prepare_speech(self, request: SpeechRequest, *, validate: bool = True) -> dict[str, Any]:
        """
        Write and check the body of a text-to-speech call. Free.

        :param request: text and voice.
        :param validate: ``False`` skips the limits.
        :raises InvalidRequestError: names the field, the rule and the remedy.
        :raises UnsupportedError: this API has no text-to-speech; the message names those that have.
        """
        from airflow_provider_kling_avatar.kling.submission.request import speech_body

        return speech_body(request, self.config.dialect, validate=validate)

    def prepare(
        self, request: VideoRequest, *, validate: bool = True, transcode_audio: bool = False
    ) -> Prepared:
        """
        Open, measure, check and encode everything a request needs. Free.

        :param request: what is wanted.
        :param validate: ``False`` skips the limits.
        :param transcode_audio: re-encode a voice that is too large or of a format that is not taken.
        :raises InvalidRequestError: names the field, the rule and the remedy.
        """
        from airflow_provider_kling_avatar.kling.submission.request import prepare

        return prepare(
            request,
            self.config.dialect,
            opener=open_storage,
            signer=sign_storage,
            validate=validate,
            transcode_audio=transcode_audio,
            address_rules=self.config.address_rules,
        )

    def _submit(self, request: VideoRequest, *, validate: bool) -> VideoTask:
        from airflow_provider_kling_avatar.kling.submission.submit import submit_once

        return submit_once(self.get_conn(), self.prepare(request, validate=validate))

    def close(self) -> None:
        """Close the session."""
        if self._client is not None:
            self._client.close()
            self._client = None

    # ------------------------------------------------- the form on Airflow 2.11

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return labels and placeholders for Airflow before 3.2, which does not read them as data."""
        return {key.replace("-", "_"): value for key, value in UI_FIELD_BEHAVIOUR.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's own fields for Airflow before 3.2, which does not read them as data."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from wtforms import StringField
        from wtforms.validators import Optional

        return {
            name: StringField(
                field["label"],
                description=field["description"],
                validators=[Optional()],
                widget=BS3TextFieldWidget(),
                default=field["schema"].get("default"),
            )
            for name, field in CONN_FIELDS.items()
        }


def open_storage(uri: str) -> BinaryIO:
    """
    Open a file in any storage that Airflow knows, for reading.

    :param uri: such as ``s3://conn_id@bucket/key``.
    """
    return cast("BinaryIO", ObjectStoragePath(uri).open("rb"))


def sign_storage(uri: str, seconds: int) -> str:
    """
    Make a link to a file in a storage.

    :param uri: such as ``s3://conn_id@bucket/key``.
    :param seconds: how long it lives.
    :raises NotImplementedError: the storage cannot sign links.
    """
    from airflow_provider_kling_avatar.storage import signed_link

    with hidden_links():
        return signed_link(uri, seconds)


def _check_extra(connection: Connection) -> None:
    """
    Check that the extra is what it should be.

    Airflow takes text that is not JSON for an empty extra: the key would then go to the default API and host.
    """
    try:
        good = not connection.extra or isinstance(json.loads(connection.extra), dict)
    except ValueError:
        good = False
    if not good:
        raise ConfigurationError('the connection\'s extra is not a JSON object such as {"api": "kling"}')


def _config(connection: Connection, extra: dict[str, Any]) -> KlingConfig:
    from airflow_provider_kling_avatar.kling.config import KlingConfig

    if connection.conn_type not in (None, "", CONN_TYPE, CONN_TYPE.replace("_", "-")):
        raise ConfigurationError(
            f"connection {connection.conn_id!r} is of type {connection.conn_type!r}; make one of type {CONN_TYPE!r}"
        )
    host = connection.host
    if host and "://" not in host:
        if (connection.schema or "https").lower() not in ("http", "https"):
            raise ConfigurationError(
                f"the connection's schema is {connection.schema!r} (in a URI: what stands behind the host); "
                "it must be http or https or empty; if all paths of your gateway start with something, "
                "put that into the extra path_prefix"
            )
        host = f"{connection.schema or 'https'}://{host}"
    if host and connection.port and not re.search(r":\d+/*$", host):
        host = f"{host.rstrip('/')}:{connection.port}"
    return KlingConfig.build(host=host, login=connection.login, password=connection.password, extra=extra)
