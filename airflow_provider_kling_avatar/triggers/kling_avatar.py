"""
Waits for a video task in the triggerer. Only asks: nothing in here can create a task or pay for one.

Carries ids and numbers, never a URL or a key: Airflow stores arguments and events in the clear.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.compat import BaseTrigger, TriggerEvent
from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling.errors import AuthenticationError, KlingError
from airflow_provider_kling_avatar.kling.polling import Budget
from airflow_provider_kling_avatar.kling.waiting import await_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_kling_avatar.kling.client import AsyncKlingClient
    from airflow_provider_kling_avatar.kling.model import EndpointName, VideoTask


class KlingAvatarTrigger(BaseTrigger):
    """
    Poll a task until it ends, the deadline passes, or asking fails too often; then yield one event.

    The arguments are stored in Airflow's database while tasks wait, also over upgrades of this package: they are
    only ever added to, with a default, never renamed or removed.

    :param kling_task_id: the vendor's id of the task.
    :param kling_conn_id: the connection; read again after the vendor has refused its key.
    :param endpoint: ``avatar`` or ``image_to_video``.
    :param poll_interval: seconds between two questions, spread by a tenth either way.
    :param deadline: Unix seconds, absolute, so that a restart of the triggerer does not start it anew.
    :param max_failed_polls: so many failed questions in a row end the waiting as ``lost``.
    """

    def __init__(
        self,
        *,
        kling_task_id: str,
        kling_conn_id: str,
        deadline: float,
        endpoint: EndpointName = "avatar",
        poll_interval: float = 10.0,
        max_failed_polls: int = 10,
        **_: object,  # an argument of a later version, after a downgrade
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's trigger base is not typed
        self.kling_task_id = kling_task_id  # not `task_id`: Airflow overwrites that with its own
        self.kling_conn_id = kling_conn_id
        self.endpoint = endpoint
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.max_failed_polls = max_failed_polls
        self._client: AsyncKlingClient | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all JSON scalars."""
        return (
            "airflow_provider_kling_avatar.triggers.kling_avatar.KlingAvatarTrigger",
            {
                "kling_task_id": self.kling_task_id,
                "kling_conn_id": self.kling_conn_id,
                "endpoint": self.endpoint,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "max_failed_polls": self.max_failed_polls,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield one event: ids, the verdict, and the vendor's reason and code for it."""
        budget = Budget(self.deadline, self.poll_interval, self.max_failed_polls)
        try:
            finished = await await_task(self._look, budget, self.log)
        finally:
            await self._close()
        yield TriggerEvent(
            {
                "task_id": self.kling_task_id,
                "endpoint": self.endpoint,
                "verdict": finished.verdict.value,
                "reason": finished.reason,
                "code": finished.code,
            }
        )
        return  # a trigger that lingers after its event is killed as if a user had done it

    async def _look(self) -> VideoTask:
        """Ask once. A connection that cannot be read is a failed question like any other: the task lives on."""
        try:
            if self._client is None:
                client = await KlingAvatarHook(self.kling_conn_id).get_async_conn()
                self._client = await client.__aenter__()
            return await self._client.get_task(self.kling_task_id, self.endpoint)
        except AuthenticationError:
            await self._close()  # the key may have been rotated: read the connection again next time
            raise
        except KlingError:
            raise
        except Exception as error:
            await self._close()
            raise KlingError(
                f"connection {self.kling_conn_id!r} cannot be used: {type(error).__name__}"
            ) from error

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):  # closing must not hide the verdict
                await asyncio.shield(client.__aexit__(None, None, None))
