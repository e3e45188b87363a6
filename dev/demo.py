"""
The whole way once, for real and for free: an Airflow, an example Dag, a face and a voice, a talking video on disk.

    make demo [KEEP=1]

Only the vendor is a stand-in: the simulator that ships with the package. Everything is ended and removed afterwards
but for `demo-output/`, also after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from airflow_api import ApiError
from check_video import check
from demo_view import View
from local_airflow import LocalAirflow, LocalAirflowError
from processes import ManagedProcess, free_ports, interruptible, signals_held, stop_all, tail

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "airflow_provider_kling_avatar" / "simulator" / "assets"
OUTPUT = ROOT / "demo-output"
DAG_ID = "kling_avatar_news"
DAG_FILE = ROOT / "example_dags" / "example_kling_avatar.py"
KEY = "sk-simulator"


class DemoError(Exception):
    """The demo cannot go on; the message says why, with the log that tells more."""


def http_json(url: str) -> Any:
    """Return the JSON behind an address of this machine, never by way of a proxy."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as response:
        return json.load(response)


class Simulator:
    """
    The local Kling.

    :param folder: where it keeps its state and its log.
    """

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        program = (
            "from airflow_provider_kling_avatar.simulator.__main__ import main; raise SystemExit(main())"
        )
        options = ["--port", str(port), "--state-dir", str(folder / "simulator"), "--render-seconds", "6"]
        self.process = ManagedProcess(
            "simulator", [sys.executable, "-c", program, *options], log=folder / "simulator.log"
        )

    def start(self, timeout: float = 60.0) -> None:
        """Start it and wait until it answers."""
        self.process.start()
        deadline = time.monotonic() + timeout
        while True:
            with contextlib.suppress(OSError):
                self.ledger()
                return
            if not self.process.running or time.monotonic() > deadline:
                raise DemoError(f"the simulator does not answer\n{tail(self.process.log)}")
            time.sleep(0.2)

    def ledger(self) -> dict[str, Any]:
        """Return what would have been billed."""
        report: dict[str, Any] = http_json(f"{self.url}/simulator/ledger")
        return report


def connection(simulator: Simulator) -> str:
    """Return the Airflow connection to the simulator, as Airflow takes it from the environment."""
    return json.dumps(
        {"conn_type": "kling_avatar", "host": simulator.url, "password": KEY, "extra": {"api": "kling"}}
    )


def make_video(airflow: LocalAirflow, view: View) -> None:
    """Trigger the Dag and follow it to its end."""
    conf = {
        "image": str(ASSETS / "presenter.jpg"),
        "audio": str(ASSETS / "greeting.mp3"),
        "output_dir": str(OUTPUT),
    }
    run_id = airflow.trigger(DAG_ID, conf)
    view.step(f"triggered {DAG_ID} with presenter.jpg and greeting.mp3")
    state = ""
    for state, tasks in airflow.watch(DAG_ID, run_id):  # noqa: B007 - the last one counts
        view.states(tasks)
    if state == "success":
        return
    logs = [
        f"--- log of task {task} ---\n" + "\n".join(airflow.task_log(DAG_ID, run_id, task).splitlines()[-60:])
        for task, outcome in airflow.task_states(DAG_ID, run_id).items()
        if outcome == "failed"
    ]
    raise DemoError("\n".join([f"the run ended as {state}", *logs, "" if logs else airflow.log_tails()]))


def price(ledger: dict[str, Any]) -> str:
    """Return in words what the simulator would have billed, were it the vendor."""
    total = ledger["total"]
    return (
        f"nothing; at Kling's list price about {float(total['amount_usd']):.2f} {ledger['currency']} "
        f"({total['tasks']} video, {float(total['seconds']):.1f} s, {float(total['units']):.2f} units)"
    )


def report(simulator: Simulator, view: View) -> None:
    """Show what came out, what it would have cost and how to go on with a real key."""
    video, result = OUTPUT / "avatar.mp4", OUTPUT / "result.json"
    try:
        about = check(video, ASSETS / "greeting.mp3")
        json.loads(result.read_text())
    except (OSError, ValueError) as error:
        raise DemoError(f"the run succeeded, but what it left is not right: {error}") from None
    view.title(f"Done in {view.elapsed:.0f} s")
    view.facts(
        {
            "video": f"{video.relative_to(ROOT)}   {about}",
            "manifest": str(result.relative_to(ROOT)),
            "price": price(simulator.ledger()),
        }
    )
    print("With a real key the same Dag makes a real video. Only the connection changes:\n")
    print(
        "  export AIRFLOW_CONN_KLING_AVATAR_DEFAULT="
        """'{"conn_type": "kling_avatar", "password": "YOUR-KEY", "extra": {"api": "kling"}}'\n""",
        flush=True,
    )


def keep_up(airflow: LocalAirflow, simulator: Simulator) -> None:
    """Leave everything up until Ctrl-C."""
    print(
        f"Airflow:    {airflow.url}/dags/{DAG_ID}   (no login)\n"
        f"Gallery:    {airflow.url}/plugin/kling-clips   (the clip, to be played)\n"
        f"Simulator:  {simulator.url}\n\nStop both with Ctrl-C.",
        flush=True,
    )
    with contextlib.suppress(KeyboardInterrupt):
        while airflow.survivors():
            time.sleep(1)
    print("\nStopping ...", flush=True)


def run(view: View, *, keep: bool) -> None:
    """Go the whole way; whatever happens, nothing of it runs on."""
    shutil.rmtree(OUTPUT, ignore_errors=True)  # an old video must not pass for this run's
    with tempfile.TemporaryDirectory(prefix="kling-demo-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        dags = folder / "dags"
        dags.mkdir()
        shutil.copy(DAG_FILE, dags)
        simulator = Simulator(folder)
        airflow = LocalAirflow(
            dags,
            home=folder / "airflow",
            env={
                "AIRFLOW_CONN_KLING_AVATAR_DEFAULT": connection(simulator),
                "AIRFLOW__KLING_AVATAR__GALLERY_ROOTS": str(OUTPUT),
            },
            serve_logs=keep,
        )
        try:
            view.title("A face and a voice become a video")
            simulator.start()
            view.step(f"the simulator stands in for Kling at {simulator.url}")
            airflow.start()
            view.step(f"Airflow {airflow.version} has a database; starting {', '.join(airflow.components)}")
            airflow.wait_healthy()
            view.step("Airflow is healthy")
            make_video(airflow, view)
            report(simulator, view)
            if keep:
                keep_up(airflow, simulator)
        finally:
            with signals_held():  # impatience must not leave half of it running
                airflow.stop()
                stop_all([simulator.process])


def main() -> int:
    """Run from the command line; the result is the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("--keep", action="store_true", help="leave the web UI up until Ctrl-C")
    options = parser.parse_args()
    view = View()
    try:
        run(view, keep=options.keep)
    except (DemoError, LocalAirflowError, ApiError, OSError) as error:
        view.error(str(error))
        return 1
    return 0


if __name__ == "__main__":
    with interruptible():
        sys.exit(main())
