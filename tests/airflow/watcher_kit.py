"""What the tests of the watcher share: triggers to begin, what the vendor saw of them, and a look at the event loop."""

from __future__ import annotations

import asyncio
import json
import time
from urllib.parse import parse_qs

import aiohttp
import msgspec
from airflow.secrets.environment_variables import EnvironmentVariablesBackend
from hypothesis import strategies as st

from airflow_provider_kling_avatar.kling.responses.answer import Answer
from airflow_provider_kling_avatar.kling.responses.tasks import read_task_list
from airflow_provider_kling_avatar.simulator.settings import DEFAULT_API_KEY
from airflow_provider_kling_avatar.triggers.kling_avatar import KlingAvatarTrigger
from airflow_provider_kling_avatar.triggers.kling_slot import KlingSlotTrigger

CONN_ID = "kling_avatar_default"
SECONDS = 30
"""How long anything may take before a test gives up: the machine may be busy with something else."""


# ---------------------------------------------------------------------------------------------- triggers


def trigger(task_id, **arguments):
    """Make a trigger that is quick to ask and slow to despair."""
    defaults = {"kling_conn_id": CONN_ID, "deadline": time.time() + 300, "max_failed_polls": 1000}
    trigger = KlingAvatarTrigger(**({"kling_task_id": task_id, "poll_interval": 0.05} | defaults | arguments))
    trigger.trigger_id = 1  # as a triggerer does
    return trigger


def slot_trigger(**arguments):
    defaults = {"kling_conn_id": CONN_ID, "deadline": time.time() + 300, "poll_interval": 0.05}
    trigger = KlingSlotTrigger(**(defaults | arguments))
    trigger.trigger_id = 1
    return trigger


async def event_of(waiting):
    """Run a trigger to its one event and return what that carries."""
    (payload,) = [event.payload async for event in waiting.run()]
    return payload


def begin(task_id, **arguments):
    return asyncio.create_task(event_of(trigger(task_id, **arguments)), name=f"test {task_id}")


def begin_slot(**arguments):
    return asyncio.create_task(event_of(slot_trigger(**arguments)))


async def verdicts(running, seconds=SECONDS):
    async with asyncio.timeout(seconds):
        return [payload["verdict"] for payload in await asyncio.gather(*running)]


async def end(*running):
    """Cancel triggers that wait; one that is just leaving would be cut short in closing the session."""
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def until(condition, seconds=SECONDS):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # the simulator runs in another thread
            await asyncio.sleep(0.005)


# ---------------------------------------------------------------------------------------------- what the vendor saw


def asked(vendor, call):
    """The requests to `list`, or to `query` one task."""
    return [request for request in vendor.requests if request.call == call]


def pages(vendor):
    return [int(parse_qs(request.query)["pageNum"][0]) for request in asked(vendor, "list")]


def ids_asked_singly(vendor):
    return {request.path.rpartition("/")[2] for request in asked(vendor, "query")}


async def lists_later(vendor, more):
    """Wait until the list was asked for so many times more."""
    before = vendor.calls["list"]
    await until(lambda: vendor.calls["list"] >= before + more)


def most_at_once(requests):
    """How many of the requests were under way at the same time, at most."""
    steps = [(request.at, 1) for request in requests]
    steps += [(request.ended_at, -1) for request in requests if request.ended_at is not None]
    under_way = peak = 0
    for _, step in sorted(steps):
        under_way += step
        peak = max(peak, under_way)
    return peak


def most_within(requests, seconds):
    """How many of the requests came within so many seconds of each other, at most."""
    times = sorted(request.at for request in requests)
    return max(sum(first <= time < first + seconds for time in times) for first in times)


# ---------------------------------------------------------------------------------------------- hostile rows

_ODD = st.sampled_from(
    [
        *(10**30, -(10**30), 2**63, 2**64, 1e308, -1e308, float("nan"), float("inf"), True, None, [], {}),
        *("9" * 31, "9" * 5000, "\ud800", "a\x00b", "nan", "1e400", "1e999999", "", "sk-0123456789"),
    ]
)
_ANY = _ODD | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()), max_size=8)
HOSTILE_FIELDS = st.fixed_dictionaries(
    {"task_status": st.sampled_from(["failed", "succeed"])},
    optional=dict.fromkeys(
        ("code", "task_status_msg", "created_at", "updated_at", "final_unit_deduction", "list_price"), _ANY
    )
    | {
        "task_info": st.fixed_dictionaries({"external_task_id": _ANY}),
        "task_result": st.fixed_dictionaries(
            {
                "videos": st.lists(
                    st.fixed_dictionaries({"url": st.just("https://a.b/c.mp4"), "duration": _ANY})
                )
            }
        ),
        "billing": st.lists(
            st.fixed_dictionaries(
                {"charge_type": st.sampled_from(["unit", "x"]), "amount": _ANY, "currency": _ANY}
            )
        ),
    },
)
"""What a vendor may put into a row of its list, besides the id."""


def hostile_task(fields):
    """Read a row as it comes from the vendor."""
    body = json.dumps({"code": 0, "data": [{"task_id": "1", **fields}]}).encode()
    (task,) = read_task_list(Answer(status=200, body=body))
    return task


def can_be_handed_on(payload):
    """Encode what an event carries as Airflow does, on its way to the supervisor and in its database."""
    msgspec.msgpack.encode(payload)
    return json.loads(json.dumps(payload, allow_nan=False).encode()) == payload


# ---------------------------------------------------------------------------------------------- this process


def watchers():
    """The asyncio tasks of watchers on this loop."""
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("kling watcher")]


def kill_watchers():
    found = watchers()
    for task in found:
        task.cancel()
    return len(found)


def count_sessions(monkeypatch):
    """List the HTTP sessions that are opened from now on."""
    opened = []
    make = aiohttp.ClientSession.__init__

    def note(session, *arguments, **options):
        opened.append(session)
        make(session, *arguments, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", note)
    return opened


def count_lookups(monkeypatch):
    """List the connection ids that Airflow looks up from now on."""
    looked_up = []
    look_up = EnvironmentVariablesBackend.get_conn_value

    def note(backend, conn_id, *arguments, **options):
        looked_up.append(conn_id)
        return look_up(backend, conn_id, *arguments, **options)

    monkeypatch.setattr(EnvironmentVariablesBackend, "get_conn_value", note)
    return looked_up


def set_connection(monkeypatch, conn_id, vendor, *, key=DEFAULT_API_KEY, **extra):
    """Make a connection besides the default one."""
    connection = {"conn_type": "kling_avatar", "host": vendor.url, "password": key, "extra": extra}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))


class TriggerLogs:
    """A log for each trigger, by the id of its task."""

    def __init__(self, monkeypatch):
        self.lines = {}
        logs = self

        class Log:
            def __init__(self, task_id):
                self.lines = logs.lines.setdefault(task_id, [])

            def info(self, event, *arguments, **_):
                self.lines.append(event % arguments if arguments else event)

            debug = warning = error = exception = info

        monkeypatch.setattr(KlingAvatarTrigger, "log", property(lambda trigger: Log(trigger.kling_task_id)))
