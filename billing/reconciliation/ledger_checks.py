"""From what usage cost to the ledger and the invoice lines: rated = ledger, unbilled = invoiced, one rounding each."""

from decimal import Decimal

from billing.reconciliation.comparison import Agreed, Findings, Pair, Scope
from billing.reconciliation.minor_units import in_units, rounded_minor
from billing.reconciliation.queries import rows, scalar
from ledger import queries as ledger

# Per accrual: its own figures beside the postings of its journal entry, told apart by the kind of account. A grant that
# has ended is restored from contra:promotions, or from breakage if it was paid, in the same entry, so they together are
# what grants paid.
_RATED_LEDGER = """
SELECT c.customer_key, a.revision, p.id, e.id, a.rated, a.included, a.credited, a.unbilled,
       coalesce(e.rated, 0), coalesce(e.included, 0), coalesce(e.credited, 0), coalesce(e.unbilled, 0),
       coalesce(e.elsewhere, 0)
  FROM billing_billingperiod p
  JOIN billing_subscription s ON s.id = p.subscription_id
  JOIN billing_customer c ON c.id = s.customer_id
  JOIN billing_usageaccrual a ON a.period_id = p.id
  LEFT JOIN LATERAL (
        SELECT je.id,
               -sum(po.amount) FILTER (WHERE ac.kind = 'revenue:usage') AS rated,
               sum(po.amount) FILTER (WHERE ac.kind = 'contra:included') AS included,
               sum(po.amount) FILTER (WHERE ac.kind IN ('contra:promotions', 'breakage')
                                         OR ac.kind = 'grant' AND ac.customer_key = c.customer_key) AS credited,
               sum(po.amount) FILTER (WHERE ac.kind = 'unbilled' AND ac.customer_key = c.customer_key) AS unbilled,
               sum(abs(po.amount)) FILTER (
                   WHERE ac.kind NOT IN ('revenue:usage', 'contra:included', 'contra:promotions', 'breakage', 'grant',
                                         'unbilled')
                      OR ac.customer_key <> c.customer_key) AS elsewhere
          FROM ledger_journalentry je
          JOIN ledger_posting po ON po.entry_id = je.id
          JOIN ledger_account ac ON ac.id = po.account_id
         WHERE je.id = a.journal_entry_id AND je.kind = 'usage_accrued'
         GROUP BY je.id) e ON true
 WHERE p.starts_at < %(range_end)s AND p.ends_at > %(range_start)s
   AND c.id >= %(customers_from)s AND c.id < %(customers_until)s
 ORDER BY 1, 3, 2
"""

_ACCRUED_BY_NOBODY = """
SELECT je.id, je.idempotency_key
  FROM ledger_journalentry je
 WHERE je.kind = 'usage_accrued' AND je.effective_at >= %(range_start)s AND je.effective_at < %(range_end)s
   AND NOT EXISTS (SELECT FROM billing_usageaccrual a WHERE a.journal_entry_id = je.id)
 ORDER BY 1
"""


def rated_ledger(scope: Scope) -> Findings:
    """Per accrual and funding source: the accrual's figure = the postings of its journal entry."""
    sources = ("rated", "included", "credited", "unbilled")
    for customer_key, revision, period_id, entry_id, *figures in rows(_RATED_LEDGER, scope.bounds):
        for source, accrued, posted in zip(sources, figures[:4], figures[4:8], strict=True):
            yield Pair(
                f"accrual {revision} of period {period_id}: {source}", "accrual", accrued,
                f"journal entry {entry_id or 'missing'}", posted,
                "The ledger does not hold what was accrued: compare the accrual with its journal entry.", customer_key,
            )  # fmt: skip
        yield Pair(
            f"accrual {revision} of period {period_id}: other accounts", "expected", Decimal(0),
            f"journal entry {entry_id or 'missing'}", figures[8],
            "The entry of an accrual touches an account that usage does not belong to.", customer_key,
        )  # fmt: skip


