"""
The forms of manual entries. They read what was typed; whether it is right, the operations say, field by field.

The idempotency key is made when a form is first shown and travels with it: however often it is sent, it posts once.
"""

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.db.models import Count
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from billing.accounting.adjustments import ReasonCode
from billing.accounting.operations import ManualEntryError, NewAdjustment
from billing.customers.models import Customer
from billing.customers.queries import customer_by_key

_KEY_PREFIX = "admin-manual"
_WHY = "For whoever asks later. Kept with the entry; the customer does not see it."


class _Moment(forms.DateTimeInput):
    """The browser's own picker; what it sends is read as UTC, as everything in the admin is."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(attrs={"class": "bb-input", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")


class _Refusable(forms.Form):
    """A form that can show what an operation refused, at the field to mend."""

    def show(self, refusal: ManualEntryError) -> None:
        field = refusal.field if refusal.field in self.fields else None
        self.add_error(field, str(refusal))


class _Asking(_Refusable):
    """What every request has: why, what it leans on, when it happened, and its key."""

    reason = forms.CharField(
        label="Why", max_length=500, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), help_text=_WHY
    )
    reference = forms.CharField(max_length=200, required=False, widget=UnfoldAdminTextInputWidget)
    effective_at = forms.DateTimeField(
        label="It happened at (UTC)",
        required=False,
        widget=_Moment,
        help_text="Empty: now. It cannot lie in a period that finance has closed.",
    )
    idempotency_key = forms.RegexField(regex=rf"^{_KEY_PREFIX}:[0-9a-f-]{{36}}$", widget=forms.HiddenInput)

    def __init__(self, *args: Any, now: datetime, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._now = now.replace(microsecond=0)
        self.initial.setdefault("idempotency_key", f"{_KEY_PREFIX}:{uuid.uuid4()}")

    def clean_effective_at(self) -> datetime:
        return self.cleaned_data["effective_at"] or self._now


class AdjustmentForm(_Asking):
    """An adjustment for one reason. A customer's money is all in one currency: only the house's has to be asked for."""

    field_order = ("customer_key", "currency", "amount", "reference", "reason", "effective_at")

    customer_key = forms.CharField(
        label="Customer key",
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="As the customer's page shows it below the name.",
    )
    currency = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    amount = forms.DecimalField(max_digits=15, widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}))

    def __init__(self, *args: Any, code: ReasonCode, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._code = code
        self.fields["reference"].label = code.reference.label
        self.fields["reference"].help_text = code.reference.found
        self.fields["reference"].required = True
        if code.is_of_customer:
            del self.fields["currency"]
        else:
            del self.fields["customer_key"]
            used = [(currency, currency) for currency in _currencies()]
            self.fields["currency"] = forms.ChoiceField(choices=used, widget=UnfoldAdminSelectWidget)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        customer_key = cleaned.get("customer_key", "")
        if customer_key:
            customer = customer_by_key(customer_key)
            if customer is None:
                self.add_error("customer_key", "There is no customer with this key. See the list of customers.")
            else:
                cleaned["currency"] = customer.currency
        return cleaned

    def new_adjustment(self) -> NewAdjustment:
        """What was typed, as the operation takes it. Only of a valid form."""
        terms = self.cleaned_data
        return NewAdjustment(
            reason_code=self._code.code,
            customer_key=terms.get("customer_key", ""),
            currency=terms["currency"],
            amount=terms["amount"],
            effective_at=terms["effective_at"],
            reason=terms["reason"],
            reference=terms["reference"],
        )

    def confirmation(self, *, now: datetime) -> "AdjustmentForm":
        """The same values once more, with "now" fixed, in a form whose every field is hidden."""
        values = {name: value for name, value in self.cleaned_data.items() if name in self.fields}
        values["amount"] = _plain(values["amount"])
        fixed = AdjustmentForm(code=self._code, now=now, initial=values)
        for field in fixed.fields.values():
            field.widget = forms.HiddenInput()
        return fixed


class ReversalForm(_Asking):
    field_order = ("reason", "reference", "effective_at")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reference"].help_text = "A ticket or a document, if there is one."
        # Fixed when the form is shown, like the key: sent twice, it says the same twice.
        self.initial.setdefault("effective_at", self._now)


class WordsForm(_Refusable):
    words = forms.CharField(
        label="Why", max_length=500, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), help_text=_WHY
    )


def _plain(amount: Decimal) -> str:
    return f"{amount:f}"


def _currencies() -> list[str]:
    """The currencies the house has accounts in: those of its customers, the most used first."""
    used = Customer.objects.values("currency").annotate(number=Count("pk")).order_by("-number", "currency")
    return [row["currency"] for row in used]
