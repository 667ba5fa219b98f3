"""How payouts are told apart by what the bank has of them."""

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest

from billing.payments.bank import queries
from billing.payments.bank.models import BankMatchPayout
from billing.payments.models import Payout


class AtBankFilter(admin.SimpleListFilter):
    title = "at the bank"
    parameter_name = "at_bank"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("matched", "With a line"), ("missing", "Arrived, without a line")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Payout]) -> QuerySet[Payout]:
        if self.value() == "matched":
            return queryset.filter(Exists(BankMatchPayout.objects.filter(payout=OuterRef("pk"), match__undoing=None)))
        if self.value() == "missing":
            return queryset.filter(pk__in=[leg.payout.pk for leg in queries.unconfirmed()])
        return queryset
