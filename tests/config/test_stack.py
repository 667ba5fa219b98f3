"""The embedded services as a developer starts them: `python -m config.stack`, in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.bootstrap import PROJECT_DIRECTORY
from config.locks import locked
from config.stack import Stack, remove_stale_folders
from config.stack.confinement import REFUSE_NAMESPACES_VARIABLE
from config.stack.template import STACK_ROOT, key_of, manifest, template_with_key
from tests.config.process_tree import descendants, wait_until_gone

GIVEN = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "CELERY_BROKER_URL")
LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="user namespaces matter to root only")
ASK = "import os, psycopg; print(psycopg.connect(os.environ['DATABASE_URL']).execute({!r}).fetchone()[0])"


def environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without the services of the test run itself."""
    return {**{name: value for name, value in os.environ.items() if name not in GIVEN}, **changes}


def run_stack(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "config.stack", *arguments],
        cwd=PROJECT_DIRECTORY,
        env=environment(**changes),
        capture_output=True,
        text=True,
        check=False,
    )


def ask(question: str) -> list[str]:
    return ["--", sys.executable, "-c", ASK.format(question)]


def _hear_interrupts() -> None:
    """Undo what a shell does to a job in the background: it would ignore SIGINT, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A stack that stays up, in tmp_path/stack; ready when it has printed its variables."""
    launcher = subprocess.Popen(
        [sys.executable, "-m", "config.stack", "--directory", tmp_path / "stack", "--forgetful"],
        cwd=PROJECT_DIRECTORY,
        env=environment(**getattr(request, "param", {})),
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_hear_interrupts,  # noqa: PLW1509  (one system call)
    )
    assert launcher.stdout is not None
    while "CELERY_BROKER_URL" not in (line := launcher.stdout.readline()):
        assert line, "the stack ended before it was ready"
    yield launcher
    launcher.kill()
    launcher.wait()
    launcher.stdout.close()


class TestACommandBesideServices:
    def test_sees_a_migrated_database_as_the_applications_role(self, tmp_path: Path) -> None:
        question = "SELECT current_user || ' ' || count(*) FROM ledger_account"
        done = run_stack("--directory", str(tmp_path / "x"), *ask(question))
        assert (done.returncode, done.stdout.strip()) == (0, "billing_app 0"), done.stderr

    def test_works_in_a_path_with_spaces_quotes_and_length(self, tmp_path: Path) -> None:
        directory = tmp_path / "with spaces and 'quotes' and \"more\" of them" / ("long-" * 20) / "übergrößenträger"
        done = run_stack("--directory", str(directory), "--forgetful", *ask("SELECT 'fine'"))
        assert (done.returncode, done.stdout.strip()) == (0, "fine"), done.stderr

    def test_decides_the_exit_code(self) -> None:
        assert run_stack("--forgetful", "--", sys.executable, "-c", "raise SystemExit(7)").returncode == 7

    def test_leaves_no_folder_unless_one_is_named(self) -> None:
        code = "import os, glob; print(os.getppid())"
        done = run_stack("--forgetful", "--", sys.executable, "-c", code)
        assert not (STACK_ROOT / f"shell-{done.stdout.strip()}").exists()

    def test_copies_the_template_instead_of_migrating(self, tmp_path: Path) -> None:
        template = template_with_key(key_of(manifest()))
        made_at = template.stat().st_mtime_ns
        done = run_stack("--directory", str(tmp_path / "x"), "--forgetful", *ask("SELECT 1"))
        assert (done.returncode, done.stderr) == (0, "")
        assert template.stat().st_mtime_ns == made_at

    @AS_ROOT
    def test_works_as_root_without_user_namespaces(self, tmp_path: Path) -> None:
        done = run_stack("--directory", str(tmp_path / "x"), *ask("SELECT 'ran'"), **{REFUSE_NAMESPACES_VARIABLE: "1"})
        assert (done.returncode, done.stdout.strip()) == (0, "ran"), done.stderr


