"""SQL that tries to sell what was not offered, or to bend periods, and the rule that must refuse it."""

from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest
from psycopg import errors

from billing.catalog.models import PlanVersion
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.operations import create_subscription
from tests.factories import (
    ACTOR,
    OCTOBER,
    BillingPeriodFactory,
    CustomerFactory,
    PlanFactory,
    PlanVersionFactory,
    SubscriptionFactory,
)

DAY = "interval '1 day'"
NEW_PERIOD = """
    INSERT INTO billing_billingperiod
           (subscription_id, starts_at, ends_at, plan_version_id, seats, kind, state, closed_at)
    SELECT subscription_id, max(ends_at) + {start}, max(ends_at) + {end}, min(plan_version_id), 1, '{kind}', '{state}',
           {closed_at}
      FROM billing_billingperiod GROUP BY subscription_id
"""


def new_period(*, start: str = "interval '0'", end: str = DAY, kind: str = "regular", state: str = "open") -> str:
    closed_at = "now()" if state == "closed" else "NULL"
    return NEW_PERIOD.format(start=start, end=end, kind=kind, state=state, closed_at=closed_at)


@pytest.fixture
def agreed(committed_db: None) -> Subscription:
    """A subscription with an add-on and two periods, the first of them closed, among versions it may not have."""
    add_on = PlanVersionFactory(plan=PlanFactory(code="boost", is_add_on=True), fee_minor=500)
    customer = CustomerFactory(customer_key="ada")
    subscription = create_subscription(
        customer=customer, plan_version=PlanVersionFactory(), seats=1, starts_at=OCTOBER, actor=ACTOR,
        add_ons=[(add_on, 1)],
    )  # fmt: skip
    BillingPeriodFactory(subscription=subscription)
    BillingPeriod.objects.filter(starts_at=OCTOBER).update(state="closed", closed_at=OCTOBER)
    PlanVersionFactory(plan=PlanFactory(code="draft"), is_draft=True)
    PlanVersionFactory(plan=PlanFactory(code="euro"), currency="EUR", rate_card__currency="EUR")
    PlanVersionFactory(plan=PlanFactory(code="contract"), only_for=CustomerFactory(customer_key="bob"))
    return subscription


MOVE = """
    UPDATE billing_subscription SET plan_version_id = (
        SELECT v.id FROM billing_planversion v JOIN billing_plan p ON p.id = v.plan_id WHERE p.code = '{}')
"""
ADD = """
    INSERT INTO billing_subscriptionaddon (subscription_id, plan_version_id, seats, added_at)
    SELECT s.id, v.id, 1, now()
      FROM billing_subscription s, billing_planversion v JOIN billing_plan p ON p.id = v.plan_id
     WHERE p.code = '{}'
"""
OPEN = "(SELECT max(id) FROM billing_billingperiod)"
CLOSED = "(SELECT min(id) FROM billing_billingperiod)"
GIVE = f"""
    INSERT INTO billing_periodallowance (period_id, position, code, name, measure, each_dimension, covers)
    SELECT {CLOSED}, 9, 'gift', 'Gift', 'money', '', '[]'
"""
GIVE_ADD_ON = f"""
    INSERT INTO billing_periodaddon (period_id, plan_version_id, seats, is_bundled)
    SELECT {CLOSED}, min(id), 1, true FROM billing_planversion
"""
ATTACKS = (
    (MOVE.format("draft"), "billing_subscription_offered"),
    (MOVE.format("euro"), "billing_subscription_offered"),
    (MOVE.format("contract"), "billing_subscription_offered"),
    (MOVE.format("boost"), "billing_subscription_offered"),
    (ADD.format("draft"), "billing_subscriptionaddon_offered"),
    (ADD.format("euro"), "billing_subscriptionaddon_offered"),
    (ADD.format("contract"), "billing_subscriptionaddon_offered"),
    ("UPDATE billing_subscription SET started_at = started_at - interval '1 day'", "billing_subscription_agreed"),
    ("UPDATE billing_subscription SET trial_ends_at = now() + interval '9 years'", "billing_subscription_agreed"),
    (
        "UPDATE billing_subscription SET customer_id = (SELECT id FROM billing_customer WHERE customer_key = 'bob')",
        "billing_subscription_agreed",
    ),
    (new_period(start="interval '1 second'"), "billing_billingperiod_gapless"),
    (new_period(start="interval '-62 days'", end="interval '-61 days'"), "billing_billingperiod_gapless"),
    (new_period(start="interval '-1 second'"), "billing_period_no_overlap"),
    (new_period(state="closed"), "billing_billingperiod_begins"),
    (new_period(kind="gift"), "billing_period_kind"),
    (f"UPDATE billing_billingperiod SET ends_at = ends_at + {DAY} WHERE id = {OPEN}", "billing_billingperiod_terms"),
    (f"UPDATE billing_billingperiod SET ends_at = ends_at - {DAY} WHERE id = {CLOSED}", "billing_billingperiod_terms"),
    ("UPDATE billing_billingperiod SET starts_at = starts_at + interval '1 second'", "billing_billingperiod_terms"),
    ("UPDATE billing_billingperiod SET kind = 'trial'", "billing_billingperiod_terms"),
    # Cut, and nothing goes on from there.
    (f"UPDATE billing_billingperiod SET ends_at = ends_at - {DAY} WHERE id = {OPEN}", "billing_billingperiod_cut"),
    (f"UPDATE billing_billingperiod SET ends_at = starts_at WHERE id = {OPEN}", "billing_period_not_empty"),
    (GIVE, "billing_periodallowance_open"),
    (GIVE_ADD_ON, "billing_periodaddon_open"),
    ("UPDATE billing_periodallowance SET amount = 1000", "billing_periodallowance_append_only"),
    ("UPDATE billing_periodaddon SET seats = 9", "billing_periodaddon_append_only"),
    ("UPDATE billing_subscriptionaddon SET seats = 9", "billing_subscriptionaddon_terms"),
    (f"UPDATE billing_subscriptionaddon SET added_at = added_at - {DAY}", "billing_subscriptionaddon_added"),
    (f"UPDATE billing_subscriptionaddon SET added_at = added_at + {DAY}", "billing_subscriptionaddon_added"),
)  # fmt: skip


