"""Regular work on grants; each task makes one domain call."""

from celery import shared_task

from config import clock
from promotions import operations


@shared_task(queue="money")
def task_expire_grants(**_: object) -> int:
    """End every grant whose expiry has come."""
    return operations.expire_due_grants(now=clock.now())
