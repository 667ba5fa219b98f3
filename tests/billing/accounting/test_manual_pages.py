"""The pages of manual entries: the forms, what they refuse, and that each posts once."""

import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from billing.accounting.adjustments import NEVER_BY_HAND
from billing.accounting.models import ManualEntry
from ledger import queries as ledger
from tests.billing.accounting.people import FIONA, FRED, SAM, adjust, approve, posted_entry_id

pytestmark = pytest.mark.usefixtures("books")
SignedIn = Callable[[str], Client]
LIST = reverse("admin:billing_manualentry_changelist")
CHOOSE = reverse("admin:billing_manualentry_choose")


def at(name: str, *arguments: object) -> str:
    return reverse(f"admin:billing_manualentry_{name}", args=arguments)


def page(client: Client, address: str) -> str:
    response = client.get(address, follow=True)
    assert response.status_code == 200
    return response.content.decode()


def hidden(text: str) -> dict[str, str]:
    """The values the page carries on, as a browser would send them back."""
    inputs = re.findall(r"<input[^>]*type=\"hidden\"[^>]*>", text)
    pairs = [(re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)) for tag in inputs]
    return {name[1]: value[1] if value else "" for name, value in pairs if name}


def filled(client: Client, address: str, **values: str) -> dict[str, str]:
    key = hidden(client.get(address).content.decode())["idempotency_key"]
    defaults = {"customer_key": "acme", "amount": "25", "reference": "SUP-1042", "reason": "Two hours down"}
    return {**defaults, "effective_at": "", **values, "idempotency_key": key}


def confirmed(client: Client, address: str, **values: str) -> dict[str, str]:
    """What the confirmation sends, after the form was filled in and accepted."""
    response = client.post(address, filled(client, address, **values))
    assert response.status_code == 200
    assert "Is this right?" in response.content.decode()
    return {**hidden(response.content.decode()), "confirmed": "yes"}


