"""What can go wrong between Stripe and us, told apart by what has to happen next."""


class StripeUnavailable(Exception):
    """No answer, or one that says nothing about the request (5xx, 429, a wrong key): try again later."""


class StripeRefused(Exception):
    """Stripe understood and said no; the same request will be refused again."""

    def __init__(self, *, code: str, message: str, param: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.param = param


class OutboxConflict(Exception):
    """The same purpose was carried out before with another request."""


class OutboxInsideTransaction(Exception):
    """A remote call was asked for while a database transaction was open."""


class NotYetKnown(Exception):
    """An event speaks of something our side has not recorded yet: try again later."""


class ProjectionRefused(Exception):
    """Stripe's object cannot be entered into the books as it is: a person has to look."""


class LeaseLost(Exception):
    """Another worker took over while we were busy: our result is dropped, theirs counts."""
