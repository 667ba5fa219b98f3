"""The Celery application: three queues that never share a worker's attention, and the schedule of the regular work."""

import gc
import os

from celery import Celery
from celery.schedules import crontab, schedule
from celery.signals import task_prerun, worker_process_init
from django.db import close_old_connections
from kombu.entity import Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

METERING_QUEUE = "metering"
MONEY_QUEUE = "money"
# dj-stripe's own refreshes: slow remote calls that must never delay money or metering (DESIGN.md §3, rule 5).
MIRROR_QUEUE = "mirror"

app = Celery("boring-billing")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_queues = [Queue(name) for name in (METERING_QUEUE, MONEY_QUEUE, MIRROR_QUEUE)]  # type: ignore[no-untyped-call]
app.conf.task_routes = {
    "metering.*": {"queue": METERING_QUEUE},
    "billing.stripe.tasks.task_refresh_mirror": {"queue": MIRROR_QUEUE},
    "billing.*": {"queue": MONEY_QUEUE},
    "promotions.*": {"queue": MONEY_QUEUE},
    "ledger.*": {"queue": MONEY_QUEUE},
}


def every(seconds: int, task: str) -> dict[str, object]:
    """Return a schedule entry. A run that waited for long is dropped: the next one does its work."""
    return {"task": task, "schedule": schedule(seconds), "options": {"expires": max(seconds, 30)}}


@worker_process_init.connect
def spare_the_collector(**_: object) -> None:
    """Keep the garbage collector from walking, round after round, what was loaded at the start and stays for good."""
    gc.collect()
    gc.freeze()


@task_prerun.connect
def renew_connections(**_: object) -> None:
    """Replace database connections that are too old or broken before a task uses them."""
    close_old_connections()


app.conf.beat_schedule = {
    "advance aggregation windows": every(5, "metering.tasks.task_advance_windows"),
    "go on with corrections of usage": every(10, "metering.tasks.task_continue_corrections"),
    "sweep the Stripe inbox": every(5, "billing.stripe.tasks.task_sweep_inbox"),
    "sweep the Stripe outbox": every(60, "billing.stripe.tasks.task_sweep_outbox"),
    "sweep invoice closes": every(10, "billing.invoicing.tasks.task_sweep_closes"),
    "carry out invoice orders": every(10, "billing.invoicing.tasks.task_carry_out_invoice_orders"),
    "order threshold invoices": every(300, "billing.invoicing.tasks.task_order_threshold_invoices"),
    "apply scheduled changes": every(30, "billing.subscriptions.tasks.task_apply_scheduled_changes"),
    "compare changes with their invoices": every(300, "billing.subscriptions.tasks.task_compare_changes"),
    "accrue usage": every(60, "billing.rating.tasks.task_accrue_usage"),
    "send metered usage": every(3600, "billing.invoicing.metered.tasks.task_send_metered_usage"),
    "rate shadows": every(60, "billing.rollouts.shadow.tasks.task_rate_shadows"),
    "settle late usage": every(60, "billing.invoicing.tasks.task_settle_late_usage"),
    "refresh the Stripe mirror": every(30, "billing.stripe.tasks.task_refresh_mirror"),
    "poll events Stripe could not deliver": every(300, "billing.stripe.tasks.task_poll_missed_events"),
    "drop old payloads of Stripe events": {
        "task": "billing.stripe.tasks.task_drop_old_payloads",
        "schedule": crontab(hour="2", minute="45"),
    },
    "take ledger snapshots": every(60, "ledger.tasks.task_take_snapshots"),
    "expire credit grants": every(300, "promotions.tasks.task_expire_grants"),
    "make event partitions ahead": {
        "task": "metering.tasks.task_ensure_partitions",
        "schedule": crontab(hour="4", minute="0"),
    },
    "check usage for alarms": every(300, "metering.tasks.task_check_alarms"),
    "archive old usage": {"task": "metering.tasks.task_archive_usage", "schedule": crontab(hour="3", minute="0")},
    "forget identities of old usage": {
        "task": "metering.tasks.task_forget_keys",
        "schedule": crontab(hour="2", minute="30"),
    },
    "thin figures of lag": {"task": "metering.tasks.task_thin_figures", "schedule": crontab(hour="2", minute="15")},
    # When little else is recorded: what began before the seal with an older instant is refused and has to begin again.
    "seal the journal": {"task": "ledger.tasks.task_seal_journal", "schedule": crontab(hour="4", minute="30")},
    "settle seats of teams": every(60, "billing.teams.tasks.task_settle_seats"),
    "verify a sample of yesterday's invoices": {
        "task": "billing.invoicing.proofs.tasks.task_verify_invoices",
        "schedule": crontab(hour="4", minute="40"),
    },
    "go on with rollouts": every(300, "billing.rollouts.tasks.task_advance_rollouts"),
    "go on with backtests": every(30, "billing.rollouts.backtests.tasks.task_work_on_backtests"),
    "recover payments": every(300, "billing.payments.recovery.tasks.task_recover_payments"),
    "answer disputes": every(300, "billing.payments.disputing.tasks.task_answer_disputes"),
    "send refunds": every(30, "billing.payments.refunding.tasks.task_send_refunds"),
    "match bank lines": every(900, "billing.payments.bank.tasks.task_match_bank_lines"),
    "send e-mails": every(60, "billing.payments.recovery.tasks.task_send_messages"),
    "warn of cards that expire": {
        "task": "billing.payments.recovery.tasks.task_warn_of_card_expiry",
        "schedule": crontab(hour="8", minute="0"),
    },
    # Begins a round a day, and goes on with it for most of the quarter of an hour: a round may take many runs.
    "reconcile": {
        "task": "billing.reconciliation.tasks.task_reconcile",
        "schedule": crontab(minute="*/15"),
        "options": {"expires": 900},
    },
}
# Tasks live in rooms as well as in apps (billing/stripe/tasks.py), so each room with tasks is named.
app.autodiscover_tasks(
    [
        "metering",
        "promotions",
        "ledger",
        "billing.customers",
        "billing.subscriptions",
        "billing.rating",
        "billing.invoicing",
        "billing.invoicing.metered",
        "billing.invoicing.proofs",
        "billing.payments",
        "billing.payments.bank",
        "billing.payments.disputing",
        "billing.payments.recovery",
        "billing.payments.refunding",
        "billing.reconciliation",
        "billing.rollouts",
        "billing.rollouts.backtests",
        "billing.rollouts.shadow",
        "billing.stripe",
        "billing.teams",
    ]
)
