"""One window proved against its raw events, and set right where it differs."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminTextareaWidget

from config import clock
from metering import operations, queries
from metering.models import AggregationWindow, WindowRepair
from metering.queries import WindowMismatch
from metering.showing import dimensions_text, quantity_text
from metering.windows import WINDOW

VIEW_PERMISSION = "metering.view_aggregationwindow"
REPAIR_PERMISSION = "metering.repair_aggregationwindow"
MAX_ID = 2**63 - 1


class RepairForm(forms.Form):
    reason = forms.CharField(
        label="Why did it go wrong?",
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Kept with the repair, with your name and what the window said before.",
    )


def proof_view(request: HttpRequest, window_id: int) -> HttpResponse:
    """The customer's windows of that hour against their events; who may repair them is asked why."""
    if not request.user.has_perm(VIEW_PERMISSION):
        raise PermissionDenied
    window = AggregationWindow.objects.select_related("meter").filter(pk=min(window_id, MAX_ID)).first()
    if window is None:
        raise Http404
    may_repair = request.user.has_perm(REPAIR_PERMISSION)
    if request.method == "POST" and not may_repair:
        raise PermissionDenied
    start, end = window.window_start, window.window_start + WINDOW
    form = RepairForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        repaired = list(
            operations.repair_windows(
                start=start,
                end=end,
                customer_keys=[window.customer_key],
                reason=form.cleaned_data["reason"],
                actor=f"user:{request.user.get_username()}",
                now=clock.now(),
            )
        )
        text = (
            f"{len(repaired)} windows were set right from their events." if repaired else "Nothing differed any more."
        )
        messages.success(request, text)
        return HttpResponseRedirect(reverse("admin:metering_aggregationwindow_change", args=[window.pk]))
    found = list(queries.verify_windows(start, end, [window.customer_key]))
    context = {
        **admin.site.each_context(request),
        "opts": AggregationWindow._meta,
        "title": f"Proof of {window.customer_key}, {start:%Y-%m-%d %H:00} UTC",
        "window": window,
        "end": end,
        "differing": [_shown(mismatch) for mismatch in found],
        "form": form,
        "may_repair": may_repair,
        "back": reverse("admin:metering_aggregationwindow_change", args=[window.pk]),
    }
    status = 422 if form.is_bound else 200
    return TemplateResponse(request, "admin/metering/window_proof.html", context, status=status)


def _shown(mismatch: WindowMismatch) -> dict[str, Any]:
    figures = [
        {
            "said": said,
            "quantity": "no window" if found is None else quantity_text(found.quantity),
            "events": "" if found is None else found.event_count,
            "fingerprint": "" if found is None else found.fingerprint,
            "kept": "" if found is None else found.kept,
        }
        for said, found in (("Window", mismatch.stored), ("Events", mismatch.recomputed))
    ]
    meter = f"{mismatch.meter_code} v{mismatch.meter_version}"
    return {"meter": meter, "dimensions": dimensions_text(mismatch.dimensions), "figures": figures}


def repairs_of(customer_key: str, window_start: datetime, meter_id: int, dimensions: object) -> list[WindowRepair]:
    """The latest repairs of one window, at most twenty."""
    repairs = WindowRepair.objects.filter(
        customer_key=customer_key, window_start=window_start, meter_id=meter_id, dimensions=dimensions
    )
    return list(repairs.order_by("-id")[:20])
