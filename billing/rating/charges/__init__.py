"""How a quantity becomes an amount: one pure, exact charge model per way of pricing."""

from billing.rating.charges.kinds import ChargeModel

__all__ = ["ChargeModel"]
