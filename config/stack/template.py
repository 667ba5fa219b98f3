"""The template: one cluster with every migration applied, made once and copied for each run.

It is named by a hash of everything that shapes the database, so that a changed migration makes a new one and nothing
else does. Only the newest is kept.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from config.locks import locked
from config.stack import postgres
from config.stack.confinement import confinement
from config.stack.errors import StackError
from config.stack.processes import ProcessSupervisor

PROJECT_DIRECTORY = Path(__file__).resolve().parent.parent.parent
STACK_ROOT = PROJECT_DIRECTORY / ".stack"
OWN_APPS = ("config", "billing", "promotions", "metering", "ledger")
# What shapes the database beside migrations: the pinned packages, the roles' rights, and the making itself.
OTHER_INGREDIENTS = (
    "requirements.txt",
    "config/privileges.py",
    "config/batched_migrations.py",
    "config/management/commands/migrate.py",
    "config/stack/postgres.py",
    "config/stack/template.py",
)
BUILD_ATTEMPTS = 3
CREDENTIALS_NAME = "credentials.json"
Report = Callable[[str], None]
Manifest = Mapping[str, str]


def manifest() -> dict[str, str]:
    """Return {path: digest} of every file that shapes the database, sorted by path."""
    paths = {PROJECT_DIRECTORY / name for name in OTHER_INGREDIENTS}
    for app in OWN_APPS:
        folder = PROJECT_DIRECTORY / app
        paths |= {path for path in folder.rglob("migrations/**/*") if path.suffix in {".py", ".sql"}}
        paths |= set(folder.rglob("*.sql"))
    return {
        str(path.relative_to(PROJECT_DIRECTORY)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(paths)
        if path.is_file()
    }


def key_of(ingredients: Manifest) -> str:
    return hashlib.sha256(json.dumps(dict(ingredients), sort_keys=True).encode()).hexdigest()[:16]


def template_with_key(key: str) -> Path:
    return STACK_ROOT / f"template-{key}"


def copy_template(place: Path, *, report: Report) -> postgres.Credentials:
    """Fill the empty folder `place` with a copy of the present template, making that first when there is none."""
    lock = STACK_ROOT / "locks" / "template"
    for _ in range(BUILD_ATTEMPTS):
        template = template_with_key(key_of(manifest()))
        if not template.exists():
            with locked(lock, purpose="making the database template", report=report):
                template = template_with_key(key_of(manifest()))
                if not template.exists():
                    _build(template, report=report)
        with locked(lock, shared=True, purpose="making the database template", report=report):
            if template.exists():  # else somebody whose migrations differ has just removed it
                shutil.copytree(template / "data", place / "data", symlinks=True)
                confinement().hand_over(place / "data")
                return postgres.Credentials.read(template / CREDENTIALS_NAME)
    raise StackError("the migrations keep changing while the database template is made. Try again when they rest")


def _build(template: Path, *, report: Report) -> None:
    """Make the template in a folder beside it and rename that when it is complete. The caller holds the lock."""
    ingredients = manifest()
    place = confinement().place_for(STACK_ROOT / "partial-template")
    postgres.clear_place(place)
    report("making the database with all its migrations; later runs copy it")
    credentials = postgres.Credentials.generate()
    postgres.create_cluster(place, credentials=credentials)
    with ProcessSupervisor(STACK_ROOT / "logs-of-template") as supervisor:
        server = postgres.start_server(supervisor, place, credentials=credentials, durable=False)
        postgres.create_roles_and_database(server)
        migrate(application_url=server.application_url, owner_url=server.owner_url)
    if manifest() != ingredients:
        raise StackError("a migration changed while the database template was made. Try again")
    credentials.write(place / CREDENTIALS_NAME)
    _publish(place, template)


def _publish(place: Path, template: Path) -> None:
    """Put a finished template into its place in one step, and remove those that no longer fit the checkout."""
    finished = STACK_ROOT / "finished-template"
    for outdated in (finished, *STACK_ROOT.glob("template-*")):
        shutil.rmtree(outdated, ignore_errors=True)
    shutil.move(place, finished)  # a rename, or a copy where PostgreSQL had to live below /var/tmp
    finished.rename(template)


def migrate(*, application_url: str, owner_url: str) -> None:
    """Run `manage.py migrate` against a database, in a process of its own. Raises StackError with its last lines."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": application_url,
        "DATABASE_OWNER_URL": owner_url,
        # Migrating touches neither of these services; settings only ask that they are named.
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "CELERY_BROKER_URL": "redis://127.0.0.1:1/1",
        "DJANGO_SECRET_KEY": "migrating-signs-nothing",
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, PROJECT_DIRECTORY / "manage.py", "migrate", "--no-input", "--skip-checks", "--verbosity", "0"],
        env=environment,
        cwd=PROJECT_DIRECTORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join(f"  {line}" for line in done.stdout.strip().splitlines()[-25:])
        raise StackError(f"`manage.py migrate` failed with exit code {done.returncode}:\n{tail}")
