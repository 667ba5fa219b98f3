"""Why a subscription or a period cannot be written as asked. Whatever raises one of these has written nothing."""


class SubscriptionError(Exception):
    """A subscription or period cannot be written as asked; nothing was."""


class PlanNotOffered(SubscriptionError):
    """The plan version may not be subscribed to as asked: the message names the reason and the remedy."""


class SubscriptionConflict(SubscriptionError):
    """The customer has another live subscription; two would bill the same usage twice."""


class SubscriptionNotFound(SubscriptionError):
    """No subscription has this id."""


class PeriodConflict(SubscriptionError):
    """The period would overlap another one of its subscription or leave a gap after it."""


class PeriodNotFound(SubscriptionError):
    """No billing period has this id."""


class ChangeRefused(SubscriptionError):
    """
    It cannot be done as asked, or not at that instant: the message names the reason and the remedy.

    `field` is what to mend, where that is known; `is_conflict` says that something else was asked for before.
    """

    def __init__(self, message: str, *, field: str = "", is_conflict: bool = False) -> None:
        super().__init__(message)
        self.field = field
        self.is_conflict = is_conflict
