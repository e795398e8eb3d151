"""Tests that needed a second run are named, and few of them are allowed."""

from __future__ import annotations

import pytest

ALLOWED = 6  # of some thousands that wait for processes, browsers and a busy machine


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which more than `ALLOWED` tests passed only when they were repeated (``--reruns``)."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    repeated = {report.nodeid for report in reporter.stats.get("rerun", [])} if reporter else set()
    if repeated:
        reporter.write_line("")
        reporter.write_line(f"{len(repeated)} tests were repeated ({ALLOWED} may be): {', '.join(sorted(repeated))}")
    if len(repeated) > ALLOWED and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
