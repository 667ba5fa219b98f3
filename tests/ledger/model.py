"""The ledger told again in plain Python, one draft after the other: what the set-based function must agree with."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from ledger.operations import JournalEntryDraft, Line


@dataclass
class ModelAccount:
    currency: str
    normal_side: str
    floor: Decimal | None
    balance: Decimal = Decimal(0)

    def change(self, line: Line) -> Decimal:
        return line.amount if self.normal_side == "D" else -line.amount


@dataclass
class ModelLedger:
    """`post` answers ("posted", number of the entry), ("repeated", number of the first) or ("refused", rule)."""

    accounts: dict[str, ModelAccount]
    closed_before: datetime
    bodies: list[object] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    instants: list[datetime] = field(default_factory=list)

    def post(self, draft: JournalEntryDraft) -> tuple[str, object]:
        lines = sorted((line.account, line.amount) for line in draft.lines)
        body = (draft.kind, draft.effective_at, dict(draft.cause), lines)
        if draft.idempotency_key in self.numbers:
            number = self.numbers[draft.idempotency_key]
            return ("repeated", number) if self.bodies[number] == body else ("refused", "ledger_key_reused")
        if rule := self._broken_rule(draft):
            return ("refused", rule)
        for line in draft.lines:
            self.accounts[line.account].balance += self.accounts[line.account].change(line)
        self.bodies.append(body)
        self.instants.append(max(draft.effective_at, self.closed_before))
        return ("posted", self.numbers.setdefault(draft.idempotency_key, len(self.bodies) - 1))

    def _broken_rule(self, draft: JournalEntryDraft) -> str | None:
        if len(draft.lines) < 2:
            return "ledger_entry_empty"
        if any(line.account not in self.accounts for line in draft.lines):
            return "ledger_account_unknown"
        net: dict[str, Decimal] = defaultdict(Decimal)
        change: dict[str, Decimal] = defaultdict(Decimal)
        for line in draft.lines:
            net[self.accounts[line.account].currency] += line.amount
            change[line.account] += self.accounts[line.account].change(line)
        if len(net) > 1 and not draft.kind.startswith("fx"):
            return "ledger_entry_currency"
        if any(net.values()):
            return "ledger_entry_balanced"
        if draft.effective_at < self.closed_before and not draft.moves_to_open_period:
            return "ledger_period_closed"
        ends = {code: (self.accounts[code].balance + step, self.accounts[code].floor) for code, step in change.items()}
        return "ledger_account_floor" if any(f is not None and b < f for b, f in ends.values()) else None