def test_the_owner_is_refused_each_by_its_rule(agreed: Subscription, owner_connection: psycopg.Connection) -> None:
    refused = {}
    for statement, _ in ATTACKS:
        with pytest.raises(errors.IntegrityError) as refusal, owner_connection.transaction():
            owner_connection.execute(statement)
        refused[statement] = refusal.value.diag.constraint_name

    assert refused == dict(ATTACKS)


def test_a_retired_version_stays_with_whoever_has_it(
    agreed: Subscription, owner_connection: psycopg.Connection
) -> None:
    """A rollout that is rolled back gives customers back what is no longer sold."""
    other = PlanVersionFactory(plan=PlanFactory(code="older"))
    PlanVersion.objects.filter(pk=other.pk).update(status="retired", retired_at=OCTOBER)

    with owner_connection.transaction():
        moved = owner_connection.execute(MOVE.format("older"))

    assert moved.rowcount == 1


def test_a_removal_is_taken_back_only_while_no_period_began_since(
    agreed: Subscription, owner_connection: psycopg.Connection
) -> None:
    """The second period begins in November; the removal at its end is ahead, that within October is behind."""
    remove = "UPDATE billing_subscriptionaddon SET removed_at = {}"
    ahead = f"(SELECT ends_at FROM billing_billingperiod WHERE id = {OPEN})"
    for statement in (remove.format(ahead), remove.format("NULL"), remove.format(f"added_at + {DAY}")):
        with owner_connection.transaction():
            owner_connection.execute(statement)

    for instant in ("NULL", ahead):
        with pytest.raises(errors.IntegrityError) as refusal, owner_connection.transaction():
            owner_connection.execute(remove.format(instant))
        assert refusal.value.diag.constraint_name == "billing_subscriptionaddon_removed"


def test_a_cut_that_goes_on_to_the_same_end_is_no_attack(
    agreed: Subscription, owner_connection: psycopg.Connection
) -> None:
    with owner_connection.transaction():
        owner_connection.execute(f"UPDATE billing_billingperiod SET ends_at = ends_at - {DAY} WHERE id = {OPEN}")
        owner_connection.execute(new_period())

    last, rest = agreed.periods.order_by("starts_at")[1:]
    assert (last.ends_at, rest.ends_at - rest.starts_at) == (rest.starts_at, timedelta(days=1))


def test_two_connections_do_not_open_two_periods_at_one_end(
    agreed: Subscription, app_connection: psycopg.Connection, owner_connection: psycopg.Connection
) -> None:
    """The second waits for the first, and is refused once that has committed."""
    owner_connection.execute("SET lock_timeout = '200ms'")
    with app_connection.transaction():
        app_connection.execute(new_period())
        with pytest.raises((errors.LockNotAvailable, errors.ExclusionViolation)), owner_connection.transaction():
            owner_connection.execute(new_period(end="interval '2 days'"))
    with pytest.raises(errors.ExclusionViolation), owner_connection.transaction():
        owner_connection.execute(new_period(start=f"-{DAY}"))

    assert agreed.periods.count() == 3
    assert SubscriptionFactory(
        customer=CustomerFactory(customer_key="eve")
    ).periods.get().allowances.get().amount == Decimal(20)
