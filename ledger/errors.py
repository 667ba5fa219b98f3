"""What the ledger refuses, and how it says so to staff. `rule` is the name the database gave the refusal."""


class LedgerError(Exception):
    """The ledger refused the operation. The message is fit to show to staff."""

    rule = ""
    template = "The ledger refused this: {about}."

    def __init__(self, about: str = "") -> None:
        self.about = about
        super().__init__(self.template.format(about=about))


class UnbalancedEntry(LedgerError):
    rule = "ledger_entry_balanced"
    template = "Debits and credits differ in {about}."


class EmptyEntry(UnbalancedEntry):
    rule = "ledger_entry_empty"
    template = "An entry needs at least two lines."


class InvalidAmount(LedgerError):
    rule = "ledger_posting_amount"
    template = "The amount on {about} must be a number other than zero, with twelve decimal places at most."


class UnknownAccount(LedgerError):
    rule = "ledger_account_unknown"
    template = "There is no account {about}."


class AccountClosed(LedgerError):
    rule = "ledger_account_closed"
    template = "Account {about} is closed."


class CurrencyMismatch(LedgerError):
    rule = "ledger_entry_currency"
    template = "One entry cannot move several currencies ({about})."


class InsufficientBalance(LedgerError):
    rule = "ledger_account_floor"
    template = "Account {about} does not hold enough for this."


class IdempotencyConflict(LedgerError):
    rule = "ledger_key_reused"
    template = "The key {about} already recorded something else."


class AccountConflict(LedgerError):
    rule = "ledger_account_conflict"
    template = "Account {about} is already open with other properties."


class AccountNotEmpty(LedgerError):
    rule = "ledger_account_closed_empty"
    template = "Account {about} holds value or keeps no balance, and cannot be closed."


class PeriodClosed(LedgerError):
    rule = "ledger_period_closed"
    template = "The books are closed before {about}: nothing takes effect there any more."


class RecordedBeforeSeal(LedgerError):
    rule = "ledger_entry_before_seal"
    template = "The journal is sealed beyond {about}: nothing is recorded before the last seal."


class PeriodOrder(LedgerError):
    rule = "ledger_period_order"
    template = "{about}."


class PostingsUnderWay(LedgerError):
    template = "Postings are under way that would fall into the period. Try again."


class UnknownEntry(LedgerError):
    rule = "ledger_entry_unknown"
    template = "There is no entry {about}."


class AlreadyReversed(LedgerError):
    rule = "ledger_reversed_once"
    template = "Entry {about} has already been reversed."


ERROR_BY_RULE: dict[str, type[LedgerError]] = {
    error.rule: error
    for error in (
        UnbalancedEntry,
        EmptyEntry,
        InvalidAmount,
        UnknownAccount,
        AccountClosed,
        CurrencyMismatch,
        PeriodClosed,
        RecordedBeforeSeal,
        InsufficientBalance,
        IdempotencyConflict,
        AccountConflict,
        AccountNotEmpty,
    )
}
