"""What must be so of one invoice, told a second time, in minor units and without a ledger."""

from dataclasses import dataclass, field
from decimal import Decimal

from billing.reconciliation.minor_units import in_units, rounded_minor


@dataclass
class ModelLine:
    """A line as charged. `exact` is set for usage only, in currency units."""

    kind: str
    amount: int
    discount: int
    tax_on_top: int
    tax_within: int
    exact: Decimal | None = None

    @property
    def net(self) -> int:
        return self.amount - self.discount + self.tax_on_top


@dataclass
class ModelInvoice:
    """Each figure is moved by the fact that moves it, and by nothing else."""

    currency: str
    lines: list[ModelLine]
    open: int = 0
    collected: int = 0
    moved: int = 0
    credited: int = 0
    written_off: int = 0
    is_void: bool = False
    # Tax given back, by credit note; a void invoice owes none.
    tax_back: dict[str, int] = field(default_factory=dict)
    owed_back: int = 0

    @property
    def total(self) -> int:
        return sum(line.net for line in self.lines)

    def leave(self, figure: str, amount: int) -> None:
        """So much of what is open becomes collected, moved, credited or written off."""
        self.open -= amount
        setattr(self, figure, getattr(self, figure) + amount)

    def void(self) -> None:
        self.is_void = True
        self.open = self.moved = self.credited = self.written_off = 0
        self.tax_back.clear()

    def expected(self) -> dict[str, Decimal]:
        """The balances the books must show."""
        usage = [line for line in self.lines if line.exact is not None]
        exact = sum((line.exact for line in usage if line.exact is not None), Decimal(0))
        steps = sum((in_units(rounded_minor(line.exact or Decimal(0), self.currency), self.currency) for line in usage),
                    Decimal(0)) - exact  # fmt: skip
        tax = sum(line.tax_on_top + line.tax_within for line in self.lines) - sum(self.tax_back.values())
        return {
            "receivable": in_units(self.open, self.currency),
            "balance": in_units(-self.moved, self.currency),
            "refund_due": in_units(self.owed_back, self.currency),
            "tax:payable": in_units(0 if self.is_void else tax, self.currency),
            "rounding": Decimal(0) if self.is_void else steps,
            "unbilled": exact if self.is_void else Decimal(0),
            "bad_debt": in_units(self.written_off, self.currency),
        }
