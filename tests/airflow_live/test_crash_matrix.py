"""
Whatever is killed, at whatever moment: each clip is paid once, and each clip is delivered.

A real Airflow with two Celery workers and two triggerers against the simulator. Tasks stand still at an exact point
and are killed there with their whole worker; triggerers, the simulator and the network fail while clips are waited
for. Wants PostgreSQL and Redis; without them it is skipped, or fails if REQUIRE_SERVICES=1.
"""

import contextlib
import json
import shutil
import signal
from importlib.metadata import version
from pathlib import Path

import crash_points as at
import pytest
from crash_network import Wire
from crash_simulator import SimulatorProcess
from crash_site import Clip, Crash, Site
from distributed_airflow import DistributedAirflow
from processes import stop_all

pytestmark = pytest.mark.crash

HERE = Path(__file__).parent
ASSETS = HERE.parents[1] / "airflow_provider_kling_avatar" / "simulator" / "assets"
RENDER_SECONDS = 600
"""By the simulator's clock, which the tests move on: no clip is ready before everything has gone wrong."""
CUT_SECONDS = 60

AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])
BEFORE_WAITING = (
    Crash("before the paid request left", at.BEFORE_REQUEST),
    Crash("after the vendor accepted, before its answer was read", at.BEFORE_ANSWER),
    *(
        [Crash("after the answer, before the id was in the state store", at.BEFORE_STATE_STORE)]
        if AIRFLOW >= (3, 3)  # there is none before
        else []
    ),
    Crash("after the answer, before the id was in XCom", at.BEFORE_XCOM),
    Crash("before the task deferred", at.BEFORE_DEFER),
    Crash("in a submitting task of its own", at.BEFORE_ANSWER, "crash_pair", "submit"),
    Crash("in the task's process alone, before the answer was read", at.BEFORE_ANSWER, whole_worker=False),
)
AFTER_WAITING = (
    Crash("between the event and execute_complete", at.BEFORE_COMPLETE),
    Crash("inside execute_complete", at.IN_COMPLETE),
    Crash("inside the sensor's execute_complete", at.IN_COMPLETE, "crash_pair", "wait"),
    Crash("in the task's process alone, inside execute_complete", at.IN_COMPLETE, whole_worker=False),
)
CUT_OFF = {how: Clip("crash_patient", f"cut-{how}") for how in ("refused", "silent")}
TRIGGERER_DIES, TRIGGERER_FREEZES, VENDOR_RESTARTS, CLEARED = (
    Clip("crash_clip", name) for name in ("triggerer-dies", "triggerer-freezes", "vendor-restarts", "cleared")
)
CLIPS = (
    *(crash.clip for crash in BEFORE_WAITING + AFTER_WAITING),
    *CUT_OFF.values(),
    *(TRIGGERER_DIES, TRIGGERER_FREEZES, VENDOR_RESTARTS, CLEARED),
)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory):
    running = SimulatorProcess(
        tmp_path_factory.mktemp("simulator"),
        render_seconds=RENDER_SECONDS,
        accounts={clip.run_id: clip.key for clip in CLIPS},
    )
    try:
        running.start()
        yield running
    finally:
        stop_all([running.process])


@pytest.fixture(scope="module")
def wires(simulator):
    with contextlib.ExitStack() as stack:
        yield {how: stack.enter_context(Wire(simulator.port)) for how in CUT_OFF}


@pytest.fixture(scope="module")
def site(services, simulator, wires, tmp_path_factory):
    dags, orders = tmp_path_factory.mktemp("dags"), tmp_path_factory.mktemp("orders")
    for file in ("crash_dag.py", "crash_points.py"):
        shutil.copy(HERE / file, dags)
    env = {
        at.FOLDER_VARIABLE: str(orders),
        "CRASH_FACE": str(ASSETS / "presenter.jpg"),
        "CRASH_VOICE": str(ASSETS / "greeting.mp3"),
    }
    ports = {CUT_OFF[how]: wire.port for how, wire in wires.items()}
    for clip in CLIPS:
        connection = connection_to(ports.get(clip, simulator.port), clip.key)
        env[f"AIRFLOW_CONN_{clip.connection.upper()}"] = connection
    home = tmp_path_factory.mktemp("home")
    with DistributedAirflow(dags, services=services, worker_slots=6, home=home, env=env) as airflow:
        yield Site(airflow, simulator, at.Orders(orders))
        airflow.stop()
        assert airflow.survivors() == []


def connection_to(port, key):
    return json.dumps(
        {
            "conn_type": "kling_avatar",
            "host": f"http://127.0.0.1:{port}",
            "password": key,
            "extra": {"api": "kling"},
        }
    )


@pytest.fixture(scope="module")
def cut_off(site, wires):
    """Clips that are waited for while the network between Airflow and the vendor is cut for a minute."""
    for clip in CUT_OFF.values():
        site.ask_for(clip)
    site.wait_until_deferred(CUT_OFF.values())
    for clip in CUT_OFF.values():
        site.wait_for_triggerer(clip)
    for how, wire in wires.items():
        wire.cut(how, CUT_SECONDS)


