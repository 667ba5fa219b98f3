"""The form that asks for a backtest. Empty fields ask for nothing; the operation says what else is wrong."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from billing.catalog.models import Plan, PlanVersion
from billing.customers.models import Customer
from billing.rollouts.comparing.cohorts import Cohort, InvalidCohort, Staying, read_cohort
from billing.rollouts.models.backtests import Backtest

KEYS_MAX, MONTHS_SHOWN = 1000, 3
KEYS_CHARS_MAX = 100_000
_FIRST_YEAR, _LAST_YEAR = 1970, 2200
_DATE = UnfoldAdminTextInputWidget(attrs={"type": "date"})


class BacktestForm(forms.Form):
    """Whom to try what on. The days are UTC; the last one is left out."""

    candidate = forms.ChoiceField(label="Try", widget=UnfoldAdminSelectWidget)
    baseline = forms.ChoiceField(label="Against", required=False, widget=UnfoldAdminSelectWidget)
    unit = forms.ChoiceField(
        label="By",
        choices=Backtest.Unit.choices,
        initial=Backtest.Unit.PERIODS,
        help_text="Billing periods that ended in the time below, with credit and add-ons; or whole calendar months"
        " under today's terms, without them.",
        widget=UnfoldAdminSelectWidget,
    )
    starts_on = forms.DateField(label="From (UTC)", widget=_DATE)
    ends_on = forms.DateField(label="Until, not included (UTC)", widget=_DATE)
    plans = forms.MultipleChoiceField(
        label="Customers on",
        required=False,
        help_text="None is all plans.",
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    kinds = forms.MultipleChoiceField(
        label="Kinds of customers",
        required=False,
        choices=Customer.Kind.choices,
        help_text="None is all kinds.",
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    customer_keys = forms.CharField(
        label="Only these customers",
        required=False,
        max_length=KEYS_CHARS_MAX,
        help_text="Keys, apart by blanks, commas or lines. Empty is everybody.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
    )
    share_percent = forms.CharField(
        label="Share of them, in percent",
        required=False,
        max_length=8,
        help_text="Taken by a hash of the customer's key; empty is all.",
        widget=UnfoldAdminTextInputWidget,
    )
    also = forms.MultipleChoiceField(
        label="Also those who would keep their terms",
        required=False,
        choices=[(word.value, word.label) for word in Staying],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    threshold_percent = forms.DecimalField(
        label="Name who pays more by over, in percent",
        min_value=Decimal(0),
        max_digits=7,
        decimal_places=2,
        initial=Decimal(10),
        widget=UnfoldAdminTextInputWidget,
    )
    idempotency_key = forms.CharField(max_length=100, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        versions = _versions()
        for name, choices in (
            ("candidate", [("", "Choose a version"), *versions]),
            ("baseline", [("", "What each customer had"), *versions]),
            ("plans", list(Plan.objects.filter(is_add_on=False).values_list("code", "name"))),
        ):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = choices

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        for name in ("starts_on", "ends_on"):
            day = cleaned.get(name)
            if day is not None and not _FIRST_YEAR <= day.year < _LAST_YEAR:
                self.add_error(name, f"Choose a day from {_FIRST_YEAR} to {_LAST_YEAR - 1}.")
        keys = cleaned.get("customer_keys", "").replace(",", " ").split()
        if len(keys) > KEYS_MAX:
            self.add_error("customer_keys", f"Name at most {KEYS_MAX:,}, or choose by plan and share.")
        try:
            cleaned["cohort"] = read_cohort(
                {
                    "plans": cleaned.get("plans", []),
                    "kinds": cleaned.get("kinds", []),
                    "customer_keys": keys,
                    "share_percent": cleaned.get("share_percent", "").strip() or "100",
                    "also": cleaned.get("also", []),
                }
            )
        except InvalidCohort as error:
            self.add_error("share_percent", str(error))
        return cleaned

    def terms(self) -> dict[str, Any]:
        """What `request_backtest` is asked for."""
        sent = self.cleaned_data
        cohort: Cohort = sent["cohort"]
        return {
            "candidate_id": int(sent["candidate"]),
            "baseline_id": int(sent["baseline"]) if sent["baseline"] else None,
            "unit": sent["unit"],
            "starts_at": _midnight(sent["starts_on"]),
            "ends_at": _midnight(sent["ends_on"]),
            "cohort": cohort,
            "threshold_percent": sent["threshold_percent"],
            "idempotency_key": f"page:{sent['idempotency_key']}",
        }


FIELD_OF = {"starts_at": "starts_on", "ends_at": "ends_on", "cohort": "customer_keys"}
"""Where the form asks for what the operation calls otherwise."""


def last_months(now: datetime) -> dict[str, str]:
    """The days that the form begins with: the whole months before this one."""
    end = now.astimezone(UTC).date().replace(day=1)
    start = end
    for _ in range(MONTHS_SHOWN):
        start = (start - timedelta(days=1)).replace(day=1)
    return {"starts_on": start.isoformat(), "ends_on": end.isoformat()}


def _midnight(day: Any) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _versions() -> list[tuple[str, str]]:
    """Versions of plans, drafts first: they are what is to be proved."""
    found = PlanVersion.objects.filter(plan__is_add_on=False).select_related("plan")
    rows = sorted(
        found.order_by("plan__name", "-version", "currency"), key=lambda row: row.status != PlanVersion.Status.DRAFT
    )
    return [(str(row.pk), f"{row} ({row.get_status_display().lower()}, {row.currency})") for row in rows]
