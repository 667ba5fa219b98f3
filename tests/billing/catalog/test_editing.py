"""The page on which drafts are written: who may, what it shows, and that it writes what was shown and nothing else."""

import re
from collections.abc import Callable
from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from billing.catalog import editing
from billing.catalog.models import Plan, PlanVersion
from billing.catalog.operations import load_catalog
from billing.catalog.yaml_text import write_mapping
from config.roles import CUSTOMER_SUCCESS, ENGINEERING, FINANCE
from tests.billing.catalog.full import document
from tests.factories import OCTOBER

SignIn = Callable[[str], Client]


@pytest.fixture
def plan(db: None) -> Plan:
    load_catalog(document(), now=OCTOBER)
    return Plan.objects.get(code="pro")


def address_of(plan: Plan) -> str:
    return reverse("admin:billing_plan_edit", args=[plan.pk])


def text_in(html: str) -> str:
    found = re.search(r'<textarea name="text"[^>]*id="id_text"[^>]*>\n?(.*?)</textarea>', html, re.DOTALL)
    assert found is not None
    return unescape(found.group(1))


def seen_in(html: str) -> str:
    found = re.search(r'name="seen" value="([0-9a-f]{64})"', html)
    assert found is not None
    return found.group(1)


def test_is_for_those_who_set_prices(sign_in: SignIn, plan: Plan) -> None:
    found = {
        role: [
            sign_in(role).get(address).status_code for address in (address_of(plan), reverse("admin:billing_plan_new"))
        ]
        for role in (CUSTOMER_SUCCESS, FINANCE, ENGINEERING)
    }
    posted = sign_in(CUSTOMER_SUCCESS).post(address_of(plan), {"text": "plans: []", "apply": "yes"}).status_code

    assert found == {CUSTOMER_SUCCESS: [403, 403], FINANCE: [200, 200], ENGINEERING: [200, 200]}
    assert posted == 403
    offered = {role: "New draft from" in sign_in(role).get(_page(plan)).text for role in (CUSTOMER_SUCCESS, FINANCE)}
    assert offered == {CUSTOMER_SUCCESS: False, FINANCE: True}


def _page(plan: Plan) -> str:
    return reverse("admin:billing_plan_change", args=[plan.pk])


def test_shows_first_and_then_writes_exactly_that(sign_in: SignIn, plan: Plan) -> None:
    client = sign_in(FINANCE)
    first = plan.versions.get(version=1, currency="USD")
    text = text_in(client.get(f"{address_of(plan)}?from={first.pk}").text)
    before, draft_text = text.rsplit("version: 3", 1)
    changed = f"{before}version: 3{draft_text.replace('fee_minor: 2000', 'fee_minor: 2500')}"

    shown = client.post(address_of(plan), {"text": changed})
    assert not plan.versions.filter(version=3).exists()
    written = client.post(address_of(plan), {"text": changed, "seen": seen_in(shown.text), "apply": "yes"})

    assert "$25.00 a month and seat" in shown.text
    assert written["Location"] == _page(plan)
    draft = plan.versions.get(version=3)
    assert (draft.status, draft.fee_minor, draft.trial_days) == ("draft", 2500, 14)
    assert LogEntry.objects.get().change_message == "Drafts written: + plan pro v3 USD"


def test_what_changed_meanwhile_is_shown_again(sign_in: SignIn, plan: Plan) -> None:
    client = sign_in(FINANCE)
    text = text_in(client.get(address_of(plan)).text).replace("min_seats: 2", "min_seats: 4")
    seen = seen_in(client.post(address_of(plan), {"text": text}).text)
    PlanVersion.objects.filter(version=2).update(min_seats=3)

    answer = client.post(address_of(plan), {"text": text, "seen": seen, "apply": "yes"})

    assert "The catalogue changed since you looked" in answer.text
    assert PlanVersion.objects.get(version=2).min_seats == 3
    client.post(address_of(plan), {"text": text, "seen": seen_in(answer.text), "apply": "yes"})
    assert PlanVersion.objects.get(version=2).min_seats == 4


