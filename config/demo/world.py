"""
Who lives in the demo: people and companies, their plans, cards and credits. Pure: the same seed gives the same world.

Every 25 customers in a row hold the same mix, shuffled, so that a small world has one of each sort too.
"""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from config.demo.month import Month
from config.demo.usage import UsageProfile

GOOD_CARD = "pm_card_visa"
# Can be attached, and declines every charge.
DECLINING_CARD = "pm_card_chargeCustomerFail"

ZONES = (
    "America/Los_Angeles", "America/Los_Angeles", "America/New_York", "America/New_York", "America/Sao_Paulo",
    "Europe/London", "Europe/Berlin", "Europe/Berlin", "Asia/Kolkata", "Asia/Kolkata", "Asia/Tokyo", "Australia/Sydney",
)  # fmt: skip
FIRST_NAMES = (  # noqa: SIM905  (names read better without quotes)
    "Ada Amir Ana Bela Bruno Carla Chen Dana Diego Elif Emre Femi Fatima Gita Hana Hugo Ines Ivan Jana Jonas"
    " Kaito Kofi Lara Leila Luca Maja Mei Milan Nadia Nils Noor Omar Pavel Priya Rafa Rosa Sami Sofia Tariq"
    " Tess Uma Viktor Wren Yuki"
).split()
LAST_NAMES = (  # noqa: SIM905  (names read better without quotes)
    "Abara Adler Baros Bennett Castro Cho Dahl Duarte Eriksen Fischer Fontaine Garg Hassan Horvat Ibarra Ito Jansen"
    " Kaya Keller Kumar Laine Lopez Marek Mensah Moreau Nakamura Novak Okafor Olsen Park Pereira Quist Rao Reyes Rossi"
    " Sato Silva Tanaka Toth Vance Weber Wolff Yilmaz Zeman"
).split()
COMPANY_WORDS = (  # noqa: SIM905  (names read better without quotes)
    "Amber Basalt Birch Cedar Cobalt Coral Delta Ember Fjord Garnet Harbor Indigo Juniper Kestrel Larch Lumen Maple"
    " Meridian Nimbus Onyx Orchard Pebble Quartz Raven Sable Sierra Tidal Umber Vertex Willow Yonder Zephyr"
).split()
COMPANY_ENDS = ("Labs", "Systems", "Works", "Software", "Robotics", "Health", "Freight", "Games", "Bank", "Energy")


@dataclass(frozen=True, slots=True)
class Sort:
    """One of the sorts of customers: which plan, how many of 25, and how much they use."""

    kind: str
    plan_code: str
    of_25: int
    seats_min: int
    seats_max: int
    # Typical requests a month and seat; the tail above it is heavy.
    requests: int
    context_tokens: int


SORTS = (
    Sort("individual", "hobby", 5, 1, 1, 8, 9_000),
    Sort("individual", "pro", 8, 1, 1, 120, 22_000),
    Sort("individual", "pro_plus", 3, 1, 1, 270, 30_000),
    Sort("individual", "ultra", 2, 1, 1, 600, 38_000),
    Sort("team", "teams", 6, 3, 12, 55, 26_000),
    Sort("enterprise", "enterprise", 1, 15, 30, 40, 26_000),
)
MIX = 25
# The paid individual whose card declines at the end of the month, one in each mix: 4 %.
DECLINING_SORT = "pro"
# Nobody alone uses more than this many times what is typical.
TAIL_LIMIT = 9.0


@dataclass(frozen=True, slots=True)
class DemoGrant:
    """Credit given to a customer in the demo, in the currency of the catalogue."""

    kind: str
    name: str
    amount: Decimal
    effective_at: datetime
    expires_at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class DemoCustomer:
    """One customer and everything that will happen to it."""

    name: str
    email: str
    kind: str
    plan_code: str
    seats: int
    # The card the month-end invoice is charged to; the first payment is made with GOOD_CARD.
    card: str
    grants: tuple[DemoGrant, ...]
    # True: the month's usage is imported from a file instead of being sent over HTTP.
    imported: bool
    usage: UsageProfile

    @property
    def customer_key(self) -> str:
        return self.usage.customer_key


