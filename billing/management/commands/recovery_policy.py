"""
Declare how payments that fail are recovered, and for whom it holds.

    manage.py recovery_policy FILE [--customer KEY | --plan CODE] --reason WORDS

FILE is YAML: code, name, and the terms of billing/payments/recovery/policy.py. The same terms again change nothing,
other terms are the policy's next version. Without a customer or plan it holds for everybody who has none of their own.
"""

from pathlib import Path
from typing import Any

import yaml
from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.catalog.models import Plan
from billing.customers.queries import customer_by_key
from billing.payments.recovery.operations import PolicyConflict, choose_policy, declare_policy
from billing.payments.recovery.policy import InvalidPolicy, terms_of
from config import clock


class Command(BaseCommand):
    help = "Declare how payments that fail are recovered, and for whom it holds."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        scope = parser.add_mutually_exclusive_group()
        scope.add_argument("--customer", default="", help="a customer's key: its contract")
        scope.add_argument("--plan", default="", help="a plan's code")
        parser.add_argument("--reason", required=True)
        parser.add_argument("--by", default="task:recovery_policy", help="who decided it, such as user:fiona")

    def handle(self, *args: Any, **options: Any) -> None:
        now = clock.now()
        document = _read(options["file"])
        customer = customer_by_key(options["customer"]) if options["customer"] else None
        plan = Plan.objects.filter(code=options["plan"]).first() if options["plan"] else None
        if options["customer"] and customer is None:
            raise _wrong(f"--customer: there is no customer {options['customer']!r}")
        if options["plan"] and plan is None:
            raise _wrong(f"--plan: there is no plan {options['plan']!r}")
        try:
            terms = terms_of({name: value for name, value in document.items() if name not in ("code", "name")})
            policy = declare_policy(
                code=document["code"], name=document["name"], terms=terms, actor=options["by"], now=now
            )
            choose_policy(
                policy=policy, customer=customer, plan=plan, reason=options["reason"], actor=options["by"], now=now
            )
        except (InvalidPolicy, PolicyConflict) as refusal:
            raise _wrong(str(refusal)) from None
        scope = customer or plan or "everybody"
        self.stdout.write(f"{policy} holds for {scope}; cases that are open keep theirs.")


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _wrong(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise _wrong(f"{path}: give a mapping with code, name and the terms")
    for name in ("code", "name"):
        if not isinstance(document.get(name), str) or not document[name].strip():
            raise _wrong(f"{name}: give a text")
    return document


def _wrong(message: str) -> CommandError:
    return CommandError(message, returncode=2)
