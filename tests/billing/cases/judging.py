"""All cases of a file, judged by every adapter that there is."""

from pathlib import Path

from tests.billing.cases import pricing, proration_and_periods
from tests.billing.cases.decisions import ELSEWHERE, LATER, decided
from tests.billing.cases.reader import FILE, Case, Outcome, judge, read_cases

ADAPTERS = {**pricing.ADAPTERS, **proration_and_periods.ADAPTERS}


def outcome(case: Case) -> Outcome:
    return judge(case, ADAPTERS, decided=decided, elsewhere=ELSEWHERE, later=LATER)


def outcomes(file: Path = FILE) -> list[Outcome]:
    return [outcome(case) for case in read_cases(file)]