def accrued_by_nobody(scope: Scope) -> Findings:
    """Every entry of accrued usage is an accrual's."""
    for entry_id, key in rows(_ACCRUED_BY_NOBODY, scope.bounds):
        yield Pair(
            f"journal entry {entry_id} ({key})", "accrual", None, "journal entry", entry_id,
            "The ledger holds accrued usage that no accrual explains.",
        )  # fmt: skip


_UNBILLED_INVOICED = """
WITH credited_back AS (
    SELECT t.period_id, cl.invoice_line_id AS line_id, cl.exact_amount
      FROM billing_latecreditline cl
      JOIN billing_latecorrection t ON t.id = cl.correction_id
      LEFT JOIN billing_creditnote n ON n.id = t.credit_note_id
     WHERE t.state <> 'refused' AND n.unwound_at IS NULL
), accrued AS (
    SELECT p.id AS period_id, l.rate_id, sum(l.unbilled) AS amount
      FROM billing_billingperiod p
      JOIN billing_subscription s ON s.id = p.subscription_id
      JOIN billing_usageaccrual a ON a.period_id = p.id
      JOIN billing_usageaccrualline l ON l.accrual_id = a.id
     WHERE p.state = 'closed' AND p.starts_at < %(range_end)s AND p.ends_at > %(range_start)s
       AND s.customer_id >= %(customers_from)s AND s.customer_id < %(customers_until)s
     GROUP BY 1, 2
), settled AS (
    SELECT l.period_id, l.rate_id, l.exact_amount AS amount
      FROM billing_invoiceline l
      JOIN billing_invoice i ON i.id = l.invoice_id AND i.status <> 'void'
     WHERE l.kind = 'usage'
    UNION ALL
    SELECT period_id, rate_id, amount FROM billing_absorbedusage
    UNION ALL
    SELECT t.period_id, l.rate_id, t.exact_amount FROM credited_back t JOIN billing_invoiceline l ON l.id = t.line_id
    UNION ALL
    -- Not settled yet, and known to be: it waits for an invoice that will come, a document under way, or a decision.
    SELECT a.period_id, al.rate_id, al.unbilled
      FROM billing_lateusage late
      JOIN billing_usageaccrual a ON a.id = late.accrual_id
      JOIN billing_usageaccrualline al ON al.accrual_id = a.id
      JOIN billing_billingperiod p ON p.id = a.period_id
      JOIN billing_subscription s ON s.id = p.subscription_id
     WHERE late.state IN ('found', 'decision')
        OR late.state = 'correcting' AND al.unbilled > 0 AND EXISTS (
            SELECT FROM billing_latecorrection t
             WHERE t.period_id = p.id AND t.kind = 'debit_note' AND t.state = 'intended')
        OR late.state = 'waiting' AND s.status NOT IN ('canceled', 'incomplete_expired')
), invoiced AS (
    SELECT settled.period_id, settled.rate_id, sum(settled.amount) AS amount
      FROM settled
      JOIN billing_billingperiod p ON p.id = settled.period_id
      JOIN billing_subscription s ON s.id = p.subscription_id
     WHERE p.state = 'closed' AND p.starts_at < %(range_end)s AND p.ends_at > %(range_start)s
       AND s.customer_id >= %(customers_from)s AND s.customer_id < %(customers_until)s
     GROUP BY 1, 2
)
SELECT c.customer_key, p.id, r.meter_code || ' ' || (r.dimensions->>'model'),
       coalesce(accrued.amount, 0), coalesce(invoiced.amount, 0), c.currency,
       -- What Stripe left off an invoice that is entered without it, and a person decided about. What was to be
       -- absorbed is, by then; a document that was refused is for people.
       (SELECT coalesce(sum(lacking.amount_minor), 0)
          FROM billing_meteredshortfall lacking
          JOIN billing_meteredshortfalldecision decided ON decided.shortfall_id = lacking.id
          JOIN billing_meteredevent event ON event.id = lacking.event_id
          JOIN billing_meteredprice price ON price.id = event.price_id
          JOIN billing_invoiceclose done ON done.id = lacking.close_id
          JOIN billing_invoice invoice ON invoice.id = done.invoice_id
         WHERE event.period_id = p.id AND price.rate_id = r.id AND invoice.finalized_at IS NOT NULL
           AND (decided.way = 'document' AND EXISTS (
                    SELECT FROM billing_latecorrection made WHERE made.period_id = p.id AND made.state = 'intended')
                OR decided.way = 'next_invoice' AND s.status NOT IN ('canceled', 'incomplete_expired')))
  FROM accrued
  FULL JOIN invoiced USING (period_id, rate_id)
  JOIN billing_billingperiod p ON p.id = period_id
  JOIN billing_subscription s ON s.id = p.subscription_id
  JOIN billing_customer c ON c.id = s.customer_id
  JOIN billing_rate r ON r.id = rate_id
 ORDER BY 1, 2, 3
"""

