"""Migrations: none is missing, and batching dj-stripe's changes nothing about them."""

from collections.abc import Callable
from io import StringIO

import pytest
from django.core.management import call_command
from django.db.migrations import CreateModel, Migration, RemoveField
from django.db.migrations.state import ModelState, ProjectState

from config.batched_migrations import OperationRun, batch, migrations_of


@pytest.mark.django_db
def test_no_model_has_changed_without_a_migration() -> None:
    out = StringIO()
    call_command("makemigrations", check=True, dry_run=True, stdout=out, skip_checks=True)
    assert "No changes detected" in out.getvalue()


def state_after(operations_of: Callable[[type[Migration]], list]) -> dict[tuple[str, str], ModelState]:
    """Return the models after all of dj-stripe's migrations, applied to a state without rendered models."""
    state = ProjectState()
    for migration in migrations_of("djstripe.migrations"):
        for operation in operations_of(migration):
            operation.state_forwards("djstripe", state)
    return state.models


def test_batched_migrations_lead_to_the_same_models() -> None:
    plain = state_after(lambda migration: list(migration.operations))
    batched = state_after(lambda migration: batch(list(migration.operations)))
    assert len(plain) > 40
    assert batched == plain


def test_a_run_holds_one_kind_and_keeps_the_order() -> None:
    first, second = CreateModel("A", fields=[]), CreateModel("B", fields=[])
    removals = [RemoveField("A", "x"), RemoveField("B", "y"), RemoveField("A", "z")]
    runs = batch([first, second, *removals, CreateModel("C", fields=[])])
    assert [type(run) for run in runs] == [OperationRun, OperationRun, CreateModel]
    assert [run.operations for run in runs if isinstance(run, OperationRun)][1] == removals
