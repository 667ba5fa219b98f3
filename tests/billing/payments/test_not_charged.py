"""What our retries never charge; and the command that declares for whom which retries hold."""

from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from billing.payments.recovery.models import RecoveryCase, RecoveryPolicyChoice
from billing.stripe import redriving
from billing.stripe.errors import OutboxRefusal
from billing.stripe.models import OutboxIntent
from tests.billing.accounting.stripe_story import post
from tests.billing.payments.recovering import attempts, charges, choose, day, failed, run
from tests.billing.thread import START, Thread

POLICY = """
code: patient
name: Patient
retries: ours
retry_days: [3, 5]
reminders: [{day: 0, text: payment_failed}]
grace_days: 4
restrict_after_days: 8
write_off_after_days: 30
"""


def test_who_pays_by_bank_transfer_is_not_charged(thread: Thread) -> None:
    """A card on file pays the subscription. The invoice that was sent was promised to be paid from the bank."""
    choose()
    thread.subscribe()
    thread.settle()
    customer = thread.sandbox.state()["customer"][0]["id"]
    sent = post("/v1/invoices", customer=customer, collection_method="send_invoice", days_until_due=10)
    line = {"amount": 700, "description": "Setup", "metadata": {"kind": "one_off"}}
    post(f"/v1/invoices/{sent['id']}/add_lines", lines=[line])
    post(f"/v1/invoices/{sent['id']}/finalize")
    thread.settle()
    charged = thread.sandbox.counts()["charge"]
    run(thread, START + timedelta(days=10, seconds=1))
    case = RecoveryCase.objects.get()
    for number in (3, 5, 7):
        run(thread, day(case, number))

    assert attempts(case) == [(1, "skipped"), (2, "skipped"), (3, "skipped")]
    assert case.steps.filter(kind="attempt", detail__contains="bank transfer").count() == 3
    assert (thread.sandbox.counts()["charge"], thread.calls_counted(f"POST /v1/invoices/{sent['id']}/pay")) == (
        charged,
        0,
    )
    assert not case.steps.filter(kind="taken_over").exists()


def test_a_try_that_was_declined_is_not_redriven(thread: Thread) -> None:
    """Days later the customer may have paid otherwise, or was told that the next try comes then and then."""
    choose()
    case = failed(thread)
    run(thread, day(case, 3))
    assert attempts(case) == [(1, "declined")]
    thread.use_card("ada", "pm_card_visa")
    intent = OutboxIntent.objects.get(purpose=f"recovery:{case.pk}:pay:1")
    with pytest.raises(OutboxRefusal, match="this try has ended"):
        redriving.redrive(intent_id=intent.pk, actor="user:fiona", reason="again", now=day(case, 3))
    assert "succeeded" not in charges(thread, case)


def test_the_command_declares_a_policy_for_everybody(db: None, tmp_path: Path) -> None:
    file, said = tmp_path / "policy.yaml", StringIO()
    file.write_text(POLICY)
    for _ in range(2):
        call_command("recovery_policy", str(file), reason="as agreed", by="user:fiona", stdout=said)
    assert "holds for everybody" in said.getvalue()
    choice = RecoveryPolicyChoice.objects.select_related("policy").order_by("pk").last()
    assert choice is not None
    assert (choice.policy.code, choice.policy.version, choice.policy.terms["retry_days"]) == ("patient", 1, [3, 5])
    file.write_text(POLICY.replace("[3, 5]", "[]"))
    with pytest.raises(CommandError, match="retry_days") as refused:
        call_command("recovery_policy", str(file), reason="as agreed")
    assert refused.value.returncode == 2
