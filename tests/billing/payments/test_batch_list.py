"""The list of refund batches asks once how far they are, however many it shows."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from billing.admin_links import list_url
from billing.payments.refunding.batches import Progress, progress_of_all
from billing.payments.refunding.models import RefundBatch
from tests.billing.accounting.people import FIONA, NOON, hire
from tests.billing.payments.test_pages import as_person


@pytest.mark.django_db
def test_a_list_of_batches_takes_a_fixed_number_of_queries(settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = False
    hire()
    client, taken = as_person(FIONA), []
    client.get(list_url("billing.refundbatch"))
    for count in (1, 4):
        for number in range(count):
            RefundBatch.objects.create(
                name=f"Batch {number}",
                rule={},
                reason_code="goodwill",
                reason="r",
                currency="USD",
                line_count=1,
                total_minor=1,
                requested_by=FIONA,
                requested_at=NOON,
                idempotency_key=f"{count}:{number}",
            )
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get(list_url("billing.refundbatch")).status_code == 200
        taken.append(len(queries))
    assert taken[0] == taken[1]
    ids = list(RefundBatch.objects.values_list("pk", flat=True))
    assert progress_of_all(ids) == {pk: Progress({}, {}) for pk in ids}
