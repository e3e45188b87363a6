"""
Seeded chaos that needs no particular Airflow: further schedules, and whether the harness would notice.

What each Airflow is asked is in ``airflow/test_airflow_chaos.py``.
"""

import re
from dataclasses import replace

import chaos
import pytest
from chaos_clip import OURS, Clip
from chaos_fates import (
    ACCEPTING,
    APIS,
    CHANGES,
    CHANGING,
    FINE,
    LATE_POSTS,
    NAMED,
    Schedule,
    draw,
    schedule_of,
    smallest,
)
from chaos_strategies import HAS_MIXIN, Naive, Operator, Resumable, StandInTaskInstance
from chaos_vendor import LineClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_kling_avatar.kling.errors import Accepted, KlingError
from airflow_provider_kling_avatar.kling.submission.recovery import Recovery
from airflow_provider_kling_avatar.kling.submission.state import PayingAccount

SEEDS = range(100)
STORES = pytest.mark.parametrize("has_store", [True, False], ids=["store", "no store"])

pytestmark = pytest.mark.usefixtures("quiet")


def lives(api, strategy, seeds=SEEDS):
    return {seed: Clip(schedule_of(api, seed), strategy).live() for seed in seeds}


def bad(outcomes):
    return {seed: outcome for seed, outcome in outcomes.items() if outcome.is_bad}


def punctual(schedule):
    """The same without anything that comes late: against that only names that are unique help."""
    posts = tuple(FINE.name if name in LATE_POSTS else name for name in schedule.posts)
    return replace(schedule, posts=posts, late_seconds=0.0)


@pytest.mark.parametrize("api", APIS)
def test_nothing_that_hypothesis_thinks_of_makes_us_pay_twice_or_lose_a_clip(api):
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(dice=st.randoms(use_true_random=False))
    def lived_through(dice):
        schedule = draw(api, dice)
        for has_store in (True, False):
            assert not Clip(schedule, Operator(has_store=has_store)).live().is_bad

    lived_through()


@pytest.mark.parametrize("api", CHANGING)
def test_no_proxy_account_store_or_link_that_changes_makes_us_pay_twice_or_lose_a_clip(api):
    assert bad(lives(api, Operator(has_store=True))) == {}


@STORES
@pytest.mark.parametrize("api", NAMED)
def test_a_frozen_worker_that_wakes_later_does_not_pay(api, has_store):
    schedule = Schedule(api, posts=("frozen while the next try runs",))
    assert not Clip(schedule, Operator(has_store=has_store)).live().is_bad
    assert Clip(schedule, Naive()).live().paid_twice


def test_a_person_is_asked_only_where_nobody_else_can_know():
    lost_answer = {"posts": ("dropped though taken",)}
    for api in NAMED:
        assert Clip(Schedule(api, **lost_answer), Operator(has_store=False)).live().stops == 0
    for has_store in (True, False):
        assert Clip(Schedule("generations", **lost_answer), Operator(has_store=has_store)).live().stops == 1
    killed_later = Schedule("generations", kills=(("id in XCom", 0),))
    assert Clip(killed_later, Operator(has_store=True)).live().stops == 0
    assert Clip(killed_later, Operator(has_store=False)).live().stops == 1


# ------------------------------------------------------------------ would it be noticed?


@STORES
@pytest.mark.parametrize("api", ACCEPTING)
def test_a_vendor_that_takes_a_name_twice_is_paid_twice_only_for_what_comes_late(api, has_store):
    strategy = Operator(has_store=has_store)
    assert bad(lives(api, strategy)) != {}
    assert not any(Clip(punctual(schedule_of(api, seed)), strategy).live().is_bad for seed in SEEDS)


@pytest.mark.parametrize("api", APIS)
def test_a_naive_retry_pays_twice_and_loses_clips_in_the_same_world(api):
    outcomes = lives(api, Naive()).values()
    assert sum(outcome.paid_twice for outcome in outcomes) > 40
    assert sum(outcome.lost for outcome in outcomes) > 40
    assert sum(outcome.wasted for outcome in outcomes) > 10


