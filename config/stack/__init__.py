"""Embedded PostgreSQL and Valkey for the demo, the tests, the benchmarks and a developer's shell.

with Stack(Path(".stack/demo"), durable=True) as stack:
    stack.processes.start("web", [...], env={**os.environ, **stack.environment()})
"""

from config.stack.errors import ProcessDied, StackError
from config.stack.processes import ProcessSupervisor, termination_raises
from config.stack.services import Stack, remove_stale_folders

__all__ = ["ProcessDied", "ProcessSupervisor", "Stack", "StackError", "remove_stale_folders", "termination_raises"]
