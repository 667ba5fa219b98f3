"""E-mails: once each at most, whatever breaks in between; the same words in text and HTML; no card and no secret."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends import locmem
from pytest_django.fixtures import Settings

from billing.payments.recovery import messages
from billing.payments.recovery.models import Message
from tests.billing.thread import START, Crash
from tests.factories import CustomerFactory

LATER = START + timedelta(hours=1)


class BrokenServer(locmem.EmailBackend):
    """A mail server that cannot be reached."""

    def open(self) -> bool:
        raise ConnectionRefusedError("no mail server")


class DyingServer(locmem.EmailBackend):
    """It takes the e-mail, and our process dies before it hears so."""

    def send_messages(self, messages: Any) -> int:
        super().send_messages(messages)
        raise Crash


class RefusingServer(locmem.EmailBackend):
    def send_messages(self, messages: Any) -> int:
        raise ValueError("mailbox unknown")


def use(settings: Settings, server: type) -> None:
    settings.EMAIL_BACKEND = f"{server.__module__}.{server.__qualname__}"


@pytest.fixture
def waiting(committed_db: None) -> Message:
    customer = CustomerFactory(customer_key="ada", name="Ada <b>Lovelace</b>", email="ada@example.com")
    context = messages.sample_of("reminder") | {"name": customer.name}
    told = messages.tell(purpose="a", text="reminder", customer=customer, context=context, now=START)
    again = messages.tell(purpose="a", text="last_reminder", customer=customer, context={}, now=LATER)
    assert told is not None
    assert told == again
    return told


def test_is_sent_once(waiting: Message) -> None:
    assert [messages.send_due(now=LATER, limit=10), messages.send_due(now=LATER, limit=10)] == [1, 0]

    [sent] = mail.outbox
    waiting.refresh_from_db()
    assert (waiting.state, waiting.sent_at) == ("sent", LATER)
    assert (sent.to, sent.subject) == (["ada@example.com"], "Invoice ADA-0042 is still open")
    assert isinstance(sent, EmailMultiAlternatives)
    html = str(sent.alternatives[0][0])
    assert "https://invoice.example.com/i/42" in sent.body
    assert "https://invoice.example.com/i/42" in html
    assert "Ada <b>Lovelace</b>" in sent.body
    assert "Ada &lt;b&gt;Lovelace" in html


def test_waits_while_the_server_is_away_and_no_longer(waiting: Message, settings: Settings) -> None:
    kept = settings.EMAIL_BACKEND
    use(settings, BrokenServer)
    assert messages.send_due(now=LATER, limit=10) == 0
    waiting.refresh_from_db()
    assert (waiting.state, waiting.attempts) == ("waiting", 1)
    settings.EMAIL_BACKEND = kept

    assert messages.send_due(now=LATER, limit=10) == 0  # its turn comes later
    assert messages.send_due(now=LATER + timedelta(minutes=6), limit=10) == 1


def test_is_not_sent_again_after_a_death_in_between(waiting: Message, settings: Settings) -> None:
    kept = settings.EMAIL_BACKEND
    use(settings, DyingServer)
    with pytest.raises(Crash):
        messages.send_due(now=LATER, limit=10)
    settings.EMAIL_BACKEND = kept
    messages.send_due(now=LATER + timedelta(days=1), limit=10)

    waiting.refresh_from_db()
    assert (len(mail.outbox), waiting.state) == (1, "sending")


def test_that_is_refused_says_why(waiting: Message, settings: Settings) -> None:
    use(settings, RefusingServer)
    assert messages.send_due(now=LATER, limit=10) == 0

    waiting.refresh_from_db()
    assert (waiting.state, waiting.error) == ("failed", "ValueError: mailbox unknown")


@pytest.mark.parametrize("text", messages.TEXTS)
def test_every_text_is_whole(text: str) -> None:
    written = messages.render(text, messages.sample_of(text))
    shown = written.subject + written.text + written.html

    assert "{" not in written.subject + written.text
    assert "\n" not in written.subject
    assert 10 < len(written.subject) < 80
    assert not re.search(r"\d{12,}", shown)  # no card number
    assert "None" not in shown
    paragraphs = [line for line in written.text.splitlines() if len(line) > 60 and "http" not in line]
    assert paragraphs
    assert all(paragraph in " ".join(written.html.replace("&#x27;", "'").split()) for paragraph in paragraphs)


def test_every_text_has_a_file_and_every_file_a_text() -> None:
    files = {path.stem for path in Path("templates/email").glob("*.txt")} - {"frame"}

    assert files == set(messages.TEXTS)


def test_days_and_amounts_read_alike_everywhere() -> None:
    found = messages.invoice_context(
        name="Ada",
        number="A-1",
        amount_minor=123456,
        currency="KWD",
        link="",
        restricts_at=datetime.fromisoformat("2026-03-04T00:00:00+00:00"),
    )

    assert (found["amount"], found["restricts_on"]) == ("123.456 KWD", "2026-03-04")
    assert messages.plain_amount(5, "JPY") == "5 JPY"
