"""How approvals and rollouts say no: with the field to mend, if there is one, and the remedy."""

from billing.accounting.people import may

REASON_CHARS_MAX = 500


class RolloutError(Exception):
    """Refused; nothing was written. `field` names what to mend, or is ""."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotPermitted(RolloutError):
    """The person may not do this, or not with their own request."""


class NotFound(RolloutError):
    """There is no such row."""


class NotNow(RolloutError):
    """It cannot be done in the state that things are in; the text says in which it can."""


class InvalidTerms(RolloutError):
    """What was asked for is wrong."""


def require_may(actor: str, permission: str, *, what: str) -> None:
    """Raises NotPermitted unless the actor is a person who holds the permission now."""
    if not may(actor, permission):
        raise NotPermitted(f"{actor.removeprefix('user:') or 'nobody'} may not {what}; it needs {permission}")


def reason_of(text: str) -> str:
    """Return the reason without the blanks around it. Raises InvalidTerms for none, or one that is too long."""
    reason = text.replace("\x00", "").strip()
    if not reason or len(reason) > REASON_CHARS_MAX:
        raise InvalidTerms(f"say why, in at most {REASON_CHARS_MAX} characters", field="reason")
    return reason
