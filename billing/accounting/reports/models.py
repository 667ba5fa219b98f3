"""No table: what is allowed about finance's reports."""

from django.db import models


class FinanceReport(models.Model):
    """Carries the permission to read finance's reports, which are worked out from the ledger and stored nowhere."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = (("view_financereport", "Can read finance's reports"),)
