"""The ageing of receivables against the invoices: what the ledger says is open of each is what Stripe asks for."""

from decimal import Decimal

from billing.reconciliation.comparison import Findings, Pair, Scope
from billing.reconciliation.minor_units import in_units
from billing.reconciliation.queries import rows

# Only an open invoice asks for anything: a void one is reversed, an uncollectible one is written off.
_OPEN = """
WITH held AS (
    SELECT ac.customer_key, ac.currency, coalesce(je.cause ->> 'invoice', mirrored.cause ->> 'invoice', '') AS invoice,
           sum(po.amount) AS amount
      FROM ledger_account ac
      JOIN ledger_posting po ON po.account_id = ac.id
      JOIN ledger_journalentry je ON je.id = po.entry_id
      LEFT JOIN ledger_journalentry mirrored ON mirrored.id = je.reverses_id
      LEFT JOIN billing_customer c ON c.customer_key = ac.customer_key
     WHERE ac.kind = 'receivable'
       AND coalesce(c.id, 0) >= %(customers_from)s AND coalesce(c.id, 0) < %(customers_until)s
     GROUP BY 1, 2, 3
), asked AS (
    SELECT c.customer_key, i.currency, i.stripe_invoice_id AS invoice,
           CASE i.status WHEN 'open' THEN i.amount_remaining_minor ELSE 0 END AS minor
      FROM billing_invoice i JOIN billing_customer c ON c.id = i.customer_id
     WHERE i.status <> 'draft' AND i.taken_over <> 'settled'
       AND c.id >= %(customers_from)s AND c.id < %(customers_until)s
)
SELECT customer_key, currency, invoice, asked.minor, coalesce(held.amount, 0)
  FROM asked FULL JOIN held USING (customer_key, currency, invoice)
 ORDER BY 1, 2, 3
"""


def receivable_invoices(scope: Scope) -> Findings:
    """Per invoice: what is open of it in the ledger = its amount remaining; what names no invoice comes to nothing."""
    for customer_key, currency, invoice, minor, held in rows(_OPEN, scope.bounds):
        if minor is None:
            yield Pair(
                f"receivable of {customer_key}, {invoice or 'no invoice named'}", "no invoice of ours", Decimal(0),
                "open in the ledger", held,
                "A movement of the receivable names no invoice, or one we do not hold: its age cannot be told.",
                customer_key, invoice,
            )  # fmt: skip
        else:
            yield Pair(
                f"invoice {invoice}: open", "amount remaining", in_units(minor, currency), "open in the ledger", held,
                "The ledger holds another amount open of this invoice than it asks for.", customer_key, invoice,
            )  # fmt: skip
