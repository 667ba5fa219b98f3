"""
Whatever happens to an invoice: its total = collected + open + moved to the balance + credited + written off.

Random stories of one invoice, told to the accounting functions and to an independent model (invoice_model.py).
"""

from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.accounting.credit_notes import CreditedLine, GivenBack, post_credit_note_issued, post_credit_note_voided
from billing.accounting.customer_balance import customer_balance_draft
from billing.accounting.invoices import UnexplainedTotal, post_invoice_finalized, post_invoice_voided
from billing.accounting.payments import post_payment_succeeded
from billing.accounting.usage import UsageChange, post_usage_accrued
from billing.accounting.write_offs import post_recovered, post_written_off
from billing.customers.models import Customer
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.rounding import chargeable_increment_minor, from_minor, to_minor
from ledger import queries as ledger
from ledger.operations import post_journal_entry
from tests.billing.accounting.invoice_model import ModelInvoice, ModelLine
from tests.factories import NOVEMBER, CustomerFactory

pytestmark = pytest.mark.django_db

CURRENCIES = ("USD", "JPY", "KWD", "ISK")
NOW = NOVEMBER + timedelta(days=40)
KINDS = {"usage", "fee", "one_off", "prepaid"}
_numbers = count(1)
_BY_KIND = """
SELECT je.kind, sum(po.amount)
  FROM ledger_posting po JOIN ledger_account ac ON ac.id = po.account_id
  JOIN ledger_journalentry je ON je.id = po.entry_id
 WHERE ac.code = %s GROUP BY 1
"""