# A finalised invoice has taken its usage out of unbilled, and so have who absorbed it and a credit note for late usage;
# a draft's is still there.
_UNBILLED_REMAINDER = """
SELECT c.customer_key, c.currency,
       coalesce((SELECT sum(a.unbilled)
                   FROM billing_subscription s
                   JOIN billing_billingperiod p ON p.subscription_id = s.id
                   JOIN billing_usageaccrual a ON a.period_id = p.id
                  WHERE s.customer_id = c.id), 0)
       - coalesce((SELECT sum(l.exact_amount)
                     FROM billing_invoice i JOIN billing_invoiceline l ON l.invoice_id = i.id
                    WHERE i.customer_id = c.id AND l.kind = 'usage' AND i.status NOT IN ('draft', 'void')), 0)
       - coalesce((SELECT sum(u.amount)
                     FROM billing_subscription s
                     JOIN billing_billingperiod p ON p.subscription_id = s.id
                     JOIN billing_absorbedusage u ON u.period_id = p.id
                    WHERE s.customer_id = c.id), 0)
       - coalesce((SELECT sum(cl.exact_amount)
                     FROM billing_latecreditline cl
                     JOIN billing_latecorrection t ON t.id = cl.correction_id
                     JOIN billing_creditnote n ON n.id = t.credit_note_id AND n.unwound_at IS NULL
                     JOIN billing_invoice i ON i.id = n.invoice_id
                    WHERE i.customer_id = c.id), 0),
       coalesce((SELECT sum(po.amount)
                   FROM ledger_account ac JOIN ledger_posting po ON po.account_id = ac.id
                  WHERE ac.kind = 'unbilled' AND ac.customer_key = c.customer_key AND ac.currency = c.currency), 0)
  FROM billing_customer c
 WHERE c.id >= %(customers_from)s AND c.id < %(customers_until)s
 ORDER BY 1
"""


def unbilled_invoiced(scope: Scope) -> Findings:
    """Per closed period and rate: unbilled usage = usage lines + absorbed; per customer: the account holds the rest."""
    for customer_key, period_id, what, accrued, invoiced, currency, lacking in rows(_UNBILLED_INVOICED, scope.bounds):
        if lacking and rounded_minor(accrued - invoiced, currency) == lacking:
            yield Agreed(1)  # on its way to where the person said
            continue
        yield Pair(
            f"period {period_id}, {what}", "unbilled", accrued, "invoiced, credited, absorbed or waiting", invoiced,
            "The closed period left usage that no invoice asks for, or an invoice asks for it twice.", customer_key,
        )  # fmt: skip
    for customer_key, currency, expected, held in rows(_UNBILLED_REMAINDER, scope.bounds):
        yield Pair(
            f"account unbilled:{customer_key}:{currency}", "accrued and not invoiced", expected, "ledger", held,
            "The account holds another amount than accruals less finalised usage lines and what was absorbed.",
            customer_key,
        )  # fmt: skip


