"""What the gallery shows, out of what tasks have left: in SQLite here, at its size in PostgreSQL elsewhere."""

from __future__ import annotations

import json
import os
from itertools import count

import pytest

from airflow_provider_kling_avatar.compat import HAS_REACT_APPS

if not HAS_REACT_APPS:
    pytest.skip("the gallery needs the UI of Airflow 3.1", allow_module_level=True)

import sqlalchemy as sa
from gallery_kit import NOW, Filler, clip_summary, make_tables
from sqlalchemy.orm import Session

from airflow_provider_kling_avatar.gallery.clips import (
    Filters,
    TaskKey,
    clip_of,
    clips_page,
    dags_with_clips,
    state_of,
)

DAY = 24 * 3600


@pytest.fixture
def session():
    engine = sa.create_engine("sqlite://")
    make_tables(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


@pytest.fixture
def fill(session):
    return Filler(session)


@pytest.fixture
def shown(session):
    """Return the clips that somebody sees who may see the Dag news, unless told otherwise."""

    def page(*dag_ids, limit=24, offset=0, **filters):
        found, total = clips_page(
            session, Filters(frozenset(dag_ids or {"news"}), **filters), limit=limit, offset=offset, now=NOW
        )
        assert offset + len(found) <= total
        return found

    return page


@pytest.mark.parametrize(
    ("told", "task_state", "state"),
    [
        ("waiting_for_slot", "deferred", "waiting_for_slot"),
        ("queued", "deferred", "queued"),
        ("rendering", "running", "rendering"),
        ("rendering", None, "rendering"),
        ("landing", "running", "landing"),
        ("ready", "success", "ready"),
        ("ready", "failed", "ready"),
        ("submitted", "success", "submitted"),
        ("failed", "failed", "failed"),
        ("failed", "skipped", "failed"),
        ("failed", "up_for_retry", "retrying"),
        ("failed", "queued", "retrying"),
        ("failed", None, "retrying"),
        ("rendering", "up_for_retry", "retrying"),
        ("rendering", "failed", "stopped"),
        ("rendering", "success", "stopped"),
        ("rendering", "removed", "stopped"),
        ("melting", "running", "unknown"),
        (None, "running", "unknown"),
        (["ready"], "success", "unknown"),
    ],
)
def test_how_a_clip_stands_follows_from_its_record_and_its_tasks_state(told, task_state, state):
    assert state_of(told, task_state) == state


def test_a_clip_is_shown_with_what_its_task_has_left(fill, shown):
    fill.task(summary=clip_summary(reason=None), map_index=3)

    (clip,) = shown()

    assert (
        clip
        | {
            "dag_id": "news",
            "run_id": "run",
            "task_id": "clip",
            "map_index": 3,
            "state": "ready",
            "under_way": False,
            "estimated_cost": "0.34",
            "actual_cost": "0.28",
            "changed_at": NOW - 60,
            "problem": None,
        }
        == clip
    )


def test_who_may_not_see_a_dag_sees_none_of_its_clips(fill, shown, session):
    fill.task(dag_id="news", summary=clip_summary())
    fill.task(dag_id="secret", summary=clip_summary())

    assert [clip["dag_id"] for clip in shown("news")] == ["news"]
    assert shown("other") == []
    assert dags_with_clips(session, frozenset({"news", "other"})) == ["news"]


def test_the_last_to_change_comes_first_page_by_page(fill, shown):
    for row in range(5):
        fill.task(map_index=row, summary=clip_summary(kling_task_id=str(row)), changed_at=NOW - row)

    assert [clip["map_index"] for clip in shown(limit=2)] == [0, 1]
    assert [clip["map_index"] for clip in shown(limit=2, offset=4)] == [4]


def test_clips_can_be_chosen_by_state_also_where_a_task_ended_without_a_word(fill, shown):
    ids = count()

    def add(task_id, state, told):
        fill.task(task_id, state=state, summary=clip_summary(state=told, kling_task_id=str(next(ids))))

    add("waits", "deferred", "rendering")
    add("tries_again", "up_for_retry", "rendering")
    add("has_failed_and_tries_again", "up_for_retry", "failed")
    add("has_failed_and_is_about_to_try_again", "queued", "failed")
    add("ready", "success", "ready")
    add("failed", "failed", "failed")
    add("killed", "failed", "rendering")
    add("only_sent", "success", "submitted")

    under_way = {clip["task_id"] for clip in shown(state="under_way")}
    assert under_way == {clip["task_id"] for clip in shown() if clip["under_way"]}
    assert under_way == {
        "waits",
        "tries_again",
        "has_failed_and_tries_again",
        "has_failed_and_is_about_to_try_again",
    }
    assert {clip["task_id"] for clip in shown(state="ready")} == {"ready"}
    assert {clip["task_id"] for clip in shown(state="failed")} == {"failed", "killed"}
    assert len(shown()) == 8


def test_clips_can_be_chosen_by_time(fill, shown):
    fill.task("old", summary=clip_summary(kling_task_id="1"), changed_at=NOW - 10 * DAY)
    fill.task("new", summary=clip_summary(kling_task_id="2"), changed_at=NOW - DAY)

    assert [clip["task_id"] for clip in shown(since=NOW - 7 * DAY)] == ["new"]
    assert len(shown(since=NOW - 11 * DAY)) == 2


def test_a_clip_that_one_task_sends_another_waits_for_and_a_third_fetches_is_shown_once(fill, shown, session):
    fill.task("submit", summary=clip_summary(state="submitted", step=1, mode="pro", actual_cost=None))
    waits = clip_summary(estimated_cost=None, mode=None)
    fill.task("wait", summary={name: told for name, told in waits.items() if told is not None})
    fetches = {"schema": waits["schema"], "state": "ready", "step": 3, "kling_task_id": "831", "size": 1000}
    fill.task("fetch", summary=fetches)
    fill.task("wait", run_id="another", summary=clip_summary())

    first, second = sorted(shown(), key=lambda clip: clip["run_id"])

    assert (first["run_id"], first["task_id"]) == ("another", "wait")
    assert (second["run_id"], second["task_id"]) == ("run", "fetch")
    assert (second["mode"], second["estimated_cost"], second["actual_cost"]) == ("pro", "0.34", "0.28")
    assert second["size"] == 1000
    submitted = clip_of(session, TaskKey("news", "run", "submit"), NOW)
    assert submitted is not None
    assert submitted["state"] == "submitted"


def test_what_an_earlier_task_failed_of_is_no_fault_of_the_one_that_fetched_the_clip(fill, shown):
    gave_up = clip_summary(state="failed", reason="it took too long", paid="yes, for that task")
    fill.task("wait", state="failed", summary=gave_up)
    fill.task("fetch", summary=clip_summary(step=3))

    (clip,) = shown()

    assert (clip["state"], clip["reason"], clip["paid"]) == ("ready", None, None)


def test_a_task_is_shown_without_what_a_later_one_made_of_its_clip(fill, session):
    fill.task("wait", summary=clip_summary())
    fetches = clip_summary(state="failed", step=3, reason="no space left", file_uri="/elsewhere/clip.mp4")
    fill.task("fetch", state="failed", summary=fetches)

    clip = clip_of(session, TaskKey("news", "run", "wait"), NOW)

    assert clip is not None
    assert (clip["state"], clip["reason"], clip["file"], clip["playable"]) == ("ready", None, None, True)


def test_an_estimate_is_not_shown_in_the_currency_of_another_task(fill, shown):
    fill.task("submit", summary=clip_summary(state="submitted", step=1, actual_cost=None))
    waits = clip_summary(currency="CNY", actual_cost="2.10")
    del waits["estimated_cost"]
    fill.task("wait", summary=waits)

    (clip,) = shown()

    assert (clip["estimated_cost"], clip["actual_cost"], clip["currency"]) == (None, "2.10", "CNY")


def test_a_clip_that_nobody_waits_for_is_shown_by_who_sent_it(fill, shown):
    fill.task("submit", summary=clip_summary(state="submitted", step=1))

    assert [clip["state"] for clip in shown()] == ["submitted"]


@pytest.mark.parametrize(
    "summary",
    [
        "no object",
        ["ready"],
        7,
        {},
        {"schema": "another/1", "state": "ready"},
        clip_summary(schema="kling-avatar-clip/2"),
        {"schema": "kling-avatar-clip/1"},
        clip_summary(step="x", kling_task_id=5, state=["ready"], duration="long", file_uri=7, currency={}),
        clip_summary(duration=1e300, size=-1, began_at=True, file_uri="\0", state_since="yesterday"),
        clip_summary(file_uri="http://[", kling_task_id="831" * 1000),
    ],
)
def test_whatever_lies_there_a_card_is_shown_and_those_beside_it_too(summary, fill, shown, session):
    fill.task("odd", summary=summary)
    fill.task("good", summary=clip_summary(kling_task_id="1"))

    cards = {clip["task_id"]: clip for clip in shown()}

    assert set(cards) == {"odd", "good"}
    is_known = isinstance(summary, dict) and summary.get("schema") == "kling-avatar-clip/1"
    assert (cards["odd"]["problem"] is None) == is_known
    assert clip_of(session, TaskKey("news", "run", "odd"), NOW)


@pytest.mark.parametrize("told", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_breaks_no_page(told, fill, shown):
    """Python writes them into JSON, and SQLite calls that malformed."""
    fill.task("odd", summary=clip_summary(duration=told, state="ready"))
    fill.task("good", summary=clip_summary(kling_task_id="1"))

    for state in (None, "ready", "failed", "under_way"):
        cards = {clip["task_id"]: clip for clip in shown(state=state)}
        assert ("good" in cards) == (state in (None, "ready"))
    assert {clip["task_id"]: clip["duration"] for clip in shown()} == {"odd": None, "good": 5.0}


@pytest.mark.parametrize("at", [2.0**33, 8.64e12, 1e14, -1, True, "yesterday"])
@pytest.mark.parametrize("name", ["state_since", "began_at", "created_at", "updated_at"])
def test_a_time_that_no_calendar_has_is_not_shown(name, at, fill, shown):
    """A browser ends the page over some of them."""
    fill.task(summary=clip_summary(**{name: at}))

    assert shown()[0][name] is None


def test_texts_are_cut_so_that_a_page_stays_small(fill, shown):
    odd = "x" * 1_000_000
    texts = dict.fromkeys(("kling_task_id", "video_id", "mode", "units", "reason", "paid"), odd)
    fill.task(state="failed", summary=clip_summary(state="failed", file_uri=f"/{odd}", **texts))

    (clip,) = shown()

    assert len(json.dumps(clip)) < 20_000
    assert clip["reason"].endswith("x…")


def test_half_a_character_and_a_file_name_that_is_no_text_can_be_sent(fill, shown):
    uri = os.fsdecode(b"/clips/bad\xff.mp4")
    fill.task(state="failed", summary=clip_summary(state="failed", reason="no \ud800 face", file_uri=uri))

    (clip,) = shown()

    assert json.dumps(clip, ensure_ascii=False).encode()
    assert clip["reason"] == "no ? face"
    assert clip["file"] == "/clips/bad?.mp4"


def test_a_task_that_has_left_nothing_has_no_clip(fill, session):
    fill.task(summary=None, xcoms={"return_value": "831"})

    assert clip_of(session, TaskKey("news", "run", "clip"), NOW) is None
    assert clip_of(session, TaskKey("~", "run", "clip"), NOW) is None


@pytest.mark.parametrize(
    ("facts", "task_state", "reason"),
    [
        ({}, "success", None),
        ({"file_uri": "s3://aws_default@newsroom/clip.mp4"}, "success", None),
        ({"state": "rendering"}, "deferred", "There is no video yet."),
        ({"state": "failed"}, "failed", "There is no video."),
        (
            {"state_since": NOW - 31 * DAY},
            "success",
            "It was never landed, and the vendor keeps clips for 30 days.",
        ),
    ],
)
def test_what_cannot_be_played_says_why(facts, task_state, reason, fill, shown):
    fill.task(state=task_state, summary=clip_summary(**facts))

    (clip,) = shown()

    assert clip["not_playable"] == reason
    assert clip["playable"] == (reason is None)
