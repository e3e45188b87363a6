"""
The last one to leave: ends processes whose starter died without doing so.

A `finally` does not run after SIGKILL, nor in a pytest that got SIGTERM. The starter holds a pipe to this process and
writes which sessions it started; the pipe ends when the starter does, in whatever way, and then they are ended.
Run by :mod:`processes`, not by hand.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

from processes import STOP_SIGNALS, pids_of_session


def main() -> None:
    """Read ``+PID`` and ``-PID`` lines until the pipe ends, then end what is left."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)  # it must outlive its starter
    sessions: set[int] = set()
    for line in sys.stdin:
        (sessions.add if line[0] == "+" else sessions.discard)(int(line[1:]))
    deadline = time.monotonic() + 10
    while (
        left := [pid for session in sessions for pid in pids_of_session(session)]
    ) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
