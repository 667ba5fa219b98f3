"""The forms of what may be done with a subscription. They read what was typed; whether it is right, operations say."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from billing.catalog.models import PlanVersion
from billing.customers.models import Customer
from billing.subscriptions.at_stripe import items_of
from billing.subscriptions.models import Subscription
from billing.subscriptions.offers import seats_text
from billing.subscriptions.queries import latest_period
from billing.subscriptions.scheduling import Phase

SEATS_MAX = 1_000_000
Versions = list[tuple[PlanVersion, int]]
NOW, NEXT, LATER = "now", "next", "later"
WHEN = (
    (NOW, "Now: the open period is cut, the fee is prorated"),
    (NEXT, "From the next period on"),
    (LATER, "At an instant ahead"),
)
CREDIT, NO_CREDIT, AT_END = "credit", "no_credit", "at_end"
AT_DATE, AT_DATE_CREDIT = "at_date", "at_date_credit"
HOW = (
    (AT_END, "With the end of the period"),
    (AT_DATE, "At a date, without credit"),
    (AT_DATE_CREDIT, "At a date, the fee after it is credited"),
    (NO_CREDIT, "Now, without credit"),
    (CREDIT, "Now, the fee of the time that is left is credited"),
)


class Moment(forms.DateTimeInput):
    """The browser's own picker; what it sends is read as UTC, as everything in the admin is."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(attrs={"class": "bb-input", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")


def new_key() -> str:
    return f"admin:{uuid.uuid4()}"


class WishForm(forms.Form):
    """A wish with its reason, and the key it is carried out under, however often the form is sent."""

    reason = forms.CharField(
        label="Why",
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="For whoever asks later. The customer does not see it.",
    )
    key = forms.RegexField(regex=r"^admin:[0-9a-f-]{36}$", widget=forms.HiddenInput, initial=new_key)

    def show(self, refusal: Exception) -> None:
        """Show what an operation refused, at the field to mend where there is one."""
        field = str(getattr(refusal, "field", ""))
        self.add_error(field if field in self.fields else None, str(refusal))


class PauseForm(WishForm):
    field_order = ("until", "reason")
    until = forms.DateTimeField(
        label="Until (UTC)", required=False, widget=Moment, help_text="Empty: until somebody resumes it."
    )


