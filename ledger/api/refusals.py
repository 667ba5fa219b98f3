"""Why a request cannot be answered, told as problem+json."""

from django.http import JsonResponse

from config.problems import problem


class Refusal(Exception):
    """The request cannot be answered; the message says what to do instead."""

    status = 400
    title = "Bad request"

    def answer(self) -> JsonResponse:
        return problem(status=self.status, title=self.title, detail=str(self))


class BadParameter(Refusal):
    """A parameter of the query is not acceptable."""

    title = "Bad parameter"

    def __init__(self, parameter: str, remedy: str) -> None:
        super().__init__(remedy)
        self.parameter = parameter

    def answer(self) -> JsonResponse:
        return problem(status=self.status, title=self.title, detail=str(self), field=self.parameter)


class NotThere(Refusal):
    """What the address or a parameter names does not exist. `field` names which part of it."""

    status = 404
    title = "Not found"

    def __init__(self, field: str, remedy: str) -> None:
        super().__init__(remedy)
        self.field = field

    def answer(self) -> JsonResponse:
        return problem(status=self.status, title=self.title, detail=str(self), field=self.field)
