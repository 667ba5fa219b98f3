"""
What the simulator is asked for, read from the address, so that a page can be sent to somebody and shows them the same.

`customer=acme&period=12` or `&month=2026-10`; `left` and `right` are ids of plan versions, `left` empty for what the
period's own terms are; `left_seats` and `right_seats` are those of the period where they are empty.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.db.models import Q
from django.http import QueryDict

from billing.catalog.models import PlanVersion
from billing.customers.models import Customer
from billing.rollouts.simulator.simulation import Chosen, Span, month_of
from billing.subscriptions.models import BillingPeriod, Subscription

PERIODS_SHOWN = 24
SEATS_MAX = 1_000_000
FIRST_YEAR, LAST_YEAR = 2000, 2100
OWN = "The period's own terms"
_CREDIT = [("", "counted"), ("none", "left out")]


@dataclass(frozen=True, slots=True)
class Asked:
    """A whole request: `right` is None as long as no version was chosen."""

    span: Span
    left: Chosen
    right: Chosen | None
    counts_grants: bool


class SimulatorForm(forms.Form):
    """Bound to the address; `asked()` is what it comes to, None as long as something is missing or wrong."""

    customer = forms.CharField(
        label="Customer key",
        max_length=64,
        widget=forms.TextInput(attrs={"class": "bb-input", "placeholder": "acme", "autocomplete": "off"}),
        error_messages={"required": "Give the key of a customer."},
    )
    period = forms.ChoiceField(label="Billing period", required=False)
    month = forms.RegexField(
        r"\A[0-9]{4}-(0[1-9]|1[0-2])\Z",
        label="Month in UTC instead",
        required=False,
        widget=forms.TextInput(attrs={"class": "bb-input", "type": "month"}),
        error_messages={"invalid": "Give a month, such as 2026-10."},
    )
    credit = forms.ChoiceField(label="Credit grants", required=False, choices=_CREDIT)
    left = forms.ChoiceField(label="Now", required=False)
    left_seats = forms.IntegerField(label="Seats", required=False, min_value=1, max_value=SEATS_MAX)
    right = forms.ChoiceField(label="Instead", required=False)
    right_seats = forms.IntegerField(label="Seats", required=False, min_value=1, max_value=SEATS_MAX)

    def __init__(self, query: QueryDict) -> None:
        super().__init__(query)
        self.found = _customer(query.get("customer", ""))
        self.periods = _periods(self.found)
        self.versions = _versions(self.found)
        chosen = [(str(version.pk), version_text(version)) for version in self.versions]
        self._choose("period", [("", "the latest one"), *((str(one.pk), str(one)) for one in self.periods)])
        self._choose("left", [("", OWN), *chosen])
        self._choose("right", [("", "Choose a version"), *chosen])
        self._choose("credit", _CREDIT)
        for name in ("left_seats", "right_seats"):
            self.fields[name].widget.attrs.update({"class": "bb-input", "placeholder": "as in the period"})

    def _choose(self, name: str, choices: list[tuple[str, str]]) -> None:
        self.fields[name] = forms.ChoiceField(
            label=self.fields[name].label,
            required=False,
            choices=choices,
            widget=forms.Select(attrs={"class": "bb-input"}),
            error_messages={"invalid_choice": "There is none such for this customer. Choose one of the list."},
        )

    def clean_customer(self) -> str:
        key: str = self.cleaned_data["customer"]
        if self.found is None:
            raise forms.ValidationError("There is no customer with this key.")
        return key

    def clean_month(self) -> str:
        month: str = self.cleaned_data["month"]
        if month and not FIRST_YEAR <= int(month[:4]) < LAST_YEAR:
            raise forms.ValidationError(f"Choose a month between {FIRST_YEAR} and {LAST_YEAR}.")
        return month

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        if cleaned.get("month") and cleaned.get("period"):
            self.add_error("month", "Choose either a billing period or a month.")
        elif cleaned.get("month") and not cleaned.get("left"):
            cleaned["left"] = self._latest_version()
            if not cleaned["left"]:
                self.add_error("left", "A month has no terms of its own. Choose a version.")
        elif self.found is not None and not cleaned.get("month") and not self.periods:
            self.add_error("month", "The customer has no billing period. Choose a month.")
        return cleaned

    def _latest_version(self) -> str:
        """The version the customer has, as text; "" where there is none among those that can be chosen."""
        subscriptions = Subscription.objects.filter(customer=self.found).order_by("-started_at", "-pk")
        latest = subscriptions.values_list("plan_version_id", flat=True).first()
        return str(latest) if any(version.pk == latest for version in self.versions) else ""

    def asked(self) -> Asked | None:
        if not self.is_valid() or self.found is None:
            return None
        cleaned = self.cleaned_data
        if cleaned["month"]:
            year, month = map(int, cleaned["month"].split("-"))
            span = month_of(self.found, datetime(year, month, 1, tzinfo=UTC))
        else:
            period = next((one for one in self.periods if str(one.pk) == cleaned["period"]), self.periods[0])
            span = Span(self.found, period.starts_at, period.ends_at, period)
        right = self._chosen("right", span)
        return Asked(
            span=span,
            left=self._chosen("left", span),
            right=None if right.version is None else right,
            counts_grants=not cleaned["credit"],
        )

    def _chosen(self, side: str, span: Span) -> Chosen:
        version = next((one for one in self.versions if str(one.pk) == self.cleaned_data[side]), None)
        own = span.period.seats if span.period is not None else self._seats()
        return Chosen(version, self.cleaned_data[f"{side}_seats"] or own)

    def _seats(self) -> int:
        subscriptions = Subscription.objects.filter(customer=self.found).order_by("-started_at", "-pk")
        return subscriptions.values_list("seats", flat=True).first() or 1


def version_text(version: PlanVersion) -> str:
    """Such as Pro v2 (draft)."""
    status = "" if version.status == PlanVersion.Status.PUBLISHED else f" ({version.get_status_display().lower()})"
    return f"{version}{status}"


def _customer(key: str) -> Customer | None:
    return None if not key or "\x00" in key else Customer.objects.filter(customer_key=key.strip()).first()


def _periods(customer: Customer | None) -> list[BillingPeriod]:
    """The latest that have begun, newest first."""
    if customer is None:
        return []
    found = BillingPeriod.objects.filter(subscription__customer=customer).order_by("-starts_at", "-pk")
    related = ("subscription__customer", "plan_version__plan", "plan_version__rate_card")
    return list(found.select_related(*related)[:PERIODS_SHOWN])


def _versions(customer: Customer | None) -> Iterable[PlanVersion]:
    """What the customer could be sold, and what was sold once: versions of plans, in the customer's currency."""
    if customer is None:
        return []
    found = PlanVersion.objects.filter(currency=customer.currency, plan__is_add_on=False)
    found = found.filter(Q(only_for=None) | Q(only_for=customer))
    return list(found.select_related("plan", "rate_card").order_by("plan__name", "-version"))