class CancelForm(WishForm):
    field_order = ("how", "at", "reason")
    how = forms.ChoiceField(label="When, and what of the fee", choices=HOW, widget=UnfoldAdminSelectWidget)
    at = forms.DateTimeField(
        label="The date (UTC)",
        required=False,
        widget=Moment,
        help_text="For an end at a date: within the running period, or where a later one ends.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("how") in (AT_DATE, AT_DATE_CREDIT) and cleaned.get("at") is None:
            self.add_error("at", "Name the date, or choose another end.")
        return cleaned

    def wanted(self) -> dict[str, Any]:
        """How, when and with which credit, as the preview takes them. Only of a valid form."""
        how = self.cleaned_data["how"]
        ways = {AT_END: "period_end", AT_DATE: "at", AT_DATE_CREDIT: "at"}
        return {
            "how": ways.get(how, "now"),
            "at": self.cleaned_data["at"] if how in (AT_DATE, AT_DATE_CREDIT) else None,
            "prorate": how in (CREDIT, AT_DATE_CREDIT),
        }


class ReactivateForm(WishForm):
    field_order = ("payment_method", "reason")
    payment_method = forms.CharField(
        label="Payment method",
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="Stripe's id, such as pm_1…; empty: the customer's default.",
    )


class TermsForm(WishForm):
    """A plan, its seats, and for each add-on that goes with it how many: none is nothing."""

    plan_version = forms.ModelChoiceField(
        label="Plan", queryset=PlanVersion.objects.none(), widget=UnfoldAdminSelectWidget
    )
    seats = forms.IntegerField(min_value=1, max_value=SEATS_MAX, widget=UnfoldAdminIntegerFieldWidget)

    def __init__(self, *args: Any, customer: Customer, held: Subscription | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        sold = PlanVersion.objects.filter(currency=customer.currency, status=PlanVersion.Status.PUBLISHED)
        sold = (sold.filter(only_for=None) | sold.filter(only_for=customer)).select_related("plan")
        plans = sold.filter(plan__is_add_on=False)
        add_ons = sold.filter(plan__is_add_on=True)
        now_held: dict[int, int] = {}
        if held is not None:
            terms = held.plan_version
            plans = plans.filter(interval=terms.interval, interval_count=terms.interval_count)
            add_ons = add_ons.filter(interval=terms.interval, interval_count=terms.interval_count)
            latest = latest_period(held.pk)
            at = held.started_at if latest is None else latest.ends_at
            now_held = {item.version.pk: item.seats for item in items_of(held, at=at)}
            self.fields["plan_version"].initial = held.plan_version_id
            self.fields["seats"].initial = held.seats
        field = self.fields["plan_version"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = plans.order_by("plan__code", "-version")
        field.label_from_instance = _version_text  # type: ignore[method-assign,assignment]
        self.add_ons = list(add_ons.order_by("plan__code", "-version"))
        for version in self.add_ons:
            self.fields[f"add_on_{version.pk}"] = forms.IntegerField(
                label=f"{version}",
                min_value=0,
                max_value=SEATS_MAX,
                required=False,
                initial=now_held.get(version.pk, 0),
                widget=UnfoldAdminIntegerFieldWidget,
                help_text="How many; 0: none.",
            )
        self.order_fields(["plan_version", "seats", *(f"add_on_{one.pk}" for one in self.add_ons), *LAST])

    def wanted(self) -> dict[str, Any]:
        """Plan, seats and add-ons as the operations take them. Only of a valid form."""
        typed = self.cleaned_data
        counted = [(version, typed.get(f"add_on_{version.pk}") or 0) for version in self.add_ons]
        return {
            "plan_version": typed["plan_version"],
            "seats": typed["seats"],
            "add_ons": [(version, count) for version, count in counted if count],
        }


LAST = ("when", "at", "payment_method", "days_until_due", "reason", "key")


class ChangeForm(TermsForm):
    when = forms.ChoiceField(label="From when", choices=WHEN, widget=UnfoldAdminSelectWidget)
    at = forms.DateTimeField(label="The instant (UTC)", required=False, widget=Moment)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("when") == LATER and cleaned.get("at") is None:
            self.add_error("at", "Name the instant, or choose another beginning.")
        return cleaned


class PlanForm(WishForm):
    """The phases to come, one a row; an empty row is none. Add-ons stay as they are."""

    ROWS = 6

    def __init__(self, *args: Any, customer: Customer, held: Sequence[Phase] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        sold = PlanVersion.objects.filter(
            currency=customer.currency, status=PlanVersion.Status.PUBLISHED, plan__is_add_on=False
        )
        sold = (sold.filter(only_for=None) | sold.filter(only_for=customer)).select_related("plan")
        # One that is planned already may have been retired since.
        sold = (sold | PlanVersion.objects.filter(pk__in=[one.plan_version.pk for one in held])).distinct()
        self.count = max(self.ROWS, len(held) + 1)
        for number in range(self.count):
            one = held[number] if number < len(held) else None
            self.fields[f"at_{number}"] = forms.DateTimeField(
                label=f"Phase {number + 1}, from (UTC)", required=False, widget=Moment,
                initial=None if one is None else one.effective_at,
            )  # fmt: skip
            plan = forms.ModelChoiceField(
                label="Plan", queryset=sold.order_by("plan__code", "version"), required=False,
                widget=UnfoldAdminSelectWidget, initial=None if one is None else one.plan_version.pk,
            )  # fmt: skip
            plan.label_from_instance = _version_text  # type: ignore[method-assign,assignment]
            self.fields[f"plan_{number}"] = plan
            self.fields[f"seats_{number}"] = forms.IntegerField(
                label="Seats", required=False, min_value=1, max_value=SEATS_MAX, widget=UnfoldAdminIntegerFieldWidget,
                initial=None if one is None else one.seats,
            )  # fmt: skip
        self.order_fields([*(name for name in self.fields if name not in ("reason", "key")), "reason", "key"])

    def rows(self) -> list[list[Any]]:
        """The fields of each phase, side by side."""
        return [[self[f"{name}_{number}"] for name in ("at", "plan", "seats")] for number in range(self.count)]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        for number in range(self.count):
            typed = {name: cleaned.get(f"{name}_{number}") for name in ("at", "plan", "seats")}
            if any(typed.values()):
                for name, value in typed.items():
                    if not value and f"{name}_{number}" not in self.errors:
                        self.add_error(f"{name}_{number}", "Fill in all three, or none of the row.")
        return cleaned

    def wanted(self, *, add_ons: dict[datetime, Versions], otherwise: Versions) -> list[Phase]:
        """The phases, with the add-ons of that instant's plan so far, else those it has. Only of a valid form."""
        typed = self.cleaned_data
        found = []
        for number in range(self.count):
            at = typed[f"at_{number}"]
            if at is not None:
                own = tuple(add_ons.get(at, otherwise))
                found.append(Phase(at, typed[f"plan_{number}"], typed[f"seats_{number}"], own))
        return found


class StartForm(TermsForm):
    payment_method = ReactivateForm.base_fields["payment_method"]
    days_until_due = forms.IntegerField(
        label="Days until due",
        required=False,
        min_value=0,
        max_value=365,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Empty: a card is charged. Else invoices are sent, to be paid within so many days.",
    )


def fixed(form: forms.Form) -> forms.Form:
    """Hide every field of a form that is to be confirmed."""
    for field in form.fields.values():
        field.widget = forms.HiddenInput()
    return form


def _version_text(version: PlanVersion) -> str:
    return f"{version} ({seats_text(version)} seats)" + (", their contract" if version.only_for_id is not None else "")
