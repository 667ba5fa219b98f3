"""SQL against the facts of changes, and periods that would end without an end: each refused by its rule."""

import psycopg
import pytest
from psycopg import errors

from billing.api.models import ApiWrite
from billing.subscriptions.change_models import (
    ChangeOutcome,
    ChangePreview,
    ChangePreviewLine,
    EndOutcome,
    EndPreview,
    ScheduledChange,
    SubscriptionEvent,
    SubscriptionRequest,
)
from billing.subscriptions.models import Subscription
from tests.factories import ACTOR, DECEMBER, NOVEMBER, OCTOBER, SubscriptionFactory

FACTS = (
    "apiwrite", "changepreview", "changepreviewline", "changeoutcome", "endpreview", "endoutcome",
    "subscriptionrequest", "subscriptionevent",
)  # fmt: skip
CUT = "UPDATE billing_billingperiod SET ends_at = ends_at - interval '1 day'"
END_LATER = """
    UPDATE billing_subscription
       SET status = 'canceled', ended_at = (SELECT max(ends_at) FROM billing_billingperiod);
"""
MORE_LINES = """
    INSERT INTO billing_changepreviewline (preview_id, source, position, stripe_price_id, description, amount_minor,
                                           is_proration, stripe_line_id)
    SELECT id, 'ours', 9, 'p', 'more', 1, true, '' FROM billing_changepreview
"""
TERMS_WITHOUT_SEATS = """
    INSERT INTO billing_scheduledchange (subscription_id, kind, plan_version_id, seats, add_ons, effective_at, state,
                                         reason, requested_by, requested_at, idempotency_key, next_attempt_at,
                                         settled_by, detail)
    SELECT id, 'terms', plan_version_id, NULL, '[]', now() + interval '9 days', 'waiting', 'r', 'user:eve', now(), 'k2',
           now(), '', ''
      FROM billing_subscription
"""
END_OF_TERMS = """
    INSERT INTO billing_endpreview (preview_id, how, prorate, ends_at, rated, included, credited, invoiced, unbilled,
                                    usage_minor, consequences, rests_on)
    SELECT id, 'now', true, effective_at, 0, 0, 0, 0, 0, 0, '[]', '{}' FROM billing_changepreview WHERE kind = 'terms'
"""
TRIAL_FROM_NOTHING = """
    UPDATE billing_subscription SET status = 'trialing', stripe_subscription_id = 'sub_1';
    UPDATE billing_subscription SET trial_ends_at = started_at + interval '9 days'
"""
ATTACKS = (
    ("UPDATE billing_apiwrite SET body_sha256 = 'x'", "billing_apiwrite_append_only"),
    ("UPDATE billing_changepreview SET seats = 9", "billing_changepreview_append_only"),
    ("UPDATE billing_changepreviewline SET amount_minor = 0", "billing_changepreviewline_append_only"),
    ("UPDATE billing_changeoutcome SET differences = '[]'", "billing_changeoutcome_append_only"),
    ("UPDATE billing_endpreview SET usage_minor = 0", "billing_endpreview_append_only"),
    ("UPDATE billing_endoutcome SET fee_minor = 0", "billing_endoutcome_append_only"),
    (END_OF_TERMS, "billing_endpreview_of_cancellation"),
    (
        END_OF_TERMS.replace("0, 0, 0, 0, 0, 0", "5, 1, 1, 1, 1, 0").replace("'terms'", "'cancellation'"),
        "billing_endpreview_usage_adds_up",
    ),
    (TRIAL_FROM_NOTHING, "billing_subscription_agreed"),
    ("UPDATE billing_subscriptionrequest SET actor = 'user:eve'", "billing_subscriptionrequest_append_only"),
    ("UPDATE billing_subscriptionevent SET reason = 'none'", "billing_subscriptionevent_append_only"),
    *((f"DELETE FROM billing_{fact}", f"billing_{fact}_kept") for fact in (*FACTS, "scheduledchange")),
    ("UPDATE billing_scheduledchange SET seats = 9", "billing_scheduledchange_terms"),
    ("UPDATE billing_scheduledchange SET effective_at = now() + interval '1 y'", "billing_scheduledchange_terms"),
    ("UPDATE billing_scheduledchange SET state = 'done'", "billing_scheduledchange_settled"),
    (TERMS_WITHOUT_SEATS, "billing_scheduledchange_has_terms"),
    (MORE_LINES, "billing_changepreviewline_known"),
    ("UPDATE billing_subscription SET last_reading = 1", "billing_subscription_reading"),
    (
        "UPDATE billing_subscription SET collection_method = 'send_invoice'",
        "billing_subscription_due_when_sent",
    ),
    ("UPDATE billing_subscription SET ended_at = now()", "billing_subscription_ended_says_so"),
    (CUT, "billing_billingperiod_cut"),
    # It ends, and the period is cut to before that.
    (
        END_LATER + CUT,
        "billing_billingperiod_cut",
    ),
)
END = "UPDATE billing_subscription SET status = 'canceled', ended_at = timestamptz '2026-10-20 00:00Z'"


