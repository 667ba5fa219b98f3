"""Shadow rating on a schedule; the task makes one domain call."""

from celery import shared_task

from billing.rollouts.shadow import operations as shadow
from config import clock


@shared_task(queue="money")
def task_rate_shadows(**_: object) -> int:
    """Work out what changed in the shadows that are under way."""
    return shadow.rate_shadows(now=clock.now())
