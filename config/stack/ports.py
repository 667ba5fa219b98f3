"""Free TCP ports on the loopback interface."""

import socket


def free_port() -> int:
    """Return a port that was free a moment ago. Whoever binds it must be ready to try again with another."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
