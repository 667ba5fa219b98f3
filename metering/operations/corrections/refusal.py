"""Why a correction cannot be drafted, decided or applied as it is."""


class CorrectionRefused(Exception):
    """The text says what is wrong and what to do; `field` is the one of the form to mend, "" for none."""

    def __init__(self, text: str, *, field: str = "") -> None:
        super().__init__(text)
        self.field = field


class PreviewOutdated(CorrectionRefused):
    """What was previewed is not what applying would do now."""


class SecondPersonNeeded(CorrectionRefused):
    """Somebody else has to approve it first, or somebody else than who tries."""
