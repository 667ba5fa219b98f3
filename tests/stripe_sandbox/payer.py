"""A payer with a browser, as tests see one: opens the sandbox's pages and sends their forms."""

import http.client
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from tests.sandbox.client import SandboxProcess

CARD = "4242 4242 4242 4242"
TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Page:
    """`redirected_to`: where the answer leads, inside the sandbox or to a shop."""

    status: int
    text: str
    redirected_to: str | None


class Payer:
    """Jenny Rosen, jenny@example.com. `origin`: the site whose page the forms are sent from, as a browser says it."""

    def __init__(self, sandbox: SandboxProcess, *, origin: str | None = None) -> None:
        self._host = urlsplit(sandbox.address).netloc
        self._origin = origin or sandbox.address

    def page(self, address: str) -> Page:
        """The page at an address, without following where it leads."""
        return self._request("GET", address, None)

    def submit(self, address: str, **form: str) -> Page:
        """Send the form of the page at an address."""
        assert self.page(address).status == 200, address
        return self._request("POST", address, urlencode(form))

    def try_to_pay(self, address: str, *, method: str | None = CARD, **form: str) -> Page:
        """Press the button of a checkout page; `method` is a number, a saved card's id, or None where none is asked."""
        person = {"do": "pay", "email": "jenny@example.com", "name": "Jenny Rosen"}
        return self.submit(address, **person, **({"method": method} if method else {}), **form)

    def pay(self, address: str, *, method: str | None = CARD, **form: str) -> str:
        """Buy; the answer is where the payer lands."""
        page = self.try_to_pay(address, method=method, **form)
        assert page.redirected_to is not None, page.text
        return page.redirected_to

    def authenticate(self, page: Page, *, confirm: bool = True) -> str:
        """On the bank's page that `page` leads to; the answer is where the payer lands."""
        assert page.redirected_to is not None, page.text
        done = self.submit(page.redirected_to, result="succeed" if confirm else "fail")
        assert done.redirected_to is not None, done.text
        return done.redirected_to

    def _request(self, method: str, address: str, body: str | None) -> Page:
        parts = urlsplit(address)
        connection = http.client.HTTPConnection(self._host, timeout=TIMEOUT_SECONDS)
        try:
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            headers = {"Origin": self._origin, "Content-Type": "application/x-www-form-urlencoded"} if body else {}
            connection.request(method, target, body=body, headers=headers)
            response = connection.getresponse()
            return Page(response.status, response.read().decode(), response.getheader("Location"))
        finally:
            connection.close()
