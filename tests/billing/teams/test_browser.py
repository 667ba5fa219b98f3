"""The pages of teams in a real browser, narrow and wide, empty and with many members."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from billing.subscriptions.models import BillingPeriod
from billing.teams.models import BillingGroup, Member
from tests.billing.teams.world import define_meters, entry, move, october_of, open_groups, roster, send, settle
from tests.browser import PASSWORD, visiting
from tests.factories import OCTOBER
from tests.processes import WebServer

# Enough for several pages of members; looked at with 5,000 too.
MANY = 120
LONG = "a-member-whose-key-is-as-long-as-an-identity-provider-likes-it-to-be" * 2
DAY = timedelta(days=1)


@pytest.fixture
def addresses(committed_db: None) -> dict[str, str]:
    """The pages to look at. Written before the browser starts: its event loop would forbid database calls."""
    User.objects.create_superuser("root", password=PASSWORD)
    define_meters()
    period = october_of(seats=5_100)
    open_groups("red", "blue", "green")
    many = [entry(f"m{n:04}", ("red", "blue", None)[n % 3], name=f"Member {n}", takes_seat=False) for n in range(MANY)]
    roster(*many, entry("ada", "red", name="Ada Lovelace", email="ada@example.com"), entry(LONG, "blue"))
    move("ada", to="blue", at=OCTOBER + 9 * DAY)
    for day in range(28):
        send(OCTOBER + day * DAY, "ada", input_tokens=200_000 * (1 + day % 5))
        send(OCTOBER + day * DAY, LONG, output_tokens=1_234 * day + 1)
    send(OCTOBER, "somebody", input_tokens=999)
    settle(period)
    empty: BillingPeriod = october_of("empty")
    customer = period.subscription.customer_id
    ada = Member.objects.get(key="ada")
    return {
        "team": reverse("admin:billing_team", args=[customer]),
        "team-empty": reverse("admin:billing_team", args=[empty.subscription.customer_id]),
        "group": reverse("admin:billing_billinggroup_change", args=[BillingGroup.objects.get(code="blue").pk]),
        "group-empty": reverse("admin:billing_billinggroup_change", args=[BillingGroup.objects.get(code="green").pk]),
        "member": reverse("admin:billing_member_change", args=[ada.pk]),
        "usage": reverse("admin:billing_usage_by_group", args=[period.pk]),
        "usage-member": f"{reverse('admin:billing_usage_by_group', args=[period.pk])}?by=member",
        "usage-empty": reverse("admin:billing_usage_by_group", args=[empty.pk]),
        "changes": reverse("admin:billing_teamchange_changelist"),
        "correct": f"{reverse('admin:billing_team_change', args=[customer, 'correct'])}?member=ada",
        "move": f"{reverse('admin:billing_team_change', args=[customer, 'move'])}?members=ada&group=red",
    }


def test_pages_work_and_fit(addresses: dict[str, str], web_process: WebServer) -> None:
    with visiting(web_process.address) as visitor:
        visitor.sign_in("root")
        drawn = visitor.tour(addresses)
        visitor.page.fill("#id_reason", "she changed teams")
        visitor.follow("text=Continue")
        visitor.look("move-preview")
        preview = visitor.page.inner_text("main, body")
        visitor.follow("text=Move them")
        done = visitor.page.inner_text("body")

    assert visitor.complaints == []
    assert visitor.too_wide == {}
    assert (drawn["member"], drawn["group"]) == (1, 1)
    assert "1 moved" in preview
    assert "Members moved: 1 moved." in done
