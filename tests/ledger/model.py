"""The ledger told again in plain Python, one draft after the other: what the set-based function must agree with."""

from dataclasses import dataclass, field
from decimal import Decimal

from ledger.operations import JournalEntryDraft


@dataclass
class ModelAccount:
    currency: str
    normal_side: str
    floor: Decimal | None
    balance: Decimal = Decimal(0)


@dataclass
class ModelLedger:
    """`post` answers ("posted", number of the entry), ("repeated", number of the first) or ("refused", rule)."""

    accounts: dict[str, ModelAccount]
    bodies: list[object] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def post(self, draft: JournalEntryDraft) -> tuple[str, object]:
        lines = sorted((line.account, line.amount) for line in draft.lines)
        body = (draft.kind, draft.effective_at, dict(draft.cause), lines)
        if draft.idempotency_key in self.numbers:
            number = self.numbers[draft.idempotency_key]
            return ("repeated", number) if self.bodies[number] == body else ("refused", "ledger_key_reused")
        if rule := self._broken_rule(draft):
            return ("refused", rule)
        for line in draft.lines:
            account = self.accounts[line.account]
            account.balance += line.amount if account.normal_side == "D" else -line.amount
        self.bodies.append(body)
        self.numbers[draft.idempotency_key] = len(self.bodies) - 1
        return ("posted", len(self.bodies) - 1)

    def _broken_rule(self, draft: JournalEntryDraft) -> str | None:
        if len(draft.lines) < 2:
            return "ledger_entry_empty"
        if any(line.account not in self.accounts for line in draft.lines):
            return "ledger_account_unknown"
        net: dict[str, Decimal] = {}
        change: dict[str, Decimal] = {}
        for line in draft.lines:
            account = self.accounts[line.account]
            step = line.amount if account.normal_side == "D" else -line.amount
            net[account.currency] = net.get(account.currency, Decimal(0)) + line.amount
            change[line.account] = change.get(line.account, Decimal(0)) + step
        if len(net) > 1 and not draft.kind.startswith("fx"):
            return "ledger_entry_currency"
        if any(net.values()):
            return "ledger_entry_balanced"
        for code, step in change.items():
            account = self.accounts[code]
            if account.floor is not None and account.balance + step < account.floor:
                return "ledger_account_floor"
        return None
