"""Why a team cannot be changed as asked. Whatever raises one of these has written nothing; each message is a remedy."""


class TeamError(Exception):
    """A team cannot be changed as asked. `field` names the part of the request to mend."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class InvalidTeam(TeamError):
    """What was given about members or groups is wrong."""


class TeamNotFound(TeamError):
    """No such customer, member or group."""


class TeamConflict(TeamError):
    """The key stands for another change, or the code for another group."""


class PastChange(TeamError):
    """A change would begin in the past, or a correction would reach into what is invoiced."""


class SeatsExceeded(TeamError):
    """More seats would be held than are paid for."""
