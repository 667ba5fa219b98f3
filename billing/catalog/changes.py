"""What applying a document would change, told thing by thing. Pure."""

from dataclasses import dataclass

ADD, CHANGE, MOVE = "+", "~", ">"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that will be otherwise; `was` is empty for what is added, `will_be` for what is taken away."""

    what: str
    was: str
    will_be: str

    @property
    def label(self) -> str:
        """The document's word as people read it."""
        text = self.what.replace("_", " ").removesuffix(" minor")
        return f"{text[:1].upper()}{text[1:]}"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing of the catalogue that is added or changed. `is_promised`: more than drafts feel it."""

    sign: str
    subject: str
    differences: tuple[Difference, ...] = ()
    affected: str = ""
    is_promised: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """What cannot be, why, and what to do instead."""

    subject: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}. {self.remedy}"


@dataclass(frozen=True, slots=True)
class CatalogPlan:
    """
    What applying a document would do. With any refusal it does nothing at all. `digest` names it: of what the document
    means, what it would take the place of, and what was told.
    """

    changes: tuple[Change, ...]
    refusals: tuple[Refusal, ...]
    notes: tuple[str, ...]
    digest: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.changes and not self.refusals


def customers(live: int) -> str:
    """So many live subscriptions, in words."""
    return {0: "no live subscription", 1: "1 live subscription"}.get(live, f"{live:,} live subscriptions")
