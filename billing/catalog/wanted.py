"""From a document to what it means: amounts exact, prices that can be computed, terms that agree. Pure."""

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from billing.catalog.document import (
    CHARGE_MODELS,
    AllowanceDocument,
    Amount,
    Catalog,
    CatalogInvalid,
    CoverDocument,
    MeterTerms,
    PlanVersionDocument,
    RateCardDocument,
    RateDocument,
)
from billing.catalog.fees import InvalidFeeTiers, require_fee_tiers
from billing.catalog.meaning import (
    INCLUDED,
    INCLUDED_NAME,
    Card,
    Meaning,
    PlanOffer,
    Pool,
    Price,
    RateKey,
    Version,
    canonical,
    dimensions_of,
    keyed,
    plain_terms,
)
from billing.invoicing.rounding import chargeable_increment_minor
from billing.rating.charges import InvalidTerms, charge_of
from billing.rating.charges.kinds import ChargeModel

DECIMAL_PLACES = 12
_AMOUNT = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?")
_AMOUNT_LIMIT = Decimal(10) ** 15
# Stripe bills at most three years at a time.
_INTERVALS_MAX = {"day": 1095, "week": 156, "month": 36, "year": 3}
_TRIAL_DAYS_MAX = 730

Key = TypeVar("Key", bound=Hashable)
Thing = TypeVar("Thing")


def meaning_of(catalog: Catalog) -> Meaning:
    """Return what a document means. Raises CatalogInvalid naming what is wrong, and what would be right."""
    versions = [
        _version(plan.code, version, f"version {version.version} {version.currency} of plan {plan.code}")
        for plan in catalog.plans
        for version in plan.versions
    ]
    return Meaning(
        products=_once(((one.code, one.name) for one in catalog.products), "product"),
        meters=_once(((one.code, _meter(one)) for one in catalog.meters), "meter"),
        cards=_once(((one.code, _card(one)) for one in catalog.rate_cards), "rate card"),
        plans=_once(
            ((one.code, PlanOffer(one.code, one.name, one.product, one.is_add_on)) for one in catalog.plans), "plan"
        ),
        versions=_once(((one.key, one) for one in versions), "version of a plan"),
    )


def exact_amount(written: Amount, what: str) -> Decimal:
    """Return an amount of at least zero exactly as written. Raises CatalogInvalid saying what it is the amount of."""
    if not _AMOUNT.fullmatch(str(written)):
        raise CatalogInvalid(f"{what} is {str(written)[:40]!r}, which is no amount; write digits, such as 12 or 0.25")
    amount = Decimal(written)
    if amount >= _AMOUNT_LIMIT:
        raise CatalogInvalid(f"{what} is {written!r}, which is no amount below 10^15")
    if -int(amount.as_tuple().exponent) > DECIMAL_PLACES:
        raise CatalogInvalid(f"{what} has more than {DECIMAL_PLACES} decimal places")
    return amount


def _in_utc(at: datetime, what: str) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise CatalogInvalid(f"{what} has an effective_from that no calendar holds; write a later one") from error


def _once(things: Iterable[tuple[Key, Thing]], what: str) -> dict[Key, Thing]:
    found: dict[Key, Thing] = {}
    for key, thing in things:
        if key in found:
            raise CatalogInvalid(f"{what} {key} is given twice; say it once")
        found[key] = thing
    return found


def _meter(terms: MeterTerms) -> MeterTerms:
    """With its filters in the order in which metering keeps them: the same ones written otherwise mean the same."""
    ordered = [{path: sorted(set(allowed)) for path, allowed in sorted(one.items())} for one in terms.filters]
    unique = [one for place, one in enumerate(ordered) if one not in ordered[:place]]
    return msgspec.structs.replace(terms, filters=sorted(unique, key=repr))


