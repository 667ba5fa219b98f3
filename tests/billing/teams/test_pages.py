"""The admin's pages of teams: what they show, who may do what, a preview before anything is done, and files."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from billing.subscriptions.models import BillingPeriod
from billing.teams.models import BillingGroup, GroupMembership, Member, Membership, TeamChange
from config.roles import CUSTOMER_SUCCESS, ENGINEERING, FINANCE
from tests.billing.teams.world import define_meters, entry, october_of, open_groups, roster, send, settle
from tests.factories import OCTOBER

pytestmark = pytest.mark.usefixtures("committed_db")
SignIn = Callable[[str], Client]


@pytest.fixture
def period() -> BillingPeriod:
    define_meters()
    found = october_of()
    open_groups("red")
    roster(entry("ada", "red", name="=Ada"), entry("bob"))
    send(OCTOBER + timedelta(days=1), "ada", input_tokens=200_000)
    send(OCTOBER + timedelta(days=2), "bob", input_tokens=400_000)
    settle(found)
    return found


def test_pages_lead_from_the_customer_to_every_member(period: BillingPeriod, sign_in: SignIn) -> None:
    client = sign_in(FINANCE)
    customer = period.subscription.customer
    team = reverse("admin:billing_team", args=[customer.pk])
    assert team in client.get(reverse("admin:billing_customer_change", args=[customer.pk])).content.decode()

    shown = client.get(team).content.decode()

    assert "2 of 50" in shown
    assert "CC-red" in shown
    for row in (Member.objects.get(key="ada"), BillingGroup.objects.get(), TeamChange.objects.first()):
        name = row._meta.model_name  # type: ignore[union-attr]
        page = client.get(reverse(f"admin:billing_{name}_change", args=[row.pk]))  # type: ignore[union-attr]
        assert page.status_code == 200
    member = client.get(reverse("admin:billing_member_change", args=[Member.objects.get(key="ada").pk]))
    assert "$1.00" in member.content.decode()
    assert "In Red" in member.content.decode()


def test_usage_by_group_and_its_file_add_up(period: BillingPeriod, sign_in: SignIn) -> None:
    client = sign_in(CUSTOMER_SUCCESS)
    address = reverse("admin:billing_usage_by_group", args=[period.pk])

    page = client.get(address).content.decode()
    text = b"".join(client.get(f"{address}?by=member&as=csv").streaming_content).decode()  # type: ignore[attr-defined]

    assert "Unassigned" in page
    assert "$3.00" in page
    rows = [line.split(",") for line in text.splitlines()]
    assert [row[1:3] for row in rows[1:]] == [["ada", "'=Ada"], ["bob", "bob"], ["", ""]]
    assert rows[-1][7] == "3.000000000000"


def test_a_change_is_shown_before_it_is_made_and_made_once(period: BillingPeriod, sign_in: SignIn) -> None:
    client = sign_in(CUSTOMER_SUCCESS)
    customer = period.subscription.customer
    address = reverse("admin:billing_team_change", args=[customer.pk, "add"])
    form = client.get(address).context["form"]
    sent = {
        "members": "cid, Cid, cid@example.com\ndan",
        "group": "red",
        "takes_seat": "on",
        "effective_at": "",
        "reason": "they joined",
        "idempotency_key": form["idempotency_key"].value(),
    }

    preview = client.post(address, sent)
    assert "2 joined, 2 moved, 2 seated" in preview.content.decode()
    assert Membership.objects.count() == 2
    fixed = {name: preview.context["form"][name].value() or "" for name in sent}
    for _ in range(2):
        assert client.post(address, {**fixed, "confirmed": "yes"}).status_code == 302

    assert Membership.objects.count() == 4
    change = TeamChange.objects.first()
    assert change is not None
    assert (change.actor, change.reason) == ("user:sam", "they joined")
    assert GroupMembership.objects.filter(group__code="red", ends_at=None).count() == 3
    wrong = client.post(address, {**sent, "members": "x\nx", "idempotency_key": sent["idempotency_key"][:-1] + "0"})
    assert wrong.status_code == 422
    assert "comes twice" in wrong.content.decode()


def test_who_may_do_what(period: BillingPeriod, sign_in: SignIn) -> None:
    customer = period.subscription.customer
    for role, verb, status in (
        (ENGINEERING, "add", 403),
        (CUSTOMER_SUCCESS, "add", 200),
        (CUSTOMER_SUCCESS, "correct", 403),
        (FINANCE, "correct", 200),
        (FINANCE, "nothing", 404),
    ):
        address = reverse("admin:billing_team_change", args=[customer.pk, verb])
        assert sign_in(role).get(address).status_code == status, (role, verb)
