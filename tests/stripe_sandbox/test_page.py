"""The pages for people: they show what there is and why, every link leads somewhere, and the buttons work."""

import re
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from html import unescape

import pytest

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account
from tests.stripe_sandbox.receiver import Receiver

MARKUP = "<script>alert(1)</script> & \"Sons\" 'Ltd'"
SECTIONS = {"/", "/customers", "/subscriptions", "/invoices", "/payment-intents", "/events", "/requests", "/clock"}

ACTIONS = ("/clock", "/faults/add", "/faults/clear", "/faults/release", "/resend", "/reset", "/authenticate")


def page(sandbox: SandboxProcess, path: str) -> str:
    with urllib.request.urlopen(sandbox.address + path, timeout=60) as answer:
        return str(answer.read().decode())


def text_of(sandbox: SandboxProcess, path: str) -> str:
    """What a person reads on the page, its navigation left out."""
    content = page(sandbox, path).partition("<main")[2]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", content)).split())


def press(sandbox: SandboxProcess, path: str, *, headers: dict[str, str] | None = None, **fields: str) -> str:
    """The page one comes to."""
    body = urllib.parse.urlencode(fields).encode()
    request = urllib.request.Request(sandbox.address + path, data=body, headers=headers or {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.read().decode())


def refused(sandbox: SandboxProcess, path: str, *, headers: dict[str, str] | None = None, **fields: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        press(sandbox, path, headers=headers, **fields)
    refusal.value.close()
    return refusal.value.code


def crawl(sandbox: SandboxProcess) -> set[str]:
    """Follow every link from the overview. Raises for one that is not answered with 200."""
    waiting, seen = ["/"], set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            text = page(sandbox, path)
            links = [unescape(link).partition("#")[0] for link in re.findall(r'<a [^>]*href="([^"]*)"', text)]
            waiting += [link for link in links if link.startswith("/")]
    return seen


def test_links_of_an_empty_account(sandbox: SandboxProcess) -> None:
    seen = crawl(sandbox)

    assert SECTIONS | {"/faults", "/everything", "/reset"} <= seen
    assert f"curl {sandbox.address}/v1/customers" in text_of(sandbox, "/")


def test_links_of_an_account_with_a_past(account: Account, sandbox: SandboxProcess, receiver: Receiver) -> None:
    account.subscription(account.customer(name="Ada"))
    failing = account.customer(card="pm_card_chargeCustomerFail")
    account.subscription(failing, payment_behavior="allow_incomplete")
    account.unchecked.invoices.create({"customer": account.customer().id})
    sandbox.advance("2026-11-01T01:30:00Z")
    sandbox.wait_until_idle()
    press(sandbox, "/clock", move="week")

    seen = crawl(sandbox)

    assert SECTIONS | {"/moves/1", "/webhook-endpoints", "/charges"} <= seen
    assert sum(path.startswith("/objects/") for path in seen) > 50
    assert sum(path.startswith("/requests/") for path in seen) > 5


def test_long_lists_come_in_pages(account: Account, sandbox: SandboxProcess) -> None:
    for number in range(120):
        account.unchecked.customers.create({"name": f"Customer {number:03}"})

    first, last = page(sandbox, "/customers"), page(sandbox, "/customers?page=3")

    assert first.count("Customer 1") == last.count("Customer 0") + 0 == 20
    assert "Customer 119" in first
    assert "Customer 069" not in first
    assert "page 3 of 3" in last
    assert "Customer 000" in last
    assert "page 3 of 3" in page(sandbox, "/customers?page=999")
    assert "120" in text_of(sandbox, "/customers?page=nonsense")


def test_search_and_filters(account: Account, sandbox: SandboxProcess) -> None:
    ada = account.customer(name="Ada Lovelace", email="ada@example.com")
    grace = account.customer(name="Grace Hopper")
    subscription = account.subscription(grace)
    account.api.subscriptions.cancel(account.subscription(ada).id)

    assert "Grace Hopper" not in text_of(sandbox, "/customers?q=ada%40example")
    assert "Ada Lovelace" in text_of(sandbox, "/customers?q=ADA%40example")
    assert subscription.id in text_of(sandbox, "/subscriptions?q=hopper")
    assert subscription.id in text_of(sandbox, "/subscriptions?status=active")
    assert subscription.id not in text_of(sandbox, "/subscriptions?status=canceled")
    assert "Nothing like that" in text_of(sandbox, "/subscriptions?q=nobody")
    assert "Customer Ada Lovelace" in text_of(sandbox, f"/search?q={ada.id}")  # an id leads to its page
    assert "Grace Hopper" in text_of(sandbox, "/search?q=hopper")
    assert "customer.subscription.deleted" in text_of(sandbox, "/events?type=customer.subscription.deleted")
    assert "1 of" in text_of(sandbox, "/events?type=customer.subscription.deleted")


def test_what_came_from_outside_is_escaped(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer(name=MARKUP, description=MARKUP, metadata={"key": MARKUP})
    product = account.api.products.create({"name": MARKUP})
    invoice = account.invoice(customer)
    account.api.invoice_items.create(
        {"customer": customer.id, "invoice": invoice.id, "amount": 500, "currency": "usd", "description": MARKUP}
    )
    with pytest.raises(Exception, match="script"):
        account.unchecked.customers.retrieve(MARKUP)
    sandbox.fault(mode="drop", event=re.escape(MARKUP))
    asked = urllib.parse.quote(MARKUP)

    paths = ["/", "/customers", "/requests", "/events", "/faults", "/products", f"/objects/{invoice.id}"]
    paths += [f"/objects/{customer.id}", f"/objects/{product.id}", f"/customers?q={asked}", f"/search?q={asked}"]
    for path in paths:
        text = page(sandbox, path)
        assert "<script" not in text, path
        assert "&lt;script&gt;" in text, path


def test_money_by_its_currency(account: Account, sandbox: SandboxProcess) -> None:
    dollars = account.invoice(account.customer(), 123_456, -56)
    yen = account.invoice(account.customer(), 1500, currency="jpy")
    dinars = account.invoice(account.customer(), 12_500, currency="kwd")

    text = text_of(sandbox, f"/objects/{dollars.id}")
    assert "1,234.56 USD" in text
    assert "−0.56 USD" in text
    assert "Subtotal 1,234.00 USD ✓" in text
    assert "Total 1,234.00 USD ✓" in text
    assert "1,500 JPY" in text_of(sandbox, f"/objects/{yen.id}")
    assert "12.500 KWD" in text_of(sandbox, f"/objects/{dinars.id}")


def test_sums_of_an_invoice_add_up(account: Account, sandbox: SandboxProcess) -> None:
    """3000 less 25 % is 2250; 19 % on it are 427.50, rounded up; 1000 credit and a credit note of 500 leave 1178."""
    customer = account.customer()
    account.api.customers.balance_transactions.create(customer.id, {"amount": -1000, "currency": "usd"})
    coupon = account.api.coupons.create({"percent_off": 25, "duration": "once", "name": "Quarter off"})
    rate = account.api.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": False})
    draft = account.invoice(
        customer, 3000, discounts=[{"coupon": coupon.id}], default_tax_rates=[rate.id], auto_advance=False
    )
    invoice = account.api.invoices.finalize_invoice(draft.id)
    account.api.credit_notes.create({"invoice": invoice.id, "amount": 500})

    text = text_of(sandbox, f"/objects/{invoice.id}")

    assert "Discount Quarter off −7.50 USD Tax VAT 4.28 USD Total 26.78 USD ✓" in text
    assert "Balance before −10.00 USD Left on the balance 0.00 USD Credit notes before payment −5.00 USD" in text
    assert "Due 11.78 USD ✓ Paid 0.00 USD Remaining 11.78 USD ✓" in text


def test_sums_that_do_not_add_up_are_marked(account: Account, sandbox: SandboxProcess) -> None:
    invoice = account.invoice(account.customer(), 1000)
    sandbox.alter(invoice.id, total=999)

    assert "Total 9.99 USD ✗ the rows above give 10.00 USD" in text_of(sandbox, f"/objects/{invoice.id}")


def test_why_a_payment_failed(account: Account, sandbox: SandboxProcess, receiver: Receiver) -> None:
    """From the request to the receiver's answer, in the order in which it happened."""
    customer = account.customer(name="Ada")
    subscription = account.subscription(customer)
    failing = account.api.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer.id})
    account.api.customers.update(customer.id, {"invoice_settings": {"default_payment_method": failing.id}})
    sandbox.advance("2026-11-01T01:30:00Z")
    sandbox.wait_until_idle()
    invoice = account.invoices(customer)[0]

    text = text_of(sandbox, f"/objects/{invoice.id}?order=oldest&all=yes")
    steps = ["Clock: end of the period of", "invoice.created", "Clock: finalisation of draft", "invoice.finalized"]
    steps += ["charge.failed", "invoice.payment_failed"]
    story = text.partition("What happened")[2]
    places = [story.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)
    assert "Your card was declined." in text
    assert f"{receiver.url} delivered : 200" in text
    assert "Next attempt 2026-11-04 01:00" in text

    text = text_of(sandbox, f"/objects/{subscription.id}?all=yes")
    assert "status active → past_due" in text
    assert "POST /v1/subscriptions 200" in text
    text = text_of(sandbox, "/requests")
    assert "POST /v1/payment_methods/pm_card_chargeCustomerFail/attach" in text


def test_requests_show_errors_and_keys_but_no_secrets(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.api.customers.create({"name": "Ada"}, {"idempotency_key": "one-two-three"})
    with pytest.raises(Exception, match="unknown parameter"):
        account.unchecked.customers.create({"nme": "typo"})
    with pytest.raises(Exception, match="card"):
        account.unchecked.payment_methods.create({"type": "card", "card": {"number": "4000000000009999", "cvc": "987"}})

    text = text_of(sandbox, "/requests")
    assert "one-two-three" in text
    assert "unknown parameter: nme" in text
    paths = re.findall(r'href="(/requests/req_[^"]+)"', page(sandbox, "/requests"))
    assert "Parameters" in text_of(sandbox, paths[-1])
    assert customer.id in text_of(sandbox, paths[-1])
    for path in paths:
        assert "4000000000009999" not in page(sandbox, path)
        assert "987" not in text_of(sandbox, path).partition("Parameters")[2].partition("Events it caused")[0]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"move": "hour"}, "2026-10-01 01:00"),
        ({"move": "day"}, "2026-10-02 00:00"),
        ({"move": "week"}, "2026-10-08 00:00"),
        ({"move": "month"}, "2026-11-01 00:00"),
        ({"move": "moment", "moment": "2026-10-05 12:30"}, "2026-10-05 12:30"),
        ({"move": "moment", "moment": "2026-10-05"}, "2026-10-05 00:00"),
    ],
)
def test_clock_buttons(sandbox: SandboxProcess, form: dict[str, str], expected: str) -> None:
    assert f'<p class="face"><time datetime="{expected[:10]}' in press(
        sandbox, "/clock", headers={"Referer": f"{sandbox.address}/clock"}, **form
    )
    assert expected in text_of(sandbox, "/clock")


