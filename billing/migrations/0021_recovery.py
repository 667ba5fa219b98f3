"""
Recovery of payments that failed, e-mails about it, cards that expire, and refunds that people ask for.

What of it may change, and what takes two people, is told in sql/0021_recovery.sql.
"""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0021_recovery.sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0020_invoice_proofs"),
    ]

    operations = [
        migrations.CreateModel(
            name="DisputeAcceptance",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "amount_minor",
                    models.BigIntegerField(help_text="What leaves, above zero, in minor units of the currency."),
                ),
                ("currency", models.CharField(max_length=3)),
                ("reason", models.CharField(help_text="Why, in words, for whoever asks later.", max_length=500)),
                (
                    "limit_minor",
                    models.BigIntegerField(help_text="What one person could move alone; null: nothing.", null=True),
                ),
                (
                    "alone_minor",
                    models.BigIntegerField(
                        help_text="What the requester moved alone for this customer on this day (UTC), with this."
                    ),
                ),
                ("needs_second_person", models.BooleanField()),
                ("requested_by", models.CharField(help_text='"user:NAME" or "service:NAME"', max_length=200)),
                ("requested_at", models.DateTimeField()),
                ("idempotency_key", models.CharField(max_length=200, unique=True)),
                ("done_at", models.DateTimeField(help_text="When Stripe was told.", null=True)),
                ("error", models.CharField(blank=True, help_text="Why Stripe refused.", max_length=500)),
                (
                    "dispute",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="acceptances", to="billing.dispute"
                    ),
                ),
            ],
            options={
                "ordering": ("-requested_at", "-id"),
            },
        ),
        migrations.CreateModel(
            name="DisputeAcceptanceDecision",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("within_limit", "Within the limit"),
                            ("approved", "Approved"),
                            ("rejected", "Rejected"),
                            ("withdrawn", "Withdrawn"),
                        ],
                        max_length=20,
                    ),
                ),
                ("requested_by", models.CharField(max_length=200)),
                ("needs_second_person", models.BooleanField()),
                ("decided_by", models.CharField(help_text='"user:NAME"', max_length=200)),
                ("decided_at", models.DateTimeField()),
                ("words", models.CharField(blank=True, help_text="Why it was decided so.", max_length=500)),
                (
                    "request",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="decision",
                        to="billing.disputeacceptance",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="DisputeEvidence",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("texts", models.JSONField(help_text="By Stripe's names of the fields of evidence.")),
                ("written_by", models.CharField(max_length=200)),
                ("written_at", models.DateTimeField()),
                ("sent_by", models.CharField(blank=True, help_text="Who had it sent to the bank.", max_length=200)),
                ("sent_at", models.DateTimeField(help_text="When Stripe took it.", null=True)),
                (
                    "dispute",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="evidence", to="billing.dispute"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "dispute evidence",
                "ordering": ("-id",),
                "permissions": (("answer_dispute", "Can send evidence in a dispute, or ask to accept it"),),
            },
        ),
        migrations.CreateModel(
            name="PaymentCard",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("stripe_payment_method_id", models.CharField(max_length=255, unique=True)),
                ("brand", models.CharField(max_length=40)),
                ("last4", models.CharField(max_length=4)),
                ("exp_month", models.PositiveSmallIntegerField()),
                ("exp_year", models.PositiveSmallIntegerField()),
                ("is_default", models.BooleanField(default=False, help_text="It pays what is charged automatically.")),
                ("detached_at", models.DateTimeField(null=True)),
                ("projected_at", models.DateTimeField()),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="cards", to="billing.customer"
                    ),
                ),
            ],
            options={
                "ordering": ("-is_default", "-id"),
            },
        ),
        migrations.CreateModel(
            name="RecoveryCase",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("currency", models.CharField(max_length=3)),
                (
                    "amount_minor",
                    models.BigIntegerField(help_text="What was asked for when it was opened, in minor units."),
                ),
                (
                    "failed_at",
                    models.DateTimeField(help_text="The first failure, or the due date: all days are counted from it."),
                ),
                ("opened_at", models.DateTimeField()),
                ("grace_ends_at", models.DateTimeField()),
                (
                    "restricts_at",
                    models.DateTimeField(help_text="From then on service is restricted; empty: never.", null=True),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("open", "Open"), ("written_off", "Written off"), ("closed", "Closed")],
                        default="open",
                        max_length=20,
                    ),
                ),
                (
                    "outcome",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("paid", "Paid"),
                            ("paid_elsewhere", "Paid outside Stripe"),
                            ("credited", "Credited in full"),
                            ("void", "Invoice void"),
                        ],
                        max_length=20,
                    ),
                ),
                ("closed_at", models.DateTimeField(null=True)),
                (
                    "next_step_at",
                    models.DateTimeField(help_text="When the task looks at it again; empty: no more.", null=True),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="recovery_cases",
                        to="billing.customer",
                    ),
                ),
                (
                    "invoice",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="recovery_case", to="billing.invoice"
                    ),
                ),
            ],
            options={
                "ordering": ("-opened_at", "-id"),
            },
        ),
        migrations.CreateModel(
            name="Message",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "purpose",
                    models.CharField(
                        help_text="Such as recovery:7:reminder:2; once for each.", max_length=200, unique=True
                    ),
                ),
                ("text", models.CharField(help_text="Name of the text (templates/email/).", max_length=60)),
                ("to", models.EmailField(max_length=254)),
                ("context", models.JSONField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("sending", "Handed over, outcome not known"),
                            ("sent", "Sent"),
                            ("failed", "Failed"),
                        ],
                        default="waiting",
                        max_length=12,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("next_attempt_at", models.DateTimeField()),
                (
                    "attempts",
                    models.PositiveIntegerField(default=0, help_text="How often the mail server was asked for."),
                ),
                ("sent_at", models.DateTimeField(null=True)),
                ("error", models.CharField(blank=True, max_length=500)),
                (
                    "customer",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="messages",
                        to="billing.customer",
                    ),
                ),
                (
                    "case",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="messages",
                        to="billing.recoverycase",
                    ),
                ),
            ],
            options={
                "verbose_name": "e-mail",
                "ordering": ("-created_at", "-id"),
            },
        ),
        migrations.CreateModel(
            name="RecoveryPolicy",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code", models.CharField(max_length=64)),
                ("version", models.PositiveIntegerField()),
                ("name", models.CharField(max_length=200)),
                (
                    "terms",
                    models.JSONField(
                        help_text="Whose retries, on which days, reminders, grace, restriction, write-off."
                    ),
                ),
                ("declared_at", models.DateTimeField()),
                ("declared_by", models.CharField(max_length=200)),
            ],
            options={
                "verbose_name_plural": "recovery policies",
                "ordering": ("code", "-version"),
                "constraints": [
                    models.UniqueConstraint(fields=("code", "version"), name="billing_recoverypolicy_version"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("code", ""), _negated=True),
                            models.Q(("name", ""), _negated=True),
                            models.Q(("declared_by", ""), _negated=True),
                        ),
                        name="billing_recoverypolicy_named",
                    ),
                ],
            },
        ),
        migrations.AddField(
            model_name="recoverycase",
            name="policy",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="cases", to="billing.recoverypolicy"
            ),
        ),
        migrations.CreateModel(
            name="RecoveryPolicyChoice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("chosen_at", models.DateTimeField()),
                ("chosen_by", models.CharField(max_length=200)),
                ("reason", models.CharField(max_length=500)),
                (
                    "customer",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.customer"
                    ),
                ),
                (
                    "plan",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.plan"
                    ),
                ),
                (
                    "policy",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="choices", to="billing.recoverypolicy"
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="RecoveryStep",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("opened", "Could not be collected"),
                            ("taken_over", "Retries are ours now"),
                            ("attempt", "Payment tried again"),
                            ("reminder", "Reminder"),
                            ("action_required", "Customer has to confirm the payment"),
                            ("grace_ended", "Grace ended"),
                            ("restricted", "Service restricted"),
                            ("write_off_proposed", "Proposed for write-off"),
                            ("written_off", "Written off"),
                            ("closed", "Closed"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "number",
                    models.PositiveIntegerField(
                        default=0, help_text="Of attempts and reminders: 1 first, as the policy says."
                    ),
                ),
                ("due_at", models.DateTimeField()),
                ("recorded_at", models.DateTimeField()),
                ("result", models.CharField(help_text="done, declined, paid, skipped, missed …", max_length=40)),
                ("detail", models.CharField(blank=True, max_length=500)),
                (
                    "case",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="steps", to="billing.recoverycase"
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
            },
        ),
        migrations.CreateModel(
            name="RefundBatch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200)),
                (
                    "rule",
                    models.JSONField(
                        help_text="Which customers, from when until when, amounts, how much of each (batches.py)."
                    ),
                ),
                (
                    "reason_code",
                    models.CharField(
                        choices=[
                            ("duplicate", "Charged twice"),
                            ("requested_by_customer", "The customer asked"),
                            ("outage", "We did not deliver"),
                            ("wrong_amount", "We charged too much"),
                            ("goodwill", "Goodwill"),
                            ("fraudulent", "The card was used by somebody else"),
                        ],
                        max_length=40,
                    ),
                ),
                ("reason", models.CharField(max_length=500)),
                ("currency", models.CharField(max_length=3)),
                ("line_count", models.PositiveIntegerField()),
                ("total_minor", models.BigIntegerField()),
                ("requested_by", models.CharField(max_length=200)),
                ("requested_at", models.DateTimeField()),
                ("idempotency_key", models.CharField(max_length=200, unique=True)),
            ],
            options={
                "verbose_name_plural": "refund batches",
                "ordering": ("-requested_at", "-id"),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("name", ""), _negated=True),
                            models.Q(("reason", ""), _negated=True),
                            models.Q(("requested_by", ""), _negated=True),
                            ("line_count__gt", 0),
                            ("total_minor__gt", 0),
                        ),
                        name="billing_refundbatch_says_what",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="RefundRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "amount_minor",
                    models.BigIntegerField(help_text="What leaves, above zero, in minor units of the currency."),
                ),
                ("currency", models.CharField(max_length=3)),
                ("reason", models.CharField(help_text="Why, in words, for whoever asks later.", max_length=500)),
                (
                    "limit_minor",
                    models.BigIntegerField(help_text="What one person could move alone; null: nothing.", null=True),
                ),
                (
                    "alone_minor",
                    models.BigIntegerField(
                        help_text="What the requester moved alone for this customer on this day (UTC), with this."
                    ),
                ),
                ("needs_second_person", models.BooleanField()),
                ("requested_by", models.CharField(help_text='"user:NAME" or "service:NAME"', max_length=200)),
                ("requested_at", models.DateTimeField()),
                ("idempotency_key", models.CharField(max_length=200, unique=True)),
                (
                    "way",
                    models.CharField(
                        choices=[
                            ("refund", "A refund of the payment"),
                            ("credit_note", "A credit note on the invoice, refunded"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "reason_code",
                    models.CharField(
                        choices=[
                            ("duplicate", "Charged twice"),
                            ("requested_by_customer", "The customer asked"),
                            ("outage", "We did not deliver"),
                            ("wrong_amount", "We charged too much"),
                            ("goodwill", "Goodwill"),
                            ("fraudulent", "The card was used by somebody else"),
                        ],
                        max_length=40,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waits for a second person"),
                            ("agreed", "On its way to Stripe"),
                            ("sent", "Refunded at Stripe"),
                            ("refused", "Refused by Stripe"),
                            ("dropped", "Not refunded"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "parts",
                    models.JSONField(
                        help_text="Of a credit note: which lines of the invoice give back how much before tax.",
                        null=True,
                    ),
                ),
                (
                    "stripe_refund_id",
                    models.CharField(blank=True, help_text="Set once, from Stripe's answer.", max_length=255),
                ),
                ("stripe_credit_note_id", models.CharField(blank=True, max_length=255)),
                ("error", models.CharField(blank=True, max_length=500)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "next_attempt_at",
                    models.DateTimeField(help_text="When the task sends it; empty: not now, or no more.", null=True),
                ),
                (
                    "batch",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="lines",
                        to="billing.refundbatch",
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="refund_requests",
                        to="billing.customer",
                    ),
                ),
                (
                    "payment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="refund_requests",
                        to="billing.payment",
                    ),
                ),
            ],
            options={
                "ordering": ("-requested_at", "-id"),
                "permissions": (
                    ("request_refund", "Can ask for a refund"),
                    ("request_refundbatch", "Can ask for many refunds at once"),
                    ("approve_refund", "Can approve or reject refunds that somebody else asked for"),
                ),
            },
        ),
        migrations.CreateModel(
            name="RefundDecision",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("within_limit", "Within the limit"),
                            ("approved", "Approved"),
                            ("rejected", "Rejected"),
                            ("withdrawn", "Withdrawn"),
                        ],
                        max_length=20,
                    ),
                ),
                ("requested_by", models.CharField(max_length=200)),
                ("needs_second_person", models.BooleanField()),
                ("decided_by", models.CharField(help_text='"user:NAME"', max_length=200)),
                ("decided_at", models.DateTimeField()),
                ("words", models.CharField(blank=True, help_text="Why it was decided so.", max_length=500)),
                (
                    "request",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="decision", to="billing.refundrequest"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="WriteOffRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "amount_minor",
                    models.BigIntegerField(help_text="What leaves, above zero, in minor units of the currency."),
                ),
                ("currency", models.CharField(max_length=3)),
                ("reason", models.CharField(help_text="Why, in words, for whoever asks later.", max_length=500)),
                (
                    "limit_minor",
                    models.BigIntegerField(help_text="What one person could move alone; null: nothing.", null=True),
                ),
                (
                    "alone_minor",
                    models.BigIntegerField(
                        help_text="What the requester moved alone for this customer on this day (UTC), with this."
                    ),
                ),
                ("needs_second_person", models.BooleanField()),
                ("requested_by", models.CharField(help_text='"user:NAME" or "service:NAME"', max_length=200)),
                ("requested_at", models.DateTimeField()),
                ("idempotency_key", models.CharField(max_length=200, unique=True)),
                ("done_at", models.DateTimeField(help_text="When Stripe was told.", null=True)),
                ("error", models.CharField(blank=True, help_text="Why Stripe refused.", max_length=500)),
                (
                    "case",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="write_off_requests",
                        to="billing.recoverycase",
                    ),
                ),
            ],
            options={
                "ordering": ("-requested_at", "-id"),
                "permissions": (
                    ("decide_writeoff", "Can ask to give up a debt, and decide about what somebody else asked"),
                ),
            },
        ),
        migrations.CreateModel(
            name="WriteOffDecision",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("within_limit", "Within the limit"),
                            ("approved", "Approved"),
                            ("rejected", "Rejected"),
                            ("withdrawn", "Withdrawn"),
                        ],
                        max_length=20,
                    ),
                ),
                ("requested_by", models.CharField(max_length=200)),
                ("needs_second_person", models.BooleanField()),
                ("decided_by", models.CharField(help_text='"user:NAME"', max_length=200)),
                ("decided_at", models.DateTimeField()),
                ("words", models.CharField(blank=True, help_text="Why it was decided so.", max_length=500)),
                (
                    "request",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="decision",
                        to="billing.writeoffrequest",
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="disputeacceptance",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_minor__gt", 0)), name="billing_disputeacceptance_amount"
            ),
        ),
        migrations.AddConstraint(
            model_name="disputeacceptance",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("reason", ""), _negated=True), models.Q(("requested_by", ""), _negated=True)
                ),
                name="billing_disputeacceptance_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="disputeacceptance",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("alone_minor__gte", models.F("amount_minor")),
                    models.Q(
                        ("needs_second_person", True),
                        models.Q(
                            ("alone_minor__lte", models.F("limit_minor")),
                            ("limit_minor__isnull", False),
                            ("needs_second_person", False),
                        ),
                        _connector="OR",
                    ),
                ),
                name="billing_disputeacceptance_limit",
            ),
        ),
        migrations.AddConstraint(
            model_name="disputeacceptancedecision",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("decided_by", models.F("requested_by")),
                        ("needs_second_person", False),
                        ("outcome", "within_limit"),
                    ),
                    models.Q(
                        ("decided_by", models.F("requested_by")),
                        ("needs_second_person", True),
                        ("outcome", "withdrawn"),
                    ),
                    models.Q(
                        ("needs_second_person", True),
                        ("outcome__in", ["approved", "rejected"]),
                        models.Q(("decided_by", models.F("requested_by")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="billing_disputeacceptancedecision_second_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="disputeacceptancedecision",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_by", ""), _negated=True),
                    models.Q(("outcome", "within_limit"), models.Q(("words", ""), _negated=True), _connector="OR"),
                ),
                name="billing_disputeacceptancedecision_in_words",
            ),
        ),
        migrations.AddConstraint(
            model_name="disputeevidence",
            constraint=models.UniqueConstraint(
                condition=models.Q(("sent_by", ""), _negated=True),
                fields=("dispute",),
                name="billing_disputeevidence_sent_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="disputeevidence",
            constraint=models.CheckConstraint(
                condition=models.Q(("sent_at", None), models.Q(("sent_by", ""), _negated=True), _connector="OR"),
                name="billing_disputeevidence_sent",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentcard",
            constraint=models.CheckConstraint(
                condition=models.Q(("last4__regex", "^[0-9]{4}$")), name="billing_paymentcard_only_its_end"
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentcard",
            constraint=models.CheckConstraint(
                condition=models.Q(("exp_month__gte", 1), ("exp_month__lte", 12)), name="billing_paymentcard_expiry"
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentcard",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_default", True)), fields=("customer",), name="billing_paymentcard_one_default"
            ),
        ),
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("state", "waiting")), fields=["next_attempt_at"], name="billing_message_waiting"
            ),
        ),
        migrations.AddConstraint(
            model_name="message",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("sent_at__isnull", False), ("state", "sent")),
                    models.Q(("sent_at", None), models.Q(("state", "sent"), _negated=True)),
                    _connector="OR",
                ),
                name="billing_message_sent_at",
            ),
        ),
        migrations.AddIndex(
            model_name="recoverycase",
            index=models.Index(
                condition=models.Q(("next_step_at__isnull", False)),
                fields=["next_step_at"],
                name="billing_recoverycase_due",
            ),
        ),
        migrations.AddIndex(
            model_name="recoverycase",
            index=models.Index(
                condition=models.Q(("state", "closed"), _negated=True),
                fields=["customer"],
                name="billing_recoverycase_live",
            ),
        ),
        migrations.AddConstraint(
            model_name="recoverycase",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("closed_at__isnull", False),
                        ("next_step_at", None),
                        ("state", "closed"),
                        models.Q(("outcome", ""), _negated=True),
                    ),
                    models.Q(("closed_at", None), ("outcome", ""), models.Q(("state", "closed"), _negated=True)),
                    _connector="OR",
                ),
                name="billing_recoverycase_ends_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="recoverycase",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("grace_ends_at__gte", models.F("failed_at")),
                    models.Q(("restricts_at", None), ("restricts_at__gte", models.F("grace_ends_at")), _connector="OR"),
                ),
                name="billing_recoverycase_in_order",
            ),
        ),
        migrations.AddConstraint(
            model_name="recoverypolicychoice",
            constraint=models.CheckConstraint(
                condition=models.Q(("customer", None), ("plan", None), _connector="OR"),
                name="billing_recoverypolicychoice_one_scope",
            ),
        ),
        migrations.AddConstraint(
            model_name="recoverypolicychoice",
            constraint=models.CheckConstraint(
                condition=models.Q(models.Q(("reason", ""), _negated=True), models.Q(("chosen_by", ""), _negated=True)),
                name="billing_recoverypolicychoice_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="recoverystep",
            constraint=models.UniqueConstraint(fields=("case", "kind", "number"), name="billing_recoverystep_once"),
        ),
        migrations.AddIndex(
            model_name="refundrequest",
            index=models.Index(
                condition=models.Q(("next_attempt_at__isnull", False)),
                fields=["next_attempt_at"],
                name="billing_refundrequest_due",
            ),
        ),
        migrations.AddIndex(
            model_name="refundrequest",
            index=models.Index(fields=["requested_by", "requested_at"], name="billing_refundrequest_alone"),
        ),
        migrations.AddConstraint(
            model_name="refundrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_minor__gt", 0)), name="billing_refundrequest_amount"
            ),
        ),
        migrations.AddConstraint(
            model_name="refundrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("reason", ""), _negated=True), models.Q(("requested_by", ""), _negated=True)
                ),
                name="billing_refundrequest_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="refundrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("alone_minor__gte", models.F("amount_minor")),
                    models.Q(
                        ("needs_second_person", True),
                        models.Q(
                            ("alone_minor__lte", models.F("limit_minor")),
                            ("limit_minor__isnull", False),
                            ("needs_second_person", False),
                        ),
                        _connector="OR",
                    ),
                ),
                name="billing_refundrequest_limit",
            ),
        ),
        migrations.AddConstraint(
            model_name="refundrequest",
            constraint=models.UniqueConstraint(
                condition=models.Q(("batch__isnull", False)),
                fields=("batch", "payment"),
                name="billing_refundrequest_once_a_batch",
            ),
        ),
        migrations.AddConstraint(
            model_name="refundrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(("batch", None), ("needs_second_person", True), _connector="OR"),
                name="billing_refundrequest_batch_takes_two",
            ),
        ),
        migrations.AddConstraint(
            model_name="refundrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "sent"), _negated=True),
                    models.Q(("stripe_refund_id", ""), _negated=True),
                    _connector="OR",
                ),
                name="billing_refundrequest_sent",
            ),
        ),
        migrations.AddConstraint(
            model_name="refundrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("parts__isnull", False), ("way", "credit_note")),
                    models.Q(("parts__isnull", True), ("way", "refund")),
                    _connector="OR",
                ),
                name="billing_refundrequest_parts",
            ),
        ),
        migrations.AddConstraint(
            model_name="refunddecision",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("decided_by", models.F("requested_by")),
                        ("needs_second_person", False),
                        ("outcome", "within_limit"),
                    ),
                    models.Q(
                        ("decided_by", models.F("requested_by")),
                        ("needs_second_person", True),
                        ("outcome", "withdrawn"),
                    ),
                    models.Q(
                        ("needs_second_person", True),
                        ("outcome__in", ["approved", "rejected"]),
                        models.Q(("decided_by", models.F("requested_by")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="billing_refunddecision_second_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="refunddecision",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_by", ""), _negated=True),
                    models.Q(("outcome", "within_limit"), models.Q(("words", ""), _negated=True), _connector="OR"),
                ),
                name="billing_refunddecision_in_words",
            ),
        ),
        migrations.AddConstraint(
            model_name="writeoffrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_minor__gt", 0)), name="billing_writeoffrequest_amount"
            ),
        ),
        migrations.AddConstraint(
            model_name="writeoffrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("reason", ""), _negated=True), models.Q(("requested_by", ""), _negated=True)
                ),
                name="billing_writeoffrequest_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="writeoffrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("alone_minor__gte", models.F("amount_minor")),
                    models.Q(
                        ("needs_second_person", True),
                        models.Q(
                            ("alone_minor__lte", models.F("limit_minor")),
                            ("limit_minor__isnull", False),
                            ("needs_second_person", False),
                        ),
                        _connector="OR",
                    ),
                ),
                name="billing_writeoffrequest_limit",
            ),
        ),
        migrations.AddConstraint(
            model_name="writeoffdecision",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("decided_by", models.F("requested_by")),
                        ("needs_second_person", False),
                        ("outcome", "within_limit"),
                    ),
                    models.Q(
                        ("decided_by", models.F("requested_by")),
                        ("needs_second_person", True),
                        ("outcome", "withdrawn"),
                    ),
                    models.Q(
                        ("needs_second_person", True),
                        ("outcome__in", ["approved", "rejected"]),
                        models.Q(("decided_by", models.F("requested_by")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="billing_writeoffdecision_second_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="writeoffdecision",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_by", ""), _negated=True),
                    models.Q(("outcome", "within_limit"), models.Q(("words", ""), _negated=True), _connector="OR"),
                ),
                name="billing_writeoffdecision_in_words",
            ),
        ),
        migrations.RunSQL(SQL.read_text(), migrations.RunSQL.noop),
    ]
