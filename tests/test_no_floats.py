"""The check for floats finds each way in which one could come about, and nothing else."""

from pathlib import Path

import pytest

from tests.no_floats import findings

PLANTED = {
    "literal": "price = 0.1",
    "call": "def read(text: str) -> None:\n    print(float(text))",
    "division": "def half(cents: int) -> None:\n    print(cents / 2)",
    "seconds": "import datetime\ndef share(passed: datetime.timedelta) -> None:\n    print(passed.total_seconds())",
    "library": "import math\nprint(math.sqrt(2))",
    "optional": "def rate(text: str) -> float | None: ...\nprint(rate('1'))",
    "argument": "def rate(share: float) -> None:\n    print(share)",
    "conversion": "from decimal import Decimal\nprint(Decimal(1).__float__())",
    "field": "class FloatField: ...",
    "cast": "SQL = 'SELECT amount::double precision FROM line'",
}
CLEAN = """
from decimal import Decimal
from datetime import timedelta
from pathlib import Path
def share(cents: int, passed: timedelta, whole: timedelta) -> Decimal:
    return Decimal(cents) * (passed // timedelta(microseconds=1)) / (whole // timedelta(microseconds=1))
def is_refused(value: object) -> bool:
    return isinstance(value, float)  # refuses floats
print(Path("a") / "b", 7 // 2, "real time", share(1, timedelta(1), timedelta(2)))
"""


def test_finds_every_way_in_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    money = tmp_path / "money"
    money.mkdir()
    (money / "__init__.py").touch()
    (money / "clean.py").write_text(CLEAN)
    for name, source in PLANTED.items():
        (money / f"planted_{name}.py").write_text(source + "\n")
    (money / "rules.sql").write_text("CREATE TABLE line (amount double precision); -- no float8 in a comment\n")
    (money / "clean.sql").write_text("CREATE TABLE line (amount numeric(38, 12)); -- in real life: float8\n")

    found = findings(["money"])

    assert {one.path for one in found} == {"money/rules.sql", *(f"money/planted_{name}.py" for name in PLANTED)}
    assert "money/planted_division.py:2: " in " ".join(map(str, found))
