"""Stripe's test cards by their known names and numbers: what they look like, and what they do.

The list is that of docs.stripe.com/testing. A key is the name after `pm_card_` and `tok_`; cards that Stripe lists by
number only have the number for a key.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from tests.sandbox.billing.payments.declines import (
    DECLINED,
    EXPIRED,
    FRAUDULENT,
    INSUFFICIENT_FUNDS,
    LOST,
    PROCESSING_ERROR,
    STOLEN,
    TOO_OFTEN,
    WRONG_CVC,
    Decline,
)

# When a customer has to authenticate: never; always; unless the card was set up for their absence; only when they are
# there; when asked for by `request_three_d_secure`.
Authentication = Literal["never", "always", "unless_set_up", "on_session", "on_request"]
DisputeKind = Literal[
    "fraudulent", "product_not_received", "inquiry", "multiple", "visa_compelling_evidence_3",
    "visa_compliance", "mastercard_compliance",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Card:
    """`at_attach` declines already when it is attached, `at_charge` attaches and declines when it is charged."""

    brand: str
    number: str
    funding: str = "credit"
    country: str = "US"
    at_attach: Decline | None = None
    at_charge: Decline | None = None
    authentication: Authentication = "never"
    frictionless: bool = False
    supports_authentication: bool = True
    dispute: DisputeKind | None = None
    fraud_warning: bool = False
    refund: Literal["succeeds", "pending", "fails"] = "succeeds"
    bypasses_pending: bool = False
    risk_level: str = "normal"
    failed_checks: tuple[str, ...] = ()
    unavailable_checks: bool = False

    @property
    def last4(self) -> str:
        return self.number[-4:]

    @property
    def decline(self) -> Decline | None:
        return self.at_attach or self.at_charge

    @property
    def fingerprint(self) -> str:
        """The same for the same number."""
        return sha256(self.number.encode()).hexdigest()[:16]

    def checks(self) -> dict[str, str | None]:
        """What the issuer said of the data given with a payment."""
        passed = {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"}
        if self.unavailable_checks:
            passed |= {"address_line1_check": "unavailable", "address_postal_code_check": "unavailable"}
        return passed | dict.fromkeys(self.failed_checks, "fail")


LINE1, POSTAL_CODE, CVC = "address_line1_check", "address_postal_code_check", "cvc_check"
INSUFFICIENT = INSUFFICIENT_FUNDS

CARDS: dict[str, Card] = {
    # by brand
    "visa": Card("visa", "4242424242424242"),
    "visa_debit": Card("visa", "4000056655665556", "debit"),
    "mastercard": Card("mastercard", "5555555555554444"),
    "mastercard_debit": Card("mastercard", "5200828282828210", "debit"),
    "mastercard_prepaid": Card("mastercard", "5105105105105100", "prepaid"),
    "amex": Card("amex", "371449635398431"),
    "discover": Card("discover", "6011000990139424"),
    "diners": Card("diners", "3056930009020004"),
    "jcb": Card("jcb", "3566002020360505", country="JP"),
    "unionpay": Card("unionpay", "6200000000000005", country="CN"),
    "unionpay_debit": Card("unionpay", "6200000000000047", "debit", "CN"),
    "visa_cartesBancaires": Card("visa", "4000002500001001", country="FR"),
    "mastercard_cartesBancaires": Card("mastercard", "5555552500001001", country="FR"),
    "visa_debit_eftposAuCoBranded": Card("visa", "4000050360000001", "debit", "AU"),
    "mastercard_debit_eftposAuCoBranded": Card("mastercard", "5555050360000080", "debit", "AU"),
    "2223003122003222": Card("mastercard", "2223003122003222"),
    "6011111111111117": Card("discover", "6011111111111117"),
    "6011981111111113": Card("discover", "6011981111111113", "debit"),
    "36227206271667": Card("diners", "36227206271667"),
    "6555900000604105": Card("discover", "6555900000604105", country="KR"),
    "6205500000000000004": Card("unionpay", "6205500000000000004", country="CN"),
    "3530111333300000": Card("jcb", "3530111333300000", country="JP"),
    # by country, beside those below
    "ae_mastercard": Card("mastercard", "5200007840000022", country="AE"),
    "gb_debit": Card("visa", "4000058260000005", "debit", "GB"),
    "gb_mastercard": Card("mastercard", "5555558265554449", country="GB"),
    "th_credit": Card("visa", "4000007640000003", country="TH"),
    "th_debit": Card("visa", "4000057640000008", "debit", "TH"),
    # declined
    "chargeDeclined": Card("visa", "4000000000000002", at_attach=DECLINED),
    "chargeDeclinedInsufficientFunds": Card("visa", "4000000000009995", at_attach=INSUFFICIENT),
    "chargeDeclinedLostCard": Card("visa", "4000000000009987", at_attach=LOST),
    "chargeDeclinedStolenCard": Card("visa", "4000000000009979", at_attach=STOLEN),
    "chargeDeclinedExpiredCard": Card("visa", "4000000000000069", at_attach=EXPIRED),
    "chargeDeclinedIncorrectCvc": Card("visa", "4000000000000127", at_attach=WRONG_CVC),
    "chargeDeclinedProcessingError": Card("visa", "4000000000000119", at_attach=PROCESSING_ERROR),
    "chargeDeclinedVelocityLimitExceeded": Card("visa", "4000000000006975", at_attach=TOO_OFTEN),
    "chargeDeclinedFraudulent": Card("visa", "4100000000000019", at_attach=FRAUDULENT),
    "chargeCustomerFail": Card("visa", "4000000000000341", at_charge=DECLINED),
    # fraud prevention
    "radarBlock": Card("visa", "4100000000000019", at_charge=FRAUDULENT, risk_level="highest"),
    "riskLevelHighest": Card("visa", "4000000000004954", at_charge=FRAUDULENT, risk_level="highest"),
    "riskLevelElevated": Card("visa", "4000000000009235", risk_level="elevated"),
    "cvcCheckFail": Card("visa", "4000000000000101", failed_checks=(CVC,)),
    "avsZipFail": Card("visa", "4000000000000036", failed_checks=(POSTAL_CODE,)),
    "avsLine1Fail": Card("visa", "4000000000000028", failed_checks=(LINE1,)),
    "avsFail": Card("visa", "4000000000000010", failed_checks=(LINE1, POSTAL_CODE)),
    "avsUnchecked": Card("visa", "4000000000000044", unavailable_checks=True),
    "cvcCheckFailElevatedRisk": Card("visa", "4000058400307872", risk_level="elevated", failed_checks=(CVC,)),
    "avsZipFailElevatedRisk": Card("visa", "4000058400306072", risk_level="elevated", failed_checks=(POSTAL_CODE,)),
    # disputes
    "createDispute": Card("visa", "4000000000000259", dispute="fraudulent"),
    "createDisputeProductNotReceived": Card("visa", "4000000000002685", dispute="product_not_received"),
    "createDisputeInquiry": Card("visa", "4000000000001976", dispute="inquiry"),
    "createMultipleDisputes": Card("visa", "4000000404000079", dispute="multiple"),
    "createCe3EligibleDispute": Card("visa", "4000000404000038", dispute="visa_compelling_evidence_3"),
    "createComplianceDispute": Card("visa", "4000008400000779", dispute="visa_compliance"),
    "createMastercardComplianceDispute": Card("mastercard", "5105008400000002", dispute="mastercard_compliance"),
    "createAutoRepresentmentEligibleDispute": Card("visa", "4000000001000043", dispute="fraudulent"),
    "createIssuerFraudRecord": Card("visa", "4000000000005423", fraud_warning=True),
    # refunds, and money available at once
    "pendingRefund": Card("visa", "4000000000007726", refund="pending"),
    "refundFail": Card("visa", "4000000000005126", refund="fails"),
    "bypassPending": Card("visa", "4000000000000077", bypasses_pending=True),
    "bypassPendingInternational": Card("visa", "4000003720000278", country="IE", bypasses_pending=True),
    # authentication
    "authenticationRequired": Card("visa", "4000002760003184", country="DE", authentication="always"),
    "authenticationRequiredOnSetup": Card("visa", "4000002500003155", country="FR", authentication="unless_set_up"),
    "authenticationRequiredSetupForOffSession": Card(
        "visa", "4000003800000446", country="IT", authentication="on_session"
    ),
    "authenticationRequiredChargeDeclinedInsufficientFunds": Card(
        "visa", "4000008260003178", country="GB", authentication="always", at_charge=INSUFFICIENT
    ),
    "threeDSecure2Required": Card("visa", "4000000000003220", country="IE", authentication="always"),
    "threeDSecureRequired": Card("visa", "4000000000003063", country="IE", authentication="always"),
    "threeDSecureRequiredChargeDeclined": Card(
        "visa", "4000008400001629", authentication="always", at_charge=DECLINED
    ),
    # The look-up before the authentication fails, and with it the payment.
    "threeDSecureRequiredProcessingError": Card("visa", "4000008400001280", at_charge=DECLINED),
    "threeDSecureOptional": Card("visa", "4000000000003055", authentication="on_request"),
    "threeDSecureOptionalProcessingError": Card("visa", "4000000000003097"),
    "amex_threeDSecureNotSupported": Card("amex", "378282246310005", supports_authentication=False),
    "4000000032200000": Card("visa", "4000000032200000", frictionless=True),
    "4000582600000094": Card("visa", "4000582600000094", country="GB", authentication="always"),
    "4000000000001208": Card("visa", "4000000000001208"),
    "4000000000003725": Card("visa", "4000000000003725"),
}  # fmt: skip

COUNTRIES = {
    "us": "4242424242424242", "ar": "4000000320000021", "br": "4000000760000002", "ca": "4000001240000000",
    "cl": "4000001520000001", "co": "4000001700000003", "cr": "4000001880000005", "ec": "4000002180000000",
    "mx": "4000004840008001", "pa": "4000005910000000", "py": "4000006000000066", "pe": "4000006040000068",
    "uy": "4000008580000003", "ae": "4000007840000001", "at": "4000000400000008", "be": "4000000560000004",
    "bg": "4000001000000000", "by": "4000001120000005", "hr": "4000001910000009", "cy": "4000001960000008",
    "cz": "4000002030000002", "dk": "4000002080000001", "ee": "4000002330000009", "fi": "4000002460000001",
    "fr": "4000002500000003", "de": "4000002760000016", "gi": "4000002920000005", "gr": "4000003000000030",
    "hu": "4000003480000005", "ie": "4000003720000005", "it": "4000003800000008", "lv": "4000004280000005",
    "li": "4000004380000004", "lt": "4000004400000000", "lu": "4000004420000006", "mt": "4000004700000007",
    "nl": "4000005280000002", "no": "4000005780000007", "pl": "4000006160000005", "pt": "4000006200000007",
    "ro": "4000006420000001", "sa": "4000006820000007", "si": "4000007050000006", "sk": "4000007030000001",
    "es": "4000007240000007", "se": "4000007520000008", "ch": "4000007560000009", "gb": "4000008260000000",
    "au": "4000000360000006", "cn": "4000001560000002", "hk": "4000003440000004", "in": "4000003560000008",
    "jp": "4000003920000003", "my": "4000004580000002", "nz": "4000005540000008", "sg": "4000007020000003",
    "tw": "4000001580000008",
}  # fmt: skip
CARDS |= {country: Card("visa", number, country=country.upper()) for country, number in COUNTRIES.items()}

NAME_OF_NUMBER = {card.number: name for name, card in reversed(CARDS.items())}


def card_name(test_name: str) -> str | None:
    """The card behind `pm_card_visa`, `pm_card_visa_chargeDeclined`, `tok_visa` or a card number; None if unknown."""
    name = test_name.replace(" ", "")
    for prefix in ("pm_card_", "tok_"):
        name = name.removeprefix(prefix)
    if name in NAME_OF_NUMBER:
        return NAME_OF_NUMBER[name]
    return next((known for known in (name, name.removeprefix("visa_")) if known in CARDS), None)
