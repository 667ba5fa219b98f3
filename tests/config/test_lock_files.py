"""The pinned packages: complete with hashes, and from whatever registry the machine is set up for."""

import re
from pathlib import Path

import pytest

from config.bootstrap import PROJECT_DIRECTORY

LOCK_FILES = [PROJECT_DIRECTORY / name for name in ("requirements.txt", "requirements-dev.txt")]
PIN = re.compile(r"^[a-z0-9][a-z0-9._-]*(\[[a-z0-9,_-]+\])?==[^ ]+", re.IGNORECASE)


@pytest.mark.parametrize("lock_file", LOCK_FILES, ids=lambda path: path.name)
def test_a_lock_file_names_no_registry_no_file_and_no_option(lock_file: Path) -> None:
    lines = lock_file.read_text().splitlines()
    assert [line for line in lines if re.search(r"https?://|file:|^--", line)] == []


@pytest.mark.parametrize("lock_file", LOCK_FILES, ids=lambda path: path.name)
def test_every_pinned_package_has_a_hash(lock_file: Path) -> None:
    joined = lock_file.read_text().replace("\\\n", " ")
    pins = [line for line in joined.splitlines() if PIN.match(line)]
    assert len(pins) > 20
    assert [pin.split(" ", 1)[0] for pin in pins if "--hash=sha256:" not in pin] == []


def test_both_lock_files_pin_the_same_versions() -> None:
    base, development = (
        dict(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", path.read_text(), re.MULTILINE)) for path in LOCK_FILES
    )
    assert {name: development.get(name) for name in base} == base
