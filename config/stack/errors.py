"""What can go wrong with embedded services. Messages say what to do, and are printed as one line."""


class StackError(Exception):
    """The embedded services cannot be found, started or prepared."""


class ProcessDied(StackError):
    """A supervised process ended by itself; the message carries its name, its exit code and its last log lines."""
