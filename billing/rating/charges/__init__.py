"""How a quantity becomes an amount: one pure, exact charge model per way of pricing."""

from billing.rating.charges.charge import Basis, Charge, InvalidTerms, Priced, Step
from billing.rating.charges.kinds import ChargeModel
from billing.rating.charges.linear import CostPlus, MaximumCommitment, MinimumCommitment
from billing.rating.charges.matrix import Cell, Matrix
from billing.rating.charges.parts import billable, graduated_prorated, part, volume_prorated
from billing.rating.charges.percentage import percent_of
from billing.rating.charges.terms import charge_of, charge_of_rate
from billing.rating.charges.tiers import Graduated, Volume

__all__ = [
    "Basis",
    "Cell",
    "Charge",
    "ChargeModel",
    "CostPlus",
    "Graduated",
    "InvalidTerms",
    "Matrix",
    "MaximumCommitment",
    "MinimumCommitment",
    "Priced",
    "Step",
    "Volume",
    "billable",
    "charge_of",
    "charge_of_rate",
    "graduated_prorated",
    "part",
    "percent_of",
    "volume_prorated",
]
