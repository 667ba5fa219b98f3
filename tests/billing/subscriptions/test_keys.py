"""A key is its caller's own: never that of another caller, nor that of a task of ours."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.subscriptions import scheduling
from billing.subscriptions.change_models import SubscriptionRequest
from billing.subscriptions.keys import CHARS_MAX, own_key
from billing.subscriptions.scheduling import Phase
from config.api_keys.models import ApiKey
from tests.billing.subscriptions.lives import OCT_11, now_of, started
from tests.billing.subscriptions.test_api import Api, api
from tests.billing.subscriptions.test_scheduling import plan
from tests.billing.thread import Thread

__all__ = ["api"]
NAMES = st.text(alphabet="ab", max_size=200)


@given(one=st.tuples(NAMES, NAMES), other=st.tuples(NAMES, NAMES))
def test_two_callers_never_have_the_same(one: tuple[str, str], other: tuple[str, str]) -> None:
    keys = {own_key(way="api", actor=f"service:{actor}", key=key) for actor, key in (one, other)}
    assert len(keys) == len({one, other})
    assert all(len(key) <= CHARS_MAX and not key.startswith("scheduled:") for key in keys)


@pytest.mark.usefixtures("committed_db")
def test_each_service_s_first_pause_is_its_own_and_no_key_is_a_task_s(api: Api, thread: Thread) -> None:
    subscription = started(thread)
    [row] = plan(thread, subscription, Phase(OCT_11, subscription.plan_version, 2))
    _, other = ApiKey.objects.create_key(name="support", scopes=["billing:read", "billing:write"])
    one = f"/subscriptions/{subscription.pk}"

    def ask(what: str, key: str, api_key: str = "", **body: Any) -> tuple[int, Any]:
        thread.sandbox.advance(now_of(thread) + timedelta(hours=1))
        return api.post(f"{one}/{what}", {"reason": "r"} | body, key=key, api_key=api_key)

    assert ask("pause", "1")[0] == 200
    assert ask("resume", "2")[0] == 200
    status, paused = ask("pause", "1", other)
    assert (status, paused["paused_from"] is None) == (200, False)
    assert ask("resume", "3")[0] == 200
    assert ask("changes", f"scheduled:{row.pk}", plan="pro", seats=5)[0] == 200
    thread.sandbox.advance(OCT_11)
    assert scheduling.apply_due(now=now_of(thread), limit=1) == 1
    row.refresh_from_db()
    assert row.state == "done"
    assert {one.actor for one in SubscriptionRequest.objects.filter(kind="pause")} == {
        "service:checkout", "service:support",
    }  # fmt: skip
