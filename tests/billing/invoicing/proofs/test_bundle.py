"""A bundle is verified with nothing but Python, and whatever is changed in it is named."""

import ast
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from billing.invoicing.proofs import verifier
from billing.invoicing.proofs.bundles import PARTS, script
from billing.invoicing.proofs.verifier.bundle import HELD, main
from billing.invoicing.proofs.verifier.proof import canonical
from billing.invoicing.proofs.verifier.usage import Unreadable, plain
from metering import operations as metering
from tests.billing import usage
from tests.billing.invoicing.proofs.proving import Held, bundle_of, finalise, proved
from tests.billing.rating.test_every_model import every_model
from tests.billing.usage import october_of, send
from tests.factories import NOVEMBER, OCTOBER, CreditGrantFactory

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def held(committed_db: None) -> Held:
    """The bundle of an invoice of every model, with a grant, of six events; two of them in one window."""
    usage.define_token_meters()
    period = october_of("acme", version=every_model())
    CreditGrantFactory(customer_key="acme", amount=Decimal(7), expires_at=OCTOBER + 20 * DAY)
    for number in range(6):
        at = OCTOBER + number // 2 * DAY + number * HOUR / 4
        send("acme", at, model="ab"[number % 2], input_tokens=9 + number, output_tokens=40, cache_write_tokens=9)
    metering.catch_up_windows(now=NOVEMBER)
    proof = proved(period)
    finalise(proof.invoice)
    return Held(bundle_of(proof))


def test_is_proved_by_python_alone(held: Held, tmp_path: Path) -> None:
    with ZipFile(tmp_path / "invoice.zip", "w") as zipped:
        for name, content in held.files.items():
            zipped.writestr(name, content)
            (tmp_path / name).write_bytes(content)
    for arguments in (["invoice.zip"], []):
        done = _run(tmp_path, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert "is proved" in done.stdout
    (tmp_path / "events.jsonl").write_bytes(b"")
    done = _run(tmp_path)
    assert done.returncode == 1
    assert "is NOT proved" in done.stdout
    assert _run(tmp_path, "none.zip").returncode == 2


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With -I and -S: no environment, no site packages, not even the folder's own modules."""
    command = [sys.executable, "-I", "-S", "verify.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_parts_of_the_script_have_no_name_in_common() -> None:
    """They are put one after another into one file."""
    names = [
        ast.unparse(node.targets[0]) if isinstance(node, ast.Assign) else node.name
        for part in PARTS
        for node in ast.parse((Path(verifier.__file__).parent / f"{part}.py").read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign)
    ]
    assert sorted(names) == sorted(set(names))
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(script()))
        if isinstance(node, ast.ImportFrom | ast.Import)
    }
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


def _event(number: int, **changes: Any) -> Callable[[Held], None]:
    def change(held: Held) -> None:
        rows = held.rows("events.jsonl")
        rows[number] |= changes
        held.write_rows("events.jsonl", rows)

    return change


def _value(held: Held) -> None:
    """One digit."""
    rows = held.rows("events.jsonl")
    rows[0]["data"]["input_tokens"] += 1
    held.write_rows("events.jsonl", rows)


def _missing(held: Held) -> None:
    held.write_rows("events.jsonl", held.rows("events.jsonl")[1:])


def _added(held: Held) -> None:
    rows = held.rows("events.jsonl")
    held.write_rows("events.jsonl", [*rows, {**rows[0], "id": "another"}])


def _twice(held: Held) -> None:
    rows = held.rows("events.jsonl")
    held.write_rows("events.jsonl", [*rows, rows[0]])


def _proof(change: Callable[[Any], None]) -> Callable[[Held], None]:
    def apply(held: Held) -> None:
        document = held.json("proof.json")
        change(document)
        held.write("proof.json", document)

    return apply


def _price(document: Any) -> None:
    rate = next(row for row in document["rates"] if row["charge_model"] == "graduated")
    rate["terms"]["tiers"][0]["unit_price"] = "1.01"


def _grant(document: Any) -> None:
    """The grant's amount, and what is left of it for the period, both."""
    grant = document["periods"][0]["grants"][0]
    grant["amount"] = grant["available"] = "6"


