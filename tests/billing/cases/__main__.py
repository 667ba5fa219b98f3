"""`python -m tests.billing.cases [FILE]`: what of a file of cases is reproduced; exits 1 for a case that is not."""

import os
import sys
from pathlib import Path

import django


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.static_settings")
    django.setup()
    from tests.billing.cases.judging import outcomes
    from tests.billing.cases.reader import FILE, Verdict, table

    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    if not file.is_file():
        print(f"cases: {file} is no file; name one that holds cases as {FILE.name} does", file=sys.stderr)
        return 2
    told = outcomes(file)
    print(table(told))
    return int(any(outcome.verdict in (Verdict.FAILED, Verdict.UNKNOWN) for outcome in told))


if __name__ == "__main__":
    sys.exit(main())
