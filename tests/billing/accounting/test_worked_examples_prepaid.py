"""
The worked examples of prepaid credit (docs/ledger-examples.md, 17 and 18): each ends at balances written down before.

100.00 of credit and a bonus of 10.00, valid for 30 days, for 120.00 with 20 % tax on top.
"""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.invoicing.models import PrepaidPurchase
from billing.rating.operations import accrue_period
from billing.subscriptions.models import BillingPeriod
from promotions.models import CreditGrant
from promotions.operations import GrantIsPaid, end_grant, expire_due_grants
from promotions.queries import available
from tests.billing import usage
from tests.billing.accounting.documents import (
    NOW,
    PAID,
    StripeDict,
    amounts,
    balances,
    invoice,
    note,
    prepaid,
    project,
    project_note,
)
from tests.billing.accounting.test_worked_examples_credit_notes import pay
from tests.billing.usage import october_of
from tests.factories import BillingPeriodFactory

DAY = timedelta(days=1)
EXPIRY = PAID + 30 * DAY
LINE = prepaid("il_1", 10_000, bonus="10", valid_days="30", tax=2000)


@pytest.fixture(autouse=True)
def _november(committed_db: None) -> None:
    """Ada's November: what is used then is not included in anything."""
    usage.define_token_meters()
    october = october_of("ada", included="0")
    customer = october.subscription.customer
    customer.stripe_customer_id = "cus_ada"
    customer.save(update_fields=["stripe_customer_id"])
    BillingPeriodFactory(subscription=october.subscription)


def use(dollars: str, *, day: int, accrued_on_day: int | None = None) -> None:
    """Use that much so many days after the payment, and accrue it, at once or later."""
    usage.use_dollars("ada", PAID + day * DAY, dollars)
    november = BillingPeriod.objects.latest("starts_at")
    accrue_period(period_id=november.pk, now=PAID + ((accrued_on_day or day) + 1) * DAY)


def grants() -> tuple[int, int]:
    """The numbers of the paid grant and of its bonus."""
    purchase = PrepaidPurchase.objects.get()
    assert purchase.grant_id is not None
    assert purchase.bonus_grant_id is not None
    return purchase.grant_id, purchase.bonus_grant_id


def bought() -> tuple[int, int]:
    project(invoice([LINE]))
    project(invoice([LINE], status="paid"))
    pay("120")
    return grants()


def given_back(amount: int, tax: int, *, note_id: str = "cn_1") -> StripeDict:
    """A refund of a part of the line, with its tax."""
    credited = [("il_1", prepaid(f"of_{note_id}", amount, tax=tax))]
    return note(credited, note_id=note_id, refunds=[amount + tax], pre_payment=0)


class TestPaid:
    """Example 17."""

    def test_is_pending_until_the_whole_invoice_is_paid(self) -> None:
        project(invoice([LINE]))
        project(invoice([LINE], amount_paid=6000, amount_remaining=6000))

        assert balances() == amounts(receivable="120", prepaid_pending="100", tax__payable="20")
        assert not CreditGrant.objects.exists()

    def test_becomes_a_paid_grant_and_a_bonus_once(self) -> None:
        paid, bonus = bought()

        assert balances() == {
            **amounts(tax__payable="20", stripe__in_transit="120", contra__promotions="10"),
            f"grant:{paid}": Decimal(100).normalize(),
            f"grant:{bonus}": Decimal(10).normalize(),
        }
        assert list(CreditGrant.objects.order_by("pk").values_list("kind", "amount", "effective_at", "expires_at")) == [
            ("paid", Decimal(100), PAID, EXPIRY),
            ("promotional", Decimal(10), PAID, EXPIRY),
        ]

    def test_burns_the_bonus_first(self) -> None:
        """30.00 used: 10.00 of the bonus, 20.00 that were paid; all of it is revenue of usage."""
        paid, _ = bought()
        use("30", day=1)

        assert balances() == {
            **amounts(tax__payable="20", stripe__in_transit="120", contra__promotions="10", revenue__usage="30"),
            f"grant:{paid}": Decimal(80).normalize(),
        }

    def test_what_a_credit_note_took_off_before_is_not_granted(self) -> None:
        """40.00 and 8.00 of tax off: 72.00 are paid for 60.00 of credit."""
        credited = note([("il_1", prepaid("cnli_1", 4000, tax=800))])
        project(invoice([LINE]))
        project_note(credited)
        assert balances() == amounts(receivable="72", prepaid_pending="60", tax__payable="12")

        project(
            invoice([LINE], status="paid", amount_paid=7200, pre_payment_credit_notes_amount=4800), notes=[credited]
        )
        pay("72")

        paid, bonus = grants()
        assert balances() == {
            **amounts(tax__payable="12", stripe__in_transit="72", contra__promotions="10"),
            f"grant:{paid}": Decimal(60).normalize(),
            f"grant:{bonus}": Decimal(10).normalize(),
        }

    def test_voided_unpaid_is_nothing(self) -> None:
        project(invoice([LINE]))
        project(invoice([LINE], status="void"))

        assert balances() == {}
        assert not CreditGrant.objects.exists()

    def test_with_discount_and_tax_within_the_price_is_worth_its_net_price(self) -> None:
        """120.00 with 20.00 of tax within and 12.00 off: 108.00 are paid, 100.00 granted, 12.00 given away."""
        sold = prepaid("il_1", 12_000, discount=1200, inclusive_tax=2000)
        project(invoice([sold], status="paid"))
        pay("108")

        paid = PrepaidPurchase.objects.get().grant_id
        assert balances() == {
            **amounts(tax__payable="20", stripe__in_transit="108", contra__promotions="12"),
            f"grant:{paid}": Decimal(100).normalize(),
        }


