"""The admin's pages of teams: a customer's team, groups, members, changes, and usage by group and by member."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from io import StringIO
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.decorators import display

from billing.admin_links import NOTHING, page_link
from billing.customers.models import Customer
from billing.invoicing.models import Invoice
from billing.rating.rating import RatingError
from billing.read_only_admin import ReadOnlyAdmin
from billing.subscriptions.models import BillingPeriod
from billing.teams import forms, pages, usage
from billing.teams.errors import TeamError
from billing.teams.models import BillingGroup, Member, TeamChange
from config import clock
from metering.queries import EventsArchived

SEES_USAGE = "billing.view_usageaccrual"
TEMPLATES = "admin/billing/team"


class _OfCustomer(ReadOnlyAdmin):
    """A part of a customer's team."""

    linked_by = frozenset({"customer__id__exact"})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        found: QuerySet[Any] = super().get_queryset(request)
        return found.select_related("customer")

    @display(description="Customer")
    def customer_link(self, row: Any) -> str:
        return page_link("billing.customer", row.customer_id, row.customer)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        if row is not None and self.has_view_permission(request, row):
            extra_context = {**(extra_context or {}), "row": row, "subtitle": None, **self.sections(request, row)}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def sections(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {}

    def usage_of(self, request: HttpRequest, row: Any, *, by_member: bool) -> dict[str, Any]:
        """The usage of the chosen period, for who may see amounts; else nothing."""
        if not request.user.has_perm(SEES_USAGE):
            return {"periods": []}
        periods = pages.periods_of(row.customer)
        chosen = next((one for one in periods if str(one.pk) == request.GET.get("period")), None)
        chosen = chosen or next((one for one in periods if one.starts_at <= clock.now()), None)
        shown = {} if chosen is None else pages.daily(chosen, row.pk, by_member=by_member, now=clock.now())
        return {"periods": periods, "chosen": chosen, "usage": shown}


@admin.register(Member)
class MemberAdmin(_OfCustomer):
    list_display = ("key", "name", "email", "customer_link")
    search_fields = ("key", "name", "email", "=customer__customer_key")
    fields = ("key", "name", "email", "customer_link")
    change_form_template = f"{TEMPLATES}/member.html"

    def sections(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {"spans": pages.member_spans(row), **self.usage_of(request, row, by_member=True)}

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("team/<int:customer_id>/", wrap(self.team_view), name="billing_team"),
            path("team/<int:customer_id>/<slug:verb>/", wrap(self.verb_view), name="billing_team_change"),
            *super().get_urls(),
        ]

    def team_view(self, request: HttpRequest, customer_id: int) -> HttpResponse:
        """The team of a customer."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        customer = _customer(customer_id)
        shown = pages.team_sections(customer, now=clock.now(), asked=request.GET.dict())
        verbs = [(name, verb) for name, verb in forms.VERBS.items() if request.user.has_perm(verb.permission)]
        context = {
            **self.admin_site.each_context(request),
            **shown,
            "title": f"Team of {customer.name}",
            "opts": None,
            "verbs": verbs,
            "may_change": request.user.has_perm(forms.CHANGE),
            "sees_usage": request.user.has_perm(SEES_USAGE),
        }
        return TemplateResponse(request, f"{TEMPLATES}/team.html", context)

    def verb_view(self, request: HttpRequest, customer_id: int, verb: str) -> HttpResponse:
        """Fill in (GET, or POST with an error), see what it will do (POST), do it (POST with `confirmed`)."""
        found = forms.VERBS.get(verb)
        if found is None:
            raise Http404("There is no such change of a team.")
        if not request.user.has_perm(found.permission):
            raise PermissionDenied
        customer = _customer(customer_id)
        if request.method != "POST":
            first = forms.first_values(customer, request.GET.dict())
            return self._show(request, found, found.form(customer=customer, initial=first))
        form = found.form(request.POST, customer=customer)
        if not form.is_valid() or "edit" in request.POST:
            return self._show(request, found, form)
        actor, now = f"user:{request.user.get_username()}", clock.now()
        try:
            if "confirmed" not in request.POST:
                outcome = forms.preview(found, form, actor=actor, now=now)
                return self._show(request, found, forms.hidden(form), outcome=outcome, told=form.cleaned_data)
            change = forms.carry_out(found, form, actor=actor, now=now)
        except TeamError as refusal:
            form.add_error(refusal.field if refusal.field in form.fields else None, str(refusal))
            return self._show(request, found, form)
        if change.recorded_at >= now:
            self.log_change(request, customer, f"{change.get_operation_display()}: {change.reason}")
        self.message_user(request, f"{change.get_operation_display()}: {_told(change.outcome)}.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:billing_team", args=[customer.pk]))

    def _show(
        self,
        request: HttpRequest,
        verb: forms.Verb,
        form: forms.TeamForm,
        *,
        outcome: dict[str, Any] | None = None,
        told: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb.title}: {form.customer.name}",
            "opts": None,
            "verb": verb,
            "form": form,
            "outcome": None if outcome is None else _told(outcome),
            "told": _facts(form, told or {}),
            "back_url": reverse("admin:billing_team", args=[form.customer.pk]),
        }
        status = 422 if form.is_bound and form.errors else 200
        return TemplateResponse(request, f"{TEMPLATES}/change.html", context, status=status)


@admin.register(BillingGroup)
class BillingGroupAdmin(_OfCustomer):
    list_display = ("name", "code", "budget_code", "customer_link", "closed_at")
    search_fields = ("code", "name", "budget_code", "=customer__customer_key")
    fields = ("name", "code", "budget_code", "customer_link", "closed_at")
    change_form_template = f"{TEMPLATES}/group.html"

    def sections(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        may = request.user.has_perm(forms.CHANGE) and row.closed_at is None
        spans = pages.group_spans(row)
        return {"spans": spans, "may_change": may, **self.usage_of(request, row, by_member=False)}

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("usage/<int:period_id>/", wrap(self.usage_view), name="billing_usage_by_group"),
            path("invoice/<int:invoice_id>/", wrap(self.invoice_view), name="billing_invoice_by_group"),
            *super().get_urls(),
        ]

    def usage_view(self, request: HttpRequest, period_id: int) -> HttpResponseBase:
        """Usage of a period by group, or with ?by=member by member; ?as=csv for all of it as a file."""
        if not (request.user.has_perm(SEES_USAGE) and self.has_view_permission(request)):
            raise PermissionDenied
        periods = BillingPeriod.objects.select_related("plan_version", "subscription__customer")
        period = periods.filter(pk=period_id).first()
        if period is None:
            raise Http404("There is no such period.")
        by_member = request.GET.get("by") == "member"
        if request.GET.get("as") == "csv":
            return _period_csv(period, by_member=by_member)
        shown = pages.by_holder(period, by_member=by_member, now=clock.now(), page=request.GET.get("page"))
        context = {
            **self.admin_site.each_context(request),
            **shown,
            "title": f"Usage by {'member' if by_member else 'group'}",
            "opts": None,
            "by_member": by_member,
            "customer": period.subscription.customer,
            "periods": pages.periods_of(period.subscription.customer),
        }
        return TemplateResponse(request, f"{TEMPLATES}/usage.html", context, status=200)

    def invoice_view(self, request: HttpRequest, invoice_id: int) -> HttpResponseBase:
        """An invoice's usage by group."""
        if not (request.user.has_perm("billing.view_invoice") and request.user.has_perm(SEES_USAGE)):
            raise PermissionDenied
        invoice = Invoice.objects.select_related("customer").filter(pk=invoice_id).first()
        if invoice is None:
            raise Http404("There is no such invoice.")
        context = {**self.admin_site.each_context(request), "title": f"Invoice {invoice} by group", "opts": None}
        try:
            found = usage.invoiced_by_group(invoice, now=clock.now())
        except (RatingError, EventsArchived) as error:
            return TemplateResponse(
                request, f"{TEMPLATES}/invoice.html", {**context, "invoice": invoice, "refused": str(error)}
            )
        if request.GET.get("as") == "csv":
            return _csv(f"invoice-{invoice.pk}-by-group.csv", pages.invoice_csv(found, invoice.currency))
        rows = pages.invoice_rows(found, invoice.currency)
        shown = {**context, "invoice": invoice, "found": found, "rows": rows}
        return TemplateResponse(request, f"{TEMPLATES}/invoice.html", shown)


@admin.register(TeamChange)
class TeamChangeAdmin(_OfCustomer):
    list_display = ("recorded_at", "operation", "customer_link", "outcome_text", "actor", "reason")
    list_filter = ("operation",)
    search_fields = ("=customer__customer_key", "actor", "reason")
    ordering = ("-id",)
    fields = (
        "operation",
        "customer_link",
        "effective_at",
        "recorded_at",
        "actor",
        "reason",
        "outcome_text",
        "idempotency_key",
    )

    @display(description="What it did")
    def outcome_text(self, change: TeamChange) -> str:
        return _told(change.outcome) or NOTHING


def _customer(customer_id: int) -> Customer:
    customer = Customer.objects.filter(pk=customer_id).first()
    if customer is None:
        raise Http404("There is no such customer.")
    return customer


def _told(outcome: dict[str, Any]) -> str:
    """An outcome in words: what is nothing is left out."""
    parts = []
    for name, value in outcome.items():
        words = name.replace("_", " ")
        if isinstance(value, bool) or value is None:
            parts.append(f"{words} {'yes' if value else 'no'}")
        elif isinstance(value, int):
            parts += [f"{value:,} {words}"] if value else []
        elif isinstance(value, dict):
            parts.append(f"{words} {_told(value) or 'nothing'}")
        elif isinstance(value, list):
            parts += [f"{words} {'; '.join(_told(one) if isinstance(one, dict) else str(one) for one in value)}"]
        elif value:
            parts.append(f"{words} {value}")
    return ", ".join(part for part in parts if part.strip()) or "nothing changes"


def _facts(form: forms.TeamForm, told: dict[str, Any]) -> list[tuple[str, str]]:
    """What was filled in, for the preview."""
    return [
        (str(form.fields[name].label or name.replace("_", " ").capitalize()), _fact(name, value))
        for name, value in told.items()
        if name != "idempotency_key" and value not in (None, "")
    ]


def _fact(name: str, value: Any) -> str:
    if name == "members":
        lines = [line for line in str(value).splitlines() if line.strip()]
        more = f" and {len(lines) - 5:,} more" if len(lines) > 5 else ""
        return f"{len(lines):,}: {'; '.join(lines[:5])}{more}"
    if isinstance(value, datetime):
        return f"{value:%d %b %Y %H:%M:%S} UTC"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "as it is" if value == forms.AS_IT_IS else str(value)


def _period_csv(period: BillingPeriod, *, by_member: bool) -> HttpResponseBase:
    read = usage.usage_by_member if by_member else usage.usage_by_group
    try:
        found = read(period, now=clock.now())
    except (RatingError, EventsArchived) as error:
        return HttpResponse(str(error), status=409, content_type="text/plain; charset=utf-8")
    name = f"usage-by-{'member' if by_member else 'group'}-{period.starts_at:%Y-%m-%d}.csv"
    return _csv(name, pages.csv_rows(found, period))


def _csv(name: str, rows: Iterable[Sequence[str]]) -> StreamingHttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingHttpResponse(_lines(rows), content_type="text/csv; charset=utf-8", headers=headers)


def _lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in rows:
        line = StringIO()
        csv.writer(line).writerow(row)
        yield line.getvalue()
