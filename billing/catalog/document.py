"""
The catalogue as a document: what a YAML file may say, checked place by place. Pure. `terms` tells what it means.

    products:
      - {code: editor, name: Editor}              # what plans belong to; optional
    meters:
      - code: input_tokens
        event_type: llm.request
        value_path: data.input_tokens
        aggregation: sum              # or another one that metering knows; only sum, count, window_max can be priced
        dimensions: [model]
        filters: [{status: [ok]}]     # optional: alternatives, paths below data with the texts allowed there
        unit: token
    rate_cards:
      - code: public-2026-11          # unique, for good
        name: Public prices
        currency: USD
        base: other-card              # optional: what this card does not price, that one does
        source: Where the prices were read, and when.
        unit_size: 1000000            # units that each price below buys; this is the default
        effective_from: 2020-01-01T00:00:00Z
        models:                       # a price list: prices of one unit_size, by model and meter
          - model: claude-opus-4.5    # the value of the dimension `model`
            rates: {input_tokens: "5", output_tokens: "25"}
            source: ""                # optional, for people: where this price was read; not stored
            effective_from: 2020-01-01T00:00:00Z               # optional, instead of the card's
        rates:                        # every other price
          - meter_code: requests
            dimensions: {region: eu}  # the values usage must have; left away, any usage of the meter
            charge_model: graduated   # per_unit unless said; billing/rating/charges tells the terms of each
            terms: {tiers: [{up_to: "1000", unit_price: "0.01"}, {up_to: null, unit_price: "0.005"}]}
            effective_from: 2026-12-01T00:00:00Z               # optional, instead of the card's
          - {meter_code: searches, unit_price: "2", unit_size: 1000}
          - {charge_model: minimum_commitment, terms: {amount: "500"}}     # flat and commitments have no meter
    plans:
      - code: pro
        name: Pro
        product: editor               # optional
        is_add_on: false              # an add-on is subscribed to beside a plan
        versions:
          - version: 1                # one number may be sold in several currencies: one entry each
            currency: USD
            status: published         # draft, approved, published (unless said), retired: at least that far
            only_for: acme            # optional, a customer's key: a contract that nobody else may have
            interval: month           # day, week, month or year, times interval_count; a month unless said
            interval_count: 1
            alignment: anchor         # or calendar, in time_zone
            time_zone: UTC
            trial_days: 14
            min_seats: 1
            max_seats: 50
            fee_minor: 2000           # a period and seat, in minor units; or fee_tiers by seats, graduated:
            fee_tiers: [{up_to: 10, unit_minor: 2000}, {up_to: null, unit_minor: 1500, flat_minor: 0}]
            included_amount: "20"     # usage a period and seat in currency units: short for one allowance; or these,
            allowances:               # used in this order, those in units before those in money:
              - code: own
                name: Our own models
                measure: money        # or units
                amount: "20"
                is_per_seat: true     # times the seats, which share it; or
                each_dimension: member                         # so much for each value, shared with none
                covers: [{meter_code: input_tokens, dimensions: {model: [auto]}}]   # left away, all usage
                at_plan_change: prorate                        # or restart, or keep
            bundled: [{plan: priority, version: 1}]            # add-ons that the fee covers, in the same currency
            rate_card: public-2026-11
            late_policy: next_invoice # or credit_or_debit_note, or absorb: usage known only after the close
            late_absorb_up_to: "0"    # with absorb: so much late usage of a period is given up without asking
            usage_delivery: invoice_lines                      # or meter_events: how usage gets onto Stripe's invoice

Amounts are text or whole numbers; a number with a point is read as the text that was written.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from billing.catalog import yaml_text
from billing.rating.charges.kinds import ChargeModel

CHARGE_MODELS = tuple(ChargeModel.values)


class CatalogInvalid(Exception):
    """The document does not say a catalogue. The message ends with the place, such as `$.plans[2].versions[0]`."""


Name = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f]{1,200}\Z")]
Code = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}\Z")]
Path = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Value = Annotated[str, msgspec.Meta(max_length=200)]
Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
Positive = Annotated[int, msgspec.Meta(gt=0, le=2_147_483_647)]
Small = Annotated[int, msgspec.Meta(ge=0, le=32_767)]
# Twelve digits are the most that Stripe states an amount with.
Minor = Annotated[int, msgspec.Meta(ge=0, le=999_999_999_999)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Amount = str | int


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping of the document. What is misspelt is refused: a term that is not read would be a term of nobody."""


class ProductDocument(_Part, frozen=True, kw_only=True):
    code: Code
    name: Name