def _card(terms: RateCardDocument) -> Card:
    rates: dict[RateKey, Price] = {}
    for key, price in (*_listed(terms), *(_rate(terms, rate) for rate in terms.rates)):
        if key in rates:
            raise CatalogInvalid(f"the price of {key} on card {terms.code} is given twice; say it once")
        rates[key] = price
    return Card(terms.code, terms.name, terms.currency, terms.source.strip(), terms.base, keyed(rates.items()))


def _listed(card: RateCardDocument) -> Iterator[tuple[RateKey, Price]]:
    """The prices of the card's list by model."""
    for prices in card.models:
        for meter_code, price in prices.rates.items():
            yield _rate(
                card,
                RateDocument(
                    meter_code=meter_code,
                    dimensions={"model": prices.model},
                    unit_price=price,
                    effective_from=prices.effective_from,
                ),
            )


def _rate(card: RateCardDocument, rate: RateDocument) -> tuple[RateKey, Price]:
    values = " ".join(str(value) for value in rate.dimensions.values())
    what = f"the price of {' '.join(filter(None, (values, rate.meter_code))) or rate.charge_model} on card {card.code}"
    if rate.charge_model not in CHARGE_MODELS:
        raise CatalogInvalid(f"{what}: charge_model is one of {', '.join(CHARGE_MODELS)}, not {rate.charge_model!r}")
    has_meter = rate.charge_model not in ChargeModel.without_meter()
    if has_meter != bool(rate.meter_code) or (rate.dimensions and not has_meter):
        remedy = "name its meter_code" if has_meter else "leave meter_code and dimensions away"
        raise CatalogInvalid(f"{what}: {rate.charge_model} {'prices a meter' if has_meter else 'has none'}; {remedy}")
    is_per_unit = rate.charge_model == ChargeModel.PER_UNIT
    if is_per_unit and rate.unit_price is None:
        raise CatalogInvalid(f"{what}: per_unit needs a unit_price; give one, or name another charge_model")
    unit_price = None if rate.unit_price is None else exact_amount(rate.unit_price, what)
    unit_size = (rate.unit_size or card.unit_size) if is_per_unit else rate.unit_size
    terms = plain_terms(rate.terms)
    try:
        charge_of(rate.charge_model, terms, unit_price=unit_price, unit_size=unit_size)
    except InvalidTerms as error:
        raise CatalogInvalid(f"{what}: {error}") from error
    key = RateKey(
        meter_code=rate.meter_code,
        dimensions=dimensions_of(rate.dimensions),
        charge="" if has_meter else rate.charge_model,
        effective_from=_in_utc(rate.effective_from or card.effective_from, what),
    )
    return key, Price(rate.charge_model, unit_price, unit_size, canonical(terms))


def _version(plan_code: str, terms: PlanVersionDocument, what: str) -> Version:
    _check_period(terms, what)
    _check_seats_and_fee(terms, what)
    absorb = exact_amount(terms.late_absorb_up_to, f"the late usage that {what} absorbs")
    if (terms.late_policy == "absorb") != (absorb > 0):
        raise CatalogInvalid(f"{what}: late_absorb_up_to must be above zero with late_policy absorb, and only there")
    bundled = [(one.plan, one.version) for one in terms.bundled]
    return Version(
        plan=plan_code,
        version=terms.version,
        currency=terms.currency,
        status=terms.status,
        terms={
            "interval": terms.interval,
            "interval_count": terms.interval_count,
            "alignment": terms.alignment,
            "time_zone": terms.time_zone,
            "trial_days": terms.trial_days,
            "min_seats": terms.min_seats,
            "max_seats": terms.max_seats,
            "fee_minor": terms.fee_minor,
            "fee_tiers": [msgspec.to_builtins(tier) for tier in terms.fee_tiers],
            "late_policy": terms.late_policy,
            "late_absorb_up_to": absorb,
            "usage_delivery": terms.usage_delivery,
        },
        rate_card=terms.rate_card,
        only_for=terms.only_for,
        pools=_pools(terms, what),
        bundled=frozenset(_once(((one, one) for one in bundled), f"{what}: the add-on")),
    )


