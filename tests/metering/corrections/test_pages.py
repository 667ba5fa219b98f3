"""The pages of corrections: who may do what, forms that say what is wrong, and addresses made to hurt."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from metering import effects, operations
from metering.effects import MoneyEffect
from metering.models import Correction, EventMark
from tests.metering.corrections.making import amend, apply, asked, backfill, key_of, of_acme, of_ids, state, void
from tests.metering.usage import NOW, event, ingest

pytestmark = pytest.mark.usefixtures("metered")
EVERYTHING = (
    "view_correction",
    "request_correction",
    "approve_correction",
    "apply_correction",
    "revert_correction",
)
KEY = "admin-correction:12345678-1234-1234-1234-123456789012"
WHY = {"reason_code": "wrong_values", "reason": "A broken producer", "idempotency_key": KEY}


@pytest.fixture(autouse=True)
def _usage(metered: None, settings: Settings) -> None:
    settings.METERING_DEDUPE_HORIZON_DAYS = 36_600
    ingest(event("e1"), event("e2"))


def client(*permissions: str, name: str = "ada") -> Client:
    user = User.objects.create_user(name, password="correct horse battery", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="metering", codename__in=permissions))
    signed_in = Client(headers={"X-Forwarded-Proto": "https"})
    signed_in.force_login(user)
    return signed_in


def address(name: str, *args: Any) -> str:
    return reverse(f"admin:metering_correction_{name}", args=args)


def post(of: Client, url: str, data: Any = None) -> Any:
    return of.post(url, data or {}, secure=True, follow=True)


def get(of: Client, url: str) -> Any:
    return of.get(url, secure=True)


def errors_of(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 422
    return {name: list(map(str, told)) for name, told in answer.context["form"].errors.items()}


def test_a_void_is_drafted_seen_applied_and_reverted() -> None:
    ada = client(*EVERYTHING)

    drafted = post(ada, address("void"), {**WHY, "events": f"edge/us-east-1 e1\n{key_of('e2')}"})
    page = drafted.content.decode()
    correction = Correction.objects.get()
    assert drafted.redirect_chain
    assert all(text in page for text in ("input_tokens", "-200", "Nothing has changed yet", "A broken producer"))
    assert EventMark.objects.count() == 0

    digest = correction.previews.get().digest
    post(ada, address("apply", correction.pk), {"digest": digest})
    again = post(ada, address("apply", correction.pk), {"digest": digest})
    assert (again.status_code, EventMark.objects.count()) == (200, 2)
    undo = {**WHY, "idempotency_key": KEY.replace("1234", "5678", 1), "reason_code": "mistaken_correction"}
    post(ada, address("revert", correction.pk), undo)
    revert = Correction.objects.get(kind="revert")
    post(ada, address("apply", revert.pk), {"digest": revert.previews.get().digest})

    assert state(correction) == "reverted"
    assert "Undone by" in get(ada, address("change", correction.pk)).content.decode()


def test_a_form_sent_twice_drafts_once() -> None:
    ada = client(*EVERYTHING)

    for _ in range(2):
        post(ada, address("void"), {**WHY, "events": "edge/us-east-1 e1"})

    assert Correction.objects.count() == 1


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({}, "start"),
        ({"events": "nonsense"}, "events"),
        ({"customer_key": "acme", "start": "yesterday", "end": "2026-10-04"}, "start"),
        ({"customer_key": "acme", "start": "2026-10-04", "end": "2026-10-03"}, "end"),
        ({"customer_key": "acme", "start": "2026-10-03", "end": "2026-10-04", "where": "model"}, "where"),
        ({"start": "2026-10-03", "end": "2026-10-04"}, "customer_key"),
        ({"customer_key": "nobody", "start": "2026-10-03", "end": "2026-10-04"}, "start"),
        ({"customer_key": "ac\x00me", "start": "2026-10-03", "end": "2026-10-04"}, "customer_key"),
        ({"events": "edge/us-east-1 e1", "reason": ""}, "reason"),
        ({"events": "edge/us-east-1 e1", "idempotency_key": "mine"}, "idempotency_key"),
    ],
)
def test_a_mistake_is_named_at_its_field(typed: dict[str, str], field: str) -> None:
    answer = post(client(*EVERYTHING), address("void"), {**WHY, **typed})

    assert field in errors_of(answer)
    assert Correction.objects.count() == 0


def test_an_event_is_amended_from_a_form_that_begins_with_what_it_is() -> None:
    ada = client(*EVERYTHING)
    url = address("amend", key_of("e1"))
    typed = get(ada, url).context["form"].initial
    assert (typed["customer_key"], typed["time"]) == ("acme", "2026-10-03T10:00:00Z")

    refused = post(ada, url, {**WHY, **typed, **WHY, "data": '{"input_tokens": -7}'})
    assert "quantity is negative" in refused.content.decode()
    post(ada, url, {**typed, **WHY, "data": '{"input_tokens": 0.1234567890123}'})
    assert Correction.objects.count() == 0
    post(ada, url, {**typed, **WHY, "data": '{"input_tokens": 0.123456789012}'})

    assert "0.123456789012" in Correction.objects.get().lines.get().event


def test_a_file_is_backfilled_and_its_rejects_are_downloaded() -> None:
    ada = client(*EVERYTHING)
    text = "when,customer,tokens,id\n2026-10-03T10:00:00Z,acme,7,=cmd()\n2026-10-03T10:00:00Z,acme,-7,=evil()\n"
    typed = {
        **WHY,
        "columns": "time=when\nsubject=customer\ndata.input_tokens=tokens\nid=id",
        "constants": "type=llm.request",
    }

    answer = post(ada, address("backfill"), {**typed, "file": SimpleUploadedFile("missing.csv", text.encode())})
    correction = Correction.objects.get()
    assert "New events" in answer.content.decode()
    apply(correction)
    rejects = get(ada, address("rejects", correction.pk)).content.decode()

    assert rejects.splitlines()[1].startswith("3,'=evil(),refused,data.input_tokens,the quantity is negative")


@pytest.mark.parametrize(
    ("name", "content", "field"),
    [
        ("missing.pdf", b"x", "file"),
        ("missing.csv", b"", "file"),
        ("missing.csv", b"when\n2026-10-03T10:00:00Z\n", "file"),
        ("missing.jsonl", b"\x00\xff\n", "file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(name: str, content: bytes, field: str) -> None:
    typed = {**WHY, "columns": "time=other" if name.endswith("csv") else ""}
    answer = post(client(*EVERYTHING), address("backfill"), {**typed, "file": SimpleUploadedFile(name, content)})

    assert field in errors_of(answer)
    assert Correction.objects.count() == 0


def test_finance_and_customer_success_see_and_do_nothing() -> None:
    correction = operations.draft_void(of_acme(), asked(), now=NOW)
    digest = correction.previews.get().digest
    viewer = client("view_correction")

    page = get(viewer, address("change", correction.pk)).content.decode()
    assert "Apply as previewed" not in page
    for url in (
        address("void"),
        address("backfill"),
        address("amend", key_of("e1")),
        address("apply", correction.pk),
        address("preview", correction.pk),
        address("approve", correction.pk),
        address("reject", correction.pk),
        address("withdraw", correction.pk),
        address("revert", correction.pk),
    ):
        assert post(viewer, url, {**WHY, "digest": digest, "words": "x"}).status_code == 403
    assert state(correction) == "drafted"


def test_a_second_person_approves_with_words(settings: Settings) -> None:
    settings.METERING_CORRECTION_ALONE_EVENTS = 1
    correction = operations.draft_void(of_acme(), asked(), now=NOW)
    ada, ben = client(*EVERYTHING), client(*EVERYTHING, name="ben")
    given = {"digest": correction.previews.get().digest, "words": "Seen"}

    assert "Somebody else" in post(ada, address("approve", correction.pk), given).content.decode()
    assert "A second person has to approve it" in get(ada, address("change", correction.pk)).content.decode()
    assert errors_of(post(ben, address("approve", correction.pk), {**given, "words": ""}))
    post(ben, address("approve", correction.pk), given)
    post(ada, address("apply", correction.pk), given)

    assert state(correction) == "applied"


def test_what_money_would_do_is_shown_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = MoneyEffect("acme", "October <2026>", "$2.00", "$1.00", "−$1.00", "/somewhere/")
    seen: list[Any] = []

    def preview(changes: Any) -> list[MoneyEffect]:
        seen.extend(changes)
        return [told]

    monkeypatch.setitem(effects._registered, "preview", preview)
    correction = operations.draft_void(of_ids("e1"), asked(), now=NOW)

    page = get(client(*EVERYTHING), address("change", correction.pk)).content.decode()
    assert "October &lt;2026&gt;" in page
    assert 'href="/somewhere/"' in page
    assert {(change.meter_code, change.events_before, change.events_after) for change in seen} == {
        ("input_tokens", 2, 1),
        ("output_tokens", 2, 1),
        ("cache_write_tokens", 2, 1),
    }


@pytest.mark.parametrize("make", ["void", "amend", "backfill"])
def test_every_kind_has_a_page_before_and_after(make: str) -> None:
    drafts = {
        "void": lambda: operations.draft_void(of_ids("e1"), asked(), now=NOW),
        "amend": lambda: amend("e1", input_tokens=7),
        "backfill": lambda: backfill(event("new"), event("e1")),
    }
    correction = drafts[make]()
    ada = client(*EVERYTHING)

    assert get(ada, address("change", correction.pk)).status_code == 200
    apply(correction)
    assert get(ada, address("change", correction.pk)).status_code == 200
    assert get(ada, address("changelist")).status_code == 200


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("99999999999999999999999/change/", 302),
        ("%00/change/", 302),
        ("amend/%00/", 404),
        ("amend/" + "9" * 300 + "/", 404),
        ("?state=%00", 200),
        ("?state=nonsense&p=99999999999999999999", 302),
        ("?q=%00", 200),
        ("?kind__exact=%00", 302),
        ("void/?start=%00&where=%FF&events=" + "9" * 9_000, 200),
        ("99999999999999999999999/revert/", 404),
        ("99999999999999999999999/rejects.csv", 404),
    ],
)
def test_addresses_made_to_hurt_do_not(url: str, status: int) -> None:
    void(of_ids("e1"))

    answer = get(client(*EVERYTHING), address("changelist") + url)

    assert answer.status_code < 500
    assert answer.status_code in (status, 200, 302, 404)
