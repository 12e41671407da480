"""Counts the cases whose expected number comes from somewhere else than our code.

A test says so by ``@pytest.mark.truth("closed form")``, ``("metamorphic")``, ``("pycocotools")``, …;
every parameter set is a case of its own. The count is printed when the tests end.
"""

from collections import Counter

import pytest

PASSED: Counter[str] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report = yield
    marker = item.get_closest_marker("truth")
    if marker is not None and report.when == "call" and report.passed:
        PASSED[marker.args[0]] += 1
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if PASSED:
        parts = ", ".join(f"{source} {count}" for source, count in sorted(PASSED.items()))
        terminalreporter.write_line(f"independent truth: {PASSED.total()} cases held ({parts})")
