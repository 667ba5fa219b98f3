"""Invoices of our own making, requests about invoices, and closes that a person let go on (sql/0019_invoice_orders.sql)."""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

SQL = Path(__file__).parent / "sql" / "0019_invoice_orders.sql"


class Migration(migrations.Migration):
    dependencies = [("billing", "0018_teams")]

    operations = [
        migrations.AlterModelOptions(
            name="invoiceclose",
            options={"ordering": ("-id",), "permissions": (("release_invoiceclose", "Can let a held invoice go on"),)},
        ),
        migrations.AddField(
            model_name="invoiceclose",
            name="findings",
            field=models.JSONField(
                default=list,
                help_text="What it is held for, where a person may let that pass: code, words, figures compared.",
            ),
        ),
        migrations.AddField(
            model_name="invoiceclose",
            name="held_at",
            field=models.DateTimeField(help_text="Since when it is held.", null=True),
        ),
        migrations.CreateModel(
            name="InvoiceOrder",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("threshold", "Usage that reached an amount"),
                            ("closing", "End of a subscription"),
                            ("one_off", "One-off"),
                            ("reissue", "In place of a void invoice"),
                        ],
                        max_length=10,
                    ),
                ),
                ("currency", models.CharField(max_length=3)),
                (
                    "amount_minor",
                    models.BigIntegerField(
                        help_text="In minor units: the usage that reached the threshold, or the sum of the one-off lines.",
                        null=True,
                    ),
                ),
                ("reason", models.CharField(max_length=500)),
                (
                    "ordered_by",
                    models.CharField(help_text="Who, such as user:fiona.", max_length=200),
                ),
                ("ordered_at", models.DateTimeField()),
                ("idempotency_key", models.CharField(max_length=200, unique=True)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("intended", "Under way"),
                            ("drafted", "Drafted"),
                            ("dropped", "Nothing left to invoice"),
                            ("refused", "Refused by Stripe"),
                            ("lost", "Its draft was lost at Stripe"),
                        ],
                        default="intended",
                        max_length=10,
                    ),
                ),
                (
                    "request",
                    models.JSONField(help_text="The draft Stripe is asked for; fixed before it is asked.", null=True),
                ),
                ("outcome", models.CharField(blank=True, max_length=500)),
                ("error", models.TextField(blank=True, help_text="What the last attempt failed on or waits for.")),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("next_attempt_at", models.DateTimeField(help_text="The sweeper takes it up from then on.")),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="invoice_orders",
                        to="billing.customer",
                    ),
                ),
                (
                    "invoice",
                    models.OneToOneField(
                        help_text="What it became.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="order",
                        to="billing.invoice",
                    ),
                ),
                (
                    "period",
                    models.ForeignKey(
                        help_text="Whose usage it asks for; of a re-issue none, as the void invoice says whose.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="invoice_orders",
                        to="billing.billingperiod",
                    ),
                ),
                (
                    "replaces",
                    models.ForeignKey(
                        help_text="The void invoice in whose place it comes.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="reissues",
                        to="billing.invoice",
                    ),
                ),
                (
                    "repeats",
                    models.OneToOneField(
                        help_text="The order that came to nothing, and that a person had made once more by this one.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="repeated_by",
                        to="billing.invoiceorder",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="invoice_orders",
                        to="billing.subscription",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="InvoiceOrderLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.PositiveIntegerField()),
                ("description", models.CharField(max_length=500)),
                ("amount_minor", models.BigIntegerField(help_text="In minor units, before discount and tax on top.")),
                (
                    "is_taxed",
                    models.BooleanField(
                        default=True, help_text="As the customer's other invoices are; otherwise exempt."
                    ),
                ),
                (
                    "order",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="lines", to="billing.invoiceorder"
                    ),
                ),
            ],
            options={
                "ordering": ("order_id", "position"),
            },
        ),
        migrations.CreateModel(
            name="InvoiceRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("one_off", "One-off invoice"),
                            ("void", "Void an invoice"),
                            ("credit_note", "Credit note"),
                        ],
                        max_length=12,
                    ),
                ),
                ("currency", models.CharField(max_length=3)),
                (
                    "amount_minor",
                    models.BigIntegerField(help_text="What it moves, in minor units; its limit is about this."),
                ),
                ("terms", models.JSONField(help_text="What exactly is asked for (invoicing/requests/terms.py).")),
                ("reason", models.CharField(max_length=500)),
                ("requested_by", models.CharField(help_text="Who, such as user:fiona.", max_length=200)),
                ("requested_at", models.DateTimeField()),
                ("idempotency_key", models.CharField(max_length=200, unique=True)),
                (
                    "limit_amount",
                    models.DecimalField(
                        decimal_places=12,
                        help_text="What one person could move alone; null: nothing.",
                        max_digits=38,
                        null=True,
                    ),
                ),
                (
                    "alone_total",
                    models.DecimalField(
                        decimal_places=12,
                        help_text="What the requester moved alone for this customer on this day (UTC), with this.",
                        max_digits=38,
                    ),
                ),
                ("needs_second_person", models.BooleanField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waits for a second person"),
                            ("intended", "Under way"),
                            ("done", "Done"),
                            ("refused", "Refused by Stripe"),
                            ("called_off", "Called off"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "stripe_request",
                    models.JSONField(help_text="What Stripe is asked for; fixed before it is asked.", null=True),
                ),
                ("outcome", models.CharField(blank=True, max_length=500)),
                ("error", models.TextField(blank=True)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("next_attempt_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "credit_note",
                    models.OneToOneField(
                        help_text="What it made.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="asked_by",
                        to="billing.creditnote",
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="invoice_requests",
                        to="billing.customer",
                    ),
                ),
                (
                    "invoice",
                    models.ForeignKey(
                        help_text="What it changes.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="requests",
                        to="billing.invoice",
                    ),
                ),
                (
                    "order",
                    models.OneToOneField(
                        help_text="What it made.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="asked_by",
                        to="billing.invoiceorder",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "permissions": (
                    ("order_one_off_invoice", "Can ask for a one-off invoice"),
                    ("credit_invoice", "Can ask for a credit note on an invoice"),
                    ("void_invoice", "Can ask for an invoice to be void"),
                    ("approve_invoicerequest", "Can approve or reject what somebody else asked for about invoices"),
                ),
            },
        ),
        migrations.CreateModel(
            name="InvoiceRequestDecision",
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
                ("decided_by", models.CharField(max_length=200)),
                ("decided_at", models.DateTimeField()),
                ("words", models.CharField(blank=True, max_length=500)),
                (
                    "invoice_request",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="decision",
                        to="billing.invoicerequest",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="InvoiceCloseRelease",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("step", models.CharField(help_text="The last finished step when it was held.", max_length=20)),
                ("held_reason", models.CharField(max_length=500)),
                ("held_at", models.DateTimeField(null=True)),
                (
                    "findings",
                    models.JSONField(default=list, help_text="As the close held them: these, and no others, may pass."),
                ),
                ("words", models.CharField(max_length=500)),
                ("released_by", models.CharField(max_length=200)),
                ("released_at", models.DateTimeField()),
                (
                    "close",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="releases", to="billing.invoiceclose"
                    ),
                ),
            ],
            options={
                "ordering": ("close_id", "id"),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("words", ""), _negated=True),
                            models.Q(("released_by", ""), _negated=True),
                            models.Q(("held_reason", ""), _negated=True),
                        ),
                        name="billing_invoicecloserelease_says_why",
                    )
                ],
            },
        ),
        migrations.AddIndex(
            model_name="invoiceorder",
            index=models.Index(
                condition=models.Q(("state", "intended")), fields=["next_attempt_at"], name="billing_invoiceorder_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="invoiceorder",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ("threshold", "closing", "one_off", "reissue"))),
                name="billing_invoiceorder_kind",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoiceorder",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("kind__in", ("threshold", "closing")),
                        ("period__isnull", False),
                        ("replaces__isnull", True),
                        ("subscription__isnull", False),
                    ),
                    models.Q(("kind", "reissue"), ("period__isnull", True), ("replaces__isnull", False)),
                    models.Q(("kind", "one_off"), ("period__isnull", True), ("replaces__isnull", True)),
                    _connector="OR",
                ),
                name="billing_invoiceorder_says_whose",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoiceorder",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("reason", ""), _negated=True), models.Q(("ordered_by", ""), _negated=True)
                ),
                name="billing_invoiceorder_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoiceorder",
            constraint=models.CheckConstraint(
                condition=models.Q(("state", "intended"), ("finished_at__isnull", False), _connector="XOR"),
                name="billing_invoiceorder_finished",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoiceorder",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("state", "lost"),
                    models.Q(("state", "drafted"), ("invoice__isnull", True), _connector="XOR"),
                    _connector="OR",
                ),
                name="billing_invoiceorder_drafted",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoiceorder",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "closing"), ("state__in", ("intended", "drafted", "dropped"))),
                fields=("period",),
                name="billing_invoiceorder_one_closing",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoiceorder",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "threshold"), ("state", "intended")),
                fields=("period",),
                name="billing_invoiceorder_one_threshold",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoiceorder",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "reissue"), ("state__in", ("intended", "drafted"))),
                fields=("replaces",),
                name="billing_invoiceorder_one_reissue",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoiceorderline",
            constraint=models.UniqueConstraint(fields=("order", "position"), name="billing_invoiceorderline_position"),
        ),
        migrations.AddConstraint(
            model_name="invoiceorderline",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("description", ""), _negated=True), models.Q(("amount_minor", 0), _negated=True)
                ),
                name="billing_invoiceorderline_says_what",
            ),
        ),
        migrations.AddIndex(
            model_name="invoicerequest",
            index=models.Index(
                condition=models.Q(("state", "intended")), fields=["next_attempt_at"], name="billing_invoicerequest_due"
            ),
        ),
        migrations.AddIndex(
            model_name="invoicerequest",
            index=models.Index(fields=["requested_by", "requested_at"], name="billing_invoicerequest_person"),
        ),
        migrations.AddConstraint(
            model_name="invoicerequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("invoice__isnull", True), ("kind", "one_off")),
                    models.Q(("invoice__isnull", False), ("kind__in", ("void", "credit_note"))),
                    _connector="OR",
                ),
                name="billing_invoicerequest_of_invoice",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoicerequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("reason", ""), _negated=True), models.Q(("requested_by", ""), _negated=True)
                ),
                name="billing_invoicerequest_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoicerequest",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ("waiting", "intended", "done", "refused", "called_off"))),
                name="billing_invoicerequest_state",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoicerequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("state__in", ("waiting", "intended")), ("finished_at__isnull", False), _connector="XOR"
                ),
                name="billing_invoicerequest_finished",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoicerequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("limit_amount__isnull", True), ("needs_second_person", True)),
                    models.Q(("alone_total__gt", models.F("limit_amount")), ("needs_second_person", True)),
                    models.Q(
                        ("alone_total__lte", models.F("limit_amount")),
                        ("limit_amount__isnull", False),
                        ("needs_second_person", False),
                    ),
                    _connector="OR",
                ),
                name="billing_invoicerequest_limit",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoicerequest",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "void"), ("state__in", ("waiting", "intended"))),
                fields=("invoice",),
                name="billing_invoicerequest_one_void",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoicerequestdecision",
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
                        ("outcome__in", ("approved", "rejected")),
                        models.Q(("decided_by", models.F("requested_by")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="billing_invoicerequest_second_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoicerequestdecision",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_by", ""), _negated=True),
                    models.Q(("outcome", "within_limit"), models.Q(("words", ""), _negated=True), _connector="OR"),
                ),
                name="billing_invoicerequest_decided_in_words",
            ),
        ),
        migrations.AddField(
            model_name="invoiceline",
            name="is_exempt",
            field=models.BooleanField(
                db_default=False, default=False, help_text="Pushed without the tax rates of its invoice."
            ),
        ),
        migrations.RunSQL(SQL.read_text(), migrations.RunSQL.noop),
    ]
