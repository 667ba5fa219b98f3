"""
In whatever order, however often and however late Stripe's events arrive, and wherever workers die: the books end as
Stripe's final state says, and nothing is done twice.

CONVERGENCE_ORDERS=300 lives so many orders: one in ten with the network's faults during the life itself, the others
with all that happened delivered at the end. A failure names its seed; CONVERGENCE_SEED=n begins with that one.
"""

import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict

import pytest
from django.utils import timezone

from config import clock
from tests.billing.convergence.comparing import Figures, differences, figures, first_difference, mirror_differences
from tests.billing.convergence.life import Life
from tests.billing.convergence.network import Chaos, Network, OnlyNeeded, Told
from tests.billing.convergence.snapshots import Snapshot
from tests.billing.thread import Crasher
from tests.plugin import admin_url
from tests.sandbox.client import SandboxProcess

ORDERS = int(os.environ.get("CONVERGENCE_ORDERS", "3"))
FIRST = int(os.environ.get("CONVERGENCE_SEED", "0"))
IS_SHORT = ORDERS <= 10  # in CI the network's faults are those of one month
WITHIN_THE_LIFE = max(1, ORDERS // 10)
RECONCILED_EVERY = 20
ALL_MONTHS = 3


@pytest.fixture(autouse=True)
def living(monkeypatch: pytest.MonkeyPatch) -> list[Life]:
    """What arrives is stored at the time of the life, as everything else is."""
    lives: list[Life] = []
    monkeypatch.setattr(clock, "now", lambda: lives[-1].now if lives else timezone.now())
    return lives


@pytest.fixture(scope="module")
def expected() -> dict[str, Figures]:
    """The figures of the first order that ended: all others have to end with the same."""
    return {}


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    """What all networks together did."""
    total, began = Told(), time.monotonic()
    yield total
    shown = ", ".join(f"{name} {number:,}" for name, number in asdict(total).items())
    sys.stderr.write(f"\nconvergence: {shown}, {time.monotonic() - began:.0f} s\n")


def lived(sandbox: SandboxProcess, network: Network, living: list[Life], *, months: int = ALL_MONTHS) -> Life:
    life = Life(sandbox)
    living.append(life)
    life.tell(network, months=months)
    return life


def require_converged(life: Life, seed: int, *, reconciled: bool, with_mirror: bool) -> Figures:
    found = differences(life, reconciled=reconciled)
    found += mirror_differences(life) if with_mirror else []
    assert not found, f"CONVERGENCE_SEED={seed}:\n" + "\n".join(found)
    return figures(life)


def require_same(expected: dict[str, Figures], found: Figures, seed: int) -> None:
    first = expected.setdefault("figures", found)
    assert first == found, f"CONVERGENCE_SEED={seed}: {first_difference(first, found)}"


@pytest.mark.parametrize("seed", range(FIRST, FIRST + WITHIN_THE_LIFE))
def test_faults_during_the_life(
    committed_db: None,
    at_sandbox: SandboxProcess,
    living: list[Life],
    expected: dict[str, Figures],
    told: Told,
    seed: int,
) -> None:
    network = Chaos(chance=random.Random(seed))
    life = lived(at_sandbox, network, living, months=1 if IS_SHORT else ALL_MONTHS)
    network.end(life)
    told.add(network.told)
    found = require_converged(life, seed, reconciled=not IS_SHORT, with_mirror=True)
    if not IS_SHORT:
        require_same(expected, found, seed)


def test_all_of_it_at_the_end(
    committed_db: None,
    at_sandbox: SandboxProcess,
    living: list[Life],
    expected: dict[str, Figures],
    told: Told,
) -> None:
    """The life was lived with nothing but what it needs; the rest arrives now, in many orders after one another."""
    needed = OnlyNeeded()
    life = lived(at_sandbox, needed, living)
    began, counts = life.now, life.sandbox.counts()
    snapshot = Snapshot(admin_url(os.environ["DATABASE_URL"].rsplit("/", 1)[1]))
    snapshot.take()
    try:
        for number, seed in enumerate(range(FIRST, FIRST + ORDERS - WITHIN_THE_LIFE)):
            snapshot.restore()
            life.now = began
            network = Chaos(chance=random.Random(seed), delayed=list(needed.held), seen=set(needed.seen))
            life.crasher = Crasher(network.chance, statements_max=120, crashes_max=network.crashes_max)
            network.told.events = len(needed.held)
            network.turn(life)
            network.end(life)
            told.add(network.told)
            is_whole = number % RECONCILED_EVERY == 0
            found = require_converged(life, seed, reconciled=is_whole, with_mirror=is_whole and not IS_SHORT)
            require_same(expected, found, seed)
            assert life.sandbox.counts() == counts, f"CONVERGENCE_SEED={seed}: something was made at Stripe"
    finally:
        snapshot.drop()
