"""
Issuing credit from a customer's page: a form, a confirmation, one call of the operation.

The idempotency key is made when the form is first shown and travels with it: however often the confirmation is sent,
one grant is issued. The same form is shown twice, first to fill in, then with its values fixed, to confirm.
"""

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.http import HttpRequest, QueryDict
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from billing.customers.models import Customer
from billing.invoicing.rounding import minor_digits
from promotions import operations as promotion_operations

_KEY_PREFIX = "admin-issue"
# What a person may give away; paid credit comes from a paid invoice only.
KINDS = (("goodwill", "Goodwill: something went wrong"), ("promotional", "Promotional: to win or keep the customer"))


class _Moment(forms.DateTimeInput):
    """The browser's own picker; what it sends is read as UTC, as everything in the admin is."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(attrs={"class": "bb-input", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")


class IssueCreditForm(forms.Form):
    amount = forms.DecimalField(
        min_value=Decimal("0.000000000001"), max_digits=12, widget=UnfoldAdminDecimalFieldWidget
    )
    kind = forms.ChoiceField(choices=KINDS, widget=UnfoldAdminSelectWidget)
    name = forms.CharField(
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="As the customer reads it on the invoice.",
    )
    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Why it is given, for whoever asks later. Kept in the ledger; the customer does not see it.",
    )
    effective_at = forms.DateTimeField(
        label="Usable from (UTC)", required=False, widget=_Moment, help_text="Empty: from now on."
    )
    expires_at = forms.DateTimeField(
        label="Usable until (UTC)", required=False, widget=_Moment, help_text="Empty: it never ends."
    )
    idempotency_key = forms.RegexField(regex=rf"^{_KEY_PREFIX}:[0-9a-f-]{{36}}$", widget=forms.HiddenInput)

    def __init__(self, *args: Any, currency: str, now: datetime, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._now = now.replace(microsecond=0)
        self._digits = minor_digits(currency)
        self.fields["amount"].label = f"Amount in {currency}"
        self.fields["amount"].widget.attrs["step"] = str(Decimal(1).scaleb(-self._digits))

    def clean_amount(self) -> Decimal:
        amount: Decimal = self.cleaned_data["amount"]
        if amount != round(amount, self._digits):
            raise forms.ValidationError(f"At most {self._digits} decimal places.")
        return amount

    def clean_effective_at(self) -> datetime:
        return self.cleaned_data["effective_at"] or self._now

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        expires_at, effective_at = cleaned.get("expires_at"), cleaned.get("effective_at")
        if expires_at is not None and effective_at is not None and expires_at <= max(effective_at, self._now):
            self.add_error("expires_at", "It must end later than it begins, and later than now.")
        return cleaned


def empty_form(customer: Customer, *, now: datetime) -> IssueCreditForm:
    """The form as it is first shown, with the key of the grant it will make."""
    key = f"{_KEY_PREFIX}:{uuid.uuid4()}"
    return IssueCreditForm(currency=customer.currency, now=now, initial={"idempotency_key": key, "kind": "goodwill"})


def sent_form(customer: Customer, *, data: QueryDict, now: datetime) -> IssueCreditForm:
    return IssueCreditForm(data, currency=customer.currency, now=now)


def confirmation(form: IssueCreditForm, customer: Customer, *, now: datetime) -> IssueCreditForm:
    """The same values once more, with "now" fixed, in a form whose every field is hidden."""
    values = {name: "" if value is None else value for name, value in form.cleaned_data.items()}
    fixed = IssueCreditForm(currency=customer.currency, now=now, initial=values)
    for field in fixed.fields.values():
        field.widget = forms.HiddenInput()
    return fixed


def issue(form: IssueCreditForm, customer: Customer, *, request: HttpRequest, now: datetime) -> Any | None:
    """
    Issue the grant the form describes; the first one, if it was issued already.

    None when it was refused: the reason is then on the form, at its field where there is one.
    """
    terms = form.cleaned_data
    try:
        return promotion_operations.issue_grant(
            customer_key=customer.customer_key,
            kind=terms["kind"],
            name=terms["name"],
            amount=terms["amount"],
            currency=customer.currency,
            effective_at=terms["effective_at"],
            expires_at=terms["expires_at"],
            reason=terms["reason"],
            actor=f"user:{request.user.get_username()}",
            idempotency_key=terms["idempotency_key"],
            recorded_at=now,
        )
    except promotion_operations.InvalidGrant as refusal:
        form.add_error(refusal.field if refusal.field in form.fields else None, str(refusal))
    except promotion_operations.GrantConflict:
        form.add_error(None, "This form was used already, for a credit with other terms. Open it anew.")
    return None
