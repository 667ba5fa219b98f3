"""What is typed about refunds, read strictly; whether it is right, the operations say."""

from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from billing.customers.models import Customer
from billing.invoicing.rounding import exact_minor, minor_digits
from billing.payments.deciding_admin import ReasonForm
from billing.payments.models import Payment
from billing.payments.refunding.batches import Rule
from billing.payments.refunding.models import RefundReason, RefundRequest

# Nothing is chosen beforehand: what a refund is for is told to Stripe, and nobody looks at a choice already made.
_WHAT_FOR = [("", "–"), *RefundReason.choices]
_DAY = {"type": "date", "class": "bb-input"}


def _minor(amount: Decimal | None, currency: str, form: forms.Form, field: str) -> int | None:
    if amount is None:
        return None
    places = minor_digits(currency)
    exponent = amount.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > places:
        form.add_error(field, f"At most {places} decimal places: this is money in {currency}.")
        return None
    return exact_minor(amount, currency)


class RefundForm(ReasonForm):
    """A refund of one payment. Without an amount all that is left of it."""

    field_order = ("amount", "way", "reason_code", "reason")

    amount = forms.DecimalField(
        required=False,
        max_digits=15,
        min_value=Decimal(0),
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
        help_text="Empty: all that is left.",
    )
    way = forms.ChoiceField(
        choices=RefundRequest.Way.choices,
        widget=UnfoldAdminSelectWidget,
        help_text="A credit note also takes back the tax, and shows on the invoice.",
    )
    reason_code = forms.ChoiceField(
        choices=_WHAT_FOR,
        widget=UnfoldAdminSelectWidget,
        label="What for",
        error_messages={"required": "Choose what it is for."},
    )

    def __init__(self, *args: Any, payment: Payment, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._payment = payment
        if payment.invoice_id is None:
            self.fields["way"] = forms.ChoiceField(
                choices=RefundRequest.Way.choices[:1], widget=UnfoldAdminSelectWidget
            )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        cleaned["amount_minor"] = _minor(cleaned.pop("amount", None), self._payment.currency, self, "amount")
        return cleaned


class BatchForm(ReasonForm):
    """A rule and a window, in UTC days; what it chooses is shown before it is asked for."""

    field_order = (
        "name",
        "paid_from",
        "paid_until",
        "currency",
        "customer_keys",
        "least",
        "most",
        "percent",
        "reason_code",
        "reason",
    )

    name = forms.CharField(max_length=200, widget=UnfoldAdminTextInputWidget, help_text="As it is spoken of.")
    paid_from = forms.DateField(label="Paid from (UTC)", widget=forms.DateInput(attrs=_DAY))
    paid_until = forms.DateField(
        label="Paid before (UTC)", widget=forms.DateInput(attrs=_DAY), help_text="This day is not included."
    )
    currency = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    customer_keys = forms.CharField(
        label="Only of these customers",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Keys apart by spaces or lines. Empty: of all.",
    )
    least = forms.DecimalField(
        label="Charges of at least",
        required=False,
        min_value=Decimal(0),
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
    )
    most = forms.DecimalField(
        label="Charges of at most",
        required=False,
        min_value=Decimal(0),
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
    )
    percent = forms.IntegerField(
        label="How much of each, in percent",
        min_value=1,
        max_value=100,
        initial=100,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Rounded down, and never more than is left.",
    )
    reason_code = forms.ChoiceField(
        choices=_WHAT_FOR,
        widget=UnfoldAdminSelectWidget,
        label="What for",
        error_messages={"required": "Choose what it is for."},
    )
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        used = Customer.objects.order_by("currency").values_list("currency", flat=True).distinct()
        self.fields["currency"] = forms.ChoiceField(
            choices=[(one, one) for one in used], widget=UnfoldAdminSelectWidget
        )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        currency = cleaned.get("currency", "USD")
        cleaned["least_minor"] = _minor(cleaned.get("least"), currency, self, "least")
        cleaned["most_minor"] = _minor(cleaned.get("most"), currency, self, "most")
        return cleaned

    def rule(self) -> Rule:
        """The rule as typed. Only of a valid form."""
        typed = self.cleaned_data
        return Rule(
            paid_from=datetime.combine(typed["paid_from"], time.min, tzinfo=UTC),
            paid_until=datetime.combine(typed["paid_until"], time.min, tzinfo=UTC),
            currency=typed["currency"],
            customer_keys=tuple(sorted(set(typed["customer_keys"].replace(",", " ").split()))),
            least_minor=typed["least_minor"],
            most_minor=typed["most_minor"],
            percent=typed["percent"],
        )

    def seen_figures(self) -> tuple[int, int]:
        """How many and how much together was shown; nothing of a form that was tampered with."""
        count, _, total = self.cleaned_data["seen"].partition(":")
        return (int(count), int(total)) if count.isdecimal() and total.isdecimal() else (-1, -1)
