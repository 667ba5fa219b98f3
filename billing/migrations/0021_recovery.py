"""Payments that failed, and what is given back."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0020_invoice_proofs")]

    operations = []
