"""
Sum up test reports.

    python dev/totals.py REPORT.xml ...

Reads JUnit XML as pytest writes it. The last line of the output is `123 passed, 0 failed`; a report that is missing
counts as one failure, for tests that were to run and did not.
"""

from __future__ import annotations

import math
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Count:
    """How many tests went how; an error outside of a test counts as a failure."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)


def _suites(report: Path) -> list[ET.Element]:
    try:
        return list(ET.parse(report).getroot().iter("testsuite"))
    except (OSError, ET.ParseError):
        return []


def seconds(report: Path) -> int | None:
    """Return how long the tests of a report took, rounded up; ``None`` without a report."""
    taken = [float(suite.get("time", 0)) for suite in _suites(report)]
    return math.ceil(sum(taken)) if taken else None


def read(report: Path) -> Count:
    """Return the counts of one report."""
    suites = _suites(report)
    total = Count(failed=int(not suites))
    for suite in suites:
        tests, failed, skipped = (int(suite.get(name, 0)) for name in ("tests", "failures", "skipped"))
        failed += int(suite.get("errors", 0))
        total += Count(max(tests - failed - skipped, 0), failed, skipped)
    return total


def write(report: Path, name: str, error: str | None) -> None:
    """Write a report of a single test, for a check that is not pytest's."""
    report.parent.mkdir(parents=True, exist_ok=True)
    suite = ET.Element("testsuite", name=name, tests="1", failures=str(int(error is not None)))
    case = ET.SubElement(suite, "testcase", name=name)
    if error is not None:
        ET.SubElement(case, "failure", message=error)
    ET.ElementTree(suite).write(report)


def main(reports: list[Path]) -> None:
    """Print a table and the sum."""
    total = Count()
    for report in reports:
        count = read(report)
        total += count
        note = "" if report.exists() else "   (no report)"
        print(
            f"  {report.stem:16} {count.passed:6} passed {count.failed:4} failed {count.skipped:4} skipped{note}"
        )
    print(f"{total.passed} passed, {total.failed} failed")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
