"""
What the live test of the news Dag runs on: its rows, a run and what it left behind, who answers for the person.

Knows the example Dag's tasks and the manifest's fields; the distributed Airflow beneath it is the crash matrix's.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import time
import wave
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import av
from crash_site import OVER, Site
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from crash_points import Orders
    from crash_simulator import SimulatorProcess
    from distributed_airflow import DistributedAirflow
    from object_store import ObjectStore

DAG_ID = "kling_news"
CLIP_TASK = "video"
ASKED = frozenset({"awaiting_input", "deferred"})
"""The states of a task that waits for a person: of its own since 3.3, as any other deferred one before."""
MOST_PATIENCE = 10.0
"""Seconds. A task of a worker that was killed looks busy for longer."""
SHORT, LONG = 2.5, 12.0
"""Seconds of the recordings."""
TEXT = "This is the news of the day, read in one breath."


class NewsSite(Site):
    """
    A distributed Airflow, a simulator, an S3 server.

    :param media: folder of the face and the recordings.
    """

    def __init__(
        self,
        airflow: DistributedAirflow,
        simulator: SimulatorProcess,
        orders: Orders,
        *,
        store: ObjectStore,
        media: Path,
    ) -> None:
        super().__init__(airflow, simulator, orders)
        self.store = store
        self.media = media
        self.runs: list[Run] = []

    def _story(self) -> str:
        states = {run.run_id: Counter(run.clip_states().values()) for run in self.runs}
        logs = "\n".join(run.log_of_a_failure() for run in self.runs)
        return f"{states}\n{logs}\n{self.airflow.log_tails('scheduler', lines=15)}"

    def kill_worker_at(self, run: Run, point: str) -> None:
        """Kill the worker of the clip that comes first to a point, with all else it does; start it again."""
        self.orders.place(run.run_id, CLIP_TASK, point)
        name: str = self.eventually(f"a worker stands at {point}", run.worker_at, point)
        self.airflow.components[name].kill()
        self.airflow.components[name].start()


class Run:
    """
    One run of the news Dag.

    :param site: everything it runs on.
    :param run_id: its name.
    :param output: folder or storage URI.
    :param lengths: seconds of speech of each clip; ``None`` for one that is spoken by the vendor.
    :param conf: further params.
    """

    def __init__(
        self,
        site: NewsSite,
        run_id: str,
        output: str,
        lengths: Iterable[float | None],
        **conf: str,
    ) -> None:
        self.site = site
        self.run_id = run_id
        self.output = f"{output}/{run_id}"
        self.lengths = list(lengths)
        self._moved = time.monotonic()
        table = site.media / f"{run_id}.csv"
        write_table(table, self.lengths)
        conf |= {"table": str(table), "media": str(site.media), "output": output}
        site.runs.append(self)
        site.airflow.trigger(DAG_ID, conf, run_id=run_id)

    # ------------------------------------------------------------- looking

    def _clips(self) -> list[dict[str, Any]]:
        instances = self.site.airflow.api.task_instances(DAG_ID, self.run_id)
        return [task for task in instances if task["task_id"] == CLIP_TASK]

    def clip_states(self) -> dict[str, str]:
        """Return the states of the clips' tasks."""
        states = self.site.airflow.task_states(DAG_ID, self.run_id)
        return {name: state for name, state in states.items() if name.startswith(f"{CLIP_TASK}[")}

    def count(self, state: str) -> int:
        """Return how many clips are in a state."""
        return Counter(self.clip_states().values())[state]

    def triggerer(self, but_not: str | None = None) -> str | None:
        """Return a triggerer that waits for a clip of this run, another than the named one."""
        for task in self._clips():
            if task["triggerer_job"]:
                name = str(task["triggerer_job"]["unixname"])
                if name != but_not:
                    return name
        return None

    def worker_at(self, point: str) -> str | None:
        """Return the worker whose task stands still at a point, moving the vendor's clock on until one does."""
        self.move_on()
        pid = self.site.orders.pid(self.run_id, CLIP_TASK, point)
        return self.site.airflow.component_of(pid) if pid else None

    def log(self, map_index: int) -> str:
        """Return the logs of all tries of a clip: the first may have died with its worker."""
        return "\n".join(
            self.site.airflow.task_log(DAG_ID, self.run_id, CLIP_TASK, try_number, map_index)
            for task in self._clips()
            if task["map_index"] == map_index
            for try_number in range(1, int(task["try_number"]) + 1)
        )

    def log_of_a_failure(self) -> str:
        """Return the logs of the first clip that has failed, if one has."""
        failed = (task for task in self._clips() if task["state"] in {"failed", "up_for_retry"})
        return next((self.log(int(task["map_index"])) for task in failed), "")

    # ------------------------------------------------------------- to its end

    def move_on(self) -> None:
        """Have the clips that are waited for be ready, once all are that can be, or after a while."""
        states = Counter(self.clip_states().values())
        busy = states["queued"] + states["running"]
        patience = MOST_PATIENCE if busy else 0.0
        if states["deferred"] and time.monotonic() >= self._moved + patience:
            self.site.simulator.advance(self.site.simulator.render_seconds)
            self._moved = time.monotonic()

    def finish(self, answer: str = "Approve") -> str:
        """Move the vendor's clock on, answer for the person who is asked, and return the state the run ends in."""
        state: str = self.site.eventually(f"{self.run_id} is over", lambda: self._step(answer))
        return state

    def _step(self, answer: str) -> str | None:
        airflow = self.site.airflow
        self.move_on()
        if airflow.task_states(DAG_ID, self.run_id).get("approve") in ASKED:
            airflow.api.answer_person(DAG_ID, self.run_id, "approve", answer)
        state = airflow.api.run_state(DAG_ID, self.run_id)
        return state if state in OVER else None

    # ------------------------------------------------------------- afterwards

    def manifests(self) -> dict[int, dict[str, Any]]:
        """Return what the clips that succeeded returned, by their row."""
        done = [name for name, state in self.clip_states().items() if state == "success"]
        rows = sorted(int(name.partition("[")[2].rstrip("]")) for name in done)
        return {row: self.site.airflow.xcom(DAG_ID, self.run_id, CLIP_TASK, map_index=row) for row in rows}

    def estimates(self) -> dict[int, Any]:
        """Return what each clip was estimated to cost before it was sent."""
        return {
            row: self.site.airflow.xcom(DAG_ID, self.run_id, CLIP_TASK, "kling_estimate", row)
            for row in self.manifests()
        }


