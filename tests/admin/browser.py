"""The admin in a real browser."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

PAGE = "/admin/poolrouter_admin/pools/"


class Browser:
    """Chromium with the admin open, signed in."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver = driver
        self.address = address

    def sign_in(self, user: User) -> None:
        client = Client()
        client.force_login(user)
        self.open("/static/poolrouter_admin/pools.css")  # a cookie needs a page of its site
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        self.driver.add_cookie({"name": settings.SESSION_COOKIE_NAME, "value": cookie})

    def open(self, path: str = PAGE) -> None:
        self.driver.get(self.address + path)

    def find(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def text(self, css: str) -> str:
        # Not WebElement.text, which fails on what the page removes meanwhile.
        script = f"return document.querySelector({css!r}).textContent"
        return str(self.driver.execute_script(script))

    def pool(self, cell: str, alias: str = "shop") -> str:
        return self.text(f"[data-table=pools] [data-key={alias!r}] {cell}")

    def style(self, css: str, name: str) -> str:
        script = f"return getComputedStyle(document.querySelector({css!r})).{name}"
        return str(self.driver.execute_script(script))

    def emulate(self, **features: str) -> None:
        """Set media features, for example a dark colour scheme."""
        wanted = [{"name": n.replace("_", "-"), "value": v} for n, v in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})

    def cut_off(self, offline: bool) -> None:
        """Take the network away, or bring it back."""
        conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd(
            "Network.emulateNetworkConditions", {"offline": offline, **conditions}
        )

    def complaints(self) -> list[str]:
        """What the console says since it was asked last: violations of the policy, errors."""
        messages = [entry["message"] for entry in self.driver.get_log("browser")]
        return [message for message in messages if "favicon.ico" not in message]

    def leave(self) -> None:
        """Forget all that a test set."""
        self.emulate()
        self.driver.set_window_size(1280, 900)
        self.driver.get("about:blank")
        self.driver.delete_all_cookies()
