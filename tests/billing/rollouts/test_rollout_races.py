"""Two at once, each with a connection of its own: deciding, halting, checking and pinning."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from billing.catalog.models import PlanVersion
from billing.rollouts import moves
from billing.rollouts import operations as rollouts
from billing.rollouts.approvals import operations as approvals
from billing.rollouts.models.rollouts import ApprovalDecision, Rollout, RolloutMove
from billing.rollouts.pins import pin
from billing.rollouts.refusals import RolloutError
from tests.billing.rollouts.world import (
    FIONA,
    FRED,
    LAST_DAY,
    LATE_OCTOBER,
    SAM,
    approved,
    asked,
    hire,
    rolling,
    subscribe,
    two_versions,
)

pytestmark = pytest.mark.usefixtures("committed_db")
HOUR = timedelta(hours=1)
WAIT_SECONDS = 60


@pytest.fixture
def versions(committed_db: None) -> tuple[PlanVersion, PlanVersion]:
    hire()
    return two_versions()


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Results, or the refusal of each."""
    gate = Barrier(len(works))

    def run(work: Callable[[], Any]) -> Any:
        try:
            gate.wait(WAIT_SECONDS)
            return work()
        except RolloutError as refusal:
            return refusal
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def begun(versions: tuple[PlanVersion, PlanVersion], *, customers: int = 2) -> Rollout:
    subscribe(versions[0], customers)
    rollout = rolling(versions[0], approved(versions[1]))
    rollouts.advance(rollout_id=rollout.pk, now=LATE_OCTOBER + HOUR)
    PlanVersion.objects.filter(pk=versions[1].pk).update(stripe_price_id="price_new")
    return rollouts.by_id(rollout.pk)


def test_two_people_decide_and_one_is_told_of_the_other(versions: tuple[PlanVersion, PlanVersion]) -> None:
    request = asked(versions[1])

    results = at_once(
        lambda: approvals.approve(request_id=request.pk, reason="yes", actor=FIONA, now=LATE_OCTOBER),
        lambda: approvals.reject(request_id=request.pk, reason="no", actor=FRED, now=LATE_OCTOBER),
    )

    assert sum(isinstance(result, RolloutError) for result in results) == 1
    decision = ApprovalDecision.objects.get()
    status = PlanVersion.objects.get(pk=versions[1].pk).status
    assert (decision.outcome, status) in (("approved", "approved"), ("rejected", "draft"))


def test_two_checks_begin_one_stage(versions: tuple[PlanVersion, PlanVersion]) -> None:
    subscribe(versions[0], 3)
    rollout = rolling(versions[0], approved(versions[1]))

    checks = at_once(*[lambda: rollouts.advance(rollout_id=rollout.pk, now=LATE_OCTOBER + HOUR)] * 2)

    assert len([check for check in checks if check is not None]) == 1
    assert (rollout.checks.count(), rollout.moves.count()) == (1, 3)


def test_terms_cannot_change_while_they_are_approved(
    versions: tuple[PlanVersion, PlanVersion], app_connection: psycopg.Connection
) -> None:
    """A rate that is added while the decision is under way waits for it, and is then one of an approved card."""
    request = asked(versions[1])
    add = """
        INSERT INTO billing_rate (rate_card_id, meter_code, dimensions, charge_model, unit_price, unit_size, terms,
            effective_from)
        SELECT rate_card_id, 'output_tokens', '{}', 'per_unit', 1, 1, '{}', now() FROM billing_planversion WHERE id = %s
    """
    app_connection.execute("SET lock_timeout = '200ms'")
    with transaction.atomic():
        approvals.approve(request_id=request.pk, reason="read", actor=FIONA, now=LATE_OCTOBER)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            app_connection.execute(add, [versions[1].pk])


def test_a_halt_waits_for_a_move_that_begins_and_no_other_begins_after_it(
    versions: tuple[PlanVersion, PlanVersion],
) -> None:
    rollout = begun(versions)
    first, second = rollout.moves.order_by("id")

    pool = ThreadPoolExecutor(1)
    with transaction.atomic():
        assert moves._begin_telling(first.pk)
        halting = pool.submit(
            at_once, lambda: rollouts.halt(rollout_id=rollout.pk, reason="no", actor=FIONA, now=LATE_OCTOBER + 2 * HOUR)
        )
        with pytest.raises(TimeoutError):
            halting.result(timeout=0.3)
    assert halting.result(timeout=WAIT_SECONDS)[0].state == "halted"
    pool.shutdown()

    assert not moves._begin_telling(second.pk)
    states = dict(RolloutMove.objects.values_list("id", "state"))
    assert states == {first.pk: "telling", second.pk: "intended"}


def test_a_pin_waits_for_a_move_that_begins_and_takes_it_back(versions: tuple[PlanVersion, PlanVersion]) -> None:
    rollout = begun(versions, customers=1)
    move = rollout.moves.get()
    pool = ThreadPoolExecutor(1)

    with transaction.atomic():
        assert moves._begin_telling(move.pk)
        pinning = pool.submit(
            at_once, lambda: pin(subscription_id=move.subscription_id, reason="promised", actor=SAM, now=LAST_DAY)
        )
        with pytest.raises(TimeoutError):
            pinning.result(timeout=0.3)
    pinned = pinning.result(timeout=WAIT_SECONDS)[0]
    pool.shutdown()

    assert pinned.pinned_at == LAST_DAY
    assert list(rollout.moves.order_by("id").values_list("direction", "state")) == [
        ("forward", "telling"), ("back", "intended"),
    ]  # fmt: skip


def test_a_pin_and_a_roll_back_at_once_leave_one_way_back(versions: tuple[PlanVersion, PlanVersion]) -> None:
    rollout = begun(versions, customers=1)
    move = rollout.moves.get()
    assert moves._begin_telling(move.pk)

    results = at_once(
        lambda: pin(subscription_id=move.subscription_id, reason="promised", actor=SAM, now=LAST_DAY),
        lambda: rollouts.roll_back(rollout_id=rollout.pk, reason="no", actor=FIONA, now=LAST_DAY),
    )

    assert not any(isinstance(result, RolloutError) for result in results)
    assert list(rollout.moves.order_by("id").values_list("direction", "state")) == [
        ("forward", "telling"), ("back", "intended"),
    ]  # fmt: skip


def test_a_renewal_that_settles_a_move_does_not_stop_who_drops_the_overtaken(
    versions: tuple[PlanVersion, PlanVersion],
) -> None:
    move = begun(versions, customers=1).moves.get()
    RolloutMove.objects.filter(pk=move.pk).update(state="telling")
    RolloutMove.objects.filter(pk=move.pk).update(state="told", told_at=LAST_DAY)
    move.subscription.status = "canceled"
    move.subscription.save()
    pool = ThreadPoolExecutor(1)

    with transaction.atomic():
        RolloutMove.objects.filter(pk=move.pk).update(state="done", effective_at=LAST_DAY)
        dropping = pool.submit(at_once, lambda: moves.tell_due_moves(now=LAST_DAY))
        with pytest.raises(TimeoutError):
            dropping.result(timeout=0.3)
    assert dropping.result(timeout=WAIT_SECONDS) == [0]
    pool.shutdown()

    assert RolloutMove.objects.get().state == "done"
