"""GET only: what an invoice is proved by, and whether it was proved again."""

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from billing.api import parameters
from billing.api.refusals import NotComputable, NotThere
from billing.api.schema import BillingProblem
from billing.api.views import SEES_INVOICE, BillingView
from billing.invoicing.models import Invoice
from billing.invoicing.proofs import queries
from billing.invoicing.proofs.operations import document_of
from billing.invoicing.proofs.verifier.proof import canonical
from billing.invoicing.proofs.verifier.usage import Unreadable
from billing.rating.explanation.as_json import instant_text


class VerificationBody(serializers.Serializer[object]):
    """One time that the proof was derived again from raw events."""

    verified_at = serializers.DateTimeField()
    verified_by = serializers.CharField()
    is_proved = serializers.BooleanField()
    event_count = serializers.IntegerField(help_text="Raw events read.")
    difference_count = serializers.IntegerField()
    differences = serializers.ListField(child=serializers.CharField(), help_text="The first of them, as sentences.")


class InvoiceProofBody(serializers.Serializer[object]):
    """The proof of an invoice."""

    invoice = serializers.CharField(help_text="Stripe's id.")
    format = serializers.IntegerField()
    sha256 = serializers.CharField(help_text="Of the document's canonical JSON.")
    made_at = serializers.DateTimeField()
    made_by = serializers.CharField()
    is_afterwards = serializers.BooleanField(help_text="Made when the invoice was finalised already.")
    verified = VerificationBody(allow_null=True, help_text="The latest time.")
    document = serializers.DictField(help_text="As docs/invoice-proofs.md tells it.")


class InvoiceProofOf(BillingView):
    """The document with its hash: to be kept, and compared with what verify.py --sha256 is told."""

    permissions = ("billing.view_invoiceproof", SEES_INVOICE)
    required_scopes = {"GET": ("billing:read", "usage:read")}

    @extend_schema(
        operation_id="billing_invoice_proof",
        summary="The proof of an invoice",
        description=(
            "What its lines of usage rest on, as it was when the invoice was finalised. A key needs usage:read beside"
            " billing:read: the document tells what was used in every hour."
        ),
        tags=["billing"],
        parameters=[
            OpenApiParameter(
                "stripe_invoice_id", OpenApiTypes.STR, OpenApiParameter.PATH, description="Stripe's id of the invoice."
            )
        ],
        responses={200: InvoiceProofBody, 404: BillingProblem, 409: BillingProblem},
    )
    def get(self, request: Request, stripe_invoice_id: str) -> HttpResponse:
        invoice = None
        if parameters.is_text(stripe_invoice_id):
            invoice = Invoice.objects.filter(stripe_invoice_id=stripe_invoice_id).first()
        if invoice is None:
            raise NotThere("stripe_invoice_id", f"There is no invoice {stripe_invoice_id[:100]!r}. Check its id.")
        proof = queries.proof_of(invoice.pk)
        if proof is None:
            raise NotThere("stripe_invoice_id", "This invoice has no proof: a draft gets one before it is finalised.")
        try:
            document, wrong = document_of(proof)
        except Unreadable as error:
            raise NotComputable("stripe_invoice_id", str(error)) from None
        if wrong:
            raise NotComputable("stripe_invoice_id", wrong[0])
        last = queries.latest_verification(proof)
        verified = last and {
            "verified_at": instant_text(last.verified_at),
            "verified_by": last.verified_by,
            "is_proved": last.is_proved,
            "event_count": last.event_count,
            "difference_count": last.difference_count,
            "differences": last.differences,
        }
        body = {
            "invoice": invoice.stripe_invoice_id,
            "format": proof.format,
            "sha256": proof.sha256,
            "made_at": instant_text(proof.made_at),
            "made_by": proof.made_by,
            "is_afterwards": proof.is_afterwards,
            "verified": verified,
            "document": document,
        }
        return HttpResponse(canonical(body), content_type="application/json")
