"""Late usage on the pages: where it is shown, and a decision about it by those who may."""

from collections.abc import Callable

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from billing.rating.models import LateUsage
from config.roles import CUSTOMER_SUCCESS, FINANCE
from tests.billing.admin.stories import Story, tell_story

SignIn = Callable[[str], Client]
WHY = "6 USD of late usage is more than the 5 USD the contract absorbs"


def decide_address(story: Story) -> str:
    return reverse("admin:billing_lateusage_decide", args=[story.accrual.late.pk])


def html(client: Client, model: str, key: int) -> str:
    return client.get(reverse(f"admin:billing_{model}_change", args=[key])).content.decode()


def test_is_told_on_the_invoice_the_period_and_the_customer(sign_in: SignIn) -> None:
    story = tell_story(1)
    client = sign_in(CUSTOMER_SUCCESS)

    for model, key in (("invoice", story.invoice.pk), ("billingperiod", story.period.pk)):
        page = html(client, model, key)
        assert "2 events arrived, 1 event taken out" in page
        assert "$24.00 → $54.00" in page
        assert WHY in page
    assert "Late usage found" in html(client, "customer", story.customer.pk)


def test_is_decided_with_a_reason_and_logged(sign_in: SignIn) -> None:
    story = tell_story(1)
    client = sign_in(FINANCE)
    assert WHY in client.get(decide_address(story)).content.decode()

    answer = client.post(decide_address(story), {"way": "next_invoice", "reason": "Told Ada"})

    late = LateUsage.objects.get()
    assert answer.status_code == 302
    assert (late.state, late.outcome) == ("waiting", "Next invoice, decided by user:fiona: Told Ada")
    assert LogEntry.objects.get().change_message == "Decided: Put it on the next invoice (Told Ada)"


@pytest.mark.parametrize(
    "given", [{}, {"way": "next_invoice", "reason": " "}, {"way": "forget\x00", "reason": "x"}, {"reason": "x" * 301}]
)
def test_a_bad_decision_is_told_on_the_form_and_changes_nothing(sign_in: SignIn, given: dict[str, str]) -> None:
    story = tell_story(1)

    answer = sign_in(FINANCE).post(decide_address(story), given)

    assert answer.status_code == 422
    assert LateUsage.objects.get().state == "decision"


def test_a_second_decision_says_so(sign_in: SignIn) -> None:
    story = tell_story(1)
    client = sign_in(FINANCE)
    client.post(decide_address(story), {"way": "next_invoice", "reason": "Told Ada"})

    answer = client.post(decide_address(story), {"way": "absorb", "reason": "No"})

    assert answer.status_code == 422
    assert "does not wait for a decision any more" in answer.content.decode()


def test_is_refused_to_those_who_may_only_see_it(sign_in: SignIn) -> None:
    story = tell_story(1)
    client = sign_in(CUSTOMER_SUCCESS)

    assert client.post(decide_address(story), {"way": "absorb", "reason": "x"}).status_code == 403
    assert "bb-button" not in html(client, "lateusage", story.accrual.late.pk)