def test_clock_refuses_what_cannot_be(sandbox: SandboxProcess) -> None:
    for moment in ("tomorrow", "2020-01-01", "99999999999999"):
        assert refused(sandbox, "/clock", move="moment", moment=moment) == 400
    assert refused(sandbox, "/clock", move="due") == 400
    assert refused(sandbox, "/clock", move="sideways") == 400

    assert sandbox.now() == 1_790_812_800


def test_a_move_tells_what_it_did(account: Account, sandbox: SandboxProcess) -> None:
    account.subscription(account.customer(name="Ada"))

    assert "end of the period of sub_" in text_of(sandbox, "/")
    text = press(sandbox, "/clock", headers={"Referer": f"{sandbox.address}/customers"}, move="month")

    assert "1 customer.subscription.updated" in text
    assert "/moves/1" in text
    assert "invoice.created 1" in text_of(sandbox, "/moves/1")


def test_test_clocks_have_buttons_of_their_own(account: Account, sandbox: SandboxProcess) -> None:
    clock = account.api.test_helpers.test_clocks.create({"frozen_time": sandbox.now(), "name": "Leap"})
    account.subscription(account.customer(test_clock=clock.id, name="Ada"))

    press(sandbox, f"/objects/{clock.id}/move", move="month")

    text = text_of(sandbox, f"/objects/{clock.id}")
    assert "2026-11-01 00:00 UTC" in text
    assert "Ada" in text
    assert sandbox.now() == 1_790_812_800
    assert "Leap" in text_of(sandbox, "/clock")


