"""The lines against what is left, and the finalised invoice against the lines: to the total and its entry."""

from collections.abc import Mapping
from fractions import Fraction

from billing.invoicing.proofs.verifier.charges import ZERO
from billing.invoicing.proofs.verifier.proof import Document, Proof, in_units, rounded_minor, signed
from billing.invoicing.proofs.verifier.usage import Unreadable, instant, plain

Rest = tuple[Fraction, Fraction]


def left_of(document: Document) -> dict[tuple[int, int], Rest]:
    """By period and rate, the units and the money that no earlier document had; what has neither is left out."""
    left: dict[tuple[int, int], Rest] = {}
    for period in document["periods"]:
        for row in period["rates"]:
            left[period["id"], row[0]] = Fraction(row[1]), Fraction(row[5])
        for one in period["settled"]:
            before = left.get((period["id"], one["rate"]), (ZERO, ZERO))
            left[period["id"], one["rate"]] = (
                before[0] - Fraction(one["quantity"]),
                before[1] - Fraction(one["amount"]),
            )
    return {key: rest for key, rest in left.items() if any(rest)}


def is_asked_for(period: Document, rate_id: int, amount: Fraction) -> bool:
    """Whether the invoice has to bill what is left of a price of the period. Raises Unreadable."""
    scope = period.get("scope") or {"of": "all"}
    match scope["of"]:
        case "all":
            return True
        case "increases":
            return amount > 0
        case "prices":
            return rate_id in scope["rates"]
    raise Unreadable(f"period {period['id']} asks for {scope['of']!r}, which is none of all, increases and prices")


def compare_lines(proof: Proof) -> list[str]:
    """Each line is what is left of its rate, rounded once; nothing that the invoice asks for is missing."""
    document, found = proof.document, []
    periods = {period["id"]: period for period in document["periods"]}
    left = left_of(document)
    for line in document["lines"]:
        found += _line(proof, line, periods.get(line["period"]), left)
    not_billed = {(period["id"], row[0]): row for period in document["periods"] for row in period["not_billed"]}
    for key, (quantity, amount) in left.items():
        row = not_billed.pop(key, None)
        is_named = row is not None and (Fraction(row[1]), Fraction(row[2])) == (quantity, amount)
        if is_asked_for(periods[key[0]], key[1], amount) or not is_named:
            found.append(f"period {key[0]}, rate {key[1]}: {plain(amount)} {proof.currency} are left and on no line")
    found += [f"period {key[0]}, rate {key[1]}: nothing is left that was not billed" for key in not_billed]
    charged = sum(line["amount_minor"] for line in document["lines"])
    if charged != document["charged_minor"]:
        found.append(f"the lines charge {charged} minor units in all, the proof says {document['charged_minor']}")
    expected = charged + sum(fee["amount_minor"] for fee in document["fees"])
    if expected != document["expected_minor"]:
        found.append(f"lines and fees come to {expected} minor units, the proof says {document['expected_minor']}")
    return found + _fees_from(document)


def _fees_from(document: Document) -> list[str]:
    """Fees are of the period that begins where one of the proof ends. Proofs of before this was kept do not say."""
    if "fees_from" not in document:
        return []
    since = document["fees_from"]
    if since is None:
        return ["fees are charged of no period"] if document["fees"] else []
    if any(instant(period["ends_at"]) == instant(since) for period in document["periods"]):
        return []
    return [f"fees are charged from {since} on, where no period of the proof ends"]


def _line(proof: Proof, line: Document, period: Document | None, left: dict[tuple[int, int], Rest]) -> list[str]:
    name = f"line {line['id']} (rate {line['rate']})" if line["kind"] == "usage" else f"line {line['id']}"
    exact, rounding, charged = Fraction(line["exact"]), Fraction(line["rounding"]), line["amount_minor"]
    if line["kind"] == "coverage":
        is_free = not (exact or rounding or charged or Fraction(line["quantity"]))
        return [] if is_free else [f"{name} tells what was covered and charges {charged} minor units"]
    if line["kind"] != "usage":
        return [f"{name} is of kind {line['kind']!r}, which is none of ours"]
    found = []
    quantity, due = left.pop((line["period"], line["rate"]), (ZERO, ZERO))
    if exact != due:
        found.append(f"{name}: {plain(due)} is left to invoice, it says {line['exact']} ({signed(exact - due)})")
    if Fraction(line["quantity"]) != quantity:
        found.append(f"{name}: {plain(quantity)} units are left to invoice, it says {line['quantity']}")
    if period is not None and not is_asked_for(period, line["rate"], due):
        found.append(f"{name}: the invoice does not ask for it")
    rounded = rounded_minor(exact, proof.currency)
    if charged != rounded:
        found.append(f"{name}: {line['exact']} is rounded to {rounded} minor units, it charges {charged}")
    if exact + rounding != in_units(charged, proof.currency):
        found.append(f"{name}: its rounding of {line['rounding']} is not what was charged less what is exact")
    return found


