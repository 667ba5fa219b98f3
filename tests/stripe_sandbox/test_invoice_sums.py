"""Random invoices with discounts, taxes, credit notes and payments: their sums are always those of their parts."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stripe_sandbox.in_process import InProcess

percentages = st.decimals("0.01", "100", places=2).map(str)
coupons = st.one_of(
    st.fixed_dictionaries({"percent_off": percentages}),
    st.fixed_dictionaries({"amount_off": st.integers(1, 5000)}),
)
rates = st.tuples(percentages, st.sampled_from(["true", "false"]))
items = st.fixed_dictionaries(
    {
        "amount": st.integers(-500, 5000),
        "coupons": st.lists(st.integers(0, 2), max_size=2, unique=True),
        "rates": st.lists(st.integers(0, 2), max_size=2, unique=True),
    }
)
plans = st.fixed_dictionaries(
    {
        "currency": st.sampled_from(["usd", "jpy", "kwd"]),
        "balance": st.integers(-2000, 500),
        "coupons": st.lists(coupons, min_size=3, max_size=3),
        "rates": st.lists(rates, min_size=3, max_size=3),
        "items": st.lists(items, min_size=1, max_size=5),
        "discounts": st.lists(st.integers(0, 2), max_size=3, unique=True),
        "default_rates": st.lists(st.integers(0, 2), max_size=2, unique=True),
        "exempt": st.sampled_from(["none", "none", "exempt", "reverse"]),
        "credits": st.lists(st.integers(1, 3000), max_size=3),
        "pays": st.booleans(),
    }
)


class Books(InProcess):
    """One customer and one invoice of theirs."""

    def __init__(self, plan: dict[str, Any]) -> None:
        super().__init__()
        currency = plan["currency"]
        self.customer = self.ask("customers", payment_method="pm_card_visa", tax_exempt=plan["exempt"])["id"]
        if plan["balance"]:
            moved = {"amount": plan["balance"], "currency": currency}
            self.ask(f"customers/{self.customer}/balance_transactions", **moved)
        coupon_ids = [
            self.ask("coupons", **given, **({"currency": currency} if "amount_off" in given else {}))["id"]
            for given in plan["coupons"]
        ]
        rate_ids = [
            self.ask("tax_rates", display_name="VAT", percentage=percentage, inclusive=inclusive)["id"]
            for percentage, inclusive in plan["rates"]
        ]
        fields = self._listed("discounts", plan["discounts"], coupon_ids, "[coupon]")
        fields |= self._listed("default_tax_rates", plan["default_rates"], rate_ids)
        self.invoice = self.ask("invoices", customer=self.customer, currency=currency, **fields)["id"]
        for item in plan["items"]:
            fields = self._listed("discounts", item["coupons"], coupon_ids, "[coupon]")
            fields |= self._listed("tax_rates", item["rates"], rate_ids)
            self.ask("invoiceitems", customer=self.customer, invoice=self.invoice, amount=item["amount"], **fields)

    def _listed(self, field: str, places: list[int], names: list[str], key: str = "") -> dict[str, Any]:
        return {f"{field}[{number}]{key}": names[place] for number, place in enumerate(places)}

    def check(self) -> dict[str, Any]:
        """Assert every sum of the invoice; the answer is the invoice."""
        world = self.application.world
        assert world.problems == []
        invoice = world.store.get("invoice", self.invoice)
        lines = world.lines[self.invoice]
        off = {line["id"]: sum(entry["amount"] for entry in line["discount_amounts"]) for line in lines}
        taxes = [tax for line in lines for tax in line["taxes"]]
        exclusive = sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == "exclusive")
        inclusive = sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == "inclusive")
        amounts = sum(line["amount"] for line in lines)

        assert all(0 <= off[line["id"]] <= max(line["amount"], 0) for line in lines)
        assert invoice["total"] == amounts - sum(off.values()) + exclusive
        assert invoice["total_excluding_tax"] == amounts - sum(off.values()) - inclusive
        assert sum(entry["amount"] for entry in invoice["total_discount_amounts"]) == sum(off.values())
        assert sum(tax["amount"] for tax in invoice["total_taxes"]) == exclusive + inclusive
        own = sum(
            entry["amount"]
            for line in lines
            for entry in line["discount_amounts"]
            if entry["discount"] in line["discounts"]
        )
        assert invoice["subtotal"] == amounts - own

        paid, remaining = invoice["amount_paid"], invoice["amount_remaining"]
        assert invoice["amount_due"] == paid + remaining - invoice["amount_overpaid"]
        transactions = world.store.where("customer_balance_transaction", "customer", self.customer)
        assert world.store.get("customer", self.customer)["balance"] == sum(one["amount"] for one in transactions)
        notes = world.store.where("credit_note", "invoice", self.invoice)
        issued = [note for note in notes if note["status"] == "issued"]
        assert invoice["pre_payment_credit_notes_amount"] == sum(note["pre_payment_amount"] for note in issued)
        assert invoice["post_payment_credit_notes_amount"] == sum(note["post_payment_amount"] for note in issued)
        if invoice["status"] != "draft":
            applied = sum(
                one["amount"] for one in transactions if one["invoice"] == self.invoice and one["type"] != "credit_note"
            )
            due_at_first = invoice["amount_due"] + invoice["pre_payment_credit_notes_amount"]
            assert invoice["total"] == due_at_first + applied
            assert sum(note["total"] for note in issued) <= max(invoice["total"], 0)
        return invoice


@settings(max_examples=80)
@given(plans)
def test_sums_are_those_of_the_parts(plan: dict[str, Any]) -> None:
    books = Books(plan)
    books.check()

    books.ask(f"invoices/{books.invoice}/finalize", auto_advance="false")
    books.check()
    for amount in plan["credits"][:2]:
        books.ask("credit_notes", invoice=books.invoice, amount=amount)
        books.check()
    if plan["pays"]:
        books.ask(f"invoices/{books.invoice}/pay", payment_method="pm_card_visa")
        books.check()
        for amount in plan["credits"][2:]:
            books.ask("credit_notes", invoice=books.invoice, amount=amount, credit_amount=amount)
            books.check()


@settings(max_examples=60)
@given(plans)
def test_crediting_every_line_leaves_nothing(plan: dict[str, Any]) -> None:
    books = Books({**plan, "balance": 0})
    books.ask(f"invoices/{books.invoice}/finalize", auto_advance="false")
    invoice = books.check()
    if invoice["status"] != "open" or any(item["amount"] <= 0 for item in plan["items"]):
        return  # settled without money, or lines that are credits themselves

    for line in books.application.world.lines[books.invoice]:
        half = line["amount"] // 2
        for amount in (half, line["amount"] - half):
            if amount:
                given_line = {"type": "invoice_line_item", "invoice_line_item": line["id"], "amount": amount}
                given_fields = {f"lines[0][{name}]": value for name, value in given_line.items()}
                books.ask("credit_notes", invoice=books.invoice, **given_fields)

    invoice = books.check()
    world = books.application.world
    notes = world.store.where("credit_note", "invoice", books.invoice)
    total = sum(note["total"] for note in notes)
    # A half whose whole net was discounted away has a total of 0, and there are no credit notes about nothing.
    if len(notes) == sum(1 + (item["amount"] > 1) for item in plan["items"]):
        assert (invoice["status"], invoice["amount_due"], total) == ("paid", 0, invoice["total"])
    assert total <= invoice["total"]
