"""
The admin in a real browser, narrow and wide: nothing is refused by the content security policy, charts are drawn, and
no page is wider than the screen.
"""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from billing.invoicing.models import CreditNote
from billing.payments.models import Dispute
from tests.billing.admin.stories import tell_story
from tests.browser import PASSWORD, visiting
from tests.processes import WebServer


@pytest.fixture
def addresses(committed_db: None) -> dict[str, str]:
    """The pages to look at. Written before the browser starts: its event loop would forbid database calls."""
    User.objects.create_superuser("root", password=PASSWORD)
    story = tell_story(1, name="A customer with a rather long name, Incorporated and Sons (Holding) GmbH & Co. KG")
    return {
        "overview": reverse("admin:index"),
        "customers": reverse("admin:billing_customer_changelist"),
        "customer": reverse("admin:billing_customer_change", args=[story.customer.pk]),
        "credit": reverse("admin:billing_customer_issue_credit", args=[story.customer.pk]),
        "invoice": reverse("admin:billing_invoice_change", args=[story.invoice.pk]),
        "credit note": reverse("admin:billing_creditnote_change", args=[CreditNote.objects.get().pk]),
        "credit notes": reverse("admin:billing_creditnote_changelist"),
        "absorbed": reverse("admin:billing_absorbedusage_changelist"),
        "period": reverse("admin:billing_billingperiod_change", args=[story.period.pk]),
        "late usage": reverse("admin:billing_lateusage_change", args=[story.accrual.late.pk]),
        "late usages": reverse("admin:billing_lateusage_changelist"),
        "decide": reverse("admin:billing_lateusage_decide", args=[story.accrual.late.pk]),
        "refunds": reverse("admin:billing_refund_changelist"),
        "dispute": reverse("admin:billing_dispute_change", args=[Dispute.objects.get().pk]),
        "payouts": reverse("admin:billing_payout_changelist"),
        "accruals": reverse("admin:billing_usageaccrualline_changelist"),
        "event": reverse("admin:billing_inboxevent_change", args=[story.event.pk]),
        "grant": reverse("admin:promotions_creditgrant_change", args=[story.grant.pk]),
        "run": reverse("admin:billing_reconciliationrun_change", args=[story.run.pk]),
    }


def test_pages_work_and_fit(addresses: dict[str, str], web_process: WebServer) -> None:
    with visiting(web_process.address) as visitor:
        visitor.sign_in("root")
        charts = visitor.tour(addresses)
        visitor.go(reverse("api-docs"), until="networkidle")  # it asks for the description when it has loaded
        visitor.look("documentation")

    assert (visitor.complaints, visitor.too_wide, charts["overview"]) == ([], {}, 1)
