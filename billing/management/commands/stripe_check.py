"""Say what the configured Stripe key is, may do, and whether it belongs to this database."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from djstripe.models import WebhookEndpoint

from billing.stripe import budget, gateway, modes, permissions
from billing.stripe.errors import StripeRefused, StripeUnavailable

EXIT_PROBLEM = 2


class Command(BaseCommand):
    """Print a short table; one line on stderr and exit code 2 where something has to be mended."""

    help = (
        "Checks the Stripe key: account, mode, API version, webhook endpoint, permissions. Changes nothing at Stripe."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.STRIPE_SECRET_KEY:
            raise CommandError("STRIPE_SECRET_KEY is not set.", returncode=EXIT_PROBLEM)
        try:
            with gateway.bulk_work():
                modes.forget_checked()
                modes.refuse_other_account(gateway.own_account)
                problems = list(self._print_and_find())
        except (StripeUnavailable, StripeRefused) as problem:
            raise CommandError(str(problem), returncode=EXIT_PROBLEM) from problem
        if problems:
            raise CommandError("; ".join(problems), returncode=EXIT_PROBLEM)

    def _print_and_find(self) -> Iterator[str]:
        """Print the table line by line, and yield what has to be mended."""
        row = modes.known()
        kind = "restricted" if settings.STRIPE_SECRET_KEY.startswith("rk_") else "full"
        self._line("Account", row.account_id if row else "not told to this key; only the mode is compared")
        self._line("Mode", f"{modes.mode_text(settings.STRIPE_LIVE_MODE)}, {kind} key")
        self._line("API version", settings.STRIPE_API_VERSION)
        self._line("Requests", f"{budget.per_second()} a second")
        yield from self._endpoint()
        missing: list[str] = []
        for need in permissions.NEEDS:
            found = permissions.check(need)
            self._line(need.name, f"lacks {', '.join(found.missing)}" if found.missing else "allowed")
            missing += [f"{need.name}: {one}" for one in found.missing]
        if missing:
            yield f"the key lacks permissions ({'; '.join(missing)}): give them to it at Stripe"
        waiting = permissions.forbidden_intents()
        if waiting:
            yield f"{waiting} writes wait for a permission: see the outbox"

    def _endpoint(self) -> Iterator[str]:
        ours = WebhookEndpoint.objects.exclude(secret="").filter(livemode=settings.STRIPE_LIVE_MODE).first()
        if ours is None:
            self._line("Webhook endpoint", "none")
            yield "there is no webhook endpoint: run manage.py setup_stripe_webhook --url https://…"
            return
        self._line("Webhook endpoint", f"{ours.url} ({ours.status}, {ours.api_version or 'no version'})")
        if ours.status != "enabled":
            yield f"the webhook endpoint {ours.id} is {ours.status}: enable it at Stripe"

    def _line(self, name: str, value: str) -> None:
        self.stdout.write(f"{name:<22}{value}")
