"""
The ledger's part of the API's description: parameters, answers and refusals of every address.

The serializers describe the bodies that `ledger/api/bodies.py` writes; they are never run.
"""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from ledger.api.parameters import LIMIT_DEFAULT, LIMIT_MAX

TAG = "ledger"
AMOUNT = "Decimal string in the currency's major unit, exact, every place it has."
NORMAL = f"{AMOUNT} In the account's normal direction: above zero is what it should hold."


def _text(**options: Any) -> serializers.CharField:
    return serializers.CharField(**options)


class PointFields(serializers.Serializer[Any]):
    effective_at = serializers.DateTimeField(allow_null=True, help_text="As asked; null: no limit.")
    known_at = serializers.DateTimeField(allow_null=True, help_text="As asked; null: no limit.")


class Balance(serializers.Serializer[Any]):
    account = _text(help_text="The account's code, such as receivable:acme:USD.")
    kind = _text(help_text="What the account is for, such as receivable or grant.")
    currency = _text(help_text="ISO 4217.")
    balance = _text(help_text=NORMAL)


class CustomerBalancesBody(PointFields):
    customer_key = _text()
    balances = Balance(many=True, help_text="Every account of the customer that the filters name, by code.")


class AccountBalanceBody(PointFields, Balance):
    customer_key = _text(allow_null=True, help_text="Null: an account of the house.")


class JournalLineBody(serializers.Serializer[Any]):
    entry = serializers.IntegerField(help_text="The number of the journal entry.")
    line = serializers.IntegerField(help_text="The number of the line in its entry, from 1.")
    account = _text()
    account_kind = _text()
    kind = _text(help_text="The business fact, such as usage_accrued.")
    memo = _text()
    effective_at = serializers.DateTimeField(help_text="When it happened.")
    recorded_at = serializers.DateTimeField(help_text="When it was written down.")
    cause = serializers.DictField(child=_text(), help_text="What caused it, by name: an invoice, a charge, a period.")
    currency = _text()
    debit = _text(allow_null=True, help_text=f"{AMOUNT} Null on a credit.")
    credit = _text(allow_null=True, help_text=f"{AMOUNT} Null on a debit.")
    balance_after = _text(
        allow_null=True,
        help_text="What the account held once this line was posted; null for an account of the house.",
    )


class PageFields(serializers.Serializer[Any]):
    lines = JournalLineBody(many=True, help_text="In order of posting, the newest first.")
    next = serializers.URLField(allow_null=True, help_text="Where the list goes on; null: this is its end.")


class CustomerStatementBody(PointFields, PageFields):
    customer_key = _text()


class AccountStatementBody(PointFields, PageFields):
    customer_key = _text(allow_null=True)
    account = _text()
    kind = _text()
    currency = _text()


class EntryLineBody(serializers.Serializer[Any]):
    line = serializers.IntegerField()
    account = _text()
    currency = _text()
    debit = _text(allow_null=True, help_text=AMOUNT)
    credit = _text(allow_null=True, help_text=AMOUNT)


class EntryLinks(serializers.Serializer[Any]):
    reverses = serializers.URLField(allow_null=True)
    reversed_by = serializers.URLField(allow_null=True)

    def get_fields(self) -> dict[str, Any]:
        return {"self": serializers.URLField(), **super().get_fields()}


class EntryBody(serializers.Serializer[Any]):
    entry = serializers.IntegerField()
    idempotency_key = _text()
    kind = _text()
    memo = _text()
    effective_at = serializers.DateTimeField()
    recorded_at = serializers.DateTimeField()
    actor = _text(help_text="Who recorded it: user:…, service:… or task:….")
    cause = serializers.DictField(child=_text())
    reverses = serializers.IntegerField(allow_null=True, help_text="The entry that this one mirrors.")
    reversed_by = serializers.IntegerField(allow_null=True, help_text="The entry that mirrors this one.")
    links = EntryLinks()
    lines = EntryLineBody(many=True, help_text="They sum to zero in each currency.")


class DebitCredit(serializers.Serializer[Any]):
    currency = _text()
    debit = _text(help_text=AMOUNT)
    credit = _text(help_text=AMOUNT)


class TrialBalanceRowBody(DebitCredit):
    account = _text()


class TrialBalanceBody(PointFields):
    totals = DebitCredit(many=True, help_text="In each currency debits equal credits.")
    accounts = TrialBalanceRowBody(many=True, help_text="Every account that has postings, by code.")


