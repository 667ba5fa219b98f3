"""Who sees and may do what with manual entries, page by page and by address."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from billing.accounting.adjustments import REASON_CODES
from ledger import queries as ledger
from tests.billing.accounting.people import EMRE, FIONA, FRED, SAM, adjust, posted_entry_id

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


class TestWhoMay:
    """Written out, not derived from config.roles: a permission given by mistake must fail here."""

    MAY_ASK = {
        FIONA: {code.code for code in REASON_CODES},
        SAM: {"refund_promised", "refund_promise_ended"},
        EMRE: set(),
    }

    @pytest.mark.parametrize("actor", [FIONA, SAM, EMRE])
    def test_ask_for_which_reason(self, signed_in: SignedIn, actor: str) -> None:
        client = signed_in(actor)

        opened = {
            code.code
            for code in REASON_CODES
            if client.get(at("adjust", code.code)).status_code == 200
            and client.post(at("adjust", code.code), {}).status_code == 422
        }
        refused = {
            code.code
            for code in REASON_CODES
            if client.get(at("adjust", code.code)).status_code == 403
            and client.post(at("adjust", code.code), {}).status_code == 403
        }

        assert opened == self.MAY_ASK[actor]
        assert opened | refused == {code.code for code in REASON_CODES}

    def test_choose_from_what_they_may_ask_for(self, signed_in: SignedIn) -> None:
        finance, success = page(signed_in(FIONA), CHOOSE), page(signed_in(SAM), CHOOSE)

        assert all(code.name in finance for code in REASON_CODES)
        assert [code.code for code in REASON_CODES if at("adjust", code.code) in success] == [
            "refund_promised",
            "refund_promise_ended",
        ]
        assert signed_in(EMRE).get(CHOOSE).status_code == 403

    def test_open_the_list_and_a_request(self, signed_in: SignedIn) -> None:
        theirs, other = adjust("refund_promised", "300", actor=SAM), adjust("bank_holds_more", "300")
        expected = {FIONA: [200, 200, 200], SAM: [200, 200, 302], EMRE: [403, 403, 403]}
        addresses = (LIST, at("change", theirs.pk), at("change", other.pk))

        found = {actor: [signed_in(actor).get(address).status_code for address in addresses] for actor in expected}

        assert found == expected
        assert "The bank holds more" not in page(signed_in(SAM), f"{LIST}?kind=adjustment")

    @pytest.mark.parametrize("verb", ["approve", "reject", "withdraw"])
    def test_decide(self, signed_in: SignedIn, verb: str) -> None:
        asked = adjust("refund_promised", "300", actor=SAM)
        expected = {FIONA: 200, FRED: 200, SAM: 403, EMRE: 403}
        if verb == "withdraw":
            expected = {FIONA: 403, FRED: 403, SAM: 200, EMRE: 403}

        found = {actor: signed_in(actor).get(at(verb, asked.pk)).status_code for actor in expected}
        for actor, status in expected.items():
            if status == 403:
                assert signed_in(actor).post(at(verb, asked.pk), {"words": "x"}).status_code == 403

        assert found == expected
        assert ledger.count_entries() == 0

    def test_who_asked_does_not_approve(self, signed_in: SignedIn) -> None:
        asked = adjust("refund_promised", "300")

        text = page(signed_in(FIONA), at("change", asked.pk))

        assert signed_in(FIONA).post(at("approve", asked.pk), {"words": "x"}).status_code == 403
        assert at("approve", asked.pk) not in text
        assert at("withdraw", asked.pk) in text
        assert at("approve", asked.pk) in page(signed_in(FRED), at("change", asked.pk))

    def test_reverse(self, signed_in: SignedIn) -> None:
        entry_id = posted_entry_id(adjust("refund_promised", "40"))
        expected = {FIONA: 200, SAM: 403, EMRE: 403}

        assert {actor: signed_in(actor).get(at("reverse", entry_id)).status_code for actor in expected} == expected
        assert signed_in(SAM).post(at("reverse", entry_id), {"reason": "x"}).status_code == 403

    def test_nobody_without_signing_in(self) -> None:
        for address in (LIST, CHOOSE, at("adjust", "refund_promised"), at("reverse", 1), at("approve", 1)):
            assert Client().get(address).status_code == 302
            assert Client().post(address).status_code == 302
