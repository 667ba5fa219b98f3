from django.db import migrations, models


class Migration(migrations.Migration):
    """Indexes for what tasks look for every few seconds, and for lists and figures, among tens of millions of rows."""

    dependencies = [
        ("billing", "0027_daily_plans"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="balancetransaction",
            index=models.Index(fields=["-occurred_at", "-id"], name="billing_movement_made"),
        ),
        migrations.AddIndex(
            model_name="billingperiod",
            index=models.Index(fields=["-starts_at", "-id"], name="billing_period_made"),
        ),
        migrations.AddIndex(
            model_name="inboxevent",
            index=models.Index(
                condition=models.Q(("state", "done"), _negated=True),
                fields=["state", "received_at"],
                name="billing_inbox_not_done",
            ),
        ),
        migrations.AddIndex(
            model_name="invoice",
            index=models.Index(fields=["-created_at", "-id"], name="billing_invoice_made"),
        ),
        migrations.AddIndex(
            model_name="invoice",
            index=models.Index(fields=["finalized_at"], name="billing_invoice_finalized"),
        ),
        migrations.AddIndex(
            model_name="invoice",
            index=models.Index(condition=models.Q(("status", "open")), fields=["id"], name="billing_invoice_open"),
        ),
        migrations.AddIndex(
            model_name="invoice",
            index=models.Index(
                condition=models.Q(("number", ""), _negated=True), fields=["number"], name="billing_invoice_number"
            ),
        ),
        migrations.AddIndex(
            model_name="invoiceclose",
            index=models.Index(
                condition=models.Q(("held_reason", ""), models.Q(("step__in", ("finalized", "ended")), _negated=True)),
                fields=["next_attempt_at", "id"],
                name="billing_close_due",
            ),
        ),
        migrations.AddIndex(
            model_name="invoiceclose",
            index=models.Index(
                condition=models.Q(("held_reason", ""), _negated=True),
                fields=["held_at", "id"],
                name="billing_close_held",
            ),
        ),
        migrations.AddIndex(
            model_name="outboxintent",
            index=models.Index(
                condition=models.Q(("stripe_object_id", ""), _negated=True),
                fields=["stripe_object_id"],
                name="billing_outbox_object",
            ),
        ),
        migrations.AddIndex(
            model_name="outboxintent",
            index=models.Index(fields=["-created_at"], name="billing_outbox_made"),
        ),
        migrations.AddIndex(
            model_name="outboxintent",
            index=models.Index(
                condition=models.Q(("state", "succeeded"), _negated=True),
                fields=["state", "created_at"],
                name="billing_outbox_not_done",
            ),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(fields=["-occurred_at", "-id"], name="billing_payment_made"),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(fields=["stripe_charge_id"], name="billing_payment_charge"),
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(
                condition=models.Q(("status", "trialing")), fields=["id"], name="billing_subscription_trial"
            ),
        ),
    ]
