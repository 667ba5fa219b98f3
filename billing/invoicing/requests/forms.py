"""
The forms of requests about invoices. They read what was typed; whether it is right, the operations say.

The idempotency key is made when a form is first shown and travels with it: however often it is sent, it asks once.
"""

import uuid
from decimal import Decimal
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from billing.customers.queries import customer_by_key
from billing.invoicing.models import Invoice
from billing.invoicing.orders.operations import OrderedLine
from billing.invoicing.requests import terms
from billing.invoicing.requests.operations import amount_in_minor
from billing.invoicing.requests.terms import CREDIT_WAYS, USAGE_WAYS, CreditedPart, InvoiceRequestError, Wanted
from billing.invoicing.rounding import from_minor

_KEY_PREFIX = "admin-invoice"
ONE_OFF_LINES = 3
CREDIT_LINES = 20


class RequestForm(forms.Form):
    """What every request has: why, and its key. A refusal is shown at the field it names."""

    reason = forms.CharField(
        label="Why",
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="For whoever asks later. Kept with it; the customer does not see it.",
    )
    idempotency_key = forms.RegexField(regex=rf"^{_KEY_PREFIX}:[0-9a-f-]{{36}}$", widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("idempotency_key", f"{_KEY_PREFIX}:{uuid.uuid4()}")
        self.order_fields([name for name in self.fields if name not in ("reason", "idempotency_key")])

    def show(self, refusal: InvoiceRequestError) -> None:
        self.add_error(refusal.field if refusal.field in self.fields else None, str(refusal))

    def wanted(self) -> Wanted:
        """What was typed, as the operation takes it. Only of a valid form. Raises InvoiceRequestError."""
        raise NotImplementedError

    def hidden(self) -> "RequestForm":
        """This form with every field hidden, to be sent again as it is."""
        for field in self.fields.values():
            field.widget = forms.HiddenInput()
        return self


class OneOffForm(RequestForm):
    """Up to ONE_OFF_LINES lines; more go through the API."""

    customer_key = forms.CharField(
        label="Customer key",
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="As the customer's page shows it below the name.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for number in range(1, ONE_OFF_LINES + 1):
            is_first = number == 1
            self.fields[f"description_{number}"] = forms.CharField(
                label=f"Line {number}", max_length=500, required=is_first, widget=UnfoldAdminTextInputWidget
            )
            self.fields[f"amount_{number}"] = forms.DecimalField(
                label="Amount, in the customer's currency",
                required=is_first,
                max_digits=12,
                widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
            )
            self.fields[f"is_exempt_{number}"] = forms.BooleanField(
                label="Exempt from tax", required=False, widget=UnfoldBooleanSwitchWidget
            )
        self.order_fields(["customer_key", *(name for name in self.fields if name[-1].isdigit())])

    def wanted(self) -> Wanted:
        typed = self.cleaned_data
        customer = customer_by_key(typed["customer_key"])
        if customer is None:
            raise terms.InvalidRequest("There is no customer with this key.", field="customer_key")
        lines = []
        for number in range(1, ONE_OFF_LINES + 1):
            description, amount = typed[f"description_{number}"], typed[f"amount_{number}"]
            if description and amount is not None:
                minor = amount_in_minor(amount, customer.currency)
                lines.append(OrderedLine(description, minor, not typed[f"is_exempt_{number}"]))
            elif description or amount is not None:
                raise terms.InvalidRequest("A line needs its words and its amount.", field=f"description_{number}")
        return terms.one_off(customer_key=customer.customer_key, lines=lines)


class VoidForm(RequestForm):
    usage = forms.ChoiceField(
        label="What becomes of its usage", choices=list(USAGE_WAYS.items()), widget=UnfoldAdminSelectWidget
    )

    def __init__(self, *args: Any, invoice: Invoice, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._invoice = invoice

    def wanted(self) -> Wanted:
        return terms.void(invoice=self._invoice, usage=self.cleaned_data["usage"])


class CreditForm(RequestForm):
    """A field for each of the largest lines that something can be given back of, by words in them if given."""

    way = forms.ChoiceField(label="How", choices=list(CREDIT_WAYS.items()), widget=UnfoldAdminSelectWidget)

    def __init__(self, *args: Any, invoice: Invoice, words: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._invoice = invoice
        found = invoice.lines.filter(amount_minor__gt=0, stripe_line_id__isnull=False, description__icontains=words)
        self.left_out = max(found.count() - CREDIT_LINES, 0)
        self.initial.setdefault("way", terms.BALANCE if invoice.status == Invoice.Status.PAID else terms.OPEN)
        for line in found.order_by("-amount_minor", "position")[:CREDIT_LINES]:
            left = from_minor(terms.creditable_minor(line), invoice.currency)
            if left > 0:
                self.fields[f"line_{line.pk}"] = forms.DecimalField(
                    label=line.description[:160],
                    required=False,
                    min_value=Decimal(0),
                    max_digits=12,
                    help_text=f"At most {left:f} {invoice.currency}, before tax.",
                    widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
                )
        self.order_fields([name for name in self.fields if name.startswith("line_")])

    def wanted(self) -> Wanted:
        parts = [
            CreditedPart(int(name.removeprefix("line_")), amount_in_minor(amount, self._invoice.currency))
            for name, amount in self.cleaned_data.items()
            if name.startswith("line_") and amount
        ]
        return terms.credit_note(invoice=self._invoice, parts=parts, way=self.cleaned_data["way"])


class WordsForm(forms.Form):
    words = forms.CharField(
        label="Why",
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="For whoever asks later. Kept with it.",
    )

    def show(self, refusal: Exception) -> None:
        self.add_error("words" if getattr(refusal, "field", "") == "words" else None, str(refusal))
