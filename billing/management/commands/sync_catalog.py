"""manage.py sync_catalog: make at Stripe what the catalogue sells."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.catalog.operations import sync_catalog_to_stripe
from billing.stripe.errors import StripeRefused, StripeUnavailable
from config import clock


class Command(BaseCommand):
    """Create the products and prices of published plan versions that Stripe lacks."""

    help = "Creates at Stripe the products and prices of published plan versions. Safe to run again."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            created = sync_catalog_to_stripe(now=clock.now())
        except (StripeRefused, StripeUnavailable) as problem:
            raise CommandError(str(problem)) from problem
        self.stdout.write(f"{created} products and prices created at Stripe.")
