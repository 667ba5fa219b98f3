"""Finding the tax rates that a request names, to be shown as they are where they apply."""

from collections.abc import Sequence

from tests.sandbox.billing.invoices.taxes import RATES_A_LINE_MAX
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World


def find_tax_rates(world: World, names: Sequence[str] | str | None, *, param: str) -> list[StripeObject]:
    """Copies of the tax rates of a parameter; none for an empty text or None.

    Raises `StripeError` for one that is not there or archived, and for more than Stripe takes.
    """
    rates = [
        world.store.get("tax_rate", name, noun="tax rate", param=f"{param}[{place}]")
        for place, name in enumerate(names or [])
    ]
    if len(rates) > RATES_A_LINE_MAX:
        raise StripeError(
            f"Array must have at most {RATES_A_LINE_MAX} elements.", code="parameter_invalid_array", param=param
        )
    for place, rate in enumerate(rates):
        if not rate["active"]:
            raise StripeError(
                f"The tax rate {rate['id']} is archived and cannot be applied to anything new.",
                param=f"{param}[{place}]",
            )
    return [copied(rate) for rate in rates]
