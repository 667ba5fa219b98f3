"""
What is done about the events of one object: one module for each noun.

A handler first *fetches* what it needs, with no transaction open, and returns the work to do in the one transaction
that also marks the events done. What an event itself carries is used for two things: to see that our row already says
as much, and for links that never change.
"""

from collections.abc import Callable
from datetime import datetime

from billing.stripe.inbox import Claim

Work = Callable[[], None]
Handler = Callable[[Claim, datetime], Work]


def nothing() -> None:
    """The books already say what the events say."""


def ignore(claim: Claim, now: datetime) -> Work:
    """Take the events and do nothing about them."""
    return nothing
