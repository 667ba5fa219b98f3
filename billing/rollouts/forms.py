"""The forms of approvals and rollouts. They read what was typed; whether it is right, the operations say."""

from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
)

from billing.catalog.models import PlanVersion
from billing.rollouts.plans import Limits, StageTerms
from billing.rollouts.refusals import REASON_CHARS_MAX, RolloutError

STAGES_EXAMPLE = "5% 48h\n25% 72h\n100% 72h"
_LIMITS = {
    "worse_off_percent": (
        "Worse off: pays more by over (%)",
        Decimal(10),
        "Fee and usage to pay of one period, under the candidate beside the baseline.",
    ),
    "worse_off_share_max": ("Worse off at most (% of customers)", Decimal(20), ""),
    "total_change_min": ("All together pay less by at most (%)", Decimal(-10), "Zero or below, such as -10."),
    "total_change_max": ("All together pay more by at most (%)", Decimal(15), ""),
    "error_share_max": (
        "Errors at most (% of customers)",
        Decimal(2),
        "What cannot be compared, a move that Stripe refused, an invoice that is held.",
    ),
}


class _Refusable(forms.Form):
    def show(self, refusal: RolloutError) -> None:
        """Show what an operation refused at the field to mend."""
        self.add_error(refusal.field if refusal.field in self.fields else None, str(refusal))


class ReasonForm(_Refusable):
    reason = forms.CharField(
        label="Why",
        max_length=REASON_CHARS_MAX,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="For whoever asks later.",
    )


class LimitsForm(ReasonForm):
    """Limits of the guards; the numbers are per cent, with at most two places."""

    customers_min = forms.IntegerField(
        label="Customers compared at least",
        min_value=1,
        initial=20,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="With fewer the figures say nothing, and the rollout halts.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        least = self.fields.pop("customers_min")
        reason = self.fields.pop("reason")
        for name, (label, initial, help_text) in _LIMITS.items():
            self.fields[name] = forms.DecimalField(
                label=label,
                max_digits=7,
                decimal_places=2,
                initial=initial,
                help_text=help_text,
                widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
            )
        self.fields |= {"customers_min": least, "reason": reason}

    def limits(self) -> Limits:
        """What was typed. Only of a valid form."""
        return Limits(**{name: self.cleaned_data[name] for name in (*_LIMITS, "customers_min")})


class PlanForm(LimitsForm):
    """A rollout: from which version to which, in which stages and within which limits."""

    field_order = ("baseline", "candidate", "stages")

    baseline = forms.ModelChoiceField(
        label="From",
        queryset=PlanVersion.objects.none(),
        widget=UnfoldAdminSelectWidget,
        help_text="Whose customers move.",
    )
    candidate = forms.ModelChoiceField(
        label="To",
        queryset=PlanVersion.objects.none(),
        widget=UnfoldAdminSelectWidget,
        help_text="An approved version of the same plan, in the same currency.",
    )
    stages = forms.CharField(
        max_length=1000,
        initial=STAGES_EXAMPLE,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 5}),
        help_text=(
            "One a line: the share of customers, how long it is watched before the next one begins, and, if it is of"
            " one kind of customer only, the kind: 10% 48h team. The last one is 100%."
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        sold = PlanVersion.objects.filter(only_for=None).select_related("plan")
        status = PlanVersion.Status
        for name, statuses in (
            ("baseline", (status.PUBLISHED,)),
            ("candidate", (status.APPROVED, status.PUBLISHED)),
        ):
            field = self.fields[name]
            assert isinstance(field, forms.ModelChoiceField)
            field.queryset = sold.filter(status__in=statuses)
            field.label_from_instance = _version_text  # type: ignore[method-assign,assignment]

    def clean_stages(self) -> tuple[StageTerms, ...]:
        lines = [line for line in self.cleaned_data["stages"].splitlines() if line.strip()]
        return tuple(_stage(line) for line in lines)


def _version_text(version: PlanVersion) -> str:
    return f"{version} {version.currency}, {version.get_status_display().lower()}"


def _stage(line: str) -> StageTerms:
    share, watched, *kind = line.split()[:4] + [""] * (2 - len(line.split()))
    try:
        return StageTerms(
            percent=Decimal(share.removesuffix("%")),
            observe_hours=int(watched.removesuffix("h")),
            customer_kind=" ".join(kind).strip(),
        )
    except (InvalidOperation, ValueError) as error:
        raise forms.ValidationError(
            f"{line.strip()[:60]!r} is no stage; write it as 25% 48h, or 25% 48h team"
        ) from error