def test_fault_switches(account: Account, sandbox: SandboxProcess) -> None:
    press(sandbox, "/faults/add", operation="POST /v1/customers", mode="rate_limit", times="1", where="", seconds="")
    with pytest.raises(Exception, match="rate limit"):
        account.unchecked.customers.create({"name": "Ada"})
    press(sandbox, "/faults/add", event="customer.created", mode="drop", times="3")

    text = text_of(sandbox, "/faults")
    assert "drop webhooks customer.created – 3 0" in text
    assert "rate_limit POST /v1/customers" in text.partition("What they hit")[2]
    assert "fault POST /v1/customers hit by rate_limit" in text_of(sandbox, "/requests")

    press(sandbox, "/faults/clear")
    assert "Nothing goes wrong." in page(sandbox, "/faults")
    assert refused(sandbox, "/faults/add", operation="(", mode="rate_limit") == 400
    assert refused(sandbox, "/faults/add", operation="x", mode="drop") == 400


def test_every_declared_fault_is_explained(sandbox: SandboxProcess) -> None:
    text = page(sandbox, "/faults")

    assert re.findall(r"<b>(\w+)</b> </span>", text) == []
    assert text.count('class="choice"') >= 15


def test_held_requests_go_on(sandbox: SandboxProcess, account: Account) -> None:
    sandbox.fault(operation="POST /v1/customers", mode="hold_after")
    with ThreadPoolExecutor(1) as threads:
        customer = threads.submit(account.customer, name="Ada")
        sandbox.wait_until_held()
        assert "POST /v1/customers hold_after" in text_of(sandbox, "/faults").partition("Held requests")[2]

        press(sandbox, "/faults/release")

        assert customer.result(timeout=60).name == "Ada"
    assert "Held requests" not in page(sandbox, "/faults")


