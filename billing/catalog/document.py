"""
The catalogue as a document: what a YAML file may say, checked and turned into our types. Pure.

    meters:
      - code: input_tokens
        event_type: llm.request
        value_path: data.input_tokens
        aggregation: sum              # or another one that metering knows; only sum, count, window_max can be priced
        dimensions: [model]
        unit: token
    rate_cards:
      - code: public-2026-11          # unique
        name: Public prices
        currency: USD
        source: Where the prices were read, and when.
        unit_size: 1000000            # units that each price below buys; this is the default
        effective_from: 2020-01-01T00:00:00Z
        models:
          - model: claude-opus-4.5    # the value of the dimension `model`
            rates: {input_tokens: "5", output_tokens: "25"}    # price per unit_size, by meter
            source: ""                # optional, for people: where this price was read; not stored
            effective_from: 2020-01-01T00:00:00Z               # optional, instead of the card's
    plans:
      - code: pro
        name: Pro
        versions:
          - version: 1
            currency: USD
            fee_minor: 2000           # a month and seat, in minor units
            included_amount: "20"     # usage a month and seat, in currency units
            rate_card: public-2026-11
            status: published         # or draft; published unless said
            late_policy: next_invoice # or credit_or_debit_note, or absorb: usage known only after the close
            late_absorb_up_to: "0"    # with absorb: so much late usage of a period is given up without asking

Amounts are text or whole numbers. A number with a point has become a float when YAML reads it plainly, so it is
refused here; `read_yaml` reads it as the text that was written.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

import msgspec
import yaml

DECIMAL_PLACES = 12
_AMOUNT_LIMIT = Decimal(10) ** 15

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Code = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$")]
Positive = Annotated[int, msgspec.Meta(gt=0, le=2_147_483_647)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Amount = str | int


class CatalogInvalid(Exception):
    """The document does not say a catalogue. The message ends with the place, such as `$.plans[2].versions[0]`."""


class MeterTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is counted: metering's words, which it checks itself."""

    code: Code
    event_type: Name
    value_path: str
    aggregation: str
    dimensions: list[str]
    unit: Name


class ModelPrices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The prices of one model."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    rates: dict[Code, Amount]
    source: str = ""
    effective_from: Instant | None = None


class RateCardTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rate card with the prices of its models."""

    code: Code
    name: Name
    currency: Currency
    effective_from: Instant
    models: list[ModelPrices]
    source: Annotated[str, msgspec.Meta(max_length=300)] = ""
    unit_size: Positive = 1_000_000


class PlanVersionTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The terms of one version; the fee and what it includes are for a month and seat."""

    version: Positive
    currency: Currency
    fee_minor: Annotated[int, msgspec.Meta(ge=0)]
    included_amount: Amount
    rate_card: Code
    status: Literal["draft", "published"] = "published"
    late_policy: Literal["next_invoice", "credit_or_debit_note", "absorb"] = "next_invoice"
    late_absorb_up_to: Amount = "0"


class PlanTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan with its versions."""

    code: Code
    name: Name
    versions: list[PlanVersionTerms]


class Catalog(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole document."""

    meters: list[MeterTerms] = []
    rate_cards: list[RateCardTerms] = []
    plans: list[PlanTerms] = []


@dataclass(frozen=True, slots=True)
class RateTerms:
    """One price: of `unit_size` units of a meter for a model, from an instant on."""

    meter_code: str
    model: str
    unit_price: Decimal
    unit_size: int
    effective_from: datetime


def read_document(document: Mapping[str, Any]) -> Catalog:
    """Return what the document says. Raises CatalogInvalid naming the first place that is wrong."""
    try:
        return msgspec.convert(document, Catalog)
    except msgspec.ValidationError as error:
        raise CatalogInvalid(str(error)) from error


def read_yaml(text: str) -> Mapping[str, Any]:
    """Return a YAML text as plain values, decimal numbers as the text that was written. Raises CatalogInvalid."""
    try:
        document = yaml.load(text, Loader=_DecimalsAsText)
    except yaml.YAMLError as error:
        raise CatalogInvalid(f"this is no YAML: {error}") from error
    if not isinstance(document, dict):
        raise CatalogInvalid("the document has to name meters, rate_cards or plans")
    return document


def rates_of(card: RateCardTerms) -> Iterator[RateTerms]:
    """Yield every price of the card. Raises CatalogInvalid for an amount that is none."""
    for prices in card.models:
        for meter_code, price in prices.rates.items():
            yield RateTerms(
                meter_code=meter_code,
                model=prices.model,
                unit_price=exact_amount(price, f"the price of {prices.model} {meter_code} on card {card.code}"),
                unit_size=card.unit_size,
                effective_from=(prices.effective_from or card.effective_from).astimezone(UTC),
            )


def exact_amount(written: Amount, what: str) -> Decimal:
    """Return an amount of at least zero exactly as written. Raises CatalogInvalid saying what it is the amount of."""
    try:
        amount = Decimal(written)
    except InvalidOperation as error:
        raise CatalogInvalid(f"{what} is {written!r}, which is no amount") from error
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or not 0 <= amount < _AMOUNT_LIMIT:
        raise CatalogInvalid(f"{what} is {written!r}, which is no amount of at least zero")
    if -exponent > DECIMAL_PLACES:
        raise CatalogInvalid(f"{what} has more than {DECIMAL_PLACES} decimal places")
    return amount


def _as_written(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


class _DecimalsAsText(yaml.SafeLoader):
    """Reads 6.25 as the text '6.25': a float could not reach money without changing it."""


_DecimalsAsText.add_constructor("tag:yaml.org,2002:float", _as_written)