def compare_finalised(proof: Proof, finalised: Document) -> list[str]:
    """Compare the finalised invoice and its entry with the proof."""
    document, found = proof.document, []
    ours = {line["id"]: line for line in document["lines"]}
    total = 0
    for line in finalised["lines"]:
        total += line["amount_minor"] - line["discount_minor"] + line["exclusive_tax_minor"]
        found += _discounts(line)
        if line["kind"] not in ("usage", "coverage"):
            continue
        proved = ours.pop(line["id"], None)
        if proved is None:
            found.append(
                f"line {line['id']} of {line['amount_minor']} minor units is on the invoice and not in the proof"
            )
            continue
        charged = _as_proved(line, proof.currency)
        found += [
            f"line {line['id']}: {what} is {line[what]} on the invoice, {proved[what]} in the proof"
            for what in ("kind", "period", "rate", "quantity", "exact", "rounding", "amount_minor")
            if charged.get(what, proved[what]) != proved[what]
        ]
    found += [f"line {line_id} of the proof is not on the invoice" for line_id in ours]
    found += _fees_charged(document, finalised)
    if total != finalised["total_minor"]:
        found.append(f"its lines come to {total} minor units, its total is {finalised['total_minor']}")
    return found + _entry_of_invoice(proof, finalised, total)


def _as_proved(line: Document, currency: str) -> Document:
    """A line with what Stripe left off it: that much less is charged, exactly, and the rest is asked for elsewhere."""
    lacking = line.get("left_off_minor")
    if not lacking:
        return line
    is_exact = Fraction(line["exact"]) == in_units(line["amount_minor"], currency) and not Fraction(line["rounding"])
    whole = {**line, "amount_minor": line["amount_minor"] + lacking}
    return {what: value for what, value in whole.items() if not is_exact or what not in ("exact", "rounding")}


def _discounts(line: Document) -> list[str]:
    """The discounts that are told of a line come to what was taken off it."""
    parts = line.get("discounts") or []
    taken = sum(amount for _, _, amount in parts)
    if not parts or taken == line["discount_minor"]:
        return []
    told = ", ".join(f"{coupon or discount} {amount}" for discount, coupon, amount in parts)
    off = line["discount_minor"]
    return [f"line {line['id']}: {off} minor units are taken off it, by its discounts {taken} ({told})"]


def _fees_charged(document: Document, finalised: Document) -> list[str]:
    """The fees of the period that follows are those expected. Prorations, of periods before it, are Stripe's to say."""
    since = document.get("fees_from")
    if since is None:
        return []
    charged = sum(
        line["amount_minor"]
        for line in finalised["lines"]
        if line["kind"] == "fee" and (line["starts_at"] is None or instant(line["starts_at"]) >= instant(since))
    )
    expected = sum(fee["amount_minor"] for fee in document["fees"])
    if charged == expected:
        return []
    return [f"fees of the following period are {charged} minor units on the invoice, {expected} in the proof"]


def _entry_of_invoice(proof: Proof, finalised: Document, total: int) -> list[str]:
    """Every account that the invoice's entry moves, by what its lines say, and no other."""
    expected = _movements(proof, finalised, total)
    entry, found = finalised["entry"], []
    if entry is None:
        return ["it moves accounts and has no entry in the ledger"] if any(expected.values()) else []
    if entry["key"] != f"invoice_finalized:{proof.document['invoice']['stripe_id']}":
        found.append(f"entry {entry['id']} of the invoice has the key {entry['key']}")
    moved: dict[str, Fraction] = {}
    for account, amount in entry["postings"]:
        moved[account] = moved.get(account, ZERO) + Fraction(amount)
    if sum(moved.values(), ZERO):
        found.append(f"entry {entry['id']} of the invoice is out of balance by {plain(sum(moved.values(), ZERO))}")
    return found + [
        f"entry {entry['id']} of the invoice moves {account} by {plain(moved.get(account, ZERO))}, not"
        f" {plain(expected.get(account, ZERO))}"
        for account in sorted(expected.keys() | moved.keys())
        if moved.get(account, ZERO) != expected.get(account, ZERO)
    ]


def _movements(proof: Proof, finalised: Document, total: int) -> Mapping[str, Fraction]:
    """Usage leaves unbilled, fees and one-offs are revenue, prepaid credit is owed, tax is the authorities'."""
    key, currency = proof.document["invoice"]["customer_key"], proof.currency
    earned = {
        "usage": f"revenue:usage:{currency}",
        "fee": f"revenue:subscription:{currency}",
        "one_off": f"revenue:other:{currency}",
        "prepaid": f"prepaid_pending:{key}:{currency}",
    }
    found = {f"receivable:{key}:{currency}": in_units(total, currency)}

    def move(account: str, amount: Fraction) -> None:
        found[account] = found.get(account, ZERO) + amount

    for line in finalised["lines"]:
        kind, charged = line["kind"], in_units(line["amount_minor"], currency)
        inclusive, exclusive = (in_units(line[f"{name}_tax_minor"], currency) for name in ("inclusive", "exclusive"))
        if kind == "usage":
            move(f"unbilled:{key}:{currency}", -Fraction(line["exact"]))
            move(f"rounding:{currency}", -Fraction(line["rounding"]))
            move(earned[kind], inclusive)
        elif kind in earned:
            move(earned[kind], inclusive - charged)
        elif kind != "coverage":
            raise Unreadable(f"line {line['id']} of the invoice is of kind {kind!r}, which is unknown")
        move(f"contra:promotions:{currency}", in_units(line["discount_minor"], currency))
        move(f"tax:payable:{currency}", -(inclusive + exclusive))
    return found