def _line(**changes: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        next(line for line in document["lines"] if line["kind"] == "usage").update(changes)

    return change


def _entry(held: Held) -> None:
    rows = held.rows("accruals.jsonl")
    rows[0]["entry"]["postings"][0][1] += "1"
    held.write_rows("accruals.jsonl", rows)


def _hash(held: Held) -> None:
    manifest = held.json("manifest.json")
    manifest["proof_sha256"] = "0" * 64
    held.write("manifest.json", manifest)


CHANGES: dict[str, tuple[Callable[[Held], None], str, str]] = {
    # What is changed, what the bundle as it is says of it, and what it says where all checksums were made right again.
    "an event's value": (_value, "event e.* at .* is not as it was exported", "window .* input_tokens v1 .* come to"),
    "an event's time": (_event(0, time="2026-10-01T00:00:00.000001Z"), "event e.* is not as", "fingerprint"),
    "an event's id": (_event(0, id="other"), "event other .* is not as it was exported", "one was changed"),
    "an event's source": (_event(0, source="other"), "of other .* is not as it was exported", "one was changed"),
    "an event's transaction": (_event(0, xid=10**15), "is not as it was exported", "no event makes it"),
    "an event voided": (_event(0, marks=[[1, -1]]), "is not as it was exported", "no event makes it"),
    "an event missing": (_missing, "window .* no event makes it", "window .* no event makes it"),
    "an event added": (_added, "event another .* is not as it was", "2 events"),
    "an event twice": (_twice, "event e.* is there twice", "event e.* is there twice"),
    "a price": (_proof(_price), "proof.json is not the file that was exported", r"rate \d+: rated is"),
    "a grant": (_proof(_grant), "the proof's hash is", r"grant \d+ pays"),
    "a grant's rest": (
        _proof(lambda document: document["periods"][0]["grants"][0].update(available="6")), "the proof's hash is",
        r"grant \d+ has 7 for it, the proof says 6",
    ),
    "an allowance": (
        _proof(lambda document: document["periods"][0]["allowances"][0].update(amount="5")), "the proof's hash is",
        r"allowance \d+ pays",
    ),
    "a rounding": (_proof(_line(rounding="0.001")), "the proof's hash is", r"line \d+ .* its rounding of 0.001"),
    "a line": (_proof(_line(amount_minor=1)), "the proof's hash is", r"line \d+ .* it charges 1"),
    "a line's exact amount": (_proof(_line(exact="1.5")), "the proof's hash is", r"line \d+ .* is left to invoice"),
    "a line away": (
        _proof(lambda document: document["lines"].pop(0)), "the proof's hash is", "are left and on no line"
    ),
    "a window": (
        _proof(lambda document: document["periods"][0]["windows"][0].__setitem__(4, "1")), "the proof's hash is",
        "window .* the proof says 1",
    ),
    "an entry": (_entry, "accruals.jsonl is not the file", r"accrual 1: entry \d+ is out of balance"),
    "the hash": (_hash, "the manifest says 0000", ""),
}  # fmt: skip


def test_every_change_is_refused_and_named(held: Held) -> None:
    """With and without checksums that were made right again."""
    assert held.differences() == []
    for what, (change, plainly, forged) in CHANGES.items():
        changed = Held(held.files)
        change(changed)
        assert changed.differences(), what
        assert re.search(plainly, "\n".join(changed.differences())), (what, changed.differences())
        changed.forge()
        if forged:
            assert re.search(forged, "\n".join(changed.differences())), (what, changed.differences())


def _moved(**accounts: str) -> Callable[[Held], None]:
    """Entries of runs that move another account, with the proof's own sums and hash over them made right again."""

    def change(held: Held) -> None:
        rows = held.rows("accruals.jsonl")
        sums: dict[str, Fraction] = {}
        digest = sha256()
        for row in rows:
            for posting in row["entry"]["postings"]:
                posting[0] = accounts.get(posting[0].partition(":")[0], posting[0])
                sums[posting[0]] = sums.get(posting[0], Fraction(0)) + Fraction(posting[1])
            digest.update(canonical({name: value for name, value in row.items() if name != "period"}) + b"\n")
        document = held.json("proof.json")
        moved = {account: plain(amount) for account, amount in sums.items() if amount}
        document["periods"][0]["accruals"] |= {"sha256": digest.hexdigest(), "sums": moved}
        held.write_rows("accruals.jsonl", rows)
        held.write("proof.json", document)
        held.forge()

    return change


def test_credit_is_taken_from_the_grants_that_pay_and_from_nowhere_else(held: Held) -> None:
    wrong = {
        "receivable:acme:USD": r"moves receivable:acme:USD by 7, which usage never does",
        "bank:USD": r"moves bank:USD by 7, which usage never does",
        "grant:999999": r"from grant:\d+, which pays 7",
        "contra:promotions:USD": r"take 0 from breakage:USD .*, 7 from contra:promotions:USD \(0 are missing",
    }
    for account, told in wrong.items():
        changed = Held(held.files)
        _moved(grant=account)(changed)
        assert re.search(told, "\n".join(changed.differences())), (account, changed.differences())
    same = Held(held.files)
    _moved()(same)
    assert same.differences() == []


def test_the_entry_of_the_invoice_moves_what_its_lines_say(held: Held) -> None:
    """Also the half that stands against receivable and unbilled."""
    finalised = held.json("finalised.json")
    finalised["entry"]["postings"] += [["revenue:other:USD", "3"], ["tax:payable:USD", "-3"]]
    held.write("finalised.json", finalised)
    held.forge()
    told = "\n".join(held.differences())
    assert "moves revenue:other:USD by 3, not 0" in told
    assert "moves tax:payable:USD by -3, not 0" in told


def test_what_cannot_be_read_is_one_line_and_code_2(
    held: Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = b"[" * 200_000 + b"]" * 200_000
    cap = held.json("proof.json")
    cap["periods"][0]["allowances"].append(
        {
            **cap["periods"][0]["allowances"][0],
            "id": 999_999,
            "measure": "cap",
            "amount": None,
            "covers": [],
            "each_dimension": "",
        }
    )
    changes: dict[str, tuple[str, Any]] = {
        "no files named": ("manifest.json", canonical({"format": 1})),
        "no hash": ("manifest.json", canonical({"format": 1, "files": {}})),
        "deep": ("proof.json", deep),
        "deep manifest": ("manifest.json", deep),
        "a list": ("proof.json", b"[]"),
        "a cap without an amount": ("proof.json", canonical(cap)),
        "no UTF-8": ("events.jsonl", b"\xff\xfe{"),
    }
    for what, (name, content) in changes.items():
        _write_zip(tmp_path / "invoice.zip", {**held.files, name: content})
        _assert_unreadable(tmp_path / "invoice.zip", what, capsys)
    _write_zip(tmp_path / "invoice.zip", held.files)
    whole = (tmp_path / "invoice.zip").read_bytes()
    at = whole.index(b"proof.json") + 40
    (tmp_path / "invoice.zip").write_bytes(whole[:at] + b"\xff" * 8 + whole[at + 8 :])
    _assert_unreadable(tmp_path / "invoice.zip", "damaged", capsys)
    (tmp_path / "invoice.zip").write_bytes(whole[:-200])
    _assert_unreadable(tmp_path / "invoice.zip", "cut short", capsys)


def _write_zip(path: Path, files: dict[str, bytes]) -> None:
    with ZipFile(path, "w", ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)


def _assert_unreadable(path: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(path)]) == 2, what
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1), (what, told)


