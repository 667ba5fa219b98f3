"""Documents against the ledger: what lines of invoices and credit notes say, account by account, and prepaid credit."""

from decimal import Decimal

from billing.reconciliation.comparison import Findings, Pair, Scope
from billing.reconciliation.minor_units import in_units
from billing.reconciliation.queries import rows

# In credits, minor units, of all invoices and credit notes that stand. Tax within a price is no revenue, also where the
# price was accrued as usage before; it is revenue again where a credit note settles late usage.
_BY_DOCUMENTS = """
WITH line AS (
    SELECT i.currency, l.kind, l.amount_minor - l.inclusive_tax_minor AS net, l.inclusive_tax_minor AS within,
           l.exclusive_tax_minor + l.inclusive_tax_minor AS tax, l.discount_minor AS discount
      FROM billing_invoiceline l JOIN billing_invoice i ON i.id = l.invoice_id
     WHERE i.status NOT IN ('draft', 'void') AND i.taken_over = ''
), opened AS (
    SELECT currency, sum(total_minor) AS minor FROM billing_invoice
     WHERE status NOT IN ('draft', 'void') AND taken_over = 'open' GROUP BY 1
     UNION ALL
    SELECT currency, -sum(pre_payment_minor) FROM billing_creditnote
     WHERE unwound_at IS NULL AND journal_entry_id IS NOT NULL
       AND issued_at <= (SELECT as_of FROM billing_takeover) GROUP BY 1
), credited AS (
    SELECT n.currency, l.amount_minor - l.inclusive_tax_minor AS net,
           l.exclusive_tax_minor + l.inclusive_tax_minor AS tax, l.discount_minor AS discount,
           CASE WHEN t.id IS NULL THEN 0 ELSE l.inclusive_tax_minor END AS within_usage
      FROM billing_creditnoteline l
      JOIN billing_creditnote n ON n.id = l.credit_note_id
      LEFT JOIN billing_latecorrection t ON t.credit_note_id = n.id
     WHERE n.unwound_at IS NULL AND n.issued_at > coalesce((SELECT as_of FROM billing_takeover), '-infinity')
), said AS (
    SELECT currency, 'revenue:subscription' AS what, sum(net) AS minor FROM line WHERE kind = 'fee' GROUP BY 1
    UNION ALL SELECT currency, 'revenue:other', sum(net) FROM line WHERE kind = 'one_off' GROUP BY 1
    UNION ALL SELECT currency, 'revenue:usage', -sum(within) FROM line WHERE kind = 'usage' GROUP BY 1
    UNION ALL SELECT currency, 'prepaid credit sold', sum(net) FROM line WHERE kind = 'prepaid' GROUP BY 1
    UNION ALL SELECT currency, 'tax:payable', sum(tax) FROM line GROUP BY 1
    UNION ALL SELECT currency, 'tax:payable', -sum(tax) FROM credited GROUP BY 1
    UNION ALL SELECT currency, 'contra:promotions', -sum(discount) FROM line GROUP BY 1
    UNION ALL SELECT currency, 'contra:promotions', sum(discount) FROM credited GROUP BY 1
    UNION ALL SELECT currency, 'given back', -sum(net + within_usage) FROM credited GROUP BY 1
    UNION ALL SELECT currency, 'revenue:usage', sum(within_usage) FROM credited GROUP BY 1
    UNION ALL SELECT currency, 'opening', minor FROM opened
)
SELECT currency, what, sum(minor) FROM said GROUP BY 1, 2
"""

# The same of the entries of both. Who was given back what had been prepaid gets it out of that, usage that came to less
# than was charged is given back out of unbilled and rounding, others out of contra:refunds: together they are what was
# given back.
_BY_LEDGER = """
SELECT ac.currency,
       CASE WHEN je.kind = 'credit_note_issued'
                 AND ac.kind IN ('contra:refunds', 'prepaid_pending', 'grant', 'unbilled', 'rounding')
            THEN 'given back'
            WHEN ac.kind = 'prepaid_pending' THEN 'prepaid credit sold'
            ELSE ac.kind END,
       -sum(po.amount)
  FROM ledger_journalentry je
  JOIN ledger_posting po ON po.entry_id = je.id
  JOIN ledger_account ac ON ac.id = po.account_id
 WHERE je.kind IN ('invoice_finalized', 'credit_note_issued')
   AND ac.kind NOT IN ('receivable', 'refund_due', 'bank')
   AND (je.kind = 'credit_note_issued' OR ac.kind NOT IN ('unbilled', 'rounding'))
 GROUP BY 1, 2
"""