class Story:
    """One invoice of a customer of its own, told to the books and to the model at once. Amounts in minor units."""

    def __init__(self, data: st.DataObject) -> None:
        self.draw = data.draw
        self.number = next(_numbers)
        self.currency = self.draw(st.sampled_from(CURRENCIES))
        self.step = chargeable_increment_minor(self.currency)
        self.customer: Customer = CustomerFactory(customer_key=f"c{self.number}", currency=self.currency)
        self.before = self.of_the_house()
        lines = self.draw(st.lists(st.builds(self.line, st.integers(0, 2**32)), min_size=1, max_size=6))
        self.model = ModelInvoice(self.currency, lines)
        self.shared: dict[str, Any] = {
            "customer_key": self.customer.customer_key,
            "currency": self.currency,
            "recorded_at": NOW,
        }
        # What may still be credited of each line: amount, discount, tax on top, tax within.
        self.left = [[line.amount, line.discount, line.tax_on_top, line.tax_within] for line in lines]
        self.notes: dict[str, tuple[int, int]] = {}
        self.finalise()

    def line(self, seed: int) -> ModelLine:
        """A line of any kind; the seed makes it, so that a failing story shrinks to few lines."""
        kind = ("usage", "fee", "proration", "one_off", "prepaid")[seed % 5]
        sign = -1 if kind == "proration" else 1
        exact = Decimal(seed % 10**9).scaleb(-6) if kind == "usage" else None
        amount = (seed // 5 % 5000) * self.step if exact is None else to_minor(exact, self.currency)
        discount = amount // self.step * (seed // 7 % 3) // 4 * self.step
        tax = (amount - discount) // 5
        within = seed // 11 % 3 == 0
        on_top, inside = (0, tax) if within else (tax, 0)
        return ModelLine(kind, sign * amount, sign * discount, sign * on_top, sign * inside, exact)

    def money(self, minor: int) -> Decimal:
        return from_minor(minor, self.currency)

    def part(self, whole: int) -> int:
        return self.draw(st.integers(1, whole // self.step)) * self.step if whole >= self.step else whole

    # --- what can happen ----------------------------------------------------------------------------------------------

    def finalise(self) -> None:
        model = self.model
        used = [line.exact for line in model.lines if line.exact]
        for number, exact in enumerate(used):
            post_usage_accrued(
                UsageChange(rated=exact, included=Decimal(0), unbilled=exact), **self.shared,
                period_id=self.number, revision=number, effective_at=NOVEMBER, actor="service:rating",
            )  # fmt: skip
        self.invoice = Invoice(
            stripe_invoice_id=f"in_{self.number}", customer=self.customer, number="1", currency=self.currency,
            total_minor=model.total, discount_minor=sum(line.discount for line in model.lines),
            tax_minor=sum(line.tax_on_top + line.tax_within for line in model.lines),
        )  # fmt: skip
        self.rows = [self.row(line) for line in model.lines]
        self.entry = post_invoice_finalized(
            invoice=self.invoice, lines=self.rows, finalized_at=NOVEMBER, recorded_at=NOW
        )
        model.open = model.total
        if model.total <= 0:
            self.move("applied_to_invoice", model.total)
        else:
            applied = self.draw(st.sampled_from([0, self.part(model.total)]))
            self.move("applied_to_invoice", applied)

    def row(self, line: ModelLine) -> InvoiceLine:
        exact = self.money(line.amount) if line.exact is None else line.exact
        return InvoiceLine(
            kind="fee" if line.kind == "proration" else line.kind, amount_minor=line.amount, exact_amount=exact,
            rounding=self.money(line.amount) - exact, discount_minor=line.discount,
            exclusive_tax_minor=line.tax_on_top, inclusive_tax_minor=line.tax_within,
        )  # fmt: skip

    def move(self, kind: str, amount: int) -> None:
        """Onto the customer's balance (Stripe's sign: above zero it is owed there and no longer on the invoice)."""
        if not amount:
            return
        draft = customer_balance_draft(
            stripe_id=f"cbtxn_{next(_numbers)}", movement=kind, customer_key=self.customer.customer_key,
            amount=self.money(amount), currency=self.currency, occurred_at=NOVEMBER,
            invoice=self.invoice.stripe_invoice_id,
        )  # fmt: skip
        post_journal_entry(draft, recorded_at=NOW)
        self.model.leave("moved", amount)

    def pay(self, amount: int) -> None:
        self.recover(min(amount, self.model.written_off))
        post_payment_succeeded(
            charge_id=f"ch_{next(_numbers)}", invoice_id=self.invoice.stripe_invoice_id, amount=self.money(amount),
            occurred_at=NOVEMBER, **self.shared,
        )  # fmt: skip
        self.model.leave("collected", amount)

    def pay_part(self) -> None:
        self.pay(self.part(self.asked))

    def overpay(self) -> None:
        more = self.draw(st.integers(1, 50)) * self.step
        self.pay(self.asked + more)
        self.move("invoice_overpaid", -more)

    def move_the_rest(self) -> None:
        self.move("invoice_too_small", self.model.open)

    def credit(self) -> None:
        """Take a part of a line off, with its parts of discount and tax; first what is open, then what was paid."""
        number = self.draw(st.sampled_from([n for n, left in enumerate(self.left) if left[0] > 0]))
        left = self.left[number]
        amount = self.part(left[0])
        whole = amount == left[0]
        shares = [amount, *(value if whole else value * amount // left[0] for value in left[1:])]
        _, discount, on_top, within = shares
        net = amount - discount + on_top
        if net <= 0:
            return
        self.left[number] = [value - share for value, share in zip(left, shares, strict=True)]
        pre = min(net, self.asked)
        self.recover(min(pre, self.model.written_off))
        to_balance = self.draw(st.integers(0, net - pre))
        refunded = self.draw(st.integers(0, net - pre - to_balance))
        name = f"cn_{next(_numbers)}"
        entry = post_credit_note_issued(
            credit_note=name, invoice=self.invoice.stripe_invoice_id, issued_at=NOVEMBER, memo="", **self.shared,
            lines=[CreditedLine(
                amount=self.money(amount), discount=self.money(discount), exclusive_tax=self.money(on_top),
                inclusive_tax=self.money(within),
            )],
            given_back=GivenBack(
                pre_payment=self.money(pre), to_balance=self.money(to_balance), refunded=self.money(refunded),
                out_of_band=self.money(net - pre - to_balance - refunded),
            ),
        )  # fmt: skip
        self.model.leave("credited", pre)
        self.model.tax_back[name] = on_top + within
        self.model.owed_back += to_balance + refunded
        if pre == net:
            self.notes[name] = (entry.id, pre)

    def void_note(self) -> None:
        name = self.draw(st.sampled_from(sorted(self.notes)))
        self.unwind(name)
        _, pre = self.notes.pop(name)
        self.model.leave("credited", -pre)
        del self.model.tax_back[name]

    def unwind(self, name: str) -> None:
        post_credit_note_voided(
            issued_entry_id=self.notes[name][0], credit_note=name, invoice=self.invoice.stripe_invoice_id,
            voided_at=NOVEMBER, recorded_at=NOW, memo="",
        )  # fmt: skip

    def give_up(self) -> None:
        amount = self.model.open
        post_written_off(
            invoice_id=self.invoice.stripe_invoice_id, amount=self.money(amount), occurred_at=NOVEMBER, **self.shared
        )
        self.model.leave("written_off", amount)

    def recover(self, amount: int) -> None:
        if amount:
            self.model.leave("written_off", -amount)
            post_recovered(
                invoice_id=self.invoice.stripe_invoice_id, amount=self.money(amount), occurred_at=NOVEMBER,
                still_written_off=self.money(self.model.written_off), **self.shared,
            )  # fmt: skip

    def void(self) -> None:
        assert self.entry is not None
        self.recover(self.model.written_off)
        post_invoice_voided(finalized=self.entry, invoice=self.invoice, voided_at=NOVEMBER, recorded_at=NOW)
        for name in sorted(self.notes):
            self.unwind(name)
        self.notes.clear()
        self.move("unapplied_from_invoice", -self.model.moved)
        self.model.void()

    # --- what may happen next, and what must be so --------------------------------------------------------------------

    @property
    def asked(self) -> int:
        """What Stripe still asks for: also of an invoice that was given up."""
        return self.model.open + self.model.written_off

    def possible(self) -> list[str]:
        model, found = self.model, []
        if model.is_void:
            return []
        if any(left[0] > 0 for left in self.left) and model.total > 0:
            found.append("credit")
        if self.asked > 0:
            found += ["pay_part", "overpay"]
            found += ["move_the_rest", "give_up"] if model.open and not model.written_off else []
            found += ["void"] if not model.collected and len(self.notes) == len(model.tax_back) else []
            found += ["void_note"] if self.notes and not model.written_off else []
        return found

    def of_the_house(self) -> dict[str, Decimal]:
        return {name: ledger.balance_of(f"{name}:{self.currency}") for name in ("tax:payable", "rounding", "bad_debt")}

    def assert_agrees(self) -> None:
        key, model = self.customer.customer_key, self.model
        house = {name: after - self.before[name] for name, after in self.of_the_house().items()}
        own = {
            kind: ledger.balance_of(f"{kind}:{key}:{self.currency}")
            for kind in ("receivable", "balance", "refund_due", "unbilled")
        }
        assert {**own, **house} == model.expected()
        with connection.cursor() as cursor:
            cursor.execute(_BY_KIND, [f"receivable:{key}:{self.currency}"])
            left = {kind: -amount for kind, amount in cursor.fetchall()}
        asked_for = -left.pop("invoice_finalized", Decimal(0))
        assert asked_for == (0 if model.is_void else self.money(model.total))
        assert asked_for == own["receivable"] + sum(left.values(), Decimal(0))
        assert left.get("payment_succeeded", 0) == self.money(model.collected)
        assert left.get("customer_balance", 0) == self.money(model.moved)
        assert left.get("credit_note_issued", 0) == self.money(model.credited)
        assert left.get("written_off", Decimal(0)) + left.get("recovered", Decimal(0)) == self.money(model.written_off)
        assert asked_for == self.money(model.open + model.collected + model.moved + model.credited + model.written_off)


@settings(max_examples=100)
@given(data=st.data())
def test_the_identity_holds_after_every_step_of_any_story(data: st.DataObject) -> None:
    story = Story(data)
    story.assert_agrees()
    for _ in range(data.draw(st.integers(0, 7))):
        possible = story.possible()
        if not possible:
            break
        getattr(story, data.draw(st.sampled_from(possible)))()
        story.assert_agrees()


@given(seed=st.integers(0, 2**32), figure=st.sampled_from(["total_minor", "discount_minor", "tax_minor"]))
@settings(max_examples=25)
def test_nothing_is_posted_for_figures_the_lines_do_not_explain(seed: int, figure: str) -> None:
    customer = CustomerFactory()
    row = InvoiceLine(kind="fee", amount_minor=seed, exact_amount=from_minor(seed, "USD"), rounding=Decimal(0))
    figures: dict[str, Any] = {"total_minor": seed, "discount_minor": 0, "tax_minor": 0}
    figures[figure] += 1
    invoice = Invoice(stripe_invoice_id=f"in_{next(_numbers)}", customer=customer, currency="USD", **figures)
    with pytest.raises(UnexplainedTotal, match=figure.removesuffix("_minor")):
        post_invoice_finalized(invoice=invoice, lines=[row], finalized_at=NOVEMBER, recorded_at=NOW)
    assert ledger.balance_of(f"receivable:{customer.customer_key}:USD") == 0
