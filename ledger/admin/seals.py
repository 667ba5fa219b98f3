"""Seals: what is sealed up to when. Only `manage.py verify_ledger` proves them; this page says what to ask it for."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ledger import queries, verification
from ledger.admin.read_only import ReadOnlyAdmin
from ledger.models import Seal


@admin.register(Seal)
class SealAdmin(ReadOnlyAdmin):
    list_display = ["number", "sealed_at", "entry_count", "first_entry", "last_entry", "hash_start"]
    ordering = ["-number"]
    fields = [
        "number",
        "sealed_at",
        "entry_count",
        ("first_entry", "last_entry"),
        ("from_xid", "before_xid"),
        "root_hex",
        "previous_hash_hex",
        "hash_hex",
    ]
    readonly_fields = ["root_hex", "previous_hash_hex", "hash_hex"]
    list_before_template = "admin/ledger/seal/status.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Seal]:
        """Without the fingerprint of each entry: there are tens of thousands in a seal."""
        found: QuerySet[Seal] = super().get_queryset(request)
        return found.defer("entry_ids", "leaf_hashes")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {
            **(extra_context or {}),
            "last_seal": queries.last_seal(),
            "unsealed_count": verification.count_unsealed(),
        }
        response: HttpResponse = super().changelist_view(request, context)
        return response

    @admin.display(description="hash")
    def hash_start(self, seal: Seal) -> str:
        return bytes(seal.hash).hex()[:16]

    @admin.display(description="hash")
    def hash_hex(self, seal: Seal) -> SafeString:
        return _hex(seal.hash)

    @admin.display(description="hash of the seal before")
    def previous_hash_hex(self, seal: Seal) -> SafeString:
        return _hex(seal.previous_hash)

    @admin.display(description="root of the Merkle tree")
    def root_hex(self, seal: Seal) -> SafeString:
        return _hex(seal.root)


def _hex(value: bytes | memoryview) -> SafeString:
    return format_html('<span class="bb-json">{}</span>', bytes(value).hex())
