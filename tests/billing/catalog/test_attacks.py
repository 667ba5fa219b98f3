"""SQL against the catalogue: what drafts alone use may change, what was promised may not, whoever tries."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import psycopg
import pytest
from django.db import connection
from psycopg import errors

from billing.catalog.models import Plan, PlanVersion, Product, RateCard
from billing.catalog.operations import load_catalog
from billing.rating.models import UsageAccrual
from billing.rating.operations import accrue_period
from tests.billing.catalog import full
from tests.billing.usage import AFTER_OCTOBER, define_token_meters, october_of, use_dollars
from tests.factories import OCTOBER, PlanFactory, PlanVersionFactory, RateCardFactory, RateFactory

BEGINS = """INSERT INTO billing_planversion (plan_id, version, status, currency, rate_card_id, fee_minor, fee_tiers,
                "interval", interval_count, alignment, time_zone, trial_days, min_seats, late_policy,
                late_absorb_up_to, {column})
            SELECT plan_id, 9, '{status}', currency, rate_card_id, 1, '[]', "interval", 1, alignment, 'UTC', 0, 1,
                   late_policy, 0, now() FROM billing_planversion WHERE id = {{draft}}"""
ATTACKS = (
    ("DELETE FROM billing_rate WHERE rate_card_id = {promised}", "billing_rate_kept"),
    ("DELETE FROM billing_rate WHERE rate_card_id = {base}", "billing_rate_kept"),
    ("UPDATE billing_rate SET unit_price = 1 WHERE rate_card_id = {open}", "billing_rate_append_only"),
    ("UPDATE billing_ratecard SET currency = 'EUR' WHERE id = {promised}", "billing_ratecard_terms"),
    ("UPDATE billing_ratecard SET base_id = NULL WHERE id = {promised}", "billing_ratecard_terms"),
    ("UPDATE billing_ratecard SET base_id = {open} WHERE id = {base}", "billing_ratecard_terms"),
    ("UPDATE billing_ratecard SET code = 'other' WHERE id = {open}", "billing_ratecard_identity"),
    ("UPDATE billing_ratecard SET base_id = id WHERE id = {open}", "billing_ratecard_not_its_own_base"),
    ("UPDATE billing_ratecard SET base_id = {above} WHERE id = {open}", "billing_ratecard_no_circle"),
    ("UPDATE billing_ratecard SET base_id = {euro} WHERE id = {open}", "billing_ratecard_one_currency"),
    ("UPDATE billing_ratecard SET currency = 'EUR' WHERE id = {open}", "billing_ratecard_one_currency"),
    (
        """INSERT INTO billing_rate (rate_card_id, meter_code, dimensions, charge_model, terms, effective_from)
           SELECT rate_card_id, meter_code, dimensions, 'volume', '{{}}', effective_from FROM billing_rate
            WHERE rate_card_id = {open}""",
        "billing_rate_one_price_per_instant",
    ),
    ("UPDATE billing_planversion SET currency = 'EUR' WHERE id = {draft}", "billing_planversion_one_currency"),
    ("UPDATE billing_planversion SET rate_card_id = {euro} WHERE id = {draft}", "billing_planversion_one_currency"),
    (
        "UPDATE billing_planversion SET status = 'published', published_at = now() WHERE id = {draft}",
        "billing_planversion_approved_first",
    ),
    (
        # At the instant at which the version before it came out.
        """UPDATE billing_planversion SET status = 'published', published_at = (
               SELECT published_at FROM billing_planversion WHERE plan_id = {plan} AND version = 1)
            WHERE id = {draft}""",
        "billing_planversion_approved_first",
    ),
    ("UPDATE billing_planversion SET status = 'approved' WHERE id = {draft}", "billing_planversion_approved_on_report"),
    ("UPDATE billing_planversion SET published_at = now() WHERE id = {draft}", "billing_planversion_times"),
    ("UPDATE billing_planversion SET approved_at = now() WHERE id = {draft}", "billing_planversion_times"),
    (
        # Retired, it could be sold as one that was published.
        """UPDATE billing_planversion SET status = 'retired', retired_at = now(), published_at = now()
            WHERE id = {draft}""",
        "billing_planversion_times",
    ),
    (BEGINS.format(status="draft", column="published_at"), "billing_planversion_time_published"),
    (BEGINS.format(status="draft", column="approved_at"), "billing_planversion_time_approved"),
    (BEGINS.format(status="published", column="published_at"), "billing_planversion_begins"),
    ("UPDATE billing_plan SET is_add_on = true WHERE id = {plan}", "billing_plan_terms"),
    ("UPDATE billing_plan SET code = 'other' WHERE id = {plan}", "billing_plan_identity"),
    ("UPDATE billing_plan SET stripe_product_id = 'prod_2' WHERE id = {plan}", "billing_plan_identity"),
    ("UPDATE billing_product SET code = 'other'", "billing_product_identity"),
    ("DELETE FROM billing_product", "billing_product_kept"),
)


@pytest.fixture
def ids(committed_db: None) -> dict[str, int]:
    """A published version priced by a card that stands on another; a draft with a card that one more stands on."""
    plan = PlanFactory(stripe_product_id="prod_1")
    base = RateCardFactory()
    promised = RateCardFactory(base=base)
    open_card = RateCardFactory()
    above = RateCardFactory(base=open_card)
    for card in (base, promised, open_card):
        RateFactory(rate_card=card)
    PlanVersionFactory(plan=plan, rate_card=promised)
    draft = PlanVersionFactory(plan=plan, version=2, rate_card=open_card, is_draft=True)
    Product.objects.create(code="p", name="P")
    rows = {"plan": plan, "base": base, "promised": promised, "open": open_card, "above": above, "draft": draft}
    return {name: row.pk for name, row in rows.items()} | {"euro": RateCardFactory(currency="EUR").pk}


def rule_of(connection: psycopg.Connection, statement: str) -> str | None:
    with pytest.raises((errors.IntegrityError, errors.InsufficientPrivilege)) as refusal, connection.transaction():
        connection.execute(statement)
    return refusal.value.diag.constraint_name or type(refusal.value).__name__


def test_what_is_promised_stays(
    ids: dict[str, int], owner_connection: psycopg.Connection, app_connection: psycopg.Connection
) -> None:
    statements = {text.format(**ids): rule for text, rule in ATTACKS}

    assert {statement: rule_of(owner_connection, statement) for statement in statements} == statements
    for statement, rule in statements.items():
        assert rule_of(app_connection, statement) in (rule, "InsufficientPrivilege")


def test_what_drafts_alone_use_may_change(ids: dict[str, int], app_connection: psycopg.Connection) -> None:
    for statement in (
        "UPDATE billing_ratecard SET base_id = {base} WHERE id = {open}",
        "DELETE FROM billing_rate WHERE rate_card_id = {open}",
        "UPDATE billing_planversion SET fee_minor = 1 WHERE id = {draft}",
        "UPDATE billing_planversion SET status = 'retired', retired_at = now() WHERE id = {draft}",
    ):
        assert app_connection.execute(statement.format(**ids)).rowcount == 1
    with pytest.raises(errors.IntegrityError, match="billing_rate_kept"):
        app_connection.execute("DELETE FROM billing_rate WHERE rate_card_id = {base}".format(**ids))


def test_a_bundle_is_fixed_with_its_version(ids: dict[str, int], app_connection: psycopg.Connection) -> None:
    first = PlanVersionFactory(plan=PlanFactory(), is_draft=True)
    for add_on in (
        PlanVersionFactory(plan=PlanFactory(is_add_on=True), is_draft=True),
        PlanVersionFactory(plan=PlanFactory()),
        PlanVersionFactory(
            plan=PlanFactory(is_add_on=True), currency="EUR", rate_card=RateCard.objects.get(pk=ids["euro"])
        ),
    ):
        first.bundled.set([add_on])
        publish = f"UPDATE billing_planversion SET status = 'published', published_at = now() WHERE id = {first.pk}"
        assert rule_of(app_connection, publish) == "billing_planversion_bundles_add_ons"


def insert_rate(
    card: int, at: datetime, *, meter: str = "input_tokens", dimensions: str = "{}", charge_model: str = "per_unit"
) -> str:
    price = "999, 1, '{}'" if charge_model == "per_unit" else """NULL, NULL, '{"amount": "999"}'"""
    return f"""INSERT INTO billing_rate (rate_card_id, meter_code, dimensions, charge_model, unit_price, unit_size,
                   terms, effective_from)
               VALUES ({card}, '{meter}', '{dimensions}', '{charge_model}', {price}, '{at.isoformat()}')"""


def test_a_promised_card_takes_no_price_of_the_past(
    ids: dict[str, int], owner_connection: psycopg.Connection, app_connection: psycopg.Connection
) -> None:
    """The version on `promised` was published at the first of October; nothing was used yet."""
    before = OCTOBER - timedelta(days=200)
    beside = RateFactory(meter_code="images", dimensions={"size": "big"}).rate_card
    PlanVersionFactory(plan=PlanFactory(is_add_on=True), rate_card=beside)
    refused = (
        insert_rate(ids["promised"], before),
        insert_rate(ids["promised"], before, dimensions='{"model": "claude-opus-4.5", "class": "batch"}'),
        insert_rate(ids["promised"], OCTOBER - timedelta(microseconds=1)),
        insert_rate(ids["base"], before),
        insert_rate(ids["promised"], before, meter="", charge_model="flat"),
        # An add-on prices it already, and the plan's own cards are asked first.
        insert_rate(ids["promised"], before, meter="images"),
    )
    for attacker in (owner_connection, app_connection):
        assert {rule_of(attacker, one) for one in refused} == {"billing_rate_repriced"}
    for allowed in (
        insert_rate(ids["open"], before),
        insert_rate(ids["promised"], OCTOBER),
        insert_rate(ids["promised"], before, dimensions='{"model": "new"}', meter="seconds"),
        insert_rate(ids["promised"], before, dimensions='{"size": "small"}', meter="images"),
    ):
        assert app_connection.execute(allowed).rowcount == 1


def test_usage_that_was_accrued_is_not_priced_anew(
    committed_db: None, owner_connection: psycopg.Connection, app_connection: psycopg.Connection
) -> None:
    define_token_meters()
    period = october_of("acme")
    use_dollars("acme", OCTOBER + timedelta(days=3), "4")
    card = period.plan_version.rate_card_id
    statement = insert_rate(card, OCTOBER + timedelta(days=1), dimensions='{"model": "claude-opus-4.5"}')
    with app_connection.transaction(force_rollback=True):
        assert app_connection.execute(statement).rowcount == 1  # nobody's clock is read: so far nothing tells
    accrue_period(period_id=period.pk, now=AFTER_OCTOBER)

    for attacker in (owner_connection, app_connection):
        assert rule_of(attacker, statement) == "billing_rate_repriced"
    later = insert_rate(card, UsageAccrual.objects.get().aggregated_through)
    assert app_connection.execute(later).rowcount == 1


@pytest.mark.parametrize("commits_first", ["publisher", "remover"])
def test_a_rate_is_not_taken_from_a_version_that_is_being_published(
    ids: dict[str, int], owner_connection: psycopg.Connection, app_connection: psycopg.Connection, commits_first: str
) -> None:
    """Two connections at once: whoever comes second waits, and then sees what the first did."""
    first = PlanVersionFactory(plan=PlanFactory(), rate_card=RateCard.objects.get(pk=ids["open"]), is_draft=True)
    publish = f"UPDATE billing_planversion SET status = 'published', published_at = now() WHERE id = {first.pk}"
    remove = f"DELETE FROM billing_rate WHERE rate_card_id = {ids['open']}"
    with ThreadPoolExecutor(1) as other:
        if commits_first == "publisher":
            with owner_connection.transaction():
                owner_connection.execute(publish)
                second = other.submit(rule_of, app_connection, remove)
                with pytest.raises(TimeoutError):
                    second.result(timeout=0.3)
            assert second.result(timeout=60) == "billing_rate_kept"
        else:
            with app_connection.transaction():
                app_connection.execute(remove)
                waiting = other.submit(owner_connection.execute, publish)
                with pytest.raises(TimeoutError):
                    waiting.result(timeout=0.3)
            assert waiting.result(timeout=60).rowcount == 1

    assert Plan.objects.count() == 2
    assert PlanVersion.objects.get(pk=first.pk).status == "published"


def test_of_two_first_versions_published_at_once_one_waits_and_is_refused(
    committed_db: None, owner_connection: psycopg.Connection, app_connection: psycopg.Connection
) -> None:
    plan = PlanFactory()
    drafts = [PlanVersionFactory(plan=plan, version=number, is_draft=True) for number in (1, 2)]
    first, second = (
        f"UPDATE billing_planversion SET status = 'published', published_at = '{at}' WHERE id = {draft.pk}"
        for draft, at in zip(drafts, (OCTOBER.isoformat(), "2026-10-02T00:00:00Z"), strict=True)
    )
    with ThreadPoolExecutor(1) as other:
        with owner_connection.transaction():
            owner_connection.execute(first)
            waiting = other.submit(rule_of, app_connection, second)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
        assert waiting.result(timeout=60) == "billing_planversion_approved_first"


def test_the_same_document_applied_by_two_at_once_is_applied_once(committed_db: None) -> None:
    def apply(_: int) -> bool:
        try:
            return load_catalog(full.document(), now=OCTOBER).is_empty
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as people:
        assert sorted(people.map(apply, range(3))) == [False, True, True]

    assert PlanVersion.objects.count() == 4