def build_world(*, seed: int, customers: int, month: Month) -> list[DemoCustomer]:
    """Return the customers of the demo, in the order of their keys."""
    generator = random.Random(f"{seed}/world/{customers}")
    sorts: list[Sort] = []
    while len(sorts) < customers:
        mix = [sort for sort in SORTS for _ in range(sort.of_25)]
        generator.shuffle(mix)
        sorts.extend(mix)
    seen: dict[str, int] = {}
    world = []
    for number, sort in enumerate(sorts[:customers], start=1):
        nth = seen[sort.plan_code] = seen.get(sort.plan_code, 0) + 1
        world.append(_customer(generator, sort, number, nth, month))
    return world


def _customer(generator: random.Random, sort: Sort, number: int, nth: int, month: Month) -> DemoCustomer:
    """Return the `number`th customer of all, the `nth` of its sort."""
    person = f"{generator.choice(FIRST_NAMES)} {generator.choice(LAST_NAMES)}"
    if sort.kind == "individual":
        name, key = person, f"user-{number:04d}"
        address = f"{person.lower().replace(' ', '.')}.{number}@example.com"
    else:
        name = f"{generator.choice(COMPANY_WORDS)} {generator.choice(COMPANY_ENDS)}"
        key, address = f"{sort.kind}-{number:04d}", f"billing.{number}@{name.lower().replace(' ', '-')}.example"
    seats = generator.randint(sort.seats_min, sort.seats_max)
    # A Pareto tail: most are below what is typical, a few are far above.
    appetite = min(0.35 * generator.paretovariate(1.25), TAIL_LIMIT)
    profile = UsageProfile(
        customer_key=key,
        time_zone=generator.choice(ZONES),
        requests=max(1, round(sort.requests * seats * appetite)),
        members=tuple(f"{key}.m{member}" for member in range(1, seats + 1)),
        weekend_share=generator.choice((0.5, 0.7, 1.0)) if sort.kind == "individual" else 0.15,
        context_tokens=round(sort.context_tokens * generator.uniform(0.7, 1.5)),
    )
    return DemoCustomer(
        name=name,
        email=address,
        kind=sort.kind,
        plan_code=sort.plan_code,
        seats=seats,
        card=DECLINING_CARD if sort.plan_code == DECLINING_SORT and nth % 8 == 3 else GOOD_CARD,
        grants=_grants(sort, nth, month),
        imported=sort.plan_code == "pro_plus" and nth == 2,
        usage=profile,
    )


def _grants(sort: Sort, nth: int, month: Month) -> tuple[DemoGrant, ...]:
    """Return grants that end in every way: used up, partly used, expired in mid-month, never touched."""
    middle = month.starts_at + timedelta(days=14, hours=18)
    if sort.plan_code == "pro" and nth % 4 == 1:
        return (_grant("promotional", "Launch promotion", "15", month.starts_at, middle, "Launch campaign"),)
    if sort.plan_code == "pro_plus" and nth % 3 == 1:
        return (
            _grant("goodwill", "Apology for the outage", "40", month.starts_at, None, "Outage of the second day"),
            _grant("promotional", "Referral", "10", month.starts_at, month.ends_at, "Referred a friend"),
        )
    if sort.plan_code == "hobby" and nth % 5 == 2:
        return (_grant("promotional", "Student credit", "5", month.starts_at, None, "Student programme"),)
    if sort.plan_code == "teams" and nth % 2 == 1:
        expires_at = month.ends_at + timedelta(days=60)
        return (_grant("promotional", "Team onboarding", "60", middle, expires_at, "Onboarding offer"),)
    if sort.plan_code == "enterprise":
        return (_grant("goodwill", "Migration credit", "250", month.starts_at, None, "Agreed by the account manager"),)
    return ()


def _grant(
    kind: str, name: str, amount: str, effective_at: datetime, expires_at: datetime | None, reason: str
) -> DemoGrant:
    return DemoGrant(kind, name, Decimal(amount), effective_at, expires_at, reason)
