"""Clients of the shop: some only look, some also review and buy, all at once."""

import re
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPResponse
from http.cookies import SimpleCookie
from random import Random
from threading import Event, Lock, Thread
from typing import Self
from urllib.parse import urlencode

from example_project.demo.site import Address
from example_project.trace import READ, WRITE

# More clients than the eight threads of the server, so that these are always busy.
BROWSING, SHOPPING = 8, 4

PRODUCT = re.compile(r'href="(/products/[\w-]+/)"')
BUY = re.compile(r'href="(/orders/buy/[\w-]+/)"')
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')


class Unexpected(Exception):
    """The shop answered, but not as a customer would expect."""


class Tally:
    """What the clients of all threads saw."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.requests = 0
        self.errors: list[str] = []
        self.statements: Counter[tuple[str, str]] = Counter()  # (header, alias) -> how many

    def add(self, response: HTTPResponse) -> None:
        with self._lock:
            self.requests += 1
            for header in (READ, WRITE):
                for alias, number in _shares(response.getheader(header, "")):
                    self.statements[header, alias] += number

    def add_error(self, error: Exception) -> None:
        with self._lock:
            self.errors.append(f"{type(error).__name__}: {error}")


def _shares(header: str) -> list[tuple[str, int]]:
    """`replica1=2, default=1` as pairs."""
    return [(alias, int(number)) for alias, number in re.findall(r"(\w+)=(\d+)", header)]


class Browser:
    """One visitor: a connection that is kept alive, and a cookie jar."""

    def __init__(self, address: Address, tally: Tally) -> None:
        self._connection = HTTPConnection(*address, timeout=30)
        self._tally = tally
        self._cookies: dict[str, str] = {}

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str) -> str:
        """Return the text of a page."""
        _, text = self._send("GET", path, expected=200)
        return text

    def submit(self, path: str, page: str, **fields: object) -> str:
        """Send the form of `page`, which was read from there; return where that leads."""
        token = TOKEN.search(page)
        if token is None:
            raise Unexpected(f"no form at {path}")
        body = urlencode(fields | {"csrfmiddlewaretoken": token[1]})
        response, _ = self._send("POST", path, body, expected=302)
        return response.headers["Location"]

    def _send(
        self, method: str, path: str, body: str | None = None, *, expected: int
    ) -> tuple[HTTPResponse, str]:
        headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in self._cookies.items())}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        text = response.read().decode()
        self._keep_cookies(response)
        self._tally.add(response)
        if response.status != expected:
            raise Unexpected(f"{method} {path}: {response.status} instead of {expected}")
        return response, text

    def _keep_cookies(self, response: HTTPResponse) -> None:
        for line in response.headers.get_all("Set-Cookie", []):
            for name, cookie in SimpleCookie(line).items():
                self._cookies[name] = cookie.value
                if cookie["max-age"] == "0":
                    del self._cookies[name]


def browse(browser: Browser, random: Random) -> None:
    """Look around: nothing of this needs a primary."""
    catalogue = browser.get(f"/?page={random.randint(1, 5)}")
    for product in random.sample(PRODUCT.findall(catalogue), k=3):
        browser.get(product)
    browser.get(f"/search.json?q={random.choice(['pump', 'solar', '10', 'lamp'])}")
    browser.get("/orders/")


def shop(browser: Browser, random: Random) -> None:
    """Review a product and buy it, and want to see one's own review and order at once."""
    product = random.choice(PRODUCT.findall(browser.get("/")))
    review = f"Review number {random.getrandbits(64)}"
    browser.submit(product, browser.get(product), author="Ada", rating=5, text=review)
    page = browser.get(product)
    if review not in page:
        raise Unexpected(f"the client's own review is not on {product}")
    if buy := BUY.search(page):
        form = {"customer": "Ada", "email": "ada@example.com", "quantity": 1}
        browser.get(browser.submit(buy[1], browser.get(buy[1]), **form))


class Traffic:
    """Clients that visit the shop again and again, from the block's beginning to its end."""

    def __init__(self, address: Address) -> None:
        self.tally = Tally()
        self._address = address
        self._closing = Event()
        visits = [browse] * BROWSING + [shop] * SHOPPING
        self._threads = [
            # Daemons, lest an interrupt in the middle of `__enter__` leave us without an end.
            Thread(target=self._visit, args=(visit, Random(seed)), daemon=True)
            for seed, visit in enumerate(visits)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join()

    def _visit(self, visit: Callable[[Browser, Random], None], random: Random) -> None:
        while not self._closing.is_set():
            browser = Browser(self._address, self.tally)
            try:
                visit(browser, random)
            except Exception as error:  # whatever it is: a thread that died would hide it
                self.tally.add_error(error)
            finally:
                browser.close()