class TestNotUsed:
    """Example 18. After 30.00 of usage 80.00 are left, all of it paid."""

    @pytest.fixture
    def paid(self) -> int:
        paid, _ = bought()
        use("30", day=1)
        return paid

    def test_is_given_back_out_of_the_grant(self, paid: int) -> None:
        """50.00 and 10.00 of tax: 30.00 of credit are left, and no revenue was given back."""
        project_note(given_back(5000, 1000))

        assert balances() == {
            **amounts(
                tax__payable="10",
                stripe__in_transit="120",
                contra__promotions="10",
                revenue__usage="30",
                refund_due="60",
            ),
            f"grant:{paid}": Decimal(30).normalize(),
        }

    def test_given_back_beyond_what_is_left_is_revenue_given_back(self, paid: int) -> None:
        """50.00 of the 80.00, then 50.00 more: 30.00 of it out of the grant, 20.00 had been used."""
        project_note(given_back(5000, 1000))
        project_note(given_back(5000, 1000, note_id="cn_2"))

        assert balances() == amounts(
            stripe__in_transit="120",
            contra__promotions="10",
            revenue__usage="30",
            contra__refunds="20",
            refund_due="120",
        )
        assert available(paid) == 0

    def test_expires_into_breakage_and_not_into_promotions(self, paid: int) -> None:
        project_note(given_back(5000, 1000))
        expire_due_grants(now=EXPIRY + DAY)

        assert balances() == amounts(
            tax__payable="10",
            stripe__in_transit="120",
            contra__promotions="10",
            revenue__usage="30",
            refund_due="60",
            breakage="30",
        )

    def test_usage_from_before_the_expiry_still_takes_it_out_of_breakage(self, paid: int) -> None:
        """5.00 used on day 20 become known after the end: 25.00 of breakage are left, nobody is asked for the 5.00."""
        project_note(given_back(5000, 1000))
        expire_due_grants(now=EXPIRY + DAY)
        use("5", day=20, accrued_on_day=40)

        assert balances() == amounts(
            tax__payable="10",
            stripe__in_transit="120",
            contra__promotions="10",
            revenue__usage="35",
            refund_due="60",
            breakage="25",
        )

    def test_late_usage_cannot_burn_what_was_given_back(self, paid: int) -> None:
        """40.00 more from before the end: 30.00 were left, so 10.00 are unbilled."""
        project_note(given_back(5000, 1000))
        expire_due_grants(now=EXPIRY + DAY)
        use("40", day=20, accrued_on_day=40)

        assert balances() == amounts(
            tax__payable="10",
            stripe__in_transit="120",
            contra__promotions="10",
            revenue__usage="70",
            refund_due="60",
            unbilled="10",
        )

    def test_cannot_be_taken_from_the_customer(self, paid: int) -> None:
        with pytest.raises(GrantIsPaid, match="was paid"):
            end_grant(grant_id=paid, at=NOW, actor="user:cs", reason="mistake", recorded_at=NOW)

        assert available(paid) == Decimal(80)