@pytest.fixture(scope="module")
def killed_before_waiting(site, cut_off):
    """Clips whose task was killed while it submitted them; another try waits for them now."""
    accepted = len(site.simulator.billed()) + len(BEFORE_WAITING) - 1  # one is killed before it asks
    for crash in BEFORE_WAITING:
        site.start_and_stop_at(crash)
    site.eventually("the vendor has accepted what was sent", lambda: len(site.simulator.billed()) == accepted)
    site.kill_at_their_points(BEFORE_WAITING)
    site.wait_until_deferred(crash.clip for crash in BEFORE_WAITING)


@pytest.fixture(scope="module")
def waiting(site, killed_before_waiting):
    """Clips that are waited for, and whose task is to be killed as soon as they are ready."""
    for crash in AFTER_WAITING:
        site.start_and_stop_at(crash)
    site.wait_until_deferred(crash.clip for crash in AFTER_WAITING)


@pytest.fixture(scope="module")
def still_waited_for(site, wires, cut_off, waiting):
    """Whether each clip that was cut off is still waited for when the network is back."""
    for wire in wires.values():
        site.eventually("the network is back", wire.whole.is_set)
    return {how: site.is_deferred(clip) for how, clip in CUT_OFF.items()}


@pytest.fixture(scope="module")
def killed_after_waiting(site, still_waited_for):
    """Clips whose task was killed after it had waited; all clips so far are ready now."""
    site.simulator.advance(RENDER_SECONDS)
    doomed = {crash.clip for crash in AFTER_WAITING}
    for clip in set(site.asked_for) - doomed:  # they shall not die a second time, with the worker of another
        site.eventually(f"{clip.run_id} is over", site.is_over, clip)
    site.kill_at_their_points(AFTER_WAITING)


def id_of(crash):
    return crash.title.replace(" ", "-")


@pytest.mark.parametrize("crash", BEFORE_WAITING, ids=id_of)
def test_a_worker_dies_while_it_submits(crash, site, killed_after_waiting):
    site.assert_paid_once_and_delivered(crash.clip)
    assert site.tries(crash.clip, crash.task_id) > 1


@pytest.mark.parametrize("crash", AFTER_WAITING, ids=id_of)
def test_a_worker_dies_while_it_delivers_the_clip(crash, site, killed_after_waiting):
    site.assert_paid_once_and_delivered(crash.clip)
    assert site.tries(crash.clip, crash.task_id) > 1


@pytest.mark.parametrize("how", CUT_OFF)
def test_the_network_is_cut_for_a_minute(how, site, still_waited_for, killed_after_waiting):
    assert still_waited_for[how], "the cut ended the waiting"
    site.assert_paid_once_and_delivered(CUT_OFF[how])
    assert site.tries(CUT_OFF[how], "clip") == 1
    if how == "refused":
        assert "poll failed" in site.log(CUT_OFF[how])


def ask_and_wait(site, clip):
    """Start a clip and return it once a triggerer waits for it."""
    site.ask_for(clip)
    site.wait_until_deferred([clip])
    site.wait_for_triggerer(clip)
    return clip


def test_a_triggerer_dies_and_the_other_takes_over(site):
    clip = ask_and_wait(site, TRIGGERER_DIES)
    name, triggerer = site.holder(clip)

    triggerer.kill()
    try:
        site.wait_for_triggerer(clip, but_not=name)
        site.simulator.advance(RENDER_SECONDS)
        site.assert_paid_once_and_delivered(clip)
    finally:
        triggerer.start()


def test_a_triggerer_freezes_is_taken_for_dead_and_wakes(site):
    clip = ask_and_wait(site, TRIGGERER_FREEZES)
    name, triggerer = site.holder(clip)

    triggerer.signal_all(signal.SIGSTOP)
    try:
        site.wait_for_triggerer(clip, but_not=name)
    finally:
        triggerer.signal_all(signal.SIGCONT)
    site.eventually("it is well again", lambda: site.airflow.has_fresh_heartbeat(name))
    site.simulator.advance(RENDER_SECONDS)

    site.assert_paid_once_and_delivered(clip)
    assert site.tries(clip, "clip") == 1


def test_the_vendor_is_restarted(site):
    clip = ask_and_wait(site, VENDOR_RESTARTS)

    site.simulator.process.kill()
    try:
        site.eventually("a poll fails", lambda: "poll failed" in site.log(clip))
    finally:
        site.simulator.start()
    site.simulator.advance(RENDER_SECONDS)

    site.assert_paid_once_and_delivered(clip)
    assert site.tries(clip, "clip") == 1


def test_a_waiting_task_is_cleared(site):
    clip = ask_and_wait(site, CLEARED)

    site.airflow.api.clear(clip.dag_id, clip.run_id, ["clip"])
    site.eventually("the next try waits", lambda: site.tries(clip, "clip") == 2 and site.is_deferred(clip))
    site.simulator.advance(RENDER_SECONDS)

    site.assert_paid_once_and_delivered(clip)
    assert site.tries(clip, "clip") == 2


def test_nothing_is_left_behind(site):
    """Runs last: counts over everything that was asked for above."""
    assert len(site.simulator.billed()) == len(site.asked_for) > 0
    site.eventually("no trigger is left", lambda: site.airflow.query("select id from trigger") == [])
    unfinished = site.airflow.query(
        "select run_id, task_id, state from task_instance where coalesce(state, '') <> 'success'"
    )
    assert unfinished == []
    assert [name for name, part in site.airflow.components.items() if not part.running] == []
