"""Credit grants to read, and the one thing that can be done to one: void what is left, with a reason."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from config import clock
from config.admin_lists import AskableList
from promotions import operations, page_links, queries
from promotions.models import CreditGrant

VOID_PERMISSION = "promotions.void_creditgrant"
NOTHING = "–"


class VoidForm(forms.Form):
    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Why it is taken back, for whoever asks later. Kept in the ledger.",
    )


def _amount(amount: Decimal, currency: str) -> str:
    """All places an amount has, two at least."""
    whole, _, places = f"{amount:,f}".partition(".")
    return f"{whole}.{places.rstrip('0').ljust(2, '0')} {currency}"


def _anchor(url: str, text: object) -> str:
    return format_html('<a class="bb-link" href="{}">{}</a>', url, text) if url else str(text)


@admin.register(CreditGrant)
class CreditGrantAdmin(AskableList):
    list_display = ("name", "customer", "kind", "amount_text", "priority", "effective_at", "expires_at", "state")
    list_filter = ("kind",)
    search_fields = ("=customer_key", "name", "reason")
    ordering = ("-recorded_at", "-id")
    actions = None
    show_full_result_count = False
    list_per_page = 50
    fields = (
        "customer",
        "name",
        "kind",
        "amount_text",
        "left",
        "given_back",
        "burned",
        "state",
        "priority",
        "effective_at",
        "expires_at",
        "ended_at",
        "reason",
        "issuer",
        "recorded_at",
        "idempotency_key",
    )
    readonly_fields = fields
    change_form_outer_before_template = "admin/promotions/creditgrant/void_button.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    @display(description="Customer")
    def customer(self, grant: CreditGrant) -> str:
        return _anchor(page_links.customer(grant.customer_key), grant.customer_key)

    @display(description="Granted", ordering="amount")
    def amount_text(self, grant: CreditGrant) -> str:
        return _amount(grant.amount, grant.currency)

    @display(description="Left (balance of its account)")
    def left(self, grant: CreditGrant) -> str:
        return _amount(queries.available(grant.pk), grant.currency)

    @display(description="Given back unused")
    def given_back(self, grant: CreditGrant) -> str:
        withdrawn = queries.withdrawn(grant.pk)
        return _amount(withdrawn, grant.currency) if withdrawn else NOTHING

    @display(description="Burned")
    def burned(self, grant: CreditGrant) -> str:
        url = page_links.drawdowns(grant.pk)
        return _anchor(url, "What it was used for") if url else NOTHING

    @display(description="Issued by")
    def issuer(self, grant: CreditGrant) -> str:
        return grant.issued_by

    @display(description="State", label={"Ended": "danger", "Expired": "warning", "Issued": "success"})
    def state(self, grant: CreditGrant) -> str:
        if grant.ended_at is not None:
            return "Ended"
        return "Expired" if grant.expires_at is not None and grant.expires_at <= clock.now() else "Issued"

    def get_urls(self) -> list[URLPattern]:
        void = path(
            "<int:grant_id>/void/", self.admin_site.admin_view(self.void_view), name="promotions_creditgrant_void"
        )
        return [void, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        grant = self.get_object(request, object_id)
        is_paid = grant is not None and grant.kind == CreditGrant.Kind.PAID
        # Paid credit is the customer's: nobody can take it, so nobody is offered to.
        may_void = request.user.has_perm(VOID_PERMISSION) and not is_paid
        extra_context = {**(extra_context or {}), "may_void": may_void, "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def void_view(self, request: HttpRequest, grant_id: int) -> HttpResponse:
        """Ask for the reason (GET, or POST with an error), then void (POST)."""
        if not request.user.has_perm(VOID_PERMISSION):
            raise PermissionDenied
        grant = CreditGrant.objects.filter(pk=grant_id).first()
        if grant is None:
            raise Http404("There is no such grant.")
        form = VoidForm(request.POST or None)
        if request.method == "POST" and form.is_valid() and self._void(request, grant, form):
            return HttpResponseRedirect(reverse("admin:promotions_creditgrant_change", args=[grant.pk]))
        context = {
            **self.admin_site.each_context(request),
            "title": f"Void {grant.name}",
            "grant": grant,
            "left": _amount(queries.available(grant.pk), grant.currency),
            "form": form,
            "cancel_url": reverse("admin:promotions_creditgrant_change", args=[grant.pk]),
        }
        status = 422 if form.is_bound else 200
        return TemplateResponse(request, "admin/promotions/creditgrant/void.html", context, status=status)

    def _void(self, request: HttpRequest, grant: CreditGrant, form: VoidForm) -> bool:
        """End the grant now. False when it was refused: the reason is then on the form."""
        now = clock.now()
        reason = form.cleaned_data["reason"]
        try:
            with transaction.atomic():
                operations.end_grant(
                    grant_id=grant.pk,
                    at=now,
                    actor=f"user:{request.user.get_username()}",
                    reason=reason,
                    recorded_at=now,
                )
                self.log_change(request, grant, f"Voided: {reason}")
        except (operations.GrantAlreadyEnded, operations.GrantIsPaid) as refusal:
            form.add_error(None, f"Nothing was done: {refusal}.")
            return False
        self.message_user(request, "What was left of the grant is void.", messages.SUCCESS)
        return True
