"""
How fast a clip of 500 MB lands over 1 Gbit/s beside ``curl -o`` into the same folder, and what memory it takes.

    python -m benchmarks.landing [--rounds 5] [--megabytes 500]

The film comes from a server in a process of its own, which hands it to the kernel (``sendfile``) and so costs
little, at the rate of the line. Each landing is a fresh process; rounds are interleaved, curl first and ours first by
turns. Curl's time is its own ``time_total``, ours all of `Landing.land`: fetching, hashing, the check of the film,
``fsync`` and publishing, of which curl does the first only. Memory is the growth of the resident set at its peak, after
a small clip was landed.

Knows curl, our landing and a server of one film. It must not know what a landing does inside.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from object_store import ObjectStore
from processes import ManagedProcess, free_ports, stop_all

from benchmarks import ROOT

RESULTS = Path(__file__).with_name("landing.md")
GOAL_RATE = 0.9
GOAL_MEGABYTES = 64
SECONDS = 5
SMALL = 3_000_000
MEGABYTE = 1_000_000
LINE = 125 * MEGABYTE
"""Bytes a second that the server gives: 1 Gbit/s."""


def make_film(path: Path, size: int) -> None:
    """Write a film that plays, with a box of nothing behind it, so that the file has so many bytes."""
    from PIL import Image

    from airflow_provider_kling_avatar.simulator.video import Film, render

    picture = path.with_suffix(".png")
    Image.new("RGB", (640, 480), (90, 120, 160)).save(picture)
    render(Film(image=picture, audio=None, seconds=Decimal(SECONDS), mode="std"), path)
    pad = size - path.stat().st_size
    with path.open("ab") as file:
        file.write(pad.to_bytes(4, "big") + b"free")
        left = pad - 8
        noise = os.urandom(MEGABYTE)
        while left:
            left -= file.write(noise[: min(left, MEGABYTE)])


def serve(folder: Path, port: int) -> None:
    """Serve the films in a folder until killed."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with (folder / Path(self.path.partition("?")[0]).name).open("rb") as film:
                size = os.fstat(film.fileno()).st_size
                self.send_response(200)
                self.send_header("Content-Length", str(size))
                self.end_headers()
                begin, sent = time.monotonic(), 0
                while sent < size:
                    sent += os.sendfile(self.connection.fileno(), film.fileno(), sent, MEGABYTE)
                    time.sleep(max(0, begin + sent / LINE - time.monotonic()))

        def log_message(self, *_: object) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def land(url: str, output_path: str, small: str) -> None:
    """Land one film in this process, a small one before it; print what it took."""
    import airflow  # noqa: F401 - as on a worker

    from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
    from airflow_provider_kling_avatar.kling.models import TaskState, Video, VideoTask
    from airflow_provider_kling_avatar.landing import Landing
    from benchmarks.loop_watch import MemoryWatch, processor_seconds

    hook = KlingAvatarHook("kling_bench")

    def task(of: str) -> VideoTask:
        return VideoTask("1", TaskState.SUCCEEDED, videos=(Video(of, duration=float(SECONDS)),))

    warm = Landing(small)
    warm.land(hook, "avatar", task(f"{url}/small.mp4"))
    memory, cpu = MemoryWatch(), processor_seconds()
    landed = Landing(output_path).land(hook, "avatar", task(f"{url}/large.mp4"))
    found = {
        "seconds": landed.seconds,
        "size": landed.size,
        "memory": memory.peak_added(),
        "cpu": processor_seconds() - cpu,
    }
    print(json.dumps(found))


def curl(url: str, target: Path) -> float:
    """Fetch a film with curl; return its own time in seconds."""
    command = ["curl", "--silent", "--fail", "--output", str(target), "--write-out", "%{time_total}"]
    command += [
        "--retry",
        "50",
        "--retry-delay",
        "1",
        "--retry-connrefused",
    ]  # the server has just been started
    done = subprocess.run([*command, f"{url}/large.mp4"], capture_output=True, text=True, check=True)  # noqa: S603
    target.unlink()
    return float(done.stdout)