@pytest.mark.parametrize("api", CHANGING)
def test_a_naive_retry_pays_twice_there_too(api):
    assert sum(outcome.paid_twice for outcome in lives(api, Naive()).values()) > 40


@pytest.mark.skipif(not HAS_MIXIN, reason="Airflow has ResumableJobMixin from 3.3 on")
@pytest.mark.parametrize("api", APIS)
def test_airflows_own_mixin_pays_twice_on_the_same_schedules(api):
    outcomes = lives(api, Resumable(), range(60)).values()
    assert sum(outcome.paid_twice for outcome in outcomes) > 5
    assert sum(outcome.lost for outcome in outcomes) > 5


@pytest.mark.skipif(not HAS_MIXIN, reason="Airflow has ResumableJobMixin from 3.3 on")
def test_airflows_own_mixin_goes_on_with_an_id_that_it_could_store():
    killed = Schedule("kling", kills=(("waiting", 0),), deferrable=False)
    assert not Clip(killed, Resumable()).live().is_bad


@pytest.fixture
def sends_again(monkeypatch):
    """Takes a time-out for a refusal, and sends under another name."""
    submit = LineClient.submit

    def careless(self, endpoint, body):
        try:
            return submit(self, endpoint, body)
        except KlingError as error:
            if error.accepted is Accepted.NO:
                raise
        name = body.get("external_task_id")
        return submit(self, endpoint, body | ({"external_task_id": f"{name}-again"} if name else {}))

    monkeypatch.setattr(LineClient, "submit", careless)


@pytest.fixture
def counts_tries(monkeypatch):
    """Puts the number of the try into the name, as a careless developer would."""
    monkeypatch.setattr(StandInTaskInstance, "run_id", property(lambda self: f"try {self.try_number}"))


@pytest.mark.parametrize("api", NAMED)
@pytest.mark.parametrize("broken", ["sends_again", "counts_tries"])
def test_who_sends_again_or_under_another_name_is_caught(api, broken, request):
    request.getfixturevalue(broken)
    assert len(bad(lives(api, Operator(has_store=False)))) > 10


def test_what_is_caught_is_reduced_to_what_matters(counts_tries):
    strategy = Operator(has_store=False)
    whole = next(schedule_of("kling", seed) for seed in bad(lives("kling", strategy, range(20))))
    least = smallest(whole, lambda schedule: Clip(schedule, strategy).live().is_bad)
    assert Clip(least, strategy).live().is_bad
    assert not any(Clip(calmer, strategy).live().is_bad for calmer in least.calmer())


@pytest.mark.parametrize(
    ("api", "changing", "broken"),
    [
        ("kling", "host", {(PayingAccount, "is_elsewhere"): False, (Recovery, "_mind_the_gone"): None}),
        ("kling", "key", {(Recovery, "_mind_the_gone"): None}),
        ("generations", "words", {(Recovery, "_keeps_to"): False}),
        ("generations", "store", {(Recovery, "_nothing_open"): True}),
    ],
)
def test_what_keeps_us_from_paying_twice_when_something_changes_would_be_missed(
    monkeypatch, api, changing, broken
):
    schedules = [
        replace(schedule_of(f"{api}{CHANGES}", seed), changing=changing, changes_at=2) for seed in range(200)
    ]
    for (owner, name), answer in broken.items():
        monkeypatch.setattr(owner, name, lambda *_, answer=answer: answer)
    assert any(Clip(schedule, Operator(has_store=True)).live().paid_twice for schedule in schedules)


@pytest.mark.parametrize("api", APIS)
def test_a_schedule_tells_the_same_story_each_time(api):
    def stories():
        lines = []
        for seed in range(10):
            Clip(schedule_of(api, seed), Operator(has_store=True), lines.append).live()
        return [re.sub(r"[0-9a-f-]{10,}", "ID", line) for line in lines]

    assert stories() == stories()


def test_what_is_promised_can_be_played_without_those_it_is_compared_with():
    rows = chaos.rows_of(None, None, 100, promised=True)

    assert rows == {
        (api, name): 100
        for api in (*APIS, *CHANGING)
        for name in OURS
        if api in APIS or name == "ours"  # without a store nobody notices another account
    }
