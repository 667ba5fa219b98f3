"""Makes the virtual environment with hash-checked packages: `python3 -m config.bootstrap`. Standard library only.

`make demo` and `make test` may start at once in a fresh clone, so one makes the environment while the other waits.
"""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

from config.locks import locked

OLDEST_PYTHON = (3, 11)
PROJECT_DIRECTORY = Path(__file__).resolve().parent.parent
ENVIRONMENT = PROJECT_DIRECTORY / ".venv"
LOCK_FILE = PROJECT_DIRECTORY / "requirements-dev.txt"
# Written last: it holds what was installed, so an interrupted or outdated installation is done again.
STAMP = ENVIRONMENT / "installed.stamp"


def wanted_stamp() -> str:
    """Return what the stamp says when the environment fits the lock file, this Python and this place."""
    lock_digest = hashlib.sha256(LOCK_FILE.read_bytes()).hexdigest()
    return f"{lock_digest} python{sys.version_info.major}.{sys.version_info.minor} {ENVIRONMENT}"


def is_current() -> bool:
    return STAMP.exists() and STAMP.read_text() == wanted_stamp()


def tell(line: str) -> None:
    """Print a line of progress on standard error, at once."""
    print(line, file=sys.stderr, flush=True)


def install() -> int:
    """Make the environment anew and install every pinned package; return pip's exit code."""
    tell(f"installing the packages of {LOCK_FILE.name} into .venv, each checked against its hash")
    try:
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
    except subprocess.CalledProcessError:
        tell("this Python cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv")
        return 2
    python = ENVIRONMENT / "bin" / "python"
    options = ("--quiet", "--disable-pip-version-check", "--no-input", "--require-hashes")
    return subprocess.call([python, "-m", "pip", "install", *options, "-r", LOCK_FILE])


def main() -> int:
    if sys.version_info < OLDEST_PYTHON:
        tell(f"Python {'.'.join(map(str, OLDEST_PYTHON))} or newer is needed; this is {sys.version.split()[0]}")
        return 2
    if is_current():
        return 0
    with locked(PROJECT_DIRECTORY / ".stack" / "locks" / "environment", purpose="installing packages", report=tell):
        if is_current():
            return 0
        code = install()
        if code == 0:
            STAMP.write_text(wanted_stamp())
    return code


if __name__ == "__main__":
    sys.exit(main())
