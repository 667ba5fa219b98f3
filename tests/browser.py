"""What tests in a real browser share: which browser, how it is started, and the widths that matter."""

import os
import shutil
from pathlib import Path

import pytest

WIDTHS = {"narrow": (390, 844), "wide": (1440, 900)}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def find_chromium() -> Path:
    """CHROMIUM_PATH, else the one on the path. Without one the test is skipped; CI installs one and fails instead."""
    found = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        reason = "no browser: set CHROMIUM_PATH, or put chromium on the path"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return Path(found)
