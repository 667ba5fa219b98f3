"""What can end the demo with a sentence instead of a traceback."""


class DemoFailed(Exception):
    """The demo cannot go on; its text says why and what to do. Exit code 1."""
