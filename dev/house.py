"""
How large the house is, beside what it may be: lines, modules, longest pieces, circles, docstrings, one clip's way.

    .venv/bin/python dev/house.py

Reads the package's sources, and has one clip made by the simulator, through operator, trigger and landing, to see which
of its files it enters. How long `make test` took is what its report says. Only tells: circles and forbidden imports are
`make lint`'s to refuse.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grimp
import totals

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "airflow_provider_kling_avatar"
LIMITS = {
    "lines without the simulator": 12_000,
    "modules without the simulator": 65,
    "lines of the longest file": 600,
    "lines of the longest function": 50,
    "circles of imports": 0,
    "public things without a docstring": 0,
    "files that one clip enters": 40,
    "seconds of make test": 360,
}


class TaskInstance:
    """What the operator uses of a running task instance."""

    dag_id, task_id, run_id, map_index, try_number, max_tries = "house", "clip", "manual__1", -1, 1, 0

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        """Store."""
        self.xcoms[key] = value

    def xcom_pull(self, key: str, **_: Any) -> Any:
        """Return what was stored."""
        return self.xcoms.get(key)


def sources() -> dict[Path, str]:
    """Return the package's files but the simulator's."""
    return {p: p.read_text("utf-8") for p in sorted(PACKAGE.rglob("*.py")) if "simulator" not in p.parts}


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the functions of a module, however deep."""
    yield from (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function without its docstring, which is the best thing in the house."""
    docstring = ast.get_docstring(function, clean=False)
    return (
        (function.end_lineno or 0) - function.lineno + 1 - (len(docstring.splitlines()) if docstring else 0)
    )


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Name the public classes and functions of a module, and their public methods, that have no docstring."""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name[0] == "_":
            continue
        members = [node, *(node.body if isinstance(node, ast.ClassDef) else [])]
        for member in members:
            if not isinstance(member, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            is_overload = any(isinstance(d, ast.Name) and d.id == "overload" for d in member.decorator_list)
            if member.name[0] != "_" and not is_overload and not ast.get_docstring(member):
                yield f"{node.name}.{member.name}" if member is not node else node.name


def circles() -> set[frozenset[str]]:
    """Return the circles of modules that import each other, if only for their types."""
    graph = grimp.build_graph(PACKAGE.name)
    upstream = {module: graph.find_upstream_modules(module) for module in graph.modules}
    found = {frozenset({m, *(n for n in upstream[m] if m in upstream[n])}) for m in upstream}
    return {circle for circle in found if len(circle) > 1}


def one_clip(folder: Path) -> set[str]:
    """Have one clip made and landed; return the package's files that were entered on the way."""
    from airflow.providers.common.compat.sdk import TaskDeferred

    from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarOperator
    from airflow_provider_kling_avatar.simulator import server, settings
    from airflow_provider_kling_avatar.triggers import kling_avatar as trigger_module

    setattr(trigger_module, "SETTLE_SECONDS", 0.0)  # noqa: B010  # no scheduler is there to be overtaken
    assets, entered = PACKAGE / "simulator" / "assets", set[str]()

    def note(frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(str(PACKAGE)) and "simulator" not in file:
            entered.add(str(Path(file).relative_to(PACKAGE)))

    with server.SimulatorServer(
        settings.SimulatorSettings(port=0, queue_seconds=1, render_seconds=1)
    ) as vendor:
        connection = {"conn_type": "kling_avatar", "host": vendor.url, "password": settings.DEFAULT_API_KEY}
        os.environ["AIRFLOW_CONN_KLING_AVATAR_DEFAULT"] = json.dumps(
            {**connection, "extra": {"api": "kling"}}
        )
        operator = KlingAvatarOperator(
            task_id="clip",
            image=str(assets / "presenter.jpg"),
            audio=str(assets / "greeting.mp3"),
            output_path=f"{folder}/",
        )
        ti = TaskInstance()
        context: Any = {"ti": ti, "task": operator, "task_state_store": _Store()}
        threading.setprofile(note)
        sys.setprofile(note)
        try:
            operator.begin(context)  # Airflow wants `execute` to be called by itself alone
        except TaskDeferred as deferred:
            event = asyncio.run(_event_of(deferred.trigger))
            operator.execute_complete(context, event)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
    return entered


class _Store(dict[str, Any]):
    """Airflow's task state store, of this process."""

    def set(self, key: str, value: Any) -> None:
        """Store."""
        self[key] = value


async def _event_of(trigger: Any) -> dict[str, Any]:
    async for event in trigger.run():
        payload: dict[str, Any] = event.payload
        return payload
    raise AssertionError("a trigger reports")


def main() -> None:
    """Print the table."""
    begin = time.monotonic()
    texts = sources()
    trees = {path: ast.parse(text) for path, text in texts.items()}
    longest_file = max(texts, key=lambda path: texts[path].count("\n"))
    longest = max(
        ((f, p) for p, tree in trees.items() for f in functions(tree)), key=lambda at: length_of(at[0])
    )
    missing = [f"{path.stem}.{name}" for path, tree in trees.items() for name in undocumented(tree)]
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"AIRFLOW_HOME": home, "AIRFLOW__LOGGING__LOGGING_LEVEL": "CRITICAL"}
        entered = one_clip(Path(home))
    tied = circles()
    found: dict[str, tuple[int | None, str]] = {
        "lines without the simulator": (sum(text.count("\n") for text in texts.values()), ""),
        "modules without the simulator": (sum(path.name != "__init__.py" for path in texts), ""),
        "lines of the longest file": (
            texts[longest_file].count("\n"),
            str(longest_file.relative_to(PACKAGE)),
        ),
        "lines of the longest function": (length_of(longest[0]), f"{longest[0].name} in {longest[1].name}"),
        "circles of imports": (len(tied), "; ".join(" ".join(sorted(circle)) for circle in tied)),
        "public things without a docstring": (len(missing), ", ".join(missing[:5])),
        "files that one clip enters": (len(entered), ""),
        "seconds of make test": (totals.seconds(ROOT / "build" / "reports" / "test.xml"), ""),
    }
    for name, (count, which) in found.items():
        if count is None:
            print(f"{name:35}    not run yet")
            continue
        verdict = "" if count <= LIMITS[name] else "  above"
        print(f"{name:35} {count:6,}  of {LIMITS[name]:6,}{verdict}{f'  ({which})' if which else ''}")
    print(f"{time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