class MeterTerms(_Part, frozen=True, kw_only=True):
    """What is counted: metering's words, which it checks itself."""

    code: Code
    event_type: Name
    value_path: str
    aggregation: str
    dimensions: list[str]
    unit: Name
    filters: list[dict[str, list[str]]] = []


class ModelPrices(_Part, frozen=True, kw_only=True):
    """The prices of one model, by meter."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    rates: dict[Code, Amount]
    source: str = ""
    effective_from: Instant | None = None


class RateDocument(_Part, frozen=True, kw_only=True):
    """One price of any charge model."""

    meter_code: Code | Literal[""] = ""
    dimensions: dict[Path, Value | None] = {}
    charge_model: str = ChargeModel.PER_UNIT.value
    unit_price: Amount | None = None
    unit_size: Positive | None = None
    terms: dict[str, Any] = {}
    source: str = ""
    effective_from: Instant | None = None


class RateCardDocument(_Part, frozen=True, kw_only=True):
    """A rate card with its prices."""

    code: Code
    name: Name
    currency: Currency
    effective_from: Instant
    base: Code | None = None
    models: list[ModelPrices] = []
    rates: list[RateDocument] = []
    source: Annotated[str, msgspec.Meta(max_length=300)] = ""
    unit_size: Positive = 1_000_000


class CoverDocument(_Part, frozen=True, kw_only=True):
    """Some usage: of one meter or all, with one of these values."""

    meter_code: Code | None = None
    dimensions: dict[Path, list[Value]] = {}


class AllowanceDocument(_Part, frozen=True, kw_only=True):
    """A pool of included usage."""

    code: Code
    name: Name
    amount: Amount
    measure: Literal["money", "units"] = "money"
    is_per_seat: bool | None = None
    each_dimension: Annotated[str, msgspec.Meta(max_length=64)] = ""
    covers: list[CoverDocument] = []
    at_plan_change: Literal["prorate", "restart", "keep"] = "prorate"


class FeeTierDocument(_Part, frozen=True, kw_only=True):
    """Seats up to a number, graduated: what each costs, and what the tier costs once it is reached."""

    up_to: Positive | None
    unit_minor: Minor
    flat_minor: Minor = 0


class BundledDocument(_Part, frozen=True, kw_only=True):
    plan: Code
    version: Positive


class PlanVersionDocument(_Part, frozen=True, kw_only=True):
    """The terms of one version in one currency; the fee and what it includes are for a period."""

    version: Positive
    currency: Currency
    rate_card: Code
    status: Literal["draft", "approved", "published", "retired"] = "published"
    only_for: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    interval: Literal["day", "week", "month", "year"] = "month"
    interval_count: Annotated[int, msgspec.Meta(ge=1, le=1095)] = 1
    alignment: Literal["anchor", "calendar"] = "anchor"
    time_zone: Annotated[str, msgspec.Meta(max_length=64)] = "UTC"
    trial_days: Small = 0
    min_seats: Positive = 1
    max_seats: Positive | None = None
    fee_minor: Minor = 0
    fee_tiers: list[FeeTierDocument] = []
    included_amount: Amount | None = None
    allowances: list[AllowanceDocument] = []
    bundled: list[BundledDocument] = []
    late_policy: Literal["next_invoice", "credit_or_debit_note", "absorb"] = "next_invoice"
    late_absorb_up_to: Amount = "0"
    usage_delivery: Literal["invoice_lines", "meter_events"] = "invoice_lines"


class PlanDocument(_Part, frozen=True, kw_only=True):
    """A plan with its versions."""

    code: Code
    name: Name
    versions: list[PlanVersionDocument]
    product: Code | None = None
    is_add_on: bool = False


class Catalog(_Part, frozen=True, kw_only=True):
    """A whole document."""

    products: list[ProductDocument] = []
    meters: list[MeterTerms] = []
    rate_cards: list[RateCardDocument] = []
    plans: list[PlanDocument] = []


def read_document(document: Mapping[str, Any]) -> Catalog:
    """Return what the document says. Raises CatalogInvalid naming the first place that is wrong."""
    try:
        yaml_text.require_plain(document)
        return msgspec.convert(document, Catalog)
    except (msgspec.ValidationError, yaml_text.NotYaml) as error:
        raise CatalogInvalid(str(error)) from error


def read_yaml(text: str) -> Mapping[str, Any]:
    """Return a YAML text as plain values, decimal numbers as the text that was written. Raises CatalogInvalid."""
    try:
        return yaml_text.read_mapping(text)
    except yaml_text.NotYaml as error:
        raise CatalogInvalid(str(error)) from error