def test_a_plan_is_named_by_every_price_and_shows_each_that_differs(plan: Plan) -> None:
    def text(last: str) -> str:
        cells = [{"dimensions": {"model": f"m{place}"}, "unit_price": "1"} for place in range(5)]
        cells.append({"dimensions": {"model": "m5"}, "unit_price": last})
        rate = {"meter_code": "requests", "charge_model": "matrix", "terms": {"cells": cells}}
        card = {"code": "own", "name": "Own", "currency": "USD", "effective_from": "2026-01-01T00:00:00Z"}
        version = {"version": 3, "currency": "USD", "status": "draft", "rate_card": "own"}
        plans = [{"code": "pro", "name": "Pro", "product": "editor", "versions": [version]}]
        return write_mapping({"plans": plans, "rate_cards": [{**card, "rates": [rate]}]})

    seen = editing.look(text("2"), now=OCTOBER)
    assert seen.plan is not None
    assert "m5 $2.00" in seen.plan.changes[0].differences[-1].will_be

    other = editing.carry_out(text("999"), seen=seen.digest, now=OCTOBER)
    assert (other.is_done, other.is_otherwise) == (False, True)

    assert editing.carry_out(text("2"), seen=seen.digest, now=OCTOBER).is_done
    changed = editing.look(text("999"), now=OCTOBER).plan
    assert changed is not None
    ((difference,),) = [change.differences for change in changed.changes]
    assert (difference.was, difference.will_be) == (
        "Matrix by dimensions: m5 $2.00 and 5 as before",
        "Matrix by dimensions: m5 $999.00 and 5 as before",
    )


def test_a_new_plan_begins_with_the_card_that_most_plans_have(plan: Plan) -> None:
    text = editing.text_to_edit(None)

    assert "rate_card: public" in text
    outcome = editing.look(text, now=OCTOBER)
    assert outcome.plan is not None
    assert not outcome.plan.refusals


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("fee_minor: 2000", "fee_minor: 1", "its terms cannot change"),
        ("status: draft", "status: published", "a second person approves a new version first"),
        ("name: Pro\n", "name: Other\n", "felt by more than drafts"),
        ("rate_card: acme", "rate_card: none", "names rate card none, which does not exist"),
        ("plans:\n", "plans:\n  - {code: x, name: X, versions: []}\n  - !!python/object:os.x\n", "this is no YAML"),
        ("min_seats: 2", "min_seats: 2.5", "min_seats"),
        ("min_seats: 2", 'only_for: "a\\0b"', "leave it away"),
        ("min_seats: 2", "only_for: nobody", "who is no customer; create the customer first"),
        ("time_zone: Europe/Berlin", "time_zone: ../../etc/passwd", "there is no time_zone"),
        ("amount: '20'", "amount: 1e400", "no amount"),
        ("up_to: 10", "up_to: 0", "up_to"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place_and_remedy(
    sign_in: SignIn, plan: Plan, was: str, becomes: str, said: str
) -> None:
    client = sign_in(FINANCE)
    text = text_in(client.get(address_of(plan)).text)
    assert was in text
    before = list(PlanVersion.objects.order_by("pk").values())

    for wish in ({}, {"apply": "yes", "seen": "0" * 64}):
        answer = client.post(address_of(plan), {"text": text.replace(was, becomes), **wish})
        assert answer.status_code == 422
        assert said in unescape(answer.text)

    assert list(PlanVersion.objects.order_by("pk").values()) == before


def test_nonsense_is_no_error_of_ours(sign_in: SignIn, plan: Plan) -> None:
    client = sign_in(FINANCE)
    addresses = [f"{address_of(plan)}?from={wish}" for wish in ("x", "%00", "9" * 30, "-1", "\u0663")]
    texts = ["", "\0", "plans", "[[[", "{" * 3000, "plans: {}", "a: &x [*x]", "\x85"]

    assert {client.get(address).status_code for address in addresses} == {200}
    assert {client.post(address_of(plan), {"text": text}).status_code for text in texts} == {422}
    assert client.get(reverse("admin:billing_plan_edit", args=[2**62])).status_code == 404