_LINES = """
SELECT c.customer_key, i.stripe_invoice_id, l.position, coalesce(l.stripe_line_id, ''), i.currency,
       l.exact_amount, l.amount_minor, l.rounding
  FROM billing_invoiceline l
  JOIN billing_invoice i ON i.id = l.invoice_id
  JOIN billing_customer c ON c.id = i.customer_id
 WHERE l.kind = 'usage' AND i.created_at >= %(range_start)s AND i.created_at < %(range_end)s
 ORDER BY i.id, l.position
"""

_ROUNDING_ACCOUNTS = """
SELECT currency, coalesce(lines.amount, 0), coalesce(account.amount, 0)
  FROM (SELECT currency, sum(rounding) AS amount
          FROM (SELECT i.currency, l.rounding
                  FROM billing_invoiceline l JOIN billing_invoice i ON i.id = l.invoice_id
                 WHERE i.status NOT IN ('draft', 'void')
                 UNION ALL
                SELECT n.currency, cl.rounding
                  FROM billing_latecreditline cl
                  JOIN billing_latecorrection t ON t.id = cl.correction_id
                  JOIN billing_creditnote n ON n.id = t.credit_note_id AND n.unwound_at IS NULL) AS rounded
         GROUP BY 1) lines
  FULL JOIN (SELECT ac.currency, -sum(po.amount) AS amount
               FROM ledger_account ac JOIN ledger_posting po ON po.account_id = ac.id
              WHERE ac.kind = 'rounding' GROUP BY 1) account USING (currency)
 ORDER BY 1
"""


def line_rounding(scope: Scope) -> Findings:
    """Per usage line: charged = exact rounded once."""
    for customer_key, invoice, position, line, currency, exact, charged_minor, rounding in rows(_LINES, scope.bounds):
        subject = f"invoice {invoice}, line {position}"
        yield Pair(
            f"{subject}: amount", "exact, rounded once", rounded_minor(exact, currency), "charged", charged_minor,
            "The line was not rounded half away from zero to the currency's increment.", customer_key, line or invoice,
        )  # fmt: skip
        yield Pair(
            f"{subject}: rounding", "charged less exact", in_units(charged_minor, currency) - exact,
            "rounding", rounding,
            "The line states another rounding than the one that was made.", customer_key, line or invoice,
        )  # fmt: skip


def rounding_accounts(scope: Scope) -> Findings:
    """Per currency: the rounding account = the sum of the lines' roundings."""
    for currency, stepped, held in rows(_ROUNDING_ACCOUNTS):
        yield Pair(
            f"account rounding:{currency}", "roundings of finalised lines", stepped, "ledger", held,
            "The account must take exactly the roundings of the lines, never a difference from elsewhere.",
        )  # fmt: skip


_UNBALANCED = """
SELECT je.id, je.kind, ac.currency, sum(po.amount)
  FROM ledger_journalentry je
  LEFT JOIN ledger_posting po ON po.entry_id = je.id
  LEFT JOIN ledger_account ac ON ac.id = po.account_id
 GROUP BY 1, 2, 3
HAVING coalesce(sum(po.amount), 1) <> 0
 ORDER BY 1
"""

_DRIFTED = """
SELECT ac.code, coalesce(ac.customer_key, ''), ac.balance,
       coalesce(sum(po.amount), 0) * CASE ac.normal_side WHEN 'D' THEN 1 ELSE -1 END
  FROM ledger_account ac
  LEFT JOIN ledger_posting po ON po.account_id = ac.id
 WHERE ac.keeps_balance
 GROUP BY ac.id
HAVING ac.balance <> coalesce(sum(po.amount), 0) * CASE ac.normal_side WHEN 'D' THEN 1 ELSE -1 END
 ORDER BY 1
"""

