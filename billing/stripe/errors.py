"""What can go wrong between Stripe and us, told apart by what has to happen next."""

from datetime import timedelta

# Nobody is at the settings or at Stripe's dashboard within seconds: what a person has to mend is tried again slowly.
WAIT_FOR_A_PERSON = timedelta(minutes=15)


class StripeUnavailable(Exception):
    """
    No answer, or one that says nothing about the request (5xx, 429, a wrong key): try again later.

    `retry_after`, where it is known, is the least to wait: Stripe said so, or the budget of requests is spent.
    `status` is the HTTP status of the answer, 0 without one; `request_id` Stripe's name for the request, or nothing.
    """

    def __init__(
        self, message: str, *, retry_after: timedelta | None = None, status: int = 0, request_id: str = ""
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status
        self.request_id = request_id


class StripeForbidden(StripeUnavailable):
    """
    The key lacks a permission. The request is neither wrong nor refused: it works once somebody gives the permission.

    `operation` is what was asked for ("POST /v1/customers"); `permission` Stripe's name of what is missing, such as
    rak_customer_write, and `account` the account of the key, where Stripe said them.
    """

    def __init__(
        self, message: str, *, operation: str, permission: str = "", account: str = "", request_id: str = ""
    ) -> None:
        wanted = f"permission {permission}" if permission else "a permission"
        super().__init__(
            f"The Stripe key lacks {wanted} for {operation}: give it to the key at Stripe. {message}",
            retry_after=WAIT_FOR_A_PERSON,
            status=403,
            request_id=request_id,
        )
        self.operation = operation
        self.permission = permission
        self.account = account


class StripeModeMismatch(StripeUnavailable):
    """The key, or what it brought, is of another Stripe account or mode than this database. Nothing is recorded."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after=WAIT_FOR_A_PERSON)


class OutboxNeedsPerson(StripeUnavailable):
    """A write of days ago that may have been carried out, and would overwrite what came after it: a person decides."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after=WAIT_FOR_A_PERSON)


class StripeRefused(Exception):
    """Stripe understood and said no; the same request will be refused again."""

    def __init__(self, *, code: str, message: str, param: str = "", status: int = 0, request_id: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.param = param
        self.status = status
        self.request_id = request_id


class OutboxSuperseded(StripeRefused):
    """Not sent, and never will be: a later write to the same object was carried out first, or a person abandoned it."""


class OutboxConflict(Exception):
    """The same purpose was carried out before with another request."""


class OutboxInsideTransaction(Exception):
    """A remote call was asked for while a database transaction was open."""


class OutboxRefusal(Exception):
    """A person asked for what cannot be done with an intent; its text says why, and what can."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotYetKnown(Exception):
    """An event speaks of something our side has not recorded yet: try again later. `customer`: whose, Stripe's id."""

    def __init__(self, message: str, *, customer: str = "") -> None:
        super().__init__(message)
        self.customer = customer


class ProjectionRefused(Exception):
    """Stripe's object cannot be entered into the books as it is: a person has to look."""


class LeaseLost(Exception):
    """Another worker took over while we were busy: our result is dropped, theirs counts."""