class TestStopping:
    @LINUX_ONLY
    @pytest.mark.parametrize(
        ("running", "number"),
        [
            ({}, signal.SIGKILL),
            ({}, signal.SIGTERM),
            ({}, signal.SIGINT),
            pytest.param({REFUSE_NAMESPACES_VARIABLE: "1"}, signal.SIGKILL, marks=AS_ROOT),
        ],
        ids=["killed", "terminated", "interrupted", "killed, root without namespaces"],
        indirect=["running"],
    )
    def test_leaves_no_process(self, running: subprocess.Popen[str], number: signal.Signals) -> None:
        family = descendants(running.pid)
        assert len(family) > 5  # PostgreSQL alone has that many
        running.send_signal(number)
        code = running.wait(30)
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 130)
        assert wait_until_gone(family) == set()

    @LINUX_ONLY
    def test_a_folder_can_be_used_again_at_once_after_a_kill(
        self, running: subprocess.Popen[str], tmp_path: Path
    ) -> None:
        running.kill()
        running.wait()
        done = run_stack("--directory", str(tmp_path / "stack"), "--forgetful", *ask("SELECT 'again'"))
        assert (done.returncode, done.stdout.strip()) == (0, "again"), done.stderr


class TestFolders:
    def test_one_run_has_a_folder_for_itself(self, running: subprocess.Popen[str], tmp_path: Path) -> None:
        done = run_stack("--directory", str(tmp_path / "stack"), *ask("SELECT 1"))
        assert done.returncode == 1
        assert "stack: another run uses" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert running.poll() is None

    def test_data_are_kept_on_demand_only(self, tmp_path: Path) -> None:
        directory = str(tmp_path / "x")
        write = "WITH made AS (INSERT INTO auth_group (name) VALUES ('kept') RETURNING 1) SELECT count(*) FROM made"
        code = ASK.format(write).replace("psycopg.connect(", "psycopg.connect(autocommit=True, conninfo=")
        count = ask("SELECT count(*) FROM auth_group WHERE name = 'kept'")
        write_in_new = run_stack("--directory", directory, "--", sys.executable, "-c", code)
        count_in_kept = run_stack("--directory", directory, "--keep-data", *count)
        count_in_new = run_stack("--directory", directory, *count)
        runs = (write_in_new, count_in_kept, count_in_new)
        assert [run.stdout.strip() for run in runs] == ["1", "1", "0"], [run.stderr for run in runs]

    def test_what_a_killed_run_left_is_removed_and_a_living_ones_kept(self) -> None:
        dead, living = (STACK_ROOT / f"test-{kind}-{os.getpid()}" for kind in ("dead", "living"))
        (dead / "postgresql" / "data").mkdir(parents=True)
        with locked(living / "lock"):
            remove_stale_folders()
            assert (dead.exists(), living.exists()) == (False, True)
        remove_stale_folders()
        assert not living.exists()


def test_services_the_user_names_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {name: os.environ[name] for name in GIVEN}
    with Stack(tmp_path / "x", durable=False, migrates=False) as stack:
        assert stack.processes.names() == []
        assert {name: stack.environment()[name] for name in GIVEN} == given
    monkeypatch.delenv("CELERY_BROKER_URL")
    with Stack(tmp_path / "y", durable=False, migrates=False) as stack:
        assert stack.processes.names() == ["valkey"]
        assert stack.environment()["REDIS_URL"] == given["REDIS_URL"]
        assert stack.environment()["CELERY_BROKER_URL"] != given["CELERY_BROKER_URL"]


def test_a_missing_postgresql_is_told_with_the_remedy(tmp_path: Path) -> None:
    done = run_stack("--directory", str(tmp_path / "x"), *ask("SELECT 1"), PG_BINDIR=str(tmp_path))
    assert done.returncode == 1
    assert "PG_BINDIR holds no initdb" in done.stderr


def test_only_the_owner_of_the_files_reads_the_passwords(tmp_path: Path) -> None:
    code = "import os, psycopg; psycopg.connect(os.environ['DATABASE_URL'].replace('billing_app:', 'postgres:x'))"
    done = run_stack("--directory", str(tmp_path / "x"), "--forgetful", "--", sys.executable, "-c", code)
    assert 'password authentication failed for user "postgres"' in done.stderr
    for path in (tmp_path / "x" / "credentials.json", tmp_path / "x" / "valkey" / "valkey.conf"):
        assert path.stat().st_mode & 0o077 == 0
