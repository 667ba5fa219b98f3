"""Matches of bank lines and payouts: what was said by whom, saying it by hand after a look, and undoing."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from billing.admin_links import NOTHING, link, page_url
from billing.money_text import minor_text
from billing.payments.bank import matches, showing
from billing.payments.bank.forms import MatchForm, WhyForm
from billing.payments.bank.models import BankLine, BankMatch, Leg
from billing.payments.deciding_admin import PagesAdmin, actor_of
from billing.payments.models import Payout
from billing.payments.two_people import TwoPeopleError
from config import clock


@admin.register(BankMatch)
class BankMatchAdmin(PagesAdmin):
    list_display = ("__str__", "what", "difference", "state_label", "why", "matched_by", "matched_at")
    list_filter = ("kind",)
    search_fields = ("=payouts__payout__stripe_payout_id", "why")
    search_help_text = "A payout's id at Stripe, or words of the reason"
    change_form_outer_before_template = "admin/billing/bank/undo_button.html"
    fields = ("what", "lines_links", "payouts_links", "difference", "kind", "why", "matched_by", "matched_at", "undone")

    def get_queryset(self, request: HttpRequest) -> QuerySet[BankMatch]:
        found: QuerySet[BankMatch] = super().get_queryset(request).select_related("undoing")
        return found.prefetch_related("lines__line", "payouts__payout")

    @display(description="What is what")
    def what(self, match: BankMatch) -> str:
        return showing.match_text(match)

    @display(description="Lines")
    def lines_links(self, match: BankMatch) -> SafeString:
        return _joined([link(page_url("billing.bankline", one.line_id), one.line) for one in match.lines.all()])

    @display(description="Payouts")
    def payouts_links(self, match: BankMatch) -> SafeString:
        return _joined([link(page_url("billing.payout", one.payout_id), one.payout) for one in match.payouts.all()])

    @display(description="Lines less payouts", ordering="difference_minor")
    def difference(self, match: BankMatch) -> str:
        return minor_text(match.difference_minor, match.currency) if match.difference_minor else NOTHING

    @display(description="Counts", label={"Counts": "success", "Undone": "default"})
    def state_label(self, match: BankMatch) -> str:
        return "Undone" if hasattr(match, "undoing") else "Counts"

    @display(description="Undone")
    def undone(self, match: BankMatch) -> str:
        if not hasattr(match, "undoing"):
            return NOTHING
        gone = match.undoing
        return f"{gone.undone_by.removeprefix('user:')}, {gone.undone_at:%d %b %Y %H:%M} UTC: {gone.why}"

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.view("line/<int:line_id>/", self.line_view, "line"),
            self.view("payout/<int:payout_id>/<str:leg>/", self.payout_view, "payout"),
            self.view("<int:match_id>/undo/", self.undo_view, "undo"),
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        match = self.get_object(request, object_id)
        may = match is not None and not hasattr(match, "undoing") and request.user.has_perm(matches.MATCH)
        response: HttpResponse = super().change_view(
            request, object_id, form_url, {**(extra_context or {}), "may_undo": may, "subtitle": None}
        )
        return response

    def line_view(self, request: HttpRequest, line_id: int) -> HttpResponse:
        """One line, and the payouts it is."""
        line = BankLine.objects.select_related("account").filter(pk=line_id).first()
        if line is None:
            raise Http404("There is no such line.")
        page = {"facts": showing.line_facts(line), "back_url": page_url("billing.bankline", line.pk)}
        return self._match(
            request,
            MatchForm(request.POST or None, choices=showing.candidates_of(line)),
            page
            | {"title": f"Which payout is {line}?", "nothing": "Within 15 days there is no payout without a line."},
            lines=lambda chosen: [line.pk],
            keys=lambda chosen: [(int(one.split(":")[0]), one.split(":")[1]) for one in chosen],
        )

    def payout_view(self, request: HttpRequest, payout_id: int, leg: str) -> HttpResponse:
        """One payout, and the lines it is."""
        payout = Payout.objects.filter(pk=payout_id).first()
        if payout is None or leg not in Leg.values:
            raise Http404("There is no such payout.")
        amount = minor_text(matches.amount_of(payout, leg), payout.currency)
        facts = [("Payout", payout), ("At the bank", f"{amount}, {Leg(leg).label.lower()}"), ("Status", payout.status)]
        page = {"facts": facts, "back_url": page_url("billing.payout", payout.pk)}
        return self._match(
            request,
            MatchForm(request.POST or None, choices=showing.lines_for(payout, leg)),
            page | {"title": f"Which lines are {payout}?", "nothing": "Within 15 days there is no line left."},
            lines=lambda chosen: [int(one) for one in chosen],
            keys=lambda chosen: [(payout.pk, leg)],
        )

    def _match(
        self, request: HttpRequest, form: MatchForm, page: dict[str, Any], *, lines: Any, keys: Any
    ) -> HttpResponse:
        """Choose (GET), see what they come to (POST), match exactly that (POST with `confirmed`)."""
        if not request.user.has_perm(matches.MATCH):
            raise PermissionDenied
        if request.method == "POST" and form.is_valid() and "edit" not in request.POST:
            told = form.cleaned_data
            chosen = {"line_ids": lines(told["chosen"]), "keys": keys(told["chosen"])}
            if "confirmed" in request.POST:
                try:
                    return self._matched(request, chosen, told)
                except TwoPeopleError as refusal:
                    form.show(refusal)
            else:
                page |= _preview(**chosen) | {"told": told, "is_preview": True}
        status = 422 if form.is_bound and form.errors else 200
        return self.page(request, "bank/match.html", {**page, "form": form}, status=status)

    def _matched(self, request: HttpRequest, chosen: dict[str, Any], told: dict[str, Any]) -> HttpResponse:
        with transaction.atomic():
            match = matches.match_by_hand(
                **chosen,
                expected_difference_minor=told["difference"] or 0,
                why=told["reason"],
                actor=actor_of(request),
                now=clock.now(),
            )
            self.log_change(request, match, f"Matched: {told['reason']}")
        self.message_user(request, "Matched.", messages.SUCCESS)
        return HttpResponseRedirect(page_url("billing.bankmatch", match.pk))

    def undo_view(self, request: HttpRequest, match_id: int) -> HttpResponse:
        """Ask why (GET, or POST with an error), then undo (POST)."""
        if not request.user.has_perm(matches.MATCH):
            raise PermissionDenied
        match = BankMatch.objects.filter(pk=match_id, undoing=None).first()
        if match is None:
            raise Http404("There is no such match, or it is undone.")
        form = WhyForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            why = form.cleaned_data["reason"]

            def work() -> None:
                matches.undo_match(match_id=match.pk, why=why, actor=actor_of(request), now=clock.now())

            if self.act(request, form, match, f"Undone: {why}", work):
                self.message_user(request, "It does not count any more.", messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.bankmatch", match.pk))
        context = {
            "title": f"Undo {match}",
            "facts": [("It says", showing.match_text(match)), ("Because", match.why)],
            "note": "It stays in the history, and the rule does not make it again. You can still match by hand.",
            "form": form,
            "button": "Undo it",
            "back_url": page_url("billing.bankmatch", match.pk),
        }
        return self.page(request, "recovery/ask.html", context, status=422 if form.is_bound else 200)


def _preview(*, line_ids: list[int], keys: list[tuple[int, str]]) -> dict[str, Any]:
    lines = list(BankLine.objects.filter(pk__in=line_ids))
    payouts = Payout.objects.in_bulk([payout_id for payout_id, _ in keys])
    received = sum(line.amount_minor for line in lines)
    sent = sum(matches.amount_of(payouts[payout_id], leg) for payout_id, leg in keys)
    return {
        "lines": lines,
        "payouts": [
            (payouts[payout_id], Leg(leg), matches.amount_of(payouts[payout_id], leg)) for payout_id, leg in keys
        ],
        "received": received,
        "sent": sent,
        "difference": received - sent,
        "currency": lines[0].currency,
    }


def _joined(links: list[SafeString]) -> SafeString:
    return format_html_join(", ", "{}", ((one,) for one in links))
