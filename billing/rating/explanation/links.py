"""Addresses of explanations, below the admin's."""

from django.urls import reverse


def line_url(line_id: int) -> str:
    """Why an invoice's line was charged."""
    return reverse("explanations:invoice-line", args=[line_id])


def accrual_url(accrual_id: int) -> str:
    return reverse("explanations:accrual", args=[accrual_id])


def accrual_line_url(line_id: int) -> str:
    return reverse("explanations:accrual-line", args=[line_id])


def period_url(period_id: int) -> str:
    return reverse("explanations:period", args=[period_id])


def event_url(event_key: str) -> str:
    """What an event cost; its key has 32 hexadecimal digits."""
    return reverse("explanations:event", args=[event_key])
