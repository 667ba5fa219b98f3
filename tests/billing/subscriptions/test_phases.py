"""A ramp deal over HTTP and in the admin: planned in one go, shown as one list without a gap, carried out."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.test import Client

from billing.subscriptions import phases, scheduling
from billing.subscriptions.change_models import ScheduledChange
from billing.subscriptions.errors import ChangeRefused
from billing.subscriptions.models import Subscription
from tests.billing.subscriptions.lives import NOVEMBER, OCT_11, advance, invoices, now_of, said, started
from tests.billing.subscriptions.test_action_pages import browser, hidden, page
from tests.billing.subscriptions.test_api import Api, api
from tests.billing.subscriptions.test_peers_bugs_subscriptions import together
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread

__all__ = ["api", "browser"]
pytestmark = pytest.mark.usefixtures("committed_db")
OCT_15, JAN_15 = datetime(2026, 10, 15, tzinfo=UTC), datetime(2027, 1, 15, tzinfo=UTC)


def told(rows: list[phases.PhaseRow]) -> list[tuple[str, str, int | None, int | None]]:
    return [(f"{row.starts_at:%m-%d}", f"{row.kind}, {row.when}", row.seats, row.fee_minor) for row in rows]


def test_a_ramp_is_planned_as_a_whole_shown_without_a_gap_and_carried_out(api: Api, thread: Thread) -> None:
    plan = version_of("ramp", fee_minor=1000, trial_days=14, max_seats=25)
    subscription = started(thread, plan, seats=10)
    thread.sandbox.advance(OCT_11)
    one = f"/subscriptions/{subscription.pk}"

    def put(wanted: list[tuple[str, int]], key: str) -> tuple[int, dict[str, Any]]:
        body = {"reason": "ramp", "phases": [{"plan": "ramp", "seats": n, "effective_at": at} for at, n in wanted]}
        answer = api.client.put(
            f"/api/v1/billing{one}/phases", data=json.dumps(body), content_type="application/json",
            headers={"Authorization": f"Api-Key {api.key}", "Idempotency-Key": key},
        )  # fmt: skip
        return answer.status_code, json.loads(answer.content)

    ramp = [("2026-11-15T00:00:00Z", 15), ("2027-01-15T00:00:00Z", 25)]
    for wrong, field in (
        ([*ramp, ("2026-12-01T00:00:00Z", 5)], "phases"),
        ([("2026-10-01T00:00:00Z", 5)], "effective_at"),
        ([("2026-11-15T00:00:00Z", 26)], "plan"),
    ):
        status, problem = put(wrong, f"wrong-{field}")
        assert (status, problem["field"]) == (422, field)
    assert put([("2026-12-24T00:00:00Z", 3)], "first")[0] == 200
    assert [put(ramp, "ramp")[0] for _ in range(2)] == [200, 200]  # said twice: once
    assert list(ScheduledChange.objects.filter(state="waiting").values_list("seats", flat=True)) == [15, 25]
    assert put([("2026-12-24T00:00:00Z", 4)], "ramp")[0] in (409, 422)

    shown = api.get(f"{one}/phases")[1]["phases"]
    assert [(row["kind"], row["seats"], row["expected_fee_minor"]) for row in shown] == [
        ("trial", 10, 0), ("regular", 10, 10_000), ("regular", 15, 15_000), ("regular", 25, 25_000),
    ]  # fmt: skip
    assert all(before["ends_at"] == after["starts_at"] for before, after in pairwise(shown))
    assert shown[-1]["ends_at"] is None
    # A planned end is the last of them, and nothing may be planned behind it.
    status, end = api.post(f"{one}/cancel/preview", {"at": "2027-03-15T00:00:00Z"}, key="ep")
    assert (status, end["how"], end["outdated"], end["usage"]["closing_invoice_minor"]) == (201, "at", [], 0)
    body = {"at": "2027-03-15T00:00:00Z", "preview": end["id"], "reason": "contract"}
    assert api.post(f"{one}/cancel", body, key="e")[1]["cancel_at"] == "2027-03-15T00:00:00Z"
    assert api.get(f"{one}/cancel/preview/{end['id']}")[1]["outcome"] is None
    assert api.get(f"{one}/cancel/preview/{end['id'] + 99}")[0] == 404
    assert api.get(f"{one}/phases")[1]["phases"][-1]["kind"] == "ended"
    found = Subscription.objects.get()
    with pytest.raises(ChangeRefused, match="take the end back"):
        scheduling.plan_phases(
            phases=[scheduling.Phase(JAN_15 + timedelta(days=90), plan, 2)], **said(thread, found, "behind")
        )
    assert api.get(f"{one}/reactivation")[0] == 404

    for to in (OCT_15, NOVEMBER, NOVEMBER + timedelta(days=13, hours=23, minutes=30)):
        advance(thread, to)
    assert scheduling.apply_due(now=now_of(thread), limit=10) == 1
    advance(thread, NOVEMBER + timedelta(days=14))
    assert invoices()[-1] == ("paid", [("fee", 15_000)])
    rows = phases.phases_of(Subscription.objects.get(), now=now_of(thread))
    assert told(rows) == [
        ("10-01", "trial, past", 10, 0), ("10-15", "regular, past", 10, 10_000), ("11-15", "regular, now", 15, 15_000),
        ("01-15", "regular, planned", 25, 25_000), ("03-15", "ended, planned", None, None),
    ]  # fmt: skip
    assert sum(one.width for one in phases.bar_of(rows)) <= 1000


def test_phases_are_planned_on_their_page_after_they_were_seen(browser: Client, thread: Thread) -> None:
    subscription = started(thread)
    plan = subscription.plan_version
    thread.sandbox.advance(OCT_11)
    url = page("phases", subscription.pk)
    key = hidden(browser.get(url).content.decode())["key"]
    typed = {"at_0": "2026-11-01T00:00:00", "plan_0": plan.pk, "seats_0": 3, "reason": "ramp", "key": key}
    wrong = browser.post(url, typed | {"at_1": "2026-12-01T00:00:00"})
    assert (wrong.status_code, "Fill in all three" in wrong.content.decode()) == (422, True)
    shown = browser.post(url, typed | {"at_1": "2026-12-01T00:00:00", "plan_1": plan.pk, "seats_1": 9})
    assert "As it would be" in shown.content.decode()
    assert "$180.00" in shown.content.decode()
    assert not ScheduledChange.objects.exists()
    fixed = hidden(shown.content.decode()) | {"confirmed": "1"}
    assert [browser.post(url, fixed).status_code for _ in range(2)] == [302, 302]
    assert list(ScheduledChange.objects.values_list("seats", flat=True)) == [3, 9]
    # Two at once, each on a connection of its own: one plan, whoever comes first.
    terms = [scheduling.Phase(datetime(2026, 11, 1, tzinfo=UTC), plan, 7)]
    race = said(thread, subscription, "race")
    raised = together(*[lambda: scheduling.plan_phases(phases=terms, **race)] * 2)
    assert ([*raised], ScheduledChange.objects.filter(state="waiting").count()) == ([], 1)
    emptied = {"reason": "no ramp", "key": hidden(browser.get(url).content.decode())["key"], "confirmed": "1"}
    assert browser.post(url, emptied).status_code == 302
    assert set(ScheduledChange.objects.values_list("state", flat=True)) == {"cancelled"}
