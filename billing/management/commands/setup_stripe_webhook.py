"""Make the address at which Stripe reaches this installation."""

from argparse import ArgumentParser
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError

from billing.stripe.endpoints import set_up_destination, set_up_endpoint
from billing.stripe.errors import StripeRefused, StripeUnavailable


class Command(BaseCommand):
    """Create the webhook endpoint and the event destination at Stripe, or bring their lists of events up to date."""

    help = "Creates the webhook endpoint and the event destination at Stripe, stores their secrets. Safe to run again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--url", required=True, help="Where this site is reached, such as https://billing.example.com"
        )

    def handle(self, *args: Any, url: str, **options: Any) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise CommandError(
                f"--url {url} is no address: give one such as https://billing.example.com.", returncode=2
            )
        try:
            for set_up in (set_up_endpoint, set_up_destination):
                endpoint = set_up(base_url=url)
                self.stdout.write(f"{endpoint.id} {endpoint.url}")
        except (StripeRefused, StripeUnavailable) as problem:
            raise CommandError(str(problem)) from problem