def _check_period(terms: PlanVersionDocument, what: str) -> None:
    most = _INTERVALS_MAX[terms.interval]
    if terms.interval_count > most:
        raise CatalogInvalid(
            f"{what}: interval_count is {terms.interval_count}, and Stripe bills {most} {terms.interval}s at most"
        )
    if terms.trial_days > _TRIAL_DAYS_MAX:
        raise CatalogInvalid(f"{what}: trial_days is {terms.trial_days}; a trial lasts {_TRIAL_DAYS_MAX} days at most")
    try:
        ZoneInfo(terms.time_zone)
    except (ValueError, OSError, KeyError) as error:
        raise CatalogInvalid(
            f"{what}: there is no time_zone {terms.time_zone!r}; name one such as Europe/Berlin"
        ) from error
    if terms.alignment == "anchor" and terms.time_zone != "UTC":
        raise CatalogInvalid(
            f"{what}: periods from an anchor count in UTC; leave time_zone away or align to the calendar"
        )


def _check_seats_and_fee(terms: PlanVersionDocument, what: str) -> None:
    if terms.max_seats is not None and terms.max_seats < terms.min_seats:
        raise CatalogInvalid(f"{what}: max_seats {terms.max_seats} is below min_seats {terms.min_seats}")
    if terms.fee_tiers and terms.fee_minor:
        raise CatalogInvalid(f"{what}: the fee is said twice; leave fee_minor or fee_tiers away")
    step = chargeable_increment_minor(terms.currency)
    fees = [terms.fee_minor, *(fee for tier in terms.fee_tiers for fee in (tier.unit_minor, tier.flat_minor))]
    if any(fee % step for fee in fees):
        raise CatalogInvalid(
            f"{what}: Stripe charges {terms.currency} in steps of {step} minor units; round the fee to them"
        )
    if terms.fee_tiers:
        try:
            require_fee_tiers(msgspec.to_builtins(terms.fee_tiers))
        except InvalidFeeTiers as error:
            raise CatalogInvalid(f"{what}: {error}") from error


def _pools(terms: PlanVersionDocument, what: str) -> tuple[Pool, ...]:
    if terms.included_amount is not None:
        if terms.allowances:
            raise CatalogInvalid(f"{what}: included_amount is short for one allowance; put it among allowances")
        amount = exact_amount(terms.included_amount, f"the amount that {what} includes")
        pool = Pool(INCLUDED, INCLUDED_NAME, "money", amount, True, "", "[]", "prorate")
        return (pool,) if amount else ()
    pools = [_pool(allowance, f"allowance {allowance.code} of {what}") for allowance in terms.allowances]
    _once(((pool.code, pool) for pool in pools), f"{what}: allowance")
    return tuple(pools)


def _pool(terms: AllowanceDocument, what: str) -> Pool:
    if terms.each_dimension and terms.is_per_seat:
        raise CatalogInvalid(f"{what} is for each {terms.each_dimension} and shared by seats; leave is_per_seat away")
    return Pool(
        code=terms.code,
        name=terms.name,
        measure=terms.measure,
        amount=exact_amount(terms.amount, f"the amount of {what}"),
        is_per_seat=not terms.each_dimension if terms.is_per_seat is None else terms.is_per_seat,
        each_dimension=terms.each_dimension,
        covers=canonical([_cover(cover, what) for cover in terms.covers]),
        at_plan_change=terms.at_plan_change,
    )


def _cover(terms: CoverDocument, what: str) -> Mapping[str, Any]:
    if terms.meter_code is None and not terms.dimensions:
        raise CatalogInvalid(f"{what} covers something without a name; leave covers away where it is all usage")
    if any(not values for values in terms.dimensions.values()):
        raise CatalogInvalid(f"{what} covers no value of a dimension; name one at least")
    dimensions: Mapping[str, Sequence[str]] = {name: sorted(set(values)) for name, values in terms.dimensions.items()}
    cover: dict[str, Any] = {} if terms.meter_code is None else {"meter_code": terms.meter_code}
    return cover | ({"dimensions": dimensions} if dimensions else {})