@pytest.fixture
def changed(committed_db: None) -> Subscription:
    subscription = SubscriptionFactory()
    version = subscription.plan_version
    preview = ChangePreview.objects.create(
        subscription=subscription, plan_version=version, seats=1, effective_at=OCTOBER, currency="USD",
        made_at=OCTOBER, made_by=ACTOR,
    )  # fmt: skip
    ChangePreviewLine.objects.create(
        preview=preview, source="ours", position=1, stripe_price_id="p", description="Fee", amount_minor=5,
        is_proration=True,
    )  # fmt: skip
    ChangeOutcome.objects.create(preview=preview, stripe_invoice_id="in_1", recorded_at=OCTOBER)
    cancellation = ChangePreview.objects.create(
        subscription=subscription, kind="cancellation", plan_version=version, seats=1, effective_at=OCTOBER,
        currency="USD", made_at=OCTOBER, made_by=ACTOR,
    )  # fmt: skip
    usage = {"rated": 9, "included": 1, "credited": 2, "invoiced": 2, "unbilled": 4, "usage_minor": 400}
    end = EndPreview.objects.create(preview=cancellation, how="now", prorate=True, ends_at=OCTOBER, **usage)
    EndOutcome.objects.create(
        preview=end, ended_at=OCTOBER, fee_minor=0, fee_invoiced_minor=0, usage_invoiced_minor=400, recorded_at=OCTOBER
    )
    request = SubscriptionRequest.objects.create(
        subscription=subscription, kind="pause", purpose="p", effective_at=OCTOBER, requested_at=OCTOBER, actor=ACTOR
    )
    SubscriptionEvent.objects.create(
        subscription=subscription, kind="paused", effective_at=OCTOBER, recorded_at=OCTOBER, actor=ACTOR,
        request=request,
    )  # fmt: skip
    ScheduledChange.objects.create(
        subscription=subscription, kind="resume", effective_at=DECEMBER, reason="r", requested_by=ACTOR,
        requested_at=NOVEMBER, idempotency_key="k", next_attempt_at=DECEMBER,
    )  # fmt: skip
    ApiWrite.objects.create(actor=ACTOR, key="k", path="/", body_sha256="0", recorded_at=OCTOBER)
    Subscription.objects.update(last_reading=5)
    return subscription


def test_the_owner_is_refused_each_by_its_rule(changed: Subscription, owner_connection: psycopg.Connection) -> None:
    refused = {}
    for statement, _ in ATTACKS:
        with pytest.raises(errors.IntegrityError) as refusal, owner_connection.transaction():
            owner_connection.execute(statement)
        refused[statement] = refusal.value.diag.constraint_name

    assert refused == dict(ATTACKS)


def test_the_application_may_only_add_facts(changed: Subscription, app_connection: psycopg.Connection) -> None:
    for fact in FACTS:
        for statement in (f"UPDATE billing_{fact} SET id = id", f"DELETE FROM billing_{fact}"):
            with pytest.raises(errors.InsufficientPrivilege), app_connection.transaction():
                app_connection.execute(statement)


def test_an_end_ends_the_period_and_nothing_comes_after_it(
    changed: Subscription, owner_connection: psycopg.Connection
) -> None:
    with owner_connection.transaction():
        owner_connection.execute(END)
        owner_connection.execute("UPDATE billing_billingperiod SET ends_at = timestamptz '2026-10-20 00:00Z'")
    begin = """
        INSERT INTO billing_billingperiod (subscription_id, starts_at, ends_at, plan_version_id, seats, kind, state)
        SELECT subscription_id, ends_at, ends_at + interval '1 day', plan_version_id, 1, 'regular', 'open'
          FROM billing_billingperiod
    """
    for statement, rule in (
        (begin, "billing_billingperiod_after_end"),
        ("UPDATE billing_subscription SET status = 'active', ended_at = NULL", "billing_subscription_ended"),
        ("UPDATE billing_subscription SET ended_at = ended_at + interval '1 day'", "billing_subscription_ended"),
    ):
        with pytest.raises(errors.IntegrityError) as refusal, owner_connection.transaction():
            owner_connection.execute(statement)
        assert refusal.value.diag.constraint_name == rule