_TRIAL_BALANCE = """
SELECT ac.currency, coalesce(sum(po.amount) FILTER (WHERE po.amount > 0), 0),
       coalesce(-sum(po.amount) FILTER (WHERE po.amount < 0), 0)
  FROM ledger_posting po JOIN ledger_account ac ON ac.id = po.account_id
 GROUP BY 1 ORDER BY 1
"""


def ledger_balanced(scope: Scope) -> Findings:
    """Every entry sums to zero, every kept balance is the sum of its postings, debits = credits in each currency."""
    unbalanced = set()
    for entry_id, kind, currency, amount in rows(_UNBALANCED):
        unbalanced.add(entry_id)
        yield Pair(
            f"journal entry {entry_id} ({kind})", "sum of postings", amount, "balanced", Decimal(0),
            f"The entry is empty, or its {currency or ''} postings do not sum to zero: not written by the ledger.",
        )  # fmt: skip
    drifted = list(rows(_DRIFTED))
    yield Agreed(scalar("SELECT count(*) FROM ledger_account WHERE keeps_balance") - len(drifted))
    for code, customer_key, kept, summed in drifted:
        yield Pair(
            f"account {code}", "kept balance", kept, "sum of postings", summed,
            "The balance was changed without a posting, or a posting without its balance.", customer_key,
        )  # fmt: skip
    for entry_id in ledger.out_of_balance():
        if entry_id not in unbalanced:
            yield Pair(
                f"journal entry {entry_id}", "balance chain", "broken", "expected", "unbroken",
                "A posting does not continue the balance of the posting before it on the same account.",
            )  # fmt: skip
    for currency, debited, credited in rows(_TRIAL_BALANCE):
        yield Pair(
            f"trial balance {currency}", "debits", debited, "credits", credited,
            "The books do not balance: look at the entries named above.",
        )  # fmt: skip
    yield Agreed(scalar("SELECT count(*) FROM ledger_journalentry") - len(unbalanced))


