"""The names of the charge models (DESIGN §4: charge model), as a rate's row and the catalogue's document say them."""

from django.db import models


class ChargeModel(models.TextChoices):
    """Every way of pricing; what its terms are is told by the class of the same name in this package."""

    PER_UNIT = "per_unit", "Per unit"
    GRADUATED = "graduated", "Graduated tiers"
    VOLUME = "volume", "Volume tiers"
    PACKAGE = "package", "Packages"
    PERCENTAGE = "percentage", "Percentage"
    GRADUATED_PERCENTAGE = "graduated_percentage", "Graduated percentage"
    BLOCKS = "blocks", "Blocks"
    MATRIX = "matrix", "Matrix by dimensions"
    COST_PLUS = "cost_plus", "Cost plus margin"
    FLAT = "flat", "Flat"
    MINIMUM_COMMITMENT = "minimum_commitment", "Minimum commitment"
    MAXIMUM_COMMITMENT = "maximum_commitment", "Maximum commitment"

    @classmethod
    def without_meter(cls) -> list[str]:
        """Charges of a whole period that need no usage."""
        return [cls.FLAT.value, cls.MINIMUM_COMMITMENT.value, cls.MAXIMUM_COMMITMENT.value]
