"""
What a test process pays before its first test, and which tests run first.

Several processes on few cores collect the whole suite at the same time; what they spend there, no test has. Part of
tests/plugin.py.
"""

import gc
import os
import sys
from collections.abc import Iterator

import pytest

# They wait for processes more than they compute: begun last, they would leave the other test processes idle.
FIRST = ("tests/scenarios/",)


def keep_bytecode() -> None:
    """Let this process, and those it starts, keep what they compile, whatever PYTHONDONTWRITEBYTECODE says.

    Otherwise pytest rewrites the asserts of the whole suite again in each process of each run (9 s of CPU time), and
    every process that a test starts compiles the whole project.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


class Hooks:
    """The hooks of pytest, registered by tests/plugin.py."""

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Iterator[None]:
        """Collect without looking for garbage meanwhile, and look at nothing of it again: half a million objects."""
        gc.disable()
        try:
            return (yield)
        finally:
            gc.collect()
            gc.freeze()
            gc.enable()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: not item.nodeid.startswith(FIRST))
