"""Seeded chaos without Airflow: no schedule of faults makes the submitter pay twice, and the harness would notice."""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[2] / "dev"))  # at the end: a tool must never hide a library

from chaos_clip import Clip
from chaos_fates import (
    ACCEPTING,
    APIS,
    CHANGES,
    CHANGING,
    FORGETFUL,
    NAMED,
    Schedule,
    draw,
    schedule_of,
    smallest,
)
from chaos_strategies import Naive, Ours

from airflow_provider_kling_avatar.kling.errors import Accepted, KlingError
from airflow_provider_kling_avatar.kling.submission.recovery import Recovery
from airflow_provider_kling_avatar.kling.submission.state import Account
from airflow_provider_kling_avatar.kling.submission.submit import Submitter

SEEDS = range(100)
MEMORIES = pytest.mark.parametrize("remembers", [True, False], ids=["store", "no store"])
PACKAGE = logging.getLogger("airflow_provider_kling_avatar")


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    level = PACKAGE.level
    PACKAGE.setLevel(logging.CRITICAL + 1)
    yield
    PACKAGE.setLevel(level)


def lives(api, strategy, seeds=SEEDS):
    return {seed: Clip(schedule_of(api, seed), strategy).live() for seed in seeds}


def bad(outcomes):
    return {seed: outcome for seed, outcome in outcomes.items() if outcome.is_bad}


@MEMORIES
@pytest.mark.parametrize("api", APIS)
def test_no_schedule_makes_us_pay_twice_or_lose_a_clip(api, remembers):
    assert bad(lives(api, Ours(remembers=remembers))) == {}


@MEMORIES
def test_a_relay_that_forgets_names_may_need_a_person_but_is_never_paid_twice(remembers):
    outcomes = lives(FORGETFUL, Ours(remembers=remembers)).values()
    assert not any(outcome.paid_twice or outcome.in_vain for outcome in outcomes)
    assert any(outcome.stops for outcome in outcomes)


@MEMORIES
@pytest.mark.parametrize("api", ACCEPTING)
def test_a_vendor_that_takes_a_name_twice_is_paid_twice_only_for_what_comes_late(api, remembers):
    strategy = Ours(remembers=remembers)
    assert bad(lives(api, strategy)) != {}
    punctual = {seed: Clip(schedule_of(api, seed).punctual(), strategy).live() for seed in SEEDS}
    assert bad(punctual) == {}


@pytest.mark.parametrize("api", APIS)
def test_nothing_that_hypothesis_thinks_of_makes_us_pay_twice_or_lose_a_clip(api):
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(dice=st.randoms(use_true_random=False))
    def lived_through(dice):
        schedule = draw(api, dice)
        for remembers in (True, False):
            assert not Clip(schedule, Ours(remembers=remembers)).live().is_bad

    lived_through()


@pytest.mark.parametrize("api", APIS)
def test_a_naive_retry_pays_twice_and_loses_clips_in_the_same_world(api):
    outcomes = lives(api, Naive()).values()
    assert sum(outcome.paid_twice for outcome in outcomes) > 40
    assert sum(outcome.lost for outcome in outcomes) > 40
    assert sum(outcome.wasted for outcome in outcomes) > 10


class SendsAgain(Submitter):
    """Takes a time-out for a refusal, and sends under another name."""

    def _send(self, body, name):
        try:
            return self.client.submit(self.prepared.endpoint, body), True
        except KlingError as error:
            if error.accepted is Accepted.NO:
                raise
        other = {"external_task_id": f"{name}-again"} if name else {}
        return self.client.submit(self.prepared.endpoint, body | other), True


class CountsTries(Submitter):
    """Puts the number of the try into the name, as a careless developer would."""

    tries = 0

    def __init__(self, client, prepared, this_try, **kwargs):
        type(self).tries += 1
        work = replace(this_try.work, run_id=f"try {self.tries}")
        super().__init__(client, prepared, replace(this_try, work=work), **kwargs)


@pytest.mark.parametrize("api", NAMED)
@pytest.mark.parametrize("broken", [SendsAgain, CountsTries])
def test_a_submitter_that_sends_again_or_under_another_name_is_caught(api, broken):
    assert len(bad(lives(api, Ours(remembers=False, submitter=broken), range(60)))) > 10


def test_what_is_caught_is_reduced_to_what_matters():
    strategy = Ours(remembers=False, submitter=CountsTries)
    whole = next(schedule_of("kling", seed) for seed in bad(lives("kling", strategy, range(20))))
    least = smallest(whole, lambda schedule: Clip(schedule, strategy).live().is_bad)
    assert Clip(least, strategy).live().is_bad
    for take_away in least.troubles():
        assert not Clip(take_away(least), strategy).live().is_bad


@pytest.mark.parametrize("api", APIS)
def test_a_schedule_tells_the_same_story_each_time(api):
    def stories():
        lines = []
        for seed in range(10):
            Clip(schedule_of(api, seed), Ours(remembers=True), lines.append).live()
        return [re.sub(r"[0-9a-f-]{10,}", "ID", line) for line in lines]

    assert stories() == stories()


@MEMORIES
@pytest.mark.parametrize("api", NAMED)
def test_a_frozen_worker_that_wakes_later_does_not_pay(api, remembers):
    schedule = Schedule(api, posts=("frozen while the next try runs",))
    assert not Clip(schedule, Ours(remembers=remembers)).live().is_bad
    assert Clip(schedule, Naive()).live().paid_twice


def test_a_person_is_asked_only_where_nobody_else_can_know():
    lost_answer = {"posts": ("dropped though taken",)}
    for api in NAMED:
        assert Clip(Schedule(api, **lost_answer), Ours(remembers=False)).live().stops == 0
    for remembers in (True, False):
        assert Clip(Schedule("generations", **lost_answer), Ours(remembers=remembers)).live().stops == 1
    killed_later = Schedule("generations", kills=(("id in XCom", 0),))
    assert Clip(killed_later, Ours(remembers=True)).live().stops == 0
    assert Clip(killed_later, Ours(remembers=False)).live().stops == 1


# ------------------------------------------------------------------ what changes between tries


@pytest.mark.parametrize("api", CHANGING)
def test_no_proxy_account_store_or_link_that_changes_makes_us_pay_twice_or_lose_a_clip(api):
    assert bad(lives(api, Ours(remembers=True))) == {}


@pytest.mark.parametrize("api", CHANGING)
def test_a_naive_retry_pays_twice_there_too(api):
    assert sum(outcome.paid_twice for outcome in lives(api, Naive()).values()) > 40


@pytest.mark.parametrize(
    ("api", "changing", "broken"),
    [
        ("kling", "host", {(Account, "is_elsewhere"): False, (Recovery, "_mind_the_gone"): None}),
        ("kling", "key", {(Recovery, "_mind_the_gone"): None}),
        ("generations", "words", {(Recovery, "_keeps_to"): False}),
        ("generations", "store", {(Recovery, "_nothing_open"): True}),
    ],
)
def test_what_keeps_us_from_it_would_be_missed(monkeypatch, api, changing, broken):
    schedules = [
        replace(schedule_of(f"{api}{CHANGES}", seed), changing=changing, changes_at=2) for seed in range(200)
    ]
    for (owner, name), answer in broken.items():
        monkeypatch.setattr(owner, name, lambda *_, answer=answer: answer)
    assert any(Clip(schedule, Ours(remembers=True)).live().paid_twice for schedule in schedules)