_CREDITED = """
SELECT c.customer_key, i.stripe_invoice_id, i.currency, i.credited_before_payment_minor, i.credited_after_payment_minor,
       coalesce(sum(n.pre_payment_minor), 0), coalesce(sum(n.total_minor - n.pre_payment_minor), 0)
  FROM billing_invoice i
  JOIN billing_customer c ON c.id = i.customer_id
  LEFT JOIN billing_creditnote n ON n.invoice_id = i.id AND n.status = 'issued'
 WHERE i.status <> 'draft' AND c.id >= %(customers_from)s AND c.id < %(customers_until)s
 GROUP BY c.id, i.id
HAVING i.credited_before_payment_minor <> 0 OR i.credited_after_payment_minor <> 0 OR count(n.id) > 0
 ORDER BY 1, 2
"""

# Sold and not turned into a grant yet, less what credit notes took off before it could be.
_PREPAID_PENDING = """
SELECT c.customer_key, c.currency,
       coalesce((SELECT sum(l.amount_minor - l.inclusive_tax_minor)
                   FROM billing_invoice i
                   JOIN billing_invoiceline l ON l.invoice_id = i.id AND l.kind = 'prepaid'
                   JOIN billing_prepaidpurchase p ON p.line_id = l.id AND p.grant_id IS NULL
                  WHERE i.customer_id = c.id AND i.status NOT IN ('draft', 'void')), 0)
       - coalesce((SELECT sum(n.amount_minor - n.inclusive_tax_minor)
                     FROM billing_invoice i
                     JOIN billing_invoiceline l ON l.invoice_id = i.id AND l.kind = 'prepaid'
                     JOIN billing_prepaidpurchase p ON p.line_id = l.id AND p.grant_id IS NULL
                     JOIN billing_creditnoteline n ON n.invoice_line_id = l.id
                     JOIN billing_creditnote cn ON cn.id = n.credit_note_id AND cn.unwound_at IS NULL
                    WHERE i.customer_id = c.id AND i.status NOT IN ('draft', 'void')), 0),
       coalesce((SELECT -sum(po.amount) FROM ledger_account ac JOIN ledger_posting po ON po.account_id = ac.id
                  WHERE ac.kind = 'prepaid_pending' AND ac.customer_key = c.customer_key AND ac.currency = c.currency),
                0)
  FROM billing_customer c
 WHERE c.id >= %(customers_from)s AND c.id < %(customers_until)s
 ORDER BY 1
"""


def invoice_accounts(scope: Scope) -> Findings:
    """Per currency and account: lines of invoices and credit notes = their entries."""
    said = {(currency, what): in_units(int(minor), currency) for currency, what, minor in rows(_BY_DOCUMENTS)}
    entered = {(currency, what): amount for currency, what, amount in rows(_BY_LEDGER)}
    for key in sorted(said.keys() | entered.keys()):
        yield Pair(
            f"{key[1]} in {key[0]}", "lines of invoices and credit notes", said.get(key, Decimal(0)),
            "their entries", entered.get(key, Decimal(0)),
            "An invoice or a credit note was entered otherwise than its lines say.",
        )  # fmt: skip


def credited_and_prepaid(scope: Scope) -> Findings:
    """Per invoice: credited = its credit notes; per customer: prepaid credit that was sold and not granted."""
    for customer_key, invoice, currency, before, after, noted_before, noted_after in rows(_CREDITED, scope.bounds):
        for when, of_invoice, of_notes in (("before", before, noted_before), ("after", after, noted_after)):
            yield Pair(
                f"invoice {invoice}: credited {when} payment", "by the invoice", in_units(int(of_invoice), currency),
                "by its credit notes", in_units(int(of_notes), currency),
                "A credit note is missing here, or the invoice was not looked at since.", customer_key, invoice,
            )  # fmt: skip
    for customer_key, currency, pending_minor, held in rows(_PREPAID_PENDING, scope.bounds):
        yield Pair(
            f"account prepaid_pending:{customer_key}:{currency}", "sold and not granted",
            in_units(int(pending_minor), currency), "ledger", held,
            "Prepaid credit was paid and not granted, or granted and not paid.", customer_key,
        )  # fmt: skip
