"""
Live and test never mix, nor two accounts: this database belongs to one Stripe account in one mode.

What is noted here once, before the first write, cannot be changed by the application. Every answer that says its mode
is compared with the settings; a key of another account is refused before anything is written with it. Each process asks
Stripe once for a key's account.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.db import connection

from billing.stripe.errors import StripeModeMismatch
from billing.stripe.models import StripeAccount

logger = logging.getLogger(__name__)

Key = tuple[str, str, str]  # the secret key, the address it is used at, and the database

_checked: set[Key] = set()
_NOTE = """
    INSERT INTO billing_stripeaccount (id, account_id, livemode, recorded_at) VALUES (1, %s, %s, now())
    ON CONFLICT DO NOTHING
"""


def mode_text(livemode: bool) -> str:
    return "live" if livemode else "test"


def refuse_other_mode(answer: Any, *, operation: str) -> None:
    """Raise StripeModeMismatch where an object, or one of a list, says another mode than the settings."""
    for thing in _things(answer):
        said = thing.get("livemode")
        if isinstance(said, bool) and said is not settings.STRIPE_LIVE_MODE:
            raise StripeModeMismatch(
                f"{operation} answered with {thing.get('object')} {thing.get('id')} of {mode_text(said)} mode, and"
                f" STRIPE_SECRET_KEY is of {mode_text(settings.STRIPE_LIVE_MODE)} mode. Nothing of it was recorded."
            )


def _things(answer: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(answer, dict):
        return
    yield answer
    listed = answer.get("data")
    yield from (one for one in listed if isinstance(one, dict)) if isinstance(listed, list) else ()


def known() -> StripeAccount | None:
    """The account and mode this database belongs to; None before the first write to Stripe."""
    return StripeAccount.objects.first()


def refuse_other_account(account_of_key: Callable[[], str]) -> None:
    """
    Raise StripeModeMismatch unless the configured key is of the database's account and mode.

    The first time, the account becomes the database's. A restricted key to which Stripe does not tell its account is
    compared by its mode alone.
    """
    key = _key()
    if key in _checked:
        return
    row = known()
    if row is not None:
        _refuse_mode(row)
    account_id = account_of_key()
    if account_id and row is None:
        with connection.cursor() as cursor:
            cursor.execute(_NOTE, [account_id, settings.STRIPE_LIVE_MODE])
        row = known()
    if not account_id:
        logger.warning("Stripe does not tell this key its account: only its mode is compared with the database's")
    elif row is not None and (row.account_id, row.livemode) != (account_id, settings.STRIPE_LIVE_MODE):
        _refuse_mode(row)
        raise StripeModeMismatch(
            f"STRIPE_SECRET_KEY is of account {account_id}, and this database belongs to {row.account_id}. Nothing was"
            " sent. Use a key of that account, or another database."
        )
    _checked.add(key)


def _refuse_mode(row: StripeAccount) -> None:
    if row.livemode is not settings.STRIPE_LIVE_MODE:
        ours, of_key = mode_text(row.livemode), mode_text(settings.STRIPE_LIVE_MODE)
        raise StripeModeMismatch(
            f"STRIPE_SECRET_KEY is of {of_key} mode, and this database belongs to {row.account_id} in {ours} mode."
            f" Nothing was sent. Use a key of {ours} mode, or another database."
        )


def note_checked() -> None:
    """Take the configured key as compared, where that was done elsewhere."""
    _checked.add(_key())


def forget_checked() -> None:
    """Compare the key again before the next write."""
    _checked.clear()


def _key() -> Key:
    return settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE, str(connection.settings_dict["NAME"])
