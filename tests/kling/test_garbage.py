"""What a crowd of waiting tasks does to the garbage collector of its process, with the real collector."""

from __future__ import annotations

import gc
import logging
import weakref

import pytest

from airflow_provider_kling_avatar.kling.watcher import garbage
from airflow_provider_kling_avatar.kling.watcher.garbage import AIRED_SECONDS, CROWD, SOMEBODY_ELSES, Shelf


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Node:
    """Something that refers to itself, so that only a collection frees it."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def shelf(clock):
    assert not is_set_aside()
    callbacks = list(gc.callbacks)
    yield Shelf(clock)
    gc.unfreeze()
    gc.callbacks[:] = callbacks


def is_set_aside() -> bool:
    return gc.get_freeze_count() > SOMEBODY_ELSES


def crowd(shelf, size=CROWD):
    for _ in range(size):
        shelf.arrived()


def test_a_few_who_wait_leave_the_collector_alone(shelf):
    crowd(shelf, CROWD - 1)

    assert not is_set_aside()
    assert shelf._on_collection not in gc.callbacks


def test_with_a_crowd_a_full_collection_looks_only_at_what_is_newer(shelf):
    crowd(shelf)
    before = len(gc.get_objects())
    newer = [Node() for _ in range(5000)]

    assert before < 5000, "what was there before is not looked at"
    gc.collect()
    assert len(gc.get_objects()) < 5000, "nor what has survived one collection"
    assert len(newer) == 5000


def test_what_nobody_refers_to_is_freed_at_once_though_it_was_set_aside(shelf):
    class Plain:
        pass

    thing = Plain()
    gone = weakref.ref(thing)
    crowd(shelf)

    del thing

    assert gone() is None


def test_a_cycle_that_was_set_aside_is_freed_after_an_hour(shelf, clock):
    node = Node()
    gone = weakref.ref(node)
    crowd(shelf)
    del node
    gc.collect()
    assert gone() is not None

    clock.now += AIRED_SECONDS
    gc.collect()  # airs
    gc.collect()  # looks at everything, and sets aside what is left

    assert gone() is None
    assert is_set_aside()


def test_after_an_hour_a_crowd_that_is_none_any_more_leaves_the_collector_alone(shelf, clock):
    crowd(shelf)
    shelf.left()
    clock.now += AIRED_SECONDS
    gc.collect()
    gc.collect()

    assert not is_set_aside()
    assert shelf._on_collection not in gc.callbacks


def test_when_the_last_one_leaves_all_is_as_before(shelf):
    node = Node()
    gone = weakref.ref(node)
    crowd(shelf)
    del node
    for _ in range(CROWD):
        shelf.left()

    assert not is_set_aside()
    assert shelf._on_collection not in gc.callbacks
    gc.collect()
    assert gone() is None


def test_a_crowd_may_come_again(shelf):
    for _ in range(2):
        crowd(shelf)
        assert is_set_aside()
        for _ in range(CROWD):
            shelf.left()
        assert not is_set_aside()


def test_it_is_aired_also_where_no_collection_is_a_full_one(shelf, clock):
    crowd(shelf)
    clock.now += AIRED_SECONDS
    gc.collect(1)

    assert not is_set_aside()


def test_one_who_leaves_while_another_thread_collects_leaves_nothing_set_aside(shelf, monkeypatch):
    """The callback has begun in one thread when the last one leaves in another."""
    crowd(shelf)
    clock = shelf._clock

    def leaves_meanwhile():
        monkeypatch.setattr(shelf, "_clock", clock)
        for _ in range(CROWD):
            shelf.left()
        return clock()

    monkeypatch.setattr(shelf, "_clock", leaves_meanwhile)
    shelf._on_collection("stop", {"generation": 2})

    assert not is_set_aside()
    assert shelf._on_collection not in gc.callbacks


def test_what_somebody_else_has_set_aside_stays_there(shelf):
    gc.freeze()
    theirs = gc.get_freeze_count()
    crowd(shelf)
    for _ in range(CROWD):
        shelf.left()

    assert gc.get_freeze_count() >= theirs - 100, "but for what has been freed meanwhile"
    assert shelf._on_collection not in gc.callbacks


def test_it_is_said_once(shelf, caplog):
    with caplog.at_level(logging.INFO, logger=garbage.log.name):
        crowd(shelf, CROWD + 50)

    assert caplog.messages == [
        f"{CROWD} tasks wait: what the process holds is kept from full garbage collections, for an hour at a time"
    ]
