"""From an invoice that could not be collected to its recovery and back; and which write-offs wait for a person."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing.admin_links import list_url, page_url
from billing.figures import Figure
from billing.invoicing.models import Invoice
from billing.payments.recovery.models import (
    RecoveryCase,
    RecoveryPolicy,
    RecoveryStep,
    WriteOffDecision,
    WriteOffRequest,
)
from config.roles import CUSTOMER_SUCCESS, ENGINEERING, FINANCE
from tests.billing.admin.stories import tell_story
from tests.billing.payments.recovering import OURS
from tests.factories import NOVEMBER

SignIn = Callable[[str], Client]


def case_of(invoice: Invoice) -> RecoveryCase:
    told = {"name": "Tests", "terms": OURS, "declared_at": NOVEMBER, "declared_by": "user:fiona"}
    policy, _ = RecoveryPolicy.objects.get_or_create(code="tests", version=1, defaults=told)
    return RecoveryCase.objects.create(
        invoice=invoice,
        customer=invoice.customer,
        policy=policy,
        currency=invoice.currency,
        amount_minor=invoice.amount_remaining_minor,
        failed_at=NOVEMBER,
        opened_at=NOVEMBER,
        grace_ends_at=NOVEMBER + timedelta(days=4),
    )


def propose(case: RecoveryCase) -> None:
    RecoveryStep.objects.create(
        case=case, kind="write_off_proposed", due_at=NOVEMBER, recorded_at=NOVEMBER, result="done"
    )


def ask(case: RecoveryCase, *, outcome: str = "") -> None:
    """Somebody asked for the write-off; with an outcome, somebody else decided so."""
    asked = WriteOffRequest.objects.create(
        case=case,
        amount_minor=case.amount_minor,
        currency=case.currency,
        alone_minor=case.amount_minor,
        reason="insolvent",
        requested_by="user:fred",
        requested_at=NOVEMBER,
        needs_second_person=True,
        idempotency_key=f"{case.pk}-{outcome}",
    )
    if outcome:
        WriteOffDecision.objects.create(
            request=asked,
            outcome=outcome,
            requested_by=asked.requested_by,
            needs_second_person=True,
            decided_by=asked.requested_by if outcome == "withdrawn" else "user:fiona",
            decided_at=NOVEMBER,
            words="seen",
        )


@pytest.mark.parametrize("role", [CUSTOMER_SUCCESS, FINANCE, ENGINEERING])
def test_a_past_due_invoice_leads_to_its_recovery_and_back(sign_in: SignIn, role: str) -> None:
    story = tell_story(1)
    client, case = sign_in(role), case_of(story.invoice)
    there, back = page_url("billing.recoverycase", case.pk), page_url("billing.invoice", story.invoice.pk)
    addresses = {
        "page": back,
        "row": list_url("billing.invoice"),
        "customer": page_url("billing.customer", story.customer.pk),
        "overview": reverse("admin:index"),
    }

    leading = {name for name, address in addresses.items() if there in client.get(address).content.decode()}

    assert leading == (set() if role == ENGINEERING else set(addresses))
    if role != ENGINEERING:
        assert back in client.get(there).content.decode()


def test_every_write_off_that_waits_for_a_person_is_counted_once_and_led_to(sign_in: SignIn) -> None:
    first = tell_story(1).invoice
    told: dict[str, dict[str, Any]] = {
        "nobody thinks of it": {},
        "proposed by the policy": {"proposed": True},
        "asked for": {"asked": ("",)},
        "proposed and asked for": {"proposed": True, "asked": ("",)},
        "proposed, and somebody said no": {"proposed": True, "asked": ("rejected",)},
        "proposed, asked for and taken back": {"proposed": True, "asked": ("withdrawn",)},
        "asked for, and agreed": {"proposed": True, "asked": ("approved",)},
    }
    cases = {}
    for number, (name, what) in enumerate(told.items()):
        invoice = Invoice.objects.get(pk=first.pk)
        invoice.pk, invoice.stripe_invoice_id, invoice.number = None, f"in_case_{number}", f"BB-9{number}"
        invoice.save()
        cases[case_of(invoice).pk] = name
        case = invoice.recovery_case
        if "proposed" in what:
            propose(case)
        for outcome in what.get("asked", ()):
            ask(case, outcome=outcome)
    client = sign_in(FINANCE)

    figures: list[Figure] = client.get(reverse("admin:index")).context["health_figures"]
    [figure] = [one for one in figures if one.name == "Write-offs to decide"]
    listed = {cases[case.pk] for case in client.get(figure.url).context["cl"].result_list}

    waiting = {
        "proposed by the policy",
        "asked for",
        "proposed and asked for",
        "proposed, asked for and taken back",
    }
    assert (figure.value, listed) == ("4", waiting)
    assert figure.note == "2 asked for, 2 proposed by the policy"
