"""The runs of rating and their entries: which accounts each may move, and by how much; grants in sum."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from hashlib import sha256

from billing.invoicing.proofs.verifier.charges import ZERO
from billing.invoicing.proofs.verifier.proof import AMOUNT_NAMES, Document, Proof, canonical, name_of
from billing.invoicing.proofs.verifier.usage import plain

_COLUMNS = tuple((place, what) for place, what in enumerate(AMOUNT_NAMES, start=1) if what != "quantity")
_OF_GRANT = "grant:"


def compare_accruals(proof: Proof, period: Document, rows: Iterable[Document]) -> list[str]:
    """The runs of rating add up to what the period came to, and each one's entry says what it changed."""
    name, found = name_of(period), []
    said, digest, sums = period["accruals"], sha256(), dict.fromkeys(AMOUNT_NAMES[1:], ZERO)
    count = last = 0
    accounts: dict[str, Fraction] = {}
    for row in rows:
        count, last = count + 1, row["revision"]
        digest.update(canonical(row) + b"\n")
        change = {what: Fraction(row[what]) for what in AMOUNT_NAMES[1:]}
        for what, amount in change.items():
            sums[what] += amount
        entry = row["entry"]
        if entry is not None:
            for account, amount in entry["postings"]:
                accounts[account] = accounts.get(account, ZERO) + Fraction(amount)
        found += [
            f"{name}, accrual {row['revision']}: {text}" for text in _entry_of_accrual(proof, period, row, change)
        ]
    if (count, digest.hexdigest()) != (said["count"], said["sha256"]):
        found.append(f"{name}: its {count} accruals and entries are not the {said['count']} that the proof names")
    if last != period["revision"]:
        found.append(f"{name}: its last accrual is {last}, the proof is of accrual {period['revision']}")
    told = {account: amount for account, amount in accounts.items() if amount}
    if told != {account: Fraction(amount) for account, amount in said["sums"].items()}:
        found.append(f"{name}: its entries add up to other sums by account than the proof says")
    found += _moved_of_grants(proof, period, told)
    of_rates = {what: sum((Fraction(row[place]) for row in period["rates"]), ZERO) for place, what in _COLUMNS}
    return found + [
        f"{name}: its accruals come to {what} {plain(sums[what])}, its rates to {plain(of_rates[what])}"
        for what in sums
        if sums[what] != of_rates[what]
    ]


def _entry_of_accrual(proof: Proof, period: Document, row: Document, change: Mapping[str, Fraction]) -> list[str]:
    key, currency = proof.document["invoice"]["customer_key"], proof.currency
    found = []
    if change["rated"] != change["included"] + change["credited"] + change["unbilled"]:
        found.append("its rated amount is not what is included, credited and unbilled")
    entry = row["entry"]
    if entry is None:
        return [*found, "it changed amounts and has no entry"] if any(change.values()) else found
    if entry["key"] != f"accrual:{period['id']}:{row['revision']}":
        found.append(f"entry {entry['id']} has the key {entry['key']}")
    moved: dict[str, Fraction] = {}
    for account, amount in entry["postings"]:
        moved[account] = moved.get(account, ZERO) + Fraction(amount)
    if sum(moved.values(), ZERO):
        found.append(f"entry {entry['id']} is out of balance by {plain(sum(moved.values(), ZERO))}")
    expected = {
        f"revenue:usage:{currency}": -change["rated"],
        f"contra:included:{currency}": change["included"],
        f"unbilled:{key}:{currency}": change["unbilled"],
    }
    found += [
        f"entry {entry['id']} moves {account} by {plain(moved.get(account, ZERO))} instead of {plain(amount)}"
        for account, amount in expected.items()
        if moved.get(account, ZERO) != amount
    ]
    # Credit is taken from grants, and where one has ended out of what its rest went to; from nowhere else.
    of_credit = _sources(currency).values()
    return found + [
        f"entry {entry['id']} moves {account} by {plain(amount)}, which usage never does"
        for account, amount in moved.items()
        if account not in expected and account not in of_credit and not account.startswith(_OF_GRANT)
    ]


def _sources(currency: str) -> dict[bool, str]:
    """Where the rest of a grant that ended went, paid for or given away: what is taken of it late comes from there."""
    return {True: f"breakage:{currency}", False: f"contra:promotions:{currency}"}


def _moved_of_grants(proof: Proof, period: Document, moved: Mapping[str, Fraction]) -> list[str]:
    """
    A grant's account moved by what the grant paid of the period. One that has ended moved by less where usage was
    found, or lost, after its end: that much came from, or went to, where its rest had gone.
    """
    name = name_of(period)
    paid: dict[str, Fraction] = {}
    for _, kind, source_id, amount, _ in period["paid"]:
        if kind == "grant":
            account = f"{_OF_GRANT}{source_id}"
            paid[account] = paid.get(account, ZERO) + Fraction(amount)
    listed = {f"{_OF_GRANT}{grant['id']}": grant for grant in period["grants"]}
    found, restored, others = [], dict.fromkeys(_sources(proof.currency), ZERO), ZERO
    accounts = {account for account in moved if account.startswith(_OF_GRANT)}
    for account in sorted(accounts | paid.keys()):
        took, by = paid.get(account, ZERO), moved.get(account, ZERO)
        grant = listed.get(account)
        if grant is None:
            # Until the period was cut it may have paid for usage behind the cut, and given that back after its end.
            others += took - by
        elif grant["ended_at"] is not None:
            restored[grant["kind"] == "paid"] += took - by
        elif took != by:
            found.append(f"{name}: its entries take {plain(by)} from {account}, which pays {plain(took)}")
    from_sources = {is_paid: moved.get(account, ZERO) for is_paid, account in _sources(proof.currency).items()}
    is_right = from_sources == restored if not others else sum(from_sources.values()) == sum(restored.values()) + others
    if not is_right:
        told = ", ".join(
            f"{plain(from_sources[is_paid])} from {account} ({plain(restored[is_paid])} are missing on ended grants)"
            for is_paid, account in _sources(proof.currency).items()
        )
        besides = f", and {plain(others)} on grants that are none of the period" if others else ""
        found.append(f"{name}: its entries take {told}{besides}")
    return found