def ours(url: str, output_path: str, folder: Path, env: dict[str, str]) -> dict[str, Any]:
    """Land a film in a fresh process; return what it took."""
    small = folder / "small-landed.mp4"
    command = [sys.executable, "-m", "benchmarks.landing", "--land", url, output_path, str(small)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    small.unlink()
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(rounds: int, size: int) -> dict[str, Any]:
    """Measure all rounds; return the figures."""
    with tempfile.TemporaryDirectory(prefix="kling-landing-bench-") as temporary:
        folder = Path(temporary)
        films, out = folder / "films", folder / "out"
        films.mkdir()
        out.mkdir()
        make_film(films / "large.mp4", size)
        make_film(films / "small.mp4", SMALL)
        (port,) = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        connection = {"conn_type": "kling_avatar", "host": url, "password": "sk-bench"}
        env = {  # of a worker
            **os.environ,
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
            "NO_PROXY": "127.0.0.1",
            "AIRFLOW_CONN_KLING_BENCH": json.dumps(connection),
        }
        command = [sys.executable, "-m", "benchmarks.landing", "--serve", str(films), str(port)]
        server = ManagedProcess("films", command, log=folder / "films.log", cwd=ROOT)
        try:
            server.start()
            figures = _disk(rounds, url, out, env)
            with ObjectStore(folder) as store:
                store.create_bucket("clips")
                env["AIRFLOW_CONN_S3_BENCH"] = store.connection
                figures["s3"] = ours(url, "s3://s3_bench@clips/large.mp4", out, env)
        finally:
            stop_all([server])
        return figures


def _disk(rounds: int, url: str, out: Path, env: dict[str, str]) -> dict[str, Any]:
    curl(url, out / "warm-up.mp4")  # the server's file comes from the page cache from now on
    curls, landings = [], []
    for number in range(rounds):
        target = out / "ours.mp4"

        def do_ours(target: Path = target) -> None:
            landings.append(ours(url, str(target), out, env))
            target.unlink()

        def do_curl() -> None:
            curls.append(curl(url, out / "curl.mp4"))

        for step in (do_curl, do_ours) if number % 2 == 0 else (do_ours, do_curl):
            os.sync()  # nobody pays for writing what another one left
            step()
        print(f"round {number + 1}: curl {curls[-1]:.2f} s, ours {landings[-1]['seconds']:.2f} s", flush=True)
    return {"curl": curls, "disk": landings}


def report(figures: dict[str, Any], size: int) -> str:
    """Write down the figures, and whether they reach the goals."""
    landings = figures["disk"]
    curl_seconds = statistics.median(figures["curl"])
    our_seconds = statistics.median(landing["seconds"] for landing in landings)
    ratio = curl_seconds / our_seconds
    pairs = [c / landing["seconds"] for c, landing in zip(figures["curl"], landings, strict=True)]
    memory = max(landing["memory"] for landing in landings) / MEGABYTE
    s3_memory = figures["s3"]["memory"] / MEGABYTE
    cpu = statistics.median(landing["cpu"] for landing in landings)

    def verdict(good: bool) -> str:
        return "reached" if good else "**missed**"

    rows = "\n".join(
        f"| {number} | {c:.2f} | {landing['seconds']:.2f} | {c / landing['seconds']:.2f} | "
        f"{landing['memory'] / MEGABYTE:.1f} |"
        for number, (c, landing) in enumerate(zip(figures["curl"], landings, strict=True), 1)
    )
    return f"""# Landing a clip

Made by `make bench-landing` on {time.strftime("%Y-%m-%d", time.gmtime())}, on {os.cpu_count()} processors, Python \
{sys.version.split()[0]}. A film of {size / MEGABYTE:.0f} MB from a server on this machine, which gives \
{LINE / MEGABYTE:.0f} MB a second (1 Gbit/s), to a folder of this machine, \
by `curl -o` and by `Landing.land`, {len(pairs)} times each by turns. Ours is all of it: fetched, hashed, \
checked, `fsync`, published. Curl only writes. Others used the machine too: a load of \
{os.getloadavg()[1]:.1f} for {os.cpu_count()} processors at the end.

| | curl | ours | goal | |
|---|---|---|---|---|
| median, s | {curl_seconds:.2f} | {our_seconds:.2f} | | |
| rate, MB/s | {size / MEGABYTE / curl_seconds:.0f} | {size / MEGABYTE / our_seconds:.0f} | | |
| ratio of the medians | | {ratio:.2f} | at least {GOAL_RATE} | {verdict(ratio >= GOAL_RATE)} |
| ratio round by round, least to most | | {min(pairs):.2f} to {max(pairs):.2f} | | |
| peak memory above idle, MB | | {memory:.1f} | below {GOAL_MEGABYTES} | {verdict(memory < GOAL_MEGABYTES)} |
| the same to an S3 server, MB | | {s3_memory:.1f} | below {GOAL_MEGABYTES} | {verdict(s3_memory < GOAL_MEGABYTES)} |
| processor time, s | | {cpu:.2f} | | |

| round | curl, s | ours, s | ratio | memory, MB |
|---|---|---|---|---|
{rows}

Idle is after a clip of 3 MB was landed, when everything is loaded. `sync` runs before each, so that nobody waits for \
the disk on another's behalf.
"""


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Measure the landing of a clip")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--land", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--dry", action="store_true", help="print, and write nothing")
    options = parser.parse_args()
    if options.serve:
        serve(Path(options.serve[0]), int(options.serve[1]))
    elif options.land:
        land(*options.land)
    else:
        size = options.megabytes * MEGABYTE
        text = report(measure(options.rounds, size), size)
        print(text)
        if not options.dry:
            RESULTS.write_text(text)


if __name__ == "__main__":
    main()