# What people read and no figure rests on.
FOR_READING = {
    "check", "code", "description", "finalized_at", "number", "plan_version", "position", "reason", "seats", "status",
    "stripe_line_id", "terms_fingerprint", "version", "is_over", "why",
}  # fmt: skip
# Terms decide figures where usage meets them. One that none meets changes nothing, and the hash alone holds it.
TERMS = {"allowances", "chains", "counts_from", "grants", "kind", "meters", "rates", "starts_at", "ends_at"}


def may_pass(name: str, path: tuple[Any, ...]) -> bool:
    """Whether nothing on this invoice needs to rest on it, so that a forger of all checksums may change it."""
    if path[-1] in FOR_READING:
        return True
    if name == "events.jsonl":
        # Any number below the position counts as well.
        return path[-1] == "xid"
    if name == "finalised.json":
        return path == ("entry", "id")
    of_period = path[2:] if path[0] == "periods" else path
    is_amount = path[0] == "periods" and of_period[0] == "rates"
    return not is_amount and of_period[0] in TERMS


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in pairs:
        yield from _leaves(one, (*path, name))
    if not isinstance(value, dict | list):
        yield path


def _changed(value: Any, chance: random.Random) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + chance.choice([-1, 1])
    digits = [place for place, sign in enumerate(value) if sign.isdigit()]
    if not digits:
        return value + "x"
    place = chance.choice(digits)
    return value[:place] + str((int(value[place]) + 1) % 10) + value[place + 1 :]


def test_any_single_change_of_any_file_is_refused(held: Held) -> None:
    """
    Each of all values, in a way drawn by chance (BUNDLE_SEED): where all checksums were made right again too, unless
    nothing on the invoice rests on it. By its checksum alone, which is one piece of code for all, some of each file.
    """
    chance = random.Random(int(os.environ.get("BUNDLE_SEED", "0")))
    for name in HELD:
        is_lines = name.endswith("l")
        whole: Any = held.rows(name) if is_lines else held.json(name)
        leaves = list(_leaves(whole))
        plainly = set(chance.sample(leaves, min(len(leaves), 10)))
        for path in leaves:
            value = json.loads(json.dumps(whole))
            at = value
            for step in path[:-1]:
                at = at[step]
            before, at[path[-1]] = at[path[-1]], _changed(at[path[-1]], chance)
            changed = Held(held.files)
            if is_lines:
                changed.write_rows(name, value)
            else:
                changed.write(name, value)
            assert path not in plainly or _is_refused(changed), (name, path)
            changed.forge()
            assert _is_refused(changed) or may_pass(name, path), (name, path, before, at[path[-1]])


def _is_refused(held: Held) -> bool:
    try:
        return bool(held.differences())
    except Unreadable:
        return True
