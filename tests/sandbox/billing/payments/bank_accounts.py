"""Stripe's test bank accounts: IBANs that are debited, and account numbers that payouts go to, and what each does."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from tests.sandbox.core.errors import StripeError

DebitBehaviour = Literal[
    "succeeds", "succeeds_later", "fails", "fails_later", "disputed", "exceeds_source_limit", "exceeds_weekly_limit",
    "insufficient_funds",
]  # fmt: skip

# docs.stripe.com/payments/sepa-debit/accept-a-payment, test IBANs, of Austria, Germany, France and Belgium; in the
# others the last digits tell the same. Any other valid IBAN is taken as an account that pays.
IBANS: dict[str, DebitBehaviour] = {
    "AT611904300234573201": "succeeds", "AT321904300235473204": "succeeds_later", "AT861904300235473202": "fails",
    "AT051904300235473205": "fails_later", "AT591904300235473203": "disputed",
    "DE89370400440532013000": "succeeds", "DE08370400440532013003": "succeeds_later",
    "DE62370400440532013001": "fails", "DE78370400440532013004": "fails_later", "DE35370400440532013002": "disputed",
    "FR1420041010050500013M02606": "succeeds", "FR3020041010050500013M02609": "succeeds_later",
    "FR8420041010050500013M02607": "fails", "FR7920041010050500013M02600": "fails_later",
    "FR5720041010050500013M02608": "disputed",
    "BE62510007547061": "succeeds", "BE78510007547064": "succeeds_later", "BE68539007547034": "fails",
    "BE51510007547065": "fails_later", "BE08510007547063": "disputed",
    "IT60X0542811101000000123456": "fails",
    "NL39RABO0300065264": "succeeds", "NL55RABO0300065267": "succeeds_later", "NL91ABNA0417164300": "fails",
    "NL28RABO0300065268": "fails_later", "NL82RABO0300065266": "disputed",
    "ES0700120345030000067890": "succeeds", "ES2300120345030000067893": "succeeds_later",
    "ES9121000418450200051332": "fails", "ES9300120345030000067894": "fails_later",
    "ES5000120345030000067892": "disputed",
}  # fmt: skip
IBAN_ENDINGS: dict[str, DebitBehaviour] = {
    "343434": "exceeds_source_limit",
    "121212": "exceeds_weekly_limit",
    "2222227": "insufficient_funds",
}

# docs.stripe.com/connect/testing, account numbers for payouts: to the failure code of a payout.
PAYOUT_FAILURES = {
    "000111111116": "no_account",
    "000111111113": "account_closed",
    "000222222227": "insufficient_funds",
    "000333333335": "debit_not_authorized",
    "000444444440": "invalid_currency",
}
PAYOUT_ACCOUNTS = frozenset({"000123456789", *PAYOUT_FAILURES})


@dataclass(frozen=True, slots=True)
class IbanAccount:
    iban: str
    behaviour: DebitBehaviour

    @property
    def fingerprint(self) -> str:
        """The same for the same IBAN."""
        return sha256(self.iban.encode()).hexdigest()[:16]


def iban_account(text: str) -> IbanAccount:
    """The account behind an IBAN. Raises `StripeError` where its check digits are wrong (ISO 13616, modulo 97)."""
    iban = text.replace(" ", "").upper()
    if not (15 <= len(iban) <= 34 and iban.isalnum() and iban.isascii() and iban[:2].isalpha() and _adds_up(iban)):
        raise StripeError(
            "The IBAN you provided is invalid.", code="invalid_bank_account_iban", param="sepa_debit[iban]"
        )
    endings = (behaviour for digits, behaviour in IBAN_ENDINGS.items() if iban.endswith(digits))
    ending: DebitBehaviour = next(endings, "succeeds")
    return IbanAccount(iban, IBANS.get(iban, ending))


def _adds_up(iban: str) -> bool:
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1