# Left: what the documents ask for. Right: where the ledger says it went. The kinds are those of billing.accounting; a
# reversal is of the kind it reverses.
_IDENTITY = """
WITH moved AS (
    SELECT ac.customer_key, ac.currency, ac.kind AS account, je.kind AS fact, sum(po.amount) AS amount
      FROM ledger_account ac
      JOIN ledger_posting po ON po.account_id = ac.id
      JOIN ledger_journalentry je ON je.id = po.entry_id
     WHERE ac.kind IN ('receivable', 'refund_due') AND ac.customer_key IN (
               SELECT customer_key FROM billing_customer WHERE id >= %(customers_from)s AND id < %(customers_until)s)
     GROUP BY 1, 2, 3, 4
), ledger AS (
    SELECT customer_key, currency,
           -sum(amount) FILTER (WHERE fact IN ('payment_succeeded', 'payment_applied')) AS by_payment,
           -sum(amount) FILTER (WHERE fact = 'paid_out_of_band') AS elsewhere,
           -sum(amount) FILTER (WHERE fact = 'customer_balance') AS to_balance,
           -sum(amount) FILTER (WHERE fact = 'credit_note_issued') AS credited,
           -sum(amount) FILTER (WHERE fact IN ('written_off', 'recovered')) AS written_off,
           sum(amount) AS still_open
      FROM moved WHERE account = 'receivable' GROUP BY 1, 2
), sent AS (
    SELECT customer_key, currency, sum(amount) AS refunded
      FROM moved WHERE account = 'refund_due' AND fact = 'refund_sent' GROUP BY 1, 2
), asked AS (
    SELECT customer_id, currency, sum(total_minor) FILTER (WHERE status <> 'void') AS total_minor,
           sum(paid_off_stripe_minor) AS elsewhere_minor, sum(written_off_minor) AS written_off_minor
      FROM billing_invoice WHERE status <> 'draft' AND taken_over <> 'settled'
       AND customer_id >= %(customers_from)s AND customer_id < %(customers_until)s
     GROUP BY 1, 2
), paid AS (
    SELECT p.customer_id, p.currency, sum(p.amount_minor) AS paid_minor
      FROM billing_payment p JOIN billing_invoice i ON i.id = p.invoice_id AND i.taken_over <> 'settled'
     WHERE p.status = 'succeeded' AND p.customer_id >= %(customers_from)s AND p.customer_id < %(customers_until)s
     GROUP BY 1, 2
), given_back AS (
    -- What left before a takeover is history; what of that came back after it is owed again.
    SELECT p.customer_id, r.currency, sum(CASE WHEN left_before THEN -r.amount_minor ELSE r.amount_minor END)
           AS refunded_minor
      FROM billing_refund r
      JOIN billing_payment p ON p.id = r.payment_id
     CROSS JOIN (SELECT coalesce((SELECT as_of FROM billing_takeover), '-infinity') AS as_of) cut
     CROSS JOIN LATERAL (SELECT coalesce(r.sent_at <= cut.as_of, false) AS left_before) side
     WHERE p.customer_id >= %(customers_from)s AND p.customer_id < %(customers_until)s
       AND CASE WHEN left_before THEN r.returned_at > cut.as_of
                ELSE r.sent_at IS NOT NULL AND r.returned_at IS NULL END
     GROUP BY 1, 2
)
SELECT c.customer_key, coalesce(c.stripe_customer_id, ''), c.currency,
       coalesce(asked.total_minor, 0), coalesce(ledger.by_payment, 0), coalesce(ledger.elsewhere, 0),
       coalesce(ledger.to_balance, 0), coalesce(ledger.credited, 0), coalesce(ledger.written_off, 0),
       coalesce(ledger.still_open, 0), coalesce(paid.paid_minor, 0), coalesce(asked.elsewhere_minor, 0),
       coalesce(asked.written_off_minor, 0), coalesce(given_back.refunded_minor, 0), coalesce(sent.refunded, 0)
  FROM billing_customer c
  LEFT JOIN ledger USING (customer_key, currency)
  LEFT JOIN sent USING (customer_key, currency)
  LEFT JOIN asked ON asked.customer_id = c.id AND asked.currency = c.currency
  LEFT JOIN paid ON paid.customer_id = c.id AND paid.currency = c.currency
  LEFT JOIN given_back ON given_back.customer_id = c.id AND given_back.currency = c.currency
 WHERE c.id >= %(customers_from)s AND c.id < %(customers_until)s
 ORDER BY 1
"""


def identity(scope: Scope) -> Findings:
    """
    Per customer, to the increment: invoice totals (void excluded) = collected + open + moved to the balance + credited
    + written off; and each of our own rows' sums = what the ledger holds of the same.
    """
    for customer_key, stripe_id, currency, total_minor, *figures in rows(_IDENTITY, scope.bounds):
        by_payment, elsewhere, to_balance, credited, written_off, still_open, *ours_minor = figures
        refunded = ours_minor.pop()
        paid, paid_elsewhere, given_up, given_back = (in_units(int(minor), currency) for minor in ours_minor)
        yield Pair(
            f"invoices of {customer_key}", "invoiced", in_units(int(total_minor), currency),
            "collected + open + moved to balance + credited + written off",
            by_payment + elsewhere + still_open + to_balance + credited + written_off,
            "An invoice was not entered as it stands, or part of it left receivable by an unknown way.",
            customer_key, stripe_id,
        )  # fmt: skip
        for what, recorded_name, recorded, entered in (
            ("payments", "payments succeeded", paid, by_payment),
            ("payments outside Stripe", "marked as paid elsewhere", paid_elsewhere, elsewhere),
            ("bad debt", "invoices written off", given_up, written_off),
            ("refunds", "refunds sent", given_back, refunded),
        ):
            yield Pair(
                f"{what} of {customer_key}", recorded_name, recorded, "in the ledger", entered,
                "It was entered twice or not at all, or with another amount.", customer_key, stripe_id,
            )  # fmt: skip
