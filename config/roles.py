"""
Who may see and do what: three roles, each with the least its work needs, declared as data.

Money models have no permission to change or delete that anybody could be given by these roles; what a role may *do*
is a named operation, such as issuing credit. `manage.py sync_roles` makes the database's groups equal to ROLES.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.db.models import Q


class UnknownPermission(Exception):
    """A role names a permission that no installed model declares."""


def _view(app_label: str, *models: str) -> tuple[str, ...]:
    return tuple(f"{app_label}.view_{model}" for model in models)


_CUSTOMERS = _view("billing", "customer", "subscription", "billingperiod")
# Asked of a customer's contract: what moves money by it is prorated by Stripe and compared with what was said before.
_SUBSCRIBING = (
    "billing.create_subscription",
    "billing.edit_subscription_terms",
    "billing.pause_subscription",
    "billing.cancel_subscription",
)
_PRICES = _view("billing", "plan", "planversion", "ratecard", "rate")
_PRICING = ("billing.edit_catalogue",)
_CORRECTIONS = _view("metering", "correction")
_USAGE_WATCH = _view("metering", "alarm", "freshnesscount", "eventarchive")
# What a price would come to on real usage: for everybody to read, as the prices are.
_PROVING = (*_view("billing", "backtest", "shadowrating", "shadowperiod"), "billing.simulate_planversion")
_SHADOWING = ("billing.start_shadowrating", "billing.end_shadowrating")
_RATED_USAGE = _view("billing", "usageaccrual", "usageaccrualline", "grantdrawdown", "absorbedusage", "lateusage")
_INVOICES = (
    *_view("billing", "invoice", "invoiceline", "invoiceclose", "invoiceclosestep", "creditnote", "creditnoteline"),
    *_view("billing", "meteredevent", "meteredprice", "meteredsummary", "meteredshortfall"),
)
# That it was proved is for everybody to see and to try; the raw events behind it leave the house by finance alone.
_PROOFS = (*_view("billing", "invoiceproof"), "billing.verify_invoiceproof")
_ORDERED = _view("billing", "invoiceorder", "invoicerequest", "invoicecloserelease")
# What an answer to a customer needs; above the limit of one person it waits for finance, which alone voids and lets go.
_INVOICE_WISHES = ("billing.order_one_off_invoice", "billing.credit_invoice")
_PAYMENTS = _view("billing", "payment", "refund", "dispute", "customerbalancetransaction")
# Anybody who answers a customer sees what became of a payment that failed, and may give a little back alone.
_RECOVERY = (
    *_view("billing", "recoverycase", "message", "paymentcard", "refundrequest"),
    "billing.request_refund",
)
_GIVING_BACK = (
    *_view("billing", "recoverypolicy", "refundbatch", "writeoffrequest", "disputeacceptance"),
    "billing.answer_dispute",
    "billing.request_refundbatch",
    "billing.approve_refund",
    "billing.decide_writeoff",
)
# What arrived at our bank, and which payout of Stripe's it is.
_BANK = (
    *_view("billing", "bankaccount", "bankstatement", "bankline", "bankmatch"),
    "billing.import_bankstatement",
    "billing.match_bankline",
    "billing.close_bankaccount",
)
_USAGE = _view("metering", "usageevent", "aggregationwindow", "meter")
# One customer's statement is for who answers that customer, all accounts only for who keeps the books and the machine.
_STATEMENT = ("ledger.view_customer_statement",)
_LEDGER = (*_view("ledger", "account", "journalentry", "posting", "periodclosing", "seal"), *_STATEMENT)
_RECONCILIATION = _view("billing", "reconciliationrun", "discrepancy")
# Who brings an account in reads what became of it; the rest of the house sees the rows themselves.
_TAKEOVER = _view("billing", "takeover", "takenover", "openingentry", "takeovercheck")
_STRIPE = (*_view("billing", "inboxevent", "inboxreplay", "pollposition", "mirrorrebuild"), "billing.view_mirror")
# A write to Stripe that did not end well: found by whoever keeps the machine, or by whoever misses the money.
_OUTBOX = (*_view("billing", "outboxintent"), "billing.redrive_outboxintent")
_ROLLOUTS = _view("billing", "approvalrequest", "rollout", "rolloutmove")
# Who proposes terms, and who brings them to customers; finance alone decides about them.
_PROPOSING = (
    "billing.request_backtest",
    "billing.request_approval",
    "billing.plan_rollout",
    "billing.steer_rollout",
    "billing.pin_subscription",
)
_CREDIT = (
    *_view("promotions", "creditgrant"),
    "promotions.issue_creditgrant",
    "promotions.void_creditgrant",
)

_CUSTOMER_ADJUSTMENTS = (*_view("billing", "manualentry"), "billing.request_customer_adjustment")
_MANUAL_ENTRIES = (
    *_CUSTOMER_ADJUSTMENTS,
    "billing.request_adjustment",
    "billing.request_reversal",
    "billing.approve_manualentry",
)

# Who is in a team: seen by everybody, changed by who speaks with customers; what was is corrected by finance.
_TEAMS = _view("billing", "member", "billinggroup", "teamchange")
_TEAM_CHANGES = ("billing.edit_team",)

CUSTOMER_SUCCESS, FINANCE, ENGINEERING = "Customer success", "Finance", "Engineering"

ROLES: Mapping[str, frozenset[str]] = {
    # Answers "why was I charged?" from the invoice down to the event, and gives goodwill.
    CUSTOMER_SUCCESS: frozenset(
        (
            *_CUSTOMERS,
            *_TEAMS,
            *_TEAM_CHANGES,
            *_PRICES,
            *_PROVING,
            *_USAGE,
            *_CORRECTIONS,
            *_RATED_USAGE,
            *_INVOICES,
            *_PROOFS,
            *_ORDERED,
            *_INVOICE_WISHES,
            *_PAYMENTS,
            *_RECOVERY,
            *_STATEMENT,
            *_CREDIT,
            *_CUSTOMER_ADJUSTMENTS,
            *_ROLLOUTS,
            *_SUBSCRIBING,
            "billing.pin_subscription",
        )
    ),
    # Everything that is money, and the proof that it adds up.
    FINANCE: frozenset(
        (
            *_CUSTOMERS,
            *_TEAMS,
            *_TEAM_CHANGES,
            "billing.correct_team",
            *_PRICES,
            *_PROVING,
            *_SHADOWING,
            *_USAGE,
            *_USAGE_WATCH,
            *_CORRECTIONS,
            *_RATED_USAGE,
            *_INVOICES,
            *_PROOFS,
            *_ORDERED,
            *_INVOICE_WISHES,
            "billing.void_invoice",
            "billing.approve_invoicerequest",
            "billing.release_invoiceclose",
            "billing.resend_meteredevent",
            "billing.decide_meteredshortfall",
            *_PAYMENTS,
            *_RECOVERY,
            *_GIVING_BACK,
            *_view("billing", "balancetransaction", "payout"),
            *_BANK,
            *_LEDGER,
            "ledger.close_period",
            "ledger.reopen_period",
            *_MANUAL_ENTRIES,
            "billing.decide_lateusage",
            *_ROLLOUTS,
            *_SUBSCRIBING,
            *_PRICING,
            *_PROPOSING,
            "billing.decide_approval",
            *_CREDIT,
            *_TAKEOVER,
            *_RECONCILIATION,
            *_OUTBOX,
            # The proof that every event was counted.
            *_view("metering", "aggregationadvance"),
            "billing.view_financereport",
            "billing.export_invoiceproof",
        )
    ),
    # Keeps the machine going: may process an event again, cannot give value away and sees no card payments.
    ENGINEERING: frozenset(
        (
            *_CUSTOMERS,
            *_TEAMS,
            *_PRICES,
            *_PROVING,
            *_SHADOWING,
            *_USAGE,
            *_USAGE_WATCH,
            "metering.acknowledge_alarm",
            "metering.repair_aggregationwindow",
            *_view("metering", "windowrepair"),
            *_view("metering", "quarantinedevent", "eventconflict", "aggregationadvance", "importrun"),
            *_CORRECTIONS,
            *_RATED_USAGE,
            *_INVOICES,
            *_PROOFS,
            *_ORDERED,
            *_LEDGER,
            *_RECONCILIATION,
            *_STRIPE,
            *_OUTBOX,
            *_ROLLOUTS,
            *_PRICING,
            *_PROPOSING,
            "billing.process_inboxevent",
            "config.view_apikey",
            "config.manage_apikey",
            "metering.replay_quarantinedevent",
            "metering.dismiss_quarantinedevent",
            "metering.request_correction",
            "metering.approve_correction",
            "metering.apply_correction",
            "metering.revert_correction",
        )
    ),
}


@dataclass(frozen=True, slots=True)
class SignIn:
    """A person of the demo."""

    username: str
    first_name: str
    role: str


SIGN_INS = (
    SignIn(username="sam", first_name="Sam", role=CUSTOMER_SUCCESS),
    SignIn(username="fiona", first_name="Fiona", role=FINANCE),
    SignIn(username="emre", first_name="Emre", role=ENGINEERING),
)


def sync_roles() -> dict[str, int]:
    """
    Make each role's group hold exactly its permissions; return how many that are, by role.

    Groups with other names are left alone. Raises UnknownPermission, and changes nothing, when a role names a
    permission that is not there (a typing error, or migrations that have not been run).
    """
    known = _permissions_by_name(frozenset().union(*ROLES.values()))
    with transaction.atomic():
        for role, names in ROLES.items():
            group, _ = Group.objects.get_or_create(name=role)
            group.permissions.set([known[name] for name in names])
    return {role: len(names) for role, names in ROLES.items()}


def create_sign_ins(*, passwords: Mapping[str, str]) -> list[User]:
    """
    Create or bring up to date one user per role, for the demo and for tests.

    `passwords` is by role. Each user is staff, no superuser, and in exactly the group of that role.
    """
    users = []
    with transaction.atomic():
        for sign_in in SIGN_INS:
            user, _ = User.objects.get_or_create(username=sign_in.username)
            user.first_name = sign_in.first_name
            user.is_staff, user.is_superuser, user.is_active = True, False, True
            user.set_password(passwords[sign_in.role])
            user.save()
            user.groups.set([Group.objects.get(name=sign_in.role)])
            users.append(user)
    return users


def _permissions_by_name(names: Iterable[str]) -> dict[str, Permission]:
    """The permissions called "app.codename", in one query."""
    wanted = sorted(names)
    condition = Q()
    for name in wanted:
        app_label, codename = name.split(".")
        condition |= Q(content_type__app_label=app_label, codename=codename)
    found = {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in Permission.objects.filter(condition).select_related("content_type")
    }
    missing = [name for name in wanted if name not in found]
    if missing:
        raise UnknownPermission(f"No installed model declares: {', '.join(missing)}. Run `manage.py migrate` first.")
    return found