def test_send_again(account: Account, sandbox: SandboxProcess, receiver: Receiver) -> None:
    account.customer(name="Ada")
    sandbox.wait_until_idle()
    event = account.api.events.list({"type": "customer.created"}).data[0]

    press(sandbox, "/resend", event=event.id, endpoint="")
    sandbox.wait_until_idle()

    assert [delivery["event"] for delivery in sandbox.deliveries()].count(event.id) == 2
    assert text_of(sandbox, f"/objects/{event.id}").count("delivered") == 2
    assert refused(sandbox, "/resend", event="evt_none") == 400


def test_authenticate(account: Account, sandbox: SandboxProcess) -> None:
    intent = account.api.payment_intents.create(
        {"amount": 4200, "currency": "usd", "payment_method": "pm_card_authenticationRequired", "confirm": True}
    )
    assert "Authenticate" in text_of(sandbox, f"/objects/{intent.id}")

    assert "succeeded" in press(sandbox, "/authenticate", id=intent.id, result="succeed")

    assert account.api.payment_intents.retrieve(intent.id).status == "succeeded"
    assert refused(sandbox, "/authenticate", id=intent.id, result="succeed") == 400


def test_reset_asks_first(account: Account, sandbox: SandboxProcess) -> None:
    account.customer(name="Grace")
    assert "Forget everything?" in text_of(sandbox, "/reset")
    assert "Grace" in text_of(sandbox, "/customers")

    press(sandbox, "/reset", now="2027-01-01")

    assert "Grace" not in text_of(sandbox, "/customers")
    assert "2027-01-01 00:00" in text_of(sandbox, "/clock")


@pytest.mark.parametrize("path", [*ACTIONS, "/objects/clock_1/move", "/_sandbox/reset", "/_sandbox/clock"])
def test_other_web_pages_cannot_press_buttons(sandbox: SandboxProcess, path: str) -> None:
    for origin in ("https://evil.example", "null", f"{sandbox.address}.evil.example", "http://127.0.0.1:1"):
        assert refused(sandbox, path, headers={"Origin": origin}, move="day", mode="drop", event="x") == 403
    assert refused(sandbox, path, headers={"Sec-Fetch-Site": "cross-site"}, move="day", mode="drop", event="x") == 403

    assert sandbox.now() == 1_790_812_800
    press(sandbox, "/clock", headers={"Origin": sandbox.address}, move="hour")
    assert sandbox.now() == 1_790_812_800 + 3600


@pytest.mark.parametrize("path", ["/objects/in_none", "/requests/req_none", "/moves/7", "/nothing", "/objects/a/b"])
def test_unknown_page(sandbox: SandboxProcess, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        page(sandbox, path)

    assert refusal.value.code == 404
    assert "There is nothing here" in refusal.value.read().decode()
    refusal.value.close()
