"""
Child processes that can be ended without a trace.

Every process started here leads a session of its own. Whatever it starts in turn stays in that session unless it
goes out of its way, so "is anything left?" has an answer that does not depend on the process's good manners.
Knows nothing about Airflow.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """
    Deliver signals that ask us to stop only after the block.

    Between ``fork`` and the line that remembers the child, an exception out of a signal handler would lose the
    child for ever. Python-level handlers are swapped rather than the signal mask, because a mask is inherited by
    the child, who would then be deaf to SIGTERM. For the same reason a child started inside the block hears SIGINT
    even if we run in the background of a shell, which has it ignored: `exec` resets handlers, but not ignoring.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs signal handlers in the main thread only
        return
    arrived: list[int] = []

    def save(signum: int, _frame: FrameType | None) -> None:
        arrived.append(signum)

    previous = {signum: signal.signal(signum, save) for signum in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        for signum in arrived[:1]:
            signal.raise_signal(signum)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """
    Let SIGTERM and SIGHUP end a program the way Ctrl-C does: through its ``finally`` blocks.

    Also makes SIGINT do so when it was ignored, which is what a shell does to its background jobs. Ends the program
    with the status 130 and without a stack trace.
    """
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        raise SystemExit(130) from None


def free_ports(count: int) -> list[int]:
    """Return that many different TCP ports of the loopback interface that nobody listens on right now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:  # all bound before the first is closed, so no port comes twice
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


def tail(path: Path, lines: int = 40) -> str:
    """Return the last lines of a text file, or a remark that there is none."""
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        return f"(no log: {error})"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


def _is_zombie(pid: int) -> bool:
    """Tell whether the process has ended and only waits for its parent to notice."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in {"Z", "X"}


def pids_of_session(session: int) -> list[int]:
    """
    Return the living processes of a session.

    :param session: process id of the session's leader; need not be alive any more.
    """
    if Path("/proc/self").exists():  # slim containers have no `ps`
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    else:
        listing = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, text=True, check=True)
        pids = [int(word) for word in listing.stdout.split()]
    found = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == session and not _is_zombie(pid):
                found.append(pid)
    return found


class _Warden:
    """
    Our end of the pipe to ``warden.py``, which ends what we started should we die first.

    Started with the first process; lives as long as we do.
    """

    def __init__(self) -> None:
        self._popen: subprocess.Popen[str] | None = None

    def tell(self, sign: str, session: int) -> None:
        """Have a session watched (``+``) or no longer (``-``)."""
        if self._popen is None:
            self._popen = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("warden.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,  # whoever waits for the end of our output must not wait for it
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                text=True,
            )
            atexit.register(self._dismiss, self._popen)
        assert self._popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # somebody killed it: we still clean up ourselves
            self._popen.stdin.write(f"{sign}{session}\n")
            self._popen.stdin.flush()

    @staticmethod
    def _dismiss(popen: subprocess.Popen[str]) -> None:
        assert popen.stdin is not None
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            popen.stdin.close()
            popen.wait(15)


_warden = _Warden()


class ManagedProcess:
    """
    One child process in a session of its own, its output in a file.

    :param name: how messages call it.
    :param command: the program and its arguments.
    :param log: file its standard output and error go to; appended to, so that a restart keeps the history.
    :param env: its whole environment.
    :param cwd: its working directory.
    :param stop_signal: how its leader is asked to end.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.env = dict(env) if env is not None else None
        self.cwd = cwd
        self.stop_signal = stop_signal
        self.ended_by_us = False
        """Whether it was told to end since it was last started: nobody needs to wonder why it is gone."""
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the leader, also its process group and session."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} has not been started")
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, or ``None`` while it runs or before it was started."""
        return None if self._popen is None else self._popen.poll()

    @property
    def running(self) -> bool:
        """Whether the leader lives."""
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        """Start the process. A process that ran before and has ended may be started again."""
        if self.running:
            raise RuntimeError(f"{self.name} is running already")
        self.ended_by_us = False
        with signals_held(), self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                cwd=self.cwd,
                start_new_session=True,
            )
            _warden.tell("+", self._popen.pid)

    def wait(self, timeout: float) -> int:
        """
        Wait for the process to end by itself.

        :param timeout: seconds.
        :raises subprocess.TimeoutExpired: it did not.
        """
        if self._popen is None:
            raise RuntimeError(f"{self.name} has not been started")
        return self._popen.wait(timeout)

    def survivors(self) -> list[int]:
        """Return the processes of its session that are still alive, the leader included."""
        if self._popen is None:
            return []
        self._popen.poll()  # reaps the leader
        return pids_of_session(self._popen.pid)

    def signal_all(self, signum: int) -> None:
        """Send a signal to every living process of its session."""
        for pid in self.survivors():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def terminate(self) -> None:
        """Ask the leader, and only it, to end: a good leader takes its children along."""
        self.ended_by_us = True
        if self._popen is not None and self.running:
            self._popen.send_signal(self.stop_signal)

    def kill(self) -> None:
        """End the whole session at once, as a power cut would."""
        self.ended_by_us = True
        deadline = time.monotonic() + 5
        # Twice or more: a process that was forking while it was listed leaves a child behind.
        while self.survivors() and time.monotonic() < deadline:
            self.signal_all(signal.SIGKILL)
            time.sleep(0.05)
        if self._popen is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(1)
            if not self.survivors():
                _warden.tell("-", self._popen.pid)


def stop_all(processes: Sequence[ManagedProcess], grace: float = 8.0) -> None:
    """
    End processes and all they started; nothing of them is alive afterwards.

    They are asked together, so that the grace is spent once and not once for each.

    :param grace: seconds they get to end by themselves after having been asked.
    :raises RuntimeError: something survived SIGKILL.
    """
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + grace
    while any(process.running for process in processes) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in processes:
        process.kill()
    left = {process.name: pids for process in processes if (pids := process.survivors())}
    if left:
        raise RuntimeError(f"could not end {left}")
