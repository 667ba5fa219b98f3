"""Reading proofs, and how many invoices are proved."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from billing.invoicing.models import Invoice
from billing.invoicing.proofs.models import InvoiceProof, InvoiceVerification

FINALISED = (Invoice.Status.OPEN, Invoice.Status.PAID, Invoice.Status.UNCOLLECTIBLE)


@dataclass(frozen=True, slots=True)
class ProofFigures:
    """
    Invoices finalised in a span, void ones aside: how many were proved, verified again, and failed when last verified.
    """

    finalised: int
    proved: int
    verified: int
    failed: int


def find_invoice(text: str) -> Invoice | None:
    """The invoice with this number or id of Stripe's."""
    if not text or "\x00" in text:
        return None
    found = Invoice.objects.select_related("customer")
    return found.filter(Q(stripe_invoice_id=text) | Q(number=text)).order_by("pk").first()


def proof_of(invoice_id: int) -> InvoiceProof | None:
    return InvoiceProof.objects.select_related("invoice__customer").filter(invoice_id=invoice_id).first()


def latest_verification(proof: InvoiceProof) -> InvoiceVerification | None:
    return proof.verifications.order_by("-pk").first()


def count_proofs(*, since: datetime | None, after: int) -> int:
    return _proofs(since, after).count()


def next_proof(*, since: datetime | None, after: int) -> InvoiceProof | None:
    """The proof that follows the one of this number, of those made from an instant on."""
    return _proofs(since, after).select_related("invoice__customer").order_by("pk").first()


def _proofs(since: datetime | None, after: int) -> QuerySet[InvoiceProof]:
    found = InvoiceProof.objects.filter(pk__gt=after)
    return found if since is None else found.filter(made_at__gte=since)


def figures(*, start: datetime, end: datetime) -> ProofFigures:
    """Of the invoices finalised in [start, end); one query each."""
    finalised = Invoice.objects.filter(finalized_at__gte=start, finalized_at__lt=end, status__in=FINALISED)
    proofs = InvoiceProof.objects.filter(invoice__in=finalised)
    last = InvoiceVerification.objects.filter(proof=OuterRef("pk")).order_by("-pk").values("is_proved")[:1]
    verified = proofs.filter(Exists(InvoiceVerification.objects.filter(proof=OuterRef("pk"))))
    return ProofFigures(
        finalised=finalised.count(),
        proved=proofs.count(),
        verified=verified.count(),
        failed=verified.annotate(is_proved=Subquery(last)).filter(is_proved=False).count(),
    )


def sample(*, start: datetime, end: datetime, limit: int) -> list[InvoiceProof]:
    """
    Some of the invoices finalised in [start, end): those without any verification first, in the order of the hashes of
    their proofs, which nobody can choose.
    """
    proofs = InvoiceProof.objects.filter(invoice__finalized_at__gte=start, invoice__finalized_at__lt=end)
    seen = Exists(InvoiceVerification.objects.filter(proof=OuterRef("pk")))
    return list(proofs.annotate(is_seen=seen).select_related("invoice__customer").order_by("is_seen", "sha256")[:limit])