class TestTheAdjustmentForm:
    ADDRESS = at("adjust", "refund_promised")

    def test_shows_what_will_be_posted_before_it_is_posted(self, signed_in: SignedIn) -> None:
        client = signed_in(SAM)
        first = page(client, self.ADDRESS)

        response = client.post(self.ADDRESS, filled(client, self.ADDRESS, amount="25.50"))

        text = response.content.decode()
        assert "contra:refunds" in first
        assert "refund_due" in first
        assert "refund_due:acme:USD" in text
        assert "$25.50" in text
        assert ledger.count_entries() == 0

    def test_posts_a_small_one_at_once(self, signed_in: SignedIn) -> None:
        client = signed_in(SAM)

        response = client.post(self.ADDRESS, confirmed(client, self.ADDRESS, amount="25.50"), follow=True)

        asked = ManualEntry.objects.get()
        assert "Posted." in response.content.decode()
        assert ledger.balance_of("refund_due:acme:USD") == Decimal("25.50")
        assert (asked.requested_by, asked.reason, asked.reference) == (SAM, "Two hours down", "SUP-1042")
        assert LogEntry.objects.get().change_message == "Asked for: Refund promised"

    def test_says_that_a_large_one_waits_and_why(self, signed_in: SignedIn) -> None:
        client = signed_in(SAM)
        client.post(self.ADDRESS, confirmed(client, self.ADDRESS, amount="200"))

        confirmation = client.post(self.ADDRESS, filled(client, self.ADDRESS, amount="50.01")).content.decode()
        response = client.post(self.ADDRESS, confirmed(client, self.ADDRESS, amount="50.01"), follow=True)

        assert "A second person has to approve it" in confirmation
        assert "Ask for approval of $50.01" in confirmation
        assert "Nothing is posted yet" in response.content.decode()
        assert "it comes to $250.01" in response.content.decode()
        assert ledger.balance_of("refund_due:acme:USD") == 200

    def test_sent_twice_posts_once(self, signed_in: SignedIn) -> None:
        client = signed_in(SAM)
        sent = confirmed(client, self.ADDRESS)
        client.post(self.ADDRESS, sent)

        response = client.post(self.ADDRESS, sent, follow=True)

        assert "asked for already, once" in response.content.decode()
        assert ledger.count_entries() == 1
        assert LogEntry.objects.count() == 1

    def test_used_again_with_another_amount_is_refused(self, signed_in: SignedIn) -> None:
        client = signed_in(SAM)
        sent = confirmed(client, self.ADDRESS)
        client.post(self.ADDRESS, sent)

        response = client.post(self.ADDRESS, {**sent, "amount": "26"})

        assert response.status_code == 422
        assert "This form was used already, and differs in: amount" in response.content.decode()

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"amount": "0"}, "above zero"),
            ({"amount": "-5"}, "above zero"),
            ({"amount": "NaN"}, "Enter a number"),
            ({"amount": "1.234"}, "At most 2 decimal places"),
            ({"amount": ""}, "This field is required"),
            ({"amount": "9999999999999999"}, "no more than 15 digits"),
            ({"customer_key": "nobody"}, "no customer with this key"),
            ({"customer_key": ""}, "This field is required"),
            ({"reason": " "}, "This field is required"),
            ({"reference": "x"}, "Charge or ticket needed"),
            ({"effective_at": "yesterday"}, "Enter a valid date/time"),
            ({"effective_at": "2999-01-01T00:00"}, "before that instant has come"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("stage", [{}, {"confirmed": "yes"}], ids=["filled in", "confirmed"])
    def test_names_what_is_wrong(
        self, signed_in: SignedIn, wrong: dict[str, str], said: str, stage: dict[str, str]
    ) -> None:
        client = signed_in(SAM)

        response = client.post(self.ADDRESS, {**filled(client, self.ADDRESS, **wrong), **stage})

        assert response.status_code == 422
        assert said in response.content.decode()
        assert not ManualEntry.objects.exists()

    def test_takes_only_a_key_that_it_made(self, signed_in: SignedIn) -> None:
        client = signed_in(SAM)
        sent = {**filled(client, self.ADDRESS), "idempotency_key": "mine", "confirmed": "yes"}

        assert client.post(self.ADDRESS, sent).status_code == 422

    def test_goes_back_to_be_edited(self, signed_in: SignedIn) -> None:
        client = signed_in(SAM)
        sent = {**confirmed(client, self.ADDRESS, reason="A typing eror"), "edit": "yes"}
        del sent["confirmed"]

        text = client.post(self.ADDRESS, sent).content.decode()

        assert "A typing eror" in text
        assert "Continue" in text

    def test_asks_for_the_currency_where_no_customer_says_it(self, signed_in: SignedIn) -> None:
        client, address = signed_in(FIONA), at("adjust", "bank_holds_more")

        response = client.post(
            address, confirmed(client, address, currency="USD", reference="DE12 2026-11-09"), follow=True
        )

        assert "bank:USD" in response.content.decode()
        assert ledger.balance_of("bank:USD") == 25

    def test_refuses_a_request_from_another_site(self, signed_in: SignedIn) -> None:
        client = signed_in(SAM)
        sent = confirmed(client, self.ADDRESS)
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = client.cookies

        assert strict.post(self.ADDRESS, sent | {"csrfmiddlewaretoken": "x"}).status_code == 403

    def test_of_an_unknown_reason_is_not_there(self, signed_in: SignedIn) -> None:
        assert signed_in(FIONA).get(at("adjust", "receivable")).status_code == 404

    def test_is_prefilled_from_the_customers_page(self, signed_in: SignedIn) -> None:
        client = signed_in(SAM)

        assert f"{self.ADDRESS}?customer=acme" in page(client, f"{CHOOSE}?customer=acme")
        assert 'value="acme"' in page(client, f"{self.ADDRESS}?customer=acme")


def test_what_is_not_adjusted_here_is_said_with_its_remedy(signed_in: SignedIn) -> None:
    text = page(signed_in(FIONA), CHOOSE)

    for account, remedy in NEVER_BY_HAND.items():
        assert f"<dt>{account}</dt>" in text
        assert remedy.replace("'", "&#x27;") in text


class TestDeciding:
    def test_approving_posts_and_the_page_tells_who_did_what(self, signed_in: SignedIn) -> None:
        asked = adjust("refund_promised", "300", actor=SAM)

        response = signed_in(FRED).post(at("approve", asked.pk), {"words": "Agreed with Ada"}, follow=True)

        text = response.content.decode()
        assert "Approved, and posted" in text
        assert re.search(
            r"Asked for</strong> by sam.*Approved and posted</strong> by fred.*Agreed with Ada", text, re.DOTALL
        )
        assert reverse("admin:ledger_journalentry_change", args=[posted_entry_id(asked)]) in text
        assert LogEntry.objects.get().change_message == "Approve: Agreed with Ada"

    @pytest.mark.parametrize("verb", ["approve", "reject"])
    def test_needs_words(self, signed_in: SignedIn, verb: str) -> None:
        asked = adjust("refund_promised", "300")

        response = signed_in(FRED).post(at(verb, asked.pk), {"words": " "})

        assert response.status_code == 422
        assert "This field is required" in response.content.decode()

    def test_says_on_the_form_that_somebody_was_faster(self, signed_in: SignedIn) -> None:
        asked = adjust("refund_promised", "300", actor=SAM)
        approve(asked, actor=FIONA)

        response = signed_in(FRED).post(at("reject", asked.pk), {"words": "no"})

        assert response.status_code == 422
        assert "Nothing was done: approved and posted by fiona" in response.content.decode()

    def test_says_on_the_form_that_the_account_holds_less_by_now(self, signed_in: SignedIn) -> None:
        approve(adjust("refund_promised", "300"))
        asked = adjust("refund_promise_ended", "300")
        adjust("refund_paid_by_bank", "100")

        response = signed_in(FRED).post(at("approve", asked.pk), {"words": "yes"})

        assert response.status_code == 422
        assert "refund_due:acme:USD holds $200.00" in response.content.decode()

    def test_withdrawing_ones_own(self, signed_in: SignedIn) -> None:
        asked = adjust("refund_promised", "300", actor=SAM)

        response = signed_in(SAM).post(at("withdraw", asked.pk), {"words": "wrong customer"}, follow=True)

        assert "Withdrawn: nothing was posted" in response.content.decode()

    def test_what_waits_is_first_in_the_list(self, signed_in: SignedIn) -> None:
        waiting = adjust("refund_promised", "300")
        for number in range(3):
            adjust("bank_holds_more", "1", key=f"later:{number}")

        rows = re.findall(r"/manualentry/(\d+)/change/", page(signed_in(FIONA), LIST))

        assert int(rows[0]) == waiting.pk

    def test_only_those_that_wait(self, signed_in: SignedIn) -> None:
        waiting, posted = adjust("refund_promised", "300"), adjust("refund_promised", "3")

        text = page(signed_in(FIONA), f"{LIST}?state=waiting")

        assert at("change", waiting.pk) in text
        assert at("change", posted.pk) not in text


class TestReversing:
    def test_from_the_entrys_page_through_the_form(self, signed_in: SignedIn) -> None:
        client = signed_in(FIONA)
        entry_id = posted_entry_id(adjust("refund_promised", "40"))
        address = at("reverse", entry_id)
        assert address in page(client, reverse("admin:ledger_journalentry_change", args=[entry_id]))

        form = page(client, address)
        response = client.post(
            address, {**hidden(form), "reason": "Wrong customer", "reference": "", "effective_at": ""}, follow=True
        )

        assert "The mirror image of entry" in form
        assert "Reversal of entry" in response.content.decode()
        assert ledger.balance_of("refund_due:acme:USD") == 0
        assert "Reverse this entry" not in page(client, reverse("admin:ledger_journalentry_change", args=[entry_id]))

    def test_of_a_fact_that_something_else_undoes_says_what(self, signed_in: SignedIn) -> None:
        from tests.billing.accounting.test_manual_reversals import an_entry_of

        client, entry_id = signed_in(FIONA), an_entry_of("invoice_finalized")

        text = page(client, at("reverse", entry_id))
        entry_page = page(client, reverse("admin:ledger_journalentry_change", args=[entry_id]))

        assert "Void the invoice in Stripe" in text
        assert "Reverse it" not in text
        assert "To undo this: Void the invoice in Stripe" in entry_page
        assert at("reverse", entry_id) not in entry_page

    def test_sent_twice_posts_once(self, signed_in: SignedIn) -> None:
        client = signed_in(FIONA)
        address = at("reverse", posted_entry_id(adjust("refund_promised", "40")))
        sent = {**hidden(page(client, address)), "reason": "x", "reference": "", "effective_at": "2026-11-20T00:00:00"}
        client.post(address, sent)

        response = client.post(address, sent, follow=True)

        assert "asked for already, once" in response.content.decode()
        assert ledger.count_entries() == 2

    def test_says_when_it_happens_so_that_sent_later_it_is_the_same(self, signed_in: SignedIn) -> None:
        client = signed_in(FIONA)
        address = at("reverse", posted_entry_id(adjust("refund_promised", "40")))

        form = page(client, address)

        tag = re.search(r'<input[^>]*name="effective_at"[^>]*>', form)
        assert tag is not None
        assert re.search(r'value="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"', tag[0])

    def test_is_linked_with_what_it_undoes(self, signed_in: SignedIn) -> None:
        from tests.billing.accounting.people import reverse as ask_to_reverse

        adjustment = adjust("refund_promised", "40")
        undone = ask_to_reverse(posted_entry_id(adjustment))
        client = signed_in(FIONA)

        assert at("change", undone.pk) in page(client, at("change", adjustment.pk))
        assert at("change", adjustment.pk) in page(client, at("change", undone.pk))

    def test_needs_a_reason(self, signed_in: SignedIn) -> None:
        client = signed_in(FIONA)
        address = at("reverse", posted_entry_id(adjust("refund_promised", "40")))

        response = client.post(address, {**hidden(page(client, address)), "reason": "", "reference": ""})

        assert response.status_code == 422
        assert "This field is required" in response.content.decode()


def test_the_overview_counts_what_waits_for_those_who_decide(signed_in: SignedIn) -> None:
    adjust("refund_promised", "300")

    finance, success = (page(signed_in(actor), reverse("admin:index")) for actor in (FRED, SAM))

    assert "Waiting for a second person" in finance
    assert f"{LIST}?state=waiting" in finance
    assert "Waiting for a second person" not in success