class Problem(serializers.Serializer[Any]):
    """RFC 9457."""

    type = _text()
    title = _text()
    status = serializers.IntegerField()
    detail = _text(help_text="What is wrong and what to do instead.")
    field = _text(required=False, help_text="The parameter, or the part of the address, that is wrong.")


def _query(name: str, meaning: str, kind: Any = OpenApiTypes.STR, *, required: bool = False) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, required=required, description=meaning)


_POINT = [
    _query(
        "effective_at",
        "Only what took effect up to this instant, included (RFC 3339 with an offset). Left out: no limit.",
        OpenApiTypes.DATETIME,
    ),
    _query(
        "known_at",
        "Only what had been written down by this instant, included: what we believed then. Left out: no limit.",
        OpenApiTypes.DATETIME,
    ),
]
_FILTERS = [
    _query("currency", "Only accounts in this currency (ISO 4217)."),
    _query("kind", "Only accounts of this kind, such as receivable, balance or grant."),
]
_PAGE = [
    _query("limit", f"Lines on a page, 1 to {LIMIT_MAX}; {LIMIT_DEFAULT} if left out.", OpenApiTypes.INT),
    _query("cursor", "Opaque; part of the address in `next`, which is to be followed as it is."),
]


def _path(name: str, meaning: str, kind: Any = OpenApiTypes.STR) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.PATH, description=meaning)


_CUSTOMER = _path("customer_key", "The customer's key.")
_CODE = _path("code", "The account's code, such as receivable:acme:USD.")


def _refusal(meaning: str) -> OpenApiResponse:
    return OpenApiResponse(Problem, meaning)


def _described(
    operation_id: str,
    summary: str,
    body: type[serializers.Serializer[Any]],
    parameters: list[OpenApiParameter],
    *,
    description: str,
    not_found: str = "",
) -> Any:
    problem_json = "application/problem+json"
    refusals = {
        400: "A parameter is unknown or not acceptable; `field` names it.",
        401: "The API key is missing, unknown, expired or revoked.",
        403: "The API key lacks the scope billing:read, or the person may not see the ledger.",
        **({404: not_found} if not_found else {}),
    }
    return extend_schema(
        operation_id=operation_id,
        summary=summary,
        description=description,
        tags=[TAG],
        parameters=parameters,
        responses={
            (200, "application/json"): body,
            **{(status, problem_json): _refusal(meaning) for status, meaning in refusals.items()},
        },
    )


customer_balances = _described(
    "ledger_customer_balances",
    "What a customer's accounts hold",
    CustomerBalancesBody,
    [_CUSTOMER, *_FILTERS, *_POINT],
    description="Exact at once: what a posting that was answered has changed is in it. Without instants: everything "
    "posted, also what takes effect later.",
    not_found="The ledger has no accounts of this customer.",
)
account_balance = _described(
    "ledger_account_balance",
    "What one account holds",
    AccountBalanceBody,
    [_CODE, *_POINT],
    description="Of a customer or of the house, now or at any pair of instants.",
    not_found="There is no account with this code.",
)
customer_statement = _described(
    "ledger_customer_statement",
    "What moved a customer's accounts",
    CustomerStatementBody,
    [_CUSTOMER, *_FILTERS, *_POINT, *_PAGE],
    description="The lines of all its accounts in one list. New entries appear before the first page and move nothing "
    "on the pages that follow.",
    not_found="The ledger has no accounts of this customer.",
)
account_statement = _described(
    "ledger_account_statement",
    "What moved one account",
    AccountStatementBody,
    [_CODE, *_POINT, *_PAGE],
    description="Its lines, each with the balance it left. New entries appear before the first page and move nothing "
    "on the pages that follow.",
    not_found="There is no account with this code.",
)
entry_by_id = _described(
    "ledger_entry",
    "One entry",
    EntryBody,
    [_path("entry_id", "The number of the entry.", OpenApiTypes.INT64)],
    description="With its lines, what caused it, and the entries it reverses or is reversed by.",
    not_found="There is no such entry.",
)
entry_by_key = _described(
    "ledger_entry_by_key",
    "The entry recorded under a key",
    EntryBody,
    [_query("idempotency_key", "The key under which it was recorded, such as invoice_finalized:in_1.", required=True)],
    description="As one entry by its number.",
    not_found="No entry was recorded under this key.",
)
trial_balance = _described(
    "ledger_trial_balance",
    "Debits and credits of every account",
    TrialBalanceBody,
    _POINT,
    description="Reads the whole journal, up to the instants.",
)
