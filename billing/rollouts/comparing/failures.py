"""Why a customer's usage could not be compared under two sets of terms, sorted. Pure."""

from django.db.models import TextChoices


class Failure(TextChoices):
    """Why something could not be compared."""

    CURRENCY = "currency", "Another currency"
    NOT_OFFERED = "not_offered", "A contract of somebody else"
    SEATS = "seats", "More seats than are sold"
    INTERVAL = "interval", "Periods of another length"
    UNRATED = "unrated", "Usage without a price"
    ARCHIVED = "archived", "Events in an archive"
    INEXACT = "inexact", "A price that is not exact"
    OTHER = "other", "Cannot be rated"


class CannotCompare(Exception):
    """The terms say nothing about this customer; `kind` and the text say why."""

    def __init__(self, kind: Failure, text: str) -> None:
        super().__init__(text)
        self.kind = kind
