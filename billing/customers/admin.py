"""The customer's page, which answers most questions, and the one thing that can be done there: issue credit."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import BigIntegerField, OuterRef, Prefetch, QuerySet, Subquery, Sum
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.decorators import display

from billing.accounting.adjustments import REQUEST_CUSTOMER_ADJUSTMENT
from billing.admin_links import NOTHING, page_url
from billing.customers import issue_credit, page
from billing.customers.models import Customer
from billing.customers.queries import customer_by_key
from billing.customers.timeline import timeline
from billing.invoicing.models import Invoice
from billing.money_text import exact_text, minor_text
from billing.read_only_admin import ReadOnlyAdmin
from billing.stripe.dashboard import object_text
from billing.subscriptions.admin import STATUS_COLOURS
from billing.subscriptions.models import Subscription
from config import clock

ISSUE_PERMISSION = "promotions.issue_creditgrant"
ISSUE_TEMPLATE = "admin/billing/customer/issue_credit.html"


@admin.register(Customer)
class CustomerAdmin(ReadOnlyAdmin):
    list_display = ("name", "customer_key", "kind", "plan", "status_label", "owed", "created_at")
    list_filter = ("kind", "subscriptions__status")
    search_fields = ("customer_key", "name", "email", "=stripe_customer_id")
    ordering = ("name", "id")
    fields = ("name", "customer_key", "email", "kind", "currency", "created_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        owed = Invoice.objects.filter(customer=OuterRef("pk"), status=Invoice.Status.OPEN).order_by()
        owed_minor = owed.values("customer").annotate(total=Sum("amount_remaining_minor")).values("total")
        subscriptions = Subscription.objects.select_related("plan_version__plan").order_by("-started_at", "-id")
        found: QuerySet[Customer] = super().get_queryset(request)
        return found.annotate(owed_minor=Subquery(owed_minor, output_field=BigIntegerField())).prefetch_related(
            Prefetch("subscriptions", queryset=subscriptions, to_attr="latest_subscriptions")
        )

    @display(description="Plan")
    def plan(self, customer: Any) -> str:
        latest = customer.latest_subscriptions
        return str(latest[0].plan_version) if latest else NOTHING

    @display(description="Standing", label=STATUS_COLOURS)
    def status_label(self, customer: Any) -> str:
        latest = customer.latest_subscriptions
        return latest[0].get_status_display() if latest else "No subscription"

    @display(description="Owed", ordering="owed_minor")
    def owed(self, customer: Any) -> str:
        return minor_text(customer.owed_minor, customer.currency) if customer.owed_minor else NOTHING

    def get_urls(self) -> list[URLPattern]:
        issue = path(
            "<int:customer_id>/issue-credit/",
            self.admin_site.admin_view(self.issue_credit_view),
            name="billing_customer_issue_credit",
        )
        by_key = path(
            "by-key/<path:customer_key>/", self.admin_site.admin_view(self.by_key_view), name="billing_customer_by_key"
        )
        return [issue, by_key, *super().get_urls()]

    def by_key_view(self, request: HttpRequest, customer_key: str) -> HttpResponse:
        """Where pages of the lower apps lead: they know a customer's key only."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        customer = customer_by_key(customer_key)
        if customer is None:
            raise Http404("There is no customer with this key.")
        return HttpResponseRedirect(page_url("billing.customer", customer.pk))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        customer = self.get_object(request, object_id)
        if customer is not None and self.has_view_permission(request, customer):
            extra_context = {**(extra_context or {}), **self._sections(request, customer)}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def _sections(self, request: HttpRequest, customer: Customer) -> dict[str, Any]:
        may = request.user.has_perm
        shown = page.sections(customer=customer, period_id=request.GET.get("period", ""), now=clock.now(), may=may)
        return {
            **shown,
            "customer": customer,
            "subtitle": None,
            "stripe_object": object_text("customers", customer.stripe_customer_id),
            "may_issue_credit": may(ISSUE_PERMISSION),
            "may_adjust": may(REQUEST_CUSTOMER_ADJUSTMENT),
            "timeline": timeline(
                customer=customer,
                subscriptions=shown["subscriptions"],
                grants=shown["grants"],
                invoices=shown["invoices"],
                payments=shown["payments"],
                may=may,
            ),
        }

    def issue_credit_view(self, request: HttpRequest, customer_id: int) -> HttpResponse:
        """Fill in (GET, or POST with an error), confirm (POST), issue (POST with `confirmed`)."""
        if not request.user.has_perm(ISSUE_PERMISSION):
            raise PermissionDenied
        customer = Customer.objects.filter(pk=customer_id).first()
        if customer is None:
            raise Http404("There is no such customer.")
        now = clock.now()
        if request.method != "POST":
            return self._show_form(request, customer, issue_credit.empty_form(customer, now=now))
        form = issue_credit.sent_form(customer, data=request.POST, now=now)
        if not form.is_valid() or "edit" in request.POST:
            return self._show_form(request, customer, form)
        if "confirmed" not in request.POST:
            fixed = issue_credit.confirmation(form, customer, now=now)
            return self._show_form(request, customer, fixed, confirming=form.cleaned_data)
        return self._issue(request, customer, form)

    def _issue(self, request: HttpRequest, customer: Customer, form: issue_credit.IssueCreditForm) -> HttpResponse:
        now = clock.now()
        with transaction.atomic():
            grant = issue_credit.issue(form, customer, request=request, now=now)
            if grant is None:
                return self._show_form(request, customer, form)
            amount = exact_text(grant.amount, grant.currency)
            is_first = grant.recorded_at == now
            if is_first:
                self.log_change(request, customer, f"Issued credit {grant.pk} of {amount}: {grant.reason}")
        said = f"{amount} of credit issued." if is_first else f"This credit of {amount} was issued already, once."
        self.message_user(request, said, messages.SUCCESS if is_first else messages.INFO)
        return HttpResponseRedirect(page_url("billing.customer", customer.pk))

    def _show_form(
        self,
        request: HttpRequest,
        customer: Customer,
        form: issue_credit.IssueCreditForm,
        confirming: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"Issue credit to {customer.name}",
            "opts": None,
            "customer": customer,
            "form": form,
            "confirming": confirming,
            "kind_label": dict(issue_credit.KINDS)[confirming["kind"]] if confirming else "",
            "cancel_url": reverse("admin:billing_customer_change", args=[customer.pk]),
        }
        status = 422 if form.is_bound and form.errors else 200
        return TemplateResponse(request, ISSUE_TEMPLATE, context, status=status)
