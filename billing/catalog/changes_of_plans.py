"""What a document would change of plans and their versions, and what it may not. Pure."""

from collections.abc import Iterator

from billing.catalog.changes import ADD, CHANGE, MOVE, Change, Difference, Refusal, customers
from billing.catalog.meaning import DEFAULTS, STATUSES, TERMS, PlanOffer, Version
from billing.catalog.stored import Stored
from billing.catalog.words import pool_text, term_text

NOBODY = "nobody is on it yet"


def changes_of_plan(plan: PlanOffer, stored: Stored) -> Iterator[Change | Refusal]:
    known = stored.meaning.plans.get(plan.code)
    what = "add-on" if plan.is_add_on else "plan"
    if known is None:
        product = [Difference("product", "", plan.product)] if plan.product else []
        yield Change(ADD, f"{what} {plan.code}", (Difference("name", "", plan.name), *product))
        return
    is_promised = any(
        version.plan == plan.code and version.status != "draft" for version in stored.meaning.versions.values()
    )
    if known.is_add_on != plan.is_add_on and is_promised:
        was = "an add-on" if known.is_add_on else "a plan of its own"
        yield Refusal(f"plan {plan.code}", f"it was promised as {was}", "Write a plan with another code")
        return
    texts = [
        Difference(name, str(getattr(known, name) or "none"), str(getattr(plan, name) or "none"))
        for name in ("name", "product", "is_add_on")
        if getattr(known, name) != getattr(plan, name)
    ]
    if texts:
        yield Change(CHANGE, f"{what} {plan.code}", tuple(texts), "", is_promised)


def changes_of_version(version: Version, stored: Stored) -> Iterator[Change | Refusal]:
    known = stored.meaning.versions.get(version.key)
    if known is None:
        yield Change(ADD, str(version), tuple(version_differences(None, version)), NOBODY)
    elif texts := tuple(version_differences(known, version)):
        if known.status != "draft":
            told = ", ".join(f"{one.what} {one.was or 'none'} → {one.will_be or 'none'}" for one in texts)
            yield Refusal(
                str(version),
                f"it is {known.status}, and its terms cannot change: {told}",
                f"Write version {_next_number(version, stored)} with status: draft",
            )
            return
        yield Change(CHANGE, f"{version} (draft)", texts, NOBODY)
    yield from _status(version, known, stored)


def _next_number(version: Version, stored: Stored) -> int:
    return max(known.version for known in stored.meaning.versions.values() if known.plan == version.plan) + 1


def version_differences(known: Version | None, version: Version) -> Iterator[Difference]:
    """What differs between two versions' terms, or what is said at all where there is no version yet."""
    if (
        known is None
        or known.terms["fee_minor"] != version.terms["fee_minor"]
        or known.terms["fee_tiers"] != version.terms["fee_tiers"]
    ):
        was = "" if known is None else term_text("fee_minor", known)
        yield Difference(
            "fee_tiers" if version.terms["fee_tiers"] else "fee_minor", was, term_text("fee_minor", version)
        )
    for name in TERMS:
        before = DEFAULTS.get(name, version.terms[name]) if known is None else known.terms[name]
        if not name.startswith("fee_") and before != version.terms[name]:
            yield Difference(name, "" if known is None else term_text(name, known), term_text(name, version))
    for name in ("rate_card", "only_for"):
        was, will_be = (getattr(one, name) or "" if one is not None else "" for one in (known, version))
        if was != will_be:
            yield Difference(name, was, will_be)
    yield from _pool_texts(known, version)
    was, will_be = (
        ", ".join(f"{code} v{number}" for code, number in sorted(one.bundled)) if one else ""
        for one in (known, version)
    )
    if was != will_be:
        yield Difference("bundled", was, will_be)


def _pool_texts(known: Version | None, version: Version) -> Iterator[Difference]:
    before = () if known is None else known.pools
    if before == version.pools:
        return
    was = {pool.code: pool_text(pool, version.currency) for pool in before}
    will_be = {pool.code: pool_text(pool, version.currency) for pool in version.pools}
    for code in (*was, *(code for code in will_be if code not in was)):
        if was.get(code) != will_be.get(code):
            yield Difference(f"allowance {code}", was.get(code, ""), will_be.get(code, ""))
    if before and (list(was), [one.name for one in before]) != (list(will_be), [one.name for one in version.pools]):
        names = (", ".join(pool.name for pool in pools) for pools in (before, version.pools))
        yield Difference("allowances in order", next(names), next(names))


# --- how far a version has come ---------------------------------------------------------------------------------------


def _status(version: Version, known: Version | None, stored: Stored) -> Iterator[Change | Refusal]:
    was = "draft" if known is None else known.status
    if was == "retired" and version.status in ("approved", "published"):
        yield Refusal(str(version), "it is retired and is not sold again", "Write status: retired, or a new version")
        return
    if version.status == "approved" or STATUSES.index(version.status) <= STATUSES.index(was):
        return
    live = 0 if known is None else stored.live.get(version.key, 0)
    if version.status == "published" and was == "draft" and version.plan in stored.sold:
        yield Refusal(
            str(version),
            "its plan was sold before, so a second person approves a new version first",
            "Write status: draft, let it be tested and approved, then publish it",
        )
        return
    affected = {
        "published": "new subscriptions can have it",
        "retired": f"sold no longer; {customers(live)} keep it",
    }[version.status]
    yield Change(MOVE, str(version), (Difference("status", was, version.status),), affected, True)
