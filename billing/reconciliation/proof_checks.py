"""Invoices whose lines could not be derived again from raw events when they were last verified."""

from billing.reconciliation.comparison import Agreed, Findings, Pair, Scope
from billing.reconciliation.queries import rows

_VERIFIED = """
SELECT i.stripe_invoice_id, c.customer_key, coalesce(v.is_proved, true), v.difference_count, v.differences ->> 0
  FROM billing_invoice i
  JOIN billing_customer c ON c.id = i.customer_id
  JOIN billing_invoiceproof p ON p.invoice_id = i.id
  LEFT JOIN LATERAL (SELECT is_proved, difference_count, differences FROM billing_invoiceverification
                 WHERE proof_id = p.id ORDER BY id DESC LIMIT 1) v ON true
 WHERE i.finalized_at >= %(range_start)s AND i.finalized_at < %(range_end)s
 ORDER BY i.id
"""


def invoice_proofs(scope: Scope) -> Findings:
    """Of the invoices finalised in the range that have a proof: it held when it was made, and when last verified."""
    agreed = 0
    for invoice, customer_key, is_proved, differences, first in rows(_VERIFIED, scope.bounds):
        if is_proved:
            agreed += 1
        else:
            yield Pair(
                f"proof of {invoice}", "expected differences", 0, "found when last verified", differences,
                f"First: {first}. Look with manage.py verify_invoice {invoice}.", customer_key, invoice,
            )  # fmt: skip
    yield Agreed(agreed)