class Folder:
    """
    Where videos were stored, as the test sees it; one on disk, one on the S3 server.

    :param keys: returns the names of all files.
    :param read: returns the content of one.
    """

    def __init__(self, keys: Callable[[], list[str]], read: Callable[[str], bytes]) -> None:
        self.keys = keys
        self.read = read

    @classmethod
    def on_disk(cls, folder: Path) -> Folder:
        """Look at a folder of this machine."""
        return cls(
            lambda: sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()),
            lambda key: (folder / key).read_bytes(),
        )

    @classmethod
    def in_bucket(cls, store: ObjectStore, bucket: str, prefix: str) -> Folder:
        """Look at a part of a bucket."""
        return cls(
            lambda: [key.removeprefix(f"{prefix}/") for key in store.keys(bucket, f"{prefix}/")],
            lambda key: store.read(bucket, f"{prefix}/{key}"),
        )


def assert_delivered(run: Run, folder: Folder, ledger: list[dict[str, Any]], rows: Iterable[int]) -> None:
    """
    Check that the named rows, and no others, were made: once each, paid once each, stored whole, worth their money.

    :param ledger: the vendor's own.
    """
    manifests = run.manifests()
    assert sorted(manifests) == sorted(rows)
    assert folder.keys() == sorted(f"{name_of(row)}.mp4" for row in rows), "nothing else is there either"
    billed = {entry["task_id"]: entry for entry in ledger}
    assert len({manifest["task_id"] for manifest in manifests.values()}) == len(manifests)
    for row, manifest in manifests.items():
        stored = folder.read(f"{name_of(row)}.mp4")
        assert manifest["file"].endswith(f"{run.run_id}/{name_of(row)}.mp4")
        assert manifest["size"] == len(stored)
        assert manifest["sha256"] == hashlib.sha256(stored).hexdigest()
        entry = billed[manifest["task_id"]]
        spoken = run.lengths[row] or float(entry["seconds"])
        assert abs(seconds_of(stored) - spoken) <= 0.15 * spoken
        assert Decimal(manifest["actual_cost"]) == Decimal(entry["amount_usd"])
        assert manifest["currency"] == "USD"


def seconds_of(video: bytes) -> float:
    """Return the length of a video, by decoding every picture of it."""
    with av.open(io.BytesIO(video)) as container:
        stream = container.streams.video[0]
        assert container.streams.audio
        assert stream.average_rate
        return float(sum(1 for _ in container.decode(video=0)) / stream.average_rate)


def name_of(row: int) -> str:
    """Return the id of a row."""
    return f"clip-{row:02}"


def write_table(path: Path, lengths: Iterable[float | None]) -> None:
    """Write a table of the news Dag, one row for each length of a recording, spoken by the vendor if ``None``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "headline", "face", "voice_id", "text", "audio"])
        for row, length in enumerate(lengths):
            spoken = (
                ["oversea_male1", f"{TEXT} Number {row}.", ""]
                if length is None
                else ["", "", f"{length}.wav"]
            )
            table.writerow([name_of(row), f"Headline {row}", "face.jpg", *spoken])


def make_media(folder: Path) -> None:
    """Make a small face and the recordings: films of them are made in a moment."""
    Image.new("RGB", (320, 320), (90, 120, 160)).save(folder / "face.jpg")
    for seconds in (SHORT, LONG):
        with wave.open(str(folder / f"{seconds}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(os.urandom(2 * int(8000 * seconds)))
