"""Why a request cannot be answered, told as problem+json."""

from django.http import JsonResponse

from config.problems import problem


class Refusal(Exception):
    """The request cannot be answered: `field` names the parameter, or the part of the address; the message is the
    remedy."""

    status = 400
    title = "Bad parameter"

    def __init__(self, field: str, remedy: str) -> None:
        super().__init__(remedy)
        self.field = field

    def answer(self) -> JsonResponse:
        return problem(status=self.status, title=self.title, detail=str(self), field=self.field)


class BadParameter(Refusal):
    """A parameter of the query is not acceptable."""


class NotThere(Refusal):
    """What the address or a parameter names does not exist."""

    status = 404
    title = "Not found"


class NotComputable(Refusal):
    """It exists, but cannot be computed again now, such as when raw events lie in an archive."""

    status = 409
    title = "Cannot be computed"
