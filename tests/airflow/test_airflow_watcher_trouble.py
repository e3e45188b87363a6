"""Vendors that are away, keys that change, connections that are missing: each trigger's patience is its own."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time

import pytest
from watcher_kit import (
    CONN_ID,
    TriggerLogs,
    begin,
    count_lookups,
    count_sessions,
    end,
    set_connection,
    until,
    verdicts,
)

from airflow_provider_kling_avatar.hooks import kling_avatar
from airflow_provider_kling_avatar.kling.polling import backoff
from airflow_provider_kling_avatar.simulator.server import SimulatorServer
from airflow_provider_kling_avatar.simulator.settings import SimulatorSettings


@pytest.fixture
def port():
    """A port on which nobody listens, and that the system gives to nobody who asks for any."""
    while True:
        number = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", number)):
            return number


@pytest.fixture
def start_again(port, tmp_path):
    """Start the vendor on its port with the tasks it had: `with start_again() as vendor`."""
    settings = SimulatorSettings(
        port=port, state_dir=tmp_path / "vendor", queue_seconds=0, render_seconds=1000
    )
    return lambda: SimulatorServer(settings)


# ---------------------------------------------------------------------------------------------- away


@pytest.mark.parametrize("api", ["kling", "generations"])
async def test_a_vendor_that_cannot_be_reached_is_a_failed_poll_for_each_and_asked_more_and_more_rarely(
    connect, port, api
):
    connect(host=f"http://127.0.0.1:{port}", api=api)
    begun = time.monotonic()
    running = [begin(str(number), poll_interval=0.2, max_failed_polls=5) for number in range(20)]

    assert await verdicts(running) == ["lost"] * 20
    assert 2.0 <= time.monotonic() - begun < 20, "after 0.2 + 0.4 + 0.8 + 1.6 s; 0.8 s without longer pauses"


async def test_the_pauses_have_an_end(connect, port, monkeypatch):
    monkeypatch.setattr(backoff, "LONGEST_PAUSE_SECONDS", 0.2)
    connect(host=f"http://127.0.0.1:{port}")
    begun = time.monotonic()

    assert await verdicts([begin("831", poll_interval=0.05, max_failed_polls=12)]) == ["lost"]
    assert 1.0 <= time.monotonic() - begun < 15, "0.05 + 0.1 + 9 x 0.2 s; beyond 50 s if they grew for ever"


@pytest.mark.parametrize(("api", "call"), [("kling", "list"), ("generations", "query")])
async def test_each_gives_up_by_its_own_patience_and_the_others_see_the_vendor_come_back(
    connect, port, start_again, monkeypatch, api, call
):
    monkeypatch.setattr(backoff, "LONGEST_PAUSE_SECONDS", 0.3)
    connect(host=f"http://127.0.0.1:{port}", api=api)
    with start_again() as vendor:
        ids = vendor.seed(count=10, api=api)
        hasty = [begin(task_id, max_failed_polls=3) for task_id in ids]
        patient = [begin(task_id) for task_id in ids]
        await until(lambda: vendor.calls[call] >= 20)
    assert await verdicts(hasty) == ["lost"] * 10
    assert not any(task.done() for task in patient)
    with start_again() as vendor:
        await until(lambda: vendor.calls[call] >= 2)
        vendor.advance(2000)
        assert await verdicts(patient) == ["succeeded"] * 10


async def test_a_reason_is_given_for_each_that_is_lost_and_told_in_its_log(connect, port, monkeypatch):
    logs = TriggerLogs(monkeypatch)
    connect(host=f"http://127.0.0.1:{port}")
    got = await asyncio.gather(*(begin(str(number), max_failed_polls=3) for number in range(3)))

    for payload in got:
        assert payload["verdict"] == "lost"
        assert payload["reason"]
        lines = logs.lines[payload["task_id"]]
        assert [line for line in lines if "poll failed (1/3 in a row)" in line]
        assert [line for line in lines if "poll failed (3/3 in a row)" in line]


async def test_an_outage_does_not_end_in_a_herd(connect, port, start_again, monkeypatch):
    monkeypatch.setattr(backoff, "LONGEST_PAUSE_SECONDS", 0.3)
    connect(host=f"http://127.0.0.1:{port}")
    with start_again() as vendor:
        ids = vendor.seed(count=200)
    running = [begin(task_id) for task_id in ids]
    await asyncio.sleep(1)
    with start_again() as vendor:
        await until(lambda: vendor.calls["list"] >= 3)
        assert vendor.calls["query"] <= 5, "the list answers for all"
        vendor.advance(2000)
        assert await verdicts(running) == ["succeeded"] * 200


async def test_one_account_that_cannot_be_reached_is_no_trouble_for_another(sim, connect, port, monkeypatch):
    connect(host=f"http://127.0.0.1:{port}")
    set_connection(monkeypatch, "second", sim)
    lost = [begin(str(number), max_failed_polls=3) for number in range(5)]
    good = [begin(i, kling_conn_id="second") for i in sim.seed(count=5, render_seconds=1000)]

    assert await verdicts(lost) == ["lost"] * 5
    assert not any(task.done() for task in good)
    sim.advance(2000)
    assert await verdicts(good) == ["succeeded"] * 5


async def test_a_vendor_that_says_slow_down_is_alive(sim, connect):
    connect()
    running = [begin(task_id, max_failed_polls=2) for task_id in sim.seed(count=10, render_seconds=1000)]
    await until(lambda: sim.calls["list"] >= 1)
    for call in ("list", "query"):
        sim.fault(kind="error_code", code=1302, status=429, call=call, times=0)
    before = len(sim.requests)
    await until(lambda: len(sim.requests) >= before + 5)
    assert not any(task.done() for task in running)
    sim.clear_faults()
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 10


# ---------------------------------------------------------------------------------------------- keys


async def test_after_the_key_was_rotated_all_go_on_with_the_new_one(start_vendor, connect):
    vendor = start_vendor()
    connect(host=vendor.url)
    running = [begin(task_id) for task_id in vendor.seed(count=20, render_seconds=1000)]
    await until(lambda: vendor.calls["list"] >= 2)

    vendor.rotate_key("sk-fresh-from-the-console")
    await until(lambda: any(request.status == 401 for request in vendor.requests))
    connect(host=vendor.url, password="sk-fresh-from-the-console")
    await until(lambda: vendor.requests[-1].status == 200)
    vendor.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 20


async def test_with_the_new_key_they_are_one_account_again(start_vendor, connect, monkeypatch):
    vendor = start_vendor()
    connect(host=vendor.url)
    ids = vendor.seed(count=11, render_seconds=1000)
    running = [begin(task_id, poll_interval=0.25) for task_id in ids[:10]]
    await until(lambda: vendor.calls["list"] >= 2)
    vendor.rotate_key("sk-fresh-from-the-console")
    connect(host=vendor.url, password="sk-fresh-from-the-console")
    await until(lambda: vendor.requests[-1].status == 200 and vendor.requests[-1].call == "list")
    running.append(begin(ids[10], poll_interval=0.25))
    await asyncio.sleep(0.5)
    lists, begun = vendor.calls["list"], time.monotonic()
    await until(lambda: vendor.calls["list"] >= lists + 8)
    passed = time.monotonic() - begun

    assert vendor.calls["list"] - lists <= passed / (0.9 * 0.25) + 2
    vendor.advance(2000)
    assert await verdicts(running) == ["succeeded"] * 11


async def test_two_connection_ids_may_get_the_new_key_one_after_the_other(start_vendor, connect, monkeypatch):
    vendor = start_vendor()
    connect(host=vendor.url)
    set_connection(monkeypatch, "other_name", vendor)
    ids = vendor.seed(count=10, render_seconds=1000)
    running = [begin(i, kling_conn_id=CONN_ID if n % 2 else "other_name") for n, i in enumerate(ids)]
    await until(lambda: vendor.calls["list"] >= 2)
    vendor.rotate_key("sk-fresh-from-the-console")
    connect(host=vendor.url, password="sk-fresh-from-the-console")
    await asyncio.sleep(0.5)
    set_connection(monkeypatch, "other_name", vendor, key="sk-fresh-from-the-console")
    await asyncio.sleep(0.5)
    vendor.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 10


async def test_a_key_that_stays_wrong_loses_each_by_its_own_count_and_is_shown_to_nobody(
    sim, connect, monkeypatch
):
    logs = TriggerLogs(monkeypatch)
    connect(password="sk-wrong-for-good")
    running = [begin(task_id, max_failed_polls=3) for task_id in sim.seed(count=5)]
    patient = begin(sim.seed(count=1)[0])

    got = await asyncio.wait_for(asyncio.gather(*running), 30)
    assert {(payload["verdict"], payload["code"]) for payload in got} == {("lost", 1002)}
    assert "wrong-for-good" not in str(got) + str(logs.lines)
    assert not patient.done()
    await end(patient)


async def test_a_refused_key_is_read_again_but_not_for_each_trigger(sim, connect, monkeypatch):
    connect(password="sk-old")
    lookups = count_lookups(monkeypatch)
    running = [begin(task_id, poll_interval=0.2) for task_id in sim.seed(count=50, render_seconds=1000)]
    await until(lambda: len([request for request in sim.requests if request.status == 401]) >= 4)

    assert len(lookups) <= len(sim.requests) + 3
    assert len(sim.requests) <= 30, "one question finds out for all fifty"
    await end(*running)


# ---------------------------------------------------------------------------------------------- connections


async def test_a_missing_connection_is_looked_up_once_per_round_and_waited_for(sim, connect, monkeypatch):
    monkeypatch.setattr(backoff, "LONGEST_PAUSE_SECONDS", 0.3)
    connect()
    monkeypatch.delenv("AIRFLOW_CONN_KLING_AVATAR_DEFAULT")
    lookups = count_lookups(monkeypatch)
    running = [begin(task_id, poll_interval=0.2) for task_id in sim.seed(count=50, render_seconds=1000)]
    begun = time.monotonic()
    await asyncio.sleep(1.5)
    passed = time.monotonic() - begun
    assert 2 <= len(lookups) <= passed / (0.9 * 0.2) + 3, "for all fifty together"
    assert not any(task.done() for task in running)
    connect()
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 50


async def test_who_is_cancelled_while_looking_the_connection_up_for_all_leaves_that_to_the_next(
    sim, connect, monkeypatch
):
    connect()
    look_up, under_way = kling_avatar.get_async_connection, []

    async def slowly(conn_id):
        under_way.append(conn_id)
        await asyncio.sleep(0.3)
        return await look_up(conn_id)

    monkeypatch.setattr(kling_avatar, "get_async_connection", slowly)
    running = [begin(task_id, max_failed_polls=1) for task_id in sim.seed(count=5, render_seconds=1000)]
    await until(lambda: under_way)
    await end(running[0])
    await until(lambda: sim.calls["list"] >= 1)
    sim.advance(2000)

    assert await verdicts(running[1:]) == ["succeeded"] * 4
    assert under_way == [CONN_ID] * 2


async def test_a_connection_that_stays_missing_loses_each_by_its_own_count(no_connection):
    hasty, patient = begin("831", max_failed_polls=3), begin("832")

    payload = await asyncio.wait_for(hasty, 30)
    assert payload["verdict"] == "lost"
    assert f"connection '{CONN_ID}' cannot be used" in payload["reason"]
    assert not patient.done()
    await end(patient)


async def test_one_missing_connection_id_does_not_hold_up_the_other(sim, connect, monkeypatch):
    connect()
    sessions = count_sessions(monkeypatch)
    ids = sim.seed(count=4, render_seconds=1000)
    good = [begin(task_id) for task_id in ids[:2]]
    bad = [begin(task_id, kling_conn_id="nowhere", max_failed_polls=3) for task_id in ids[2:]]

    assert await verdicts(bad) == ["lost"] * 2
    assert not any(task.done() for task in good)
    sim.advance(2000)
    assert await verdicts(good) == ["succeeded"] * 2
    assert len(sessions) == 1
