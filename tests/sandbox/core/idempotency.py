"""Idempotency keys: the first answer is kept for a day, a repeat gets it again, other parameters are refused."""

from dataclasses import dataclass, replace

from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters

KEY_LENGTH_MAX = 255  # https://docs.stripe.com/api/idempotent_requests
LIFETIME_SECONDS = 24 * 3600  # Stripe keeps v1 keys for at least 24 hours; the sandbox for exactly that, by its clock


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    operation: str
    path: str
    parameters: Parameters
    status: int
    body: bytes
    request_id: str
    kept_at: int


class IdempotencyKeys:
    """Answers by key. Only answers of work that began are kept: not a refused parameter, not a rate limit."""

    def __init__(self) -> None:
        self._kept: dict[str, KeptAnswer] = {}

    def find(self, key: str, *, operation: str, path: str, parameters: Parameters, now: int) -> KeptAnswer | None:
        """The first answer to this key. Raises `StripeError` idempotency_error for a request unlike the first."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if now - kept.kept_at >= LIFETIME_SECONDS:
            del self._kept[key]
            return None
        if kept.operation != operation or kept.path != path:
            raise _mismatch(key, f"used with endpoint {kept.path}")
        if kept.parameters != parameters:
            raise _mismatch(key, "used with the same parameters it was first used with")
        return kept

    def knows(self, key: str) -> bool:
        return key in self._kept

    def forget(self, key: str) -> None:
        self._kept.pop(key, None)

    def keep(self, key: str, answer: KeptAnswer) -> None:
        self._kept[key] = answer

    def overwrite(self, key: str, *, status: int, body: bytes) -> None:
        """Let another answer be the kept one: Stripe keeps a 500, too, once the work has begun."""
        if key in self._kept:
            self._kept[key] = replace(self._kept[key], status=status, body=body)

    def __len__(self) -> int:
        return len(self._kept)


def _mismatch(key: str, rule: str) -> StripeError:
    return StripeError(
        f"Keys for idempotent requests can only be {rule}. Try using a key other than '{key}' if you meant to "
        "execute a different request.",
        kind="idempotency_error",
    )
