"""Corrections of usage: drafted with a preview, applied as previewed, reverted by another correction."""

from metering.correction_store import Selection
from metering.operations.corrections.deciding import (
    apply_correction,
    approve_correction,
    continue_correction,
    corrections_under_way,
    reject_correction,
    withdraw_correction,
)
from metering.operations.corrections.drafting import (
    Amendment,
    Asked,
    draft_amend,
    draft_backfill,
    draft_restore,
    draft_revert,
    draft_void,
)
from metering.operations.corrections.preview import preview_correction
from metering.operations.corrections.refusal import CorrectionRefused, PreviewOutdated, SecondPersonNeeded

__all__ = [
    "Amendment",
    "Asked",
    "CorrectionRefused",
    "PreviewOutdated",
    "SecondPersonNeeded",
    "Selection",
    "apply_correction",
    "approve_correction",
    "continue_correction",
    "corrections_under_way",
    "draft_amend",
    "draft_backfill",
    "draft_restore",
    "draft_revert",
    "draft_void",
    "preview_correction",
    "reject_correction",
    "withdraw_correction",
]
