"""What the pages say: the figures, the way from a charge to its usage, and nothing a name could smuggle in."""

import html
import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from billing.figures import Figure
from billing.invoicing.models import Invoice, InvoiceLine
from billing.rating.models import UsageAccrualLine
from config.roles import CUSTOMER_SUCCESS, ENGINEERING, FINANCE
from metering.models import Alarm
from tests.billing.admin.stories import Story, tell_story
from tests.factories import NOVEMBER, CreditGrantFactory, CustomerFactory

SignIn = Callable[[str], Client]
HOSTILE = '<script>alert("x")</script>\'"&{{ 7|add:7 }}'


def text_of(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def figures_of(client: Client) -> list[Figure]:
    figures: list[Figure] = client.get(reverse("admin:index")).context["health_figures"]
    return figures


def customer_page(story: Story) -> str:
    return reverse("admin:billing_customer_change", args=[story.customer.pk])


def invoice_page(story: Story) -> str:
    return reverse("admin:billing_invoice_change", args=[story.invoice.pk])


class TestCustomerPage:
    def test_says_what_was_used_and_who_paid(self, sign_in: SignIn) -> None:
        page = text_of(sign_in(FINANCE), customer_page(tell_story(1)) + "?period=nonsense")

        figures = ("$30.00", "$20.00", "$4.00", "$6.00")
        assert not [said for said in figures if said not in page]
        assert not [
            said for said in ("Past due", "insufficient funds", "BB-0001", "Welcome credit") if said not in page
        ]

    def test_opens_for_a_customer_with_nothing(self, sign_in: SignIn) -> None:
        customer = CustomerFactory()

        page = text_of(sign_in(FINANCE), reverse("admin:billing_customer_change", args=[customer.pk]))

        assert "no billing period" in page
        assert "No invoice yet." in page

    def test_asks_as_often_whatever_the_customer_has(
        self, sign_in: SignIn, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        story = tell_story(1)
        client = sign_in(FINANCE)
        text_of(client, customer_page(story))

        with django_assert_num_queries(CUSTOMER_PAGE_QUERIES):
            text_of(client, customer_page(story))
        for number in (2, 3):
            CreditGrantFactory(customer_key=story.customer.customer_key)
            copy = Invoice.objects.get(pk=story.invoice.pk)
            copy.pk, copy.stripe_invoice_id = None, f"in_copy_{number}"
            copy.save()
            InvoiceLine.objects.create(
                invoice=copy, kind="one_off", position=1, description="Set-up", quantity=1,
                exact_amount=5, amount_minor=500, rounding=0,
            )  # fmt: skip
        with django_assert_num_queries(CUSTOMER_PAGE_QUERIES):
            text_of(client, customer_page(story))

    def test_hides_what_a_role_may_not_open(self, sign_in: SignIn) -> None:
        story = tell_story(1)

        seen = {role: text_of(sign_in(role), customer_page(story)) for role in (CUSTOMER_SUCCESS, ENGINEERING)}

        assert "unbilled:customer_1:USD" not in seen[CUSTOMER_SUCCESS]
        assert "unbilled:customer_1:USD" in seen[ENGINEERING]
        assert "insufficient funds" not in seen[ENGINEERING]
        assert "Welcome credit" not in seen[ENGINEERING]

    def test_is_found_by_key_from_the_pages_of_other_apps(self, sign_in: SignIn) -> None:
        story = tell_story(1)
        client = sign_in(FINANCE)

        found = client.get(reverse("admin:billing_customer_by_key", args=["customer_1"]))

        assert found.headers["Location"] == customer_page(story)
        assert client.get(reverse("admin:billing_customer_by_key", args=["nobody"])).status_code == 404


CUSTOMER_PAGE_QUERIES = 28


class TestWhyWasICharged:
    def test_a_line_leads_to_its_accruals_and_they_add_up_to_it(self, sign_in: SignIn) -> None:
        story = tell_story(1)
        client = sign_in(CUSTOMER_SUCCESS)

        [why] = re.findall(r'href="([^"]*usageaccrualline[^"]*)"', text_of(client, invoice_page(story)))
        accruals = text_of(client, html.unescape(why))

        line = UsageAccrualLine.objects.get()
        assert line.unbilled == story.invoice.lines.get(kind="usage").exact_amount
        assert re.search(r"Σ Unbilled</dt> <dd>6</dd>", accruals)

    def test_the_accruals_lead_to_the_windows_of_that_customer_meter_and_model(self, sign_in: SignIn) -> None:
        story = tell_story(1)
        client = sign_in(CUSTOMER_SUCCESS)
        accruals = text_of(client, reverse("admin:billing_usageaccrualline_changelist"))

        [windows] = set(re.findall(r'href="([^"]*aggregationwindow/\?[^"]*)"', accruals))

        address = html.unescape(windows)
        assert client.get(address).status_code == 200
        for named in (story.customer.customer_key, story.rate.meter_code, story.rate.subject):
            assert named in address

    def test_a_second_invoice_explains_only_what_the_first_did_not_bill(self, sign_in: SignIn) -> None:
        first, second = tell_story(1), tell_story(2)
        line = second.invoice.lines.get(kind="usage")
        later = first.invoice.lines.model(
            invoice=second.invoice, kind="usage", position=9, period=first.period, rate=first.rate,
            accrual=second.accrual, description="late usage", quantity=1, exact_amount=0, amount_minor=0, rounding=0,
        )  # fmt: skip
        type(first.invoice).objects.filter(pk=second.invoice.pk).update(created_at="2026-12-01T00:00:00Z")
        later.save()

        page = html.unescape(text_of(sign_in(CUSTOMER_SUCCESS), invoice_page(second)))

        assert f"accrual__id__gt={first.accrual.pk}&accrual__id__lte={second.accrual.pk}" in page
        assert f"rate__id__exact={line.rate_id}&accrual__id__lte={second.accrual.pk}" in page


class TestInvoicePage:
    def test_shows_lines_close_payment_and_events(self, sign_in: SignIn) -> None:
        page = text_of(sign_in("superuser"), invoice_page(tell_story(1)))

        expected = ("Twice the usage of last month", "Draft taken over", "insufficient funds", "invoice.payment_failed")
        assert not [said for said in expected if said not in page]

    def test_links_to_stripe_only_where_there_is_a_dashboard(self, sign_in: SignIn, settings: Settings) -> None:
        story, client = tell_story(1), sign_in(FINANCE)
        settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE = "sk_test_" + "x" * 24, "http://127.0.0.1:9"
        assert "dashboard.stripe.com" not in text_of(client, invoice_page(story))

        settings.STRIPE_API_BASE = ""

        assert "https://dashboard.stripe.com/test/invoices/in_1" in text_of(client, invoice_page(story))


class TestOverview:
    def test_opens_with_nothing_in_the_books(self, sign_in: SignIn) -> None:
        assert "Nobody is late." in text_of(sign_in("superuser"), reverse("admin:index"))

    def test_names_what_waits_for_a_person(self, sign_in: SignIn) -> None:
        tell_story(1)

        page = text_of(sign_in("superuser"), reverse("admin:index"))

        for said in ("BB-0001", "Twice the usage of last month", "a line of unknown kind", "$30.00", "$6.00"):
            assert said in page

    def test_shows_a_role_its_own_part(self, sign_in: SignIn) -> None:
        tell_story(1)

        roles = (CUSTOMER_SUCCESS, FINANCE, ENGINEERING)
        seen = {role: text_of(sign_in(role), reverse("admin:index")) for role in roles}

        assert {role: "Failed inbox events" in page for role, page in seen.items()} == {
            CUSTOMER_SUCCESS: False,
            FINANCE: False,
            ENGINEERING: True,
        }
        assert "Discrepancies" not in seen[CUSTOMER_SUCCESS]
        assert "Discrepancies" in seen[FINANCE]

    def test_leads_from_conservation_to_its_proof_or_else_to_the_events(self, sign_in: SignIn) -> None:
        tell_story(1)

        proof, events = reverse("admin:metering_conservation"), reverse("admin:metering_usageevent_changelist")
        led = {
            role: [figure.url for figure in figures_of(sign_in(role)) if figure.name == "Events × meters"]
            for role in (FINANCE, CUSTOMER_SUCCESS)
        }
        assert led == {FINANCE: [proof], CUSTOMER_SUCCESS: [events]}

    def test_counts_late_usage_and_alarms_and_leads_to_exactly_those(self, sign_in: SignIn) -> None:
        tell_story(1)
        settled = tell_story(2).accrual.late
        type(settled).objects.filter(pk=settled.pk).update(state="settled", settled_by="x", settled_at=NOVEMBER)
        opened = {
            "kind": "quarantine",
            "expected": "none",
            "seen": "7",
            "opened_at": NOVEMBER,
            "last_seen_at": NOVEMBER,
        }
        Alarm.objects.create(subject="a", **opened)
        Alarm.objects.create(subject="b", closed_at=NOVEMBER, **opened)
        client = sign_in(FINANCE)

        found = {figure.name: figure for figure in figures_of(client)}

        for name in ("Late usage to decide", "Open alarms"):
            assert found[name].value == "1"
            assert client.get(found[name].url).context["cl"].result_count == 1

    def test_asks_as_often_whatever_there_is(self, sign_in: SignIn) -> None:
        client, address = sign_in("superuser"), reverse("admin:index")
        tell_story(1)
        text_of(client, address)  # the charts are kept for a minute
        with CaptureQueriesContext(connection) as one:
            text_of(client, address)
        tell_story(2)
        Alarm.objects.create(kind="quarantine", subject="a", seen="7", opened_at=NOVEMBER, last_seen_at=NOVEMBER)

        with CaptureQueriesContext(connection) as more:
            text_of(client, address)

        assert len(more) == len(one)

    def test_lets_no_script_run_that_stands_in_a_page(self, sign_in: SignIn) -> None:
        policy = sign_in(FINANCE).get(reverse("admin:index")).headers["Content-Security-Policy"]

        [scripts] = [directive for directive in policy.split("; ") if directive.startswith("script-src ")]
        assert "'unsafe-inline'" not in scripts

    def test_says_so_to_somebody_without_a_role(self, sign_in: SignIn, db: None) -> None:
        client = sign_in(FINANCE)
        client.force_login(User.objects.create_user("new", password="a long password", is_staff=True))

        assert "no role was given to you yet" in text_of(client, reverse("admin:index"))


class TestHostileText:
    @pytest.mark.parametrize("model", ["customer", "invoice", "payment", "invoiceclose", "inboxevent", "discrepancy"])
    def test_is_shown_and_not_obeyed(self, sign_in: SignIn, model: str) -> None:
        story = tell_story(1, name=HOSTILE)
        type(story.payment).objects.filter(pk=story.payment.pk).update(failure_message=HOSTILE)
        type(story.event).objects.filter(pk=story.event.pk).update(error=HOSTILE, detail={"x": HOSTILE})
        row = {
            "customer": story.customer.pk,
            "invoice": story.invoice.pk,
            "payment": story.payment.pk,
            "invoiceclose": story.invoice.close.pk,
            "inboxevent": story.event.pk,
            "discrepancy": story.run.discrepancies.get().pk,
        }[model]
        client = sign_in("superuser")

        pages = [
            text_of(client, reverse(f"admin:billing_{model}_changelist")),
            text_of(client, reverse(f"admin:billing_{model}_change", args=[row])),
            text_of(client, reverse("admin:index")),
        ]

        assert not any('<script>alert("x")' in page for page in pages)
        assert any("&lt;script&gt;alert(" in page for page in pages)


class TestMirrorPages:
    def test_webhook_endpoints_and_keys_are_for_superusers(self, sign_in: SignIn) -> None:
        for model in ("webhookendpoint", "apikey"):
            address = reverse(f"admin:djstripe_{model}_changelist")
            assert sign_in("superuser").get(address).status_code == 200
            assert sign_in(ENGINEERING).get(address).status_code == 403

    def test_the_mirror_is_for_those_who_keep_the_machine(self, sign_in: SignIn) -> None:
        address = reverse("admin:djstripe_invoice_changelist")

        assert sign_in(ENGINEERING).get(address).status_code == 200
        assert sign_in(CUSTOMER_SUCCESS).get(address).status_code == 403
