"""Celery tasks of the bank, on the money queue."""

import logging
from typing import Any

from celery import shared_task

from billing.payments.bank import queries
from billing.payments.bank.matches import match_by_rule
from config import clock

logger = logging.getLogger(__name__)


@shared_task
def task_match_bank_lines(**_: Any) -> int:
    """Match what became known since: lines that were imported, payouts that Stripe told of. One currency at a time."""
    made = 0
    for currency in queries.first_days():
        try:
            made += match_by_rule(currency=currency, now=clock.now()).made
        except Exception:
            logger.exception("bank lines in %s were not matched", currency)
    return made
