"""The admin page in a real browser, on workers that are busy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.test import Client
from django.test.testcases import LiveServerThread
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.admin.browser import PAGE, Browser
from tests.support.host import Host
from tests.support.waiting import eventually


@pytest.fixture
def server(project: Host) -> Iterator[LiveServerThread]:
    """This process as the web server of the admin."""
    thread = LiveServerThread("127.0.0.1", StaticFilesHandler, {})
    thread.daemon = True
    thread.start()
    thread.is_ready.wait()
    if thread.error:
        raise thread.error
    yield thread
    thread.terminate()


@pytest.fixture
def browser(
    driver: webdriver.Chrome, server: LiveServerThread, make_user: Callable[..., User]
) -> Iterator[Browser]:
    browser = Browser(driver, f"http://{server.host}:{server.port}")
    browser.sign_in(make_user("operator", "view_pools"))
    browser.complaints()
    yield browser
    browser.leave()


def test_page__follows_busy_workers(browser: Browser, project: Host) -> None:
    workers = [project.worker().do("use", "use") for _ in range(2)]
    browser.open()
    checkouts = "[data-table=figures] [data-key=shop] [data-cell=checkouts]"
    first = browser.text(checkouts)
    eventually(lambda: browser.text(checkouts) != first)
    assert browser.text("[data-summary]") == "2 live processes"
    assert browser.text(".pools-link").endswith("Live")
    line = "[data-key=shop] [data-trace=in_use] .pools-line"
    eventually(lambda: browser.find(line).get_attribute("d").count("L") >= 2)

    workers[0].end()
    eventually(lambda: browser.text("[data-summary]") == "1 live process")
    rows = browser.driver.find_elements(By.CSS_SELECTOR, "[data-table=processes] tbody tr")
    [key] = [each.get_attribute("data-key") for each in rows]
    assert key.startswith(f"{workers[1].pid}_")
    assert key.endswith("/shop")
    project.worker().do("take")
    eventually(lambda: browser.text("[data-summary]") == "2 live processes")
    assert browser.complaints() == []


def test_full_pool__is_seen_without_colours(browser: Browser, project: Host) -> None:
    worker = project.worker().do("take", "give")
    browser.open()
    eventually(lambda: browser.text(".pools-link").endswith("Live"))
    assert browser.pool(".pools-badge") == "OK"
    worker.do("take", "take", "take", "wait")
    eventually(lambda: browser.pool(".pools-badge") == "Full, callers wait")
    sign = "document.querySelector('[data-key=shop] .pools-badge'), '::before'"
    assert "▲" in browser.driver.execute_script(f"return getComputedStyle({sign}).content")
    assert browser.pool(".pools-wide .pools-value") == "3"
    assert browser.find("[data-key=shop] .pools-used").get_attribute("width") == "100.0"
    assert browser.pool("[data-cell=waiting]") == "1"
    assert browser.text("[data-alarm]") == "Callers wait: shop"
    assert browser.pool("[data-peak=waiting]") == ""
    worker.do("give")
    eventually(lambda: browser.pool("[data-cell=waiting]") == "0")
    assert browser.pool("[data-peak=waiting]") == "peak 1"


def test_page__keeps_to_a_strict_policy(browser: Browser, project: Host) -> None:
    browser.open()
    response = Client().get(PAGE)
    assert "script-src 'self'; style-src 'self'" in response["Content-Security-Policy"]
    eventually(lambda: browser.text(".pools-link").endswith("Live"))
    assert browser.complaints() == []
    # That a violation would be noticed:
    browser.driver.execute_script(
        "const s = document.createElement('style'); s.textContent = 'p {}'; document.head.append(s)"
    )
    assert "Content Security Policy" in eventually(browser.complaints)[0]


def test_page__follows_the_colour_scheme(browser: Browser, project: Host) -> None:
    project.worker().do("take", "take", "take", "wait")
    browser.open()
    seen = {}
    for scheme in ("light", "dark"):
        browser.emulate(prefers_color_scheme=scheme)
        names = [("body", "backgroundColor"), (".pools-value", "color"), (".pools-used", "fill")]
        seen[scheme] = [browser.style(css, name) for css, name in names]
    assert all(a != b for a, b in zip(*seen.values(), strict=True)), seen


def test_page__shows_the_figures_without_javascript(browser: Browser, project: Host) -> None:
    project.worker().do("take", "take", "take", "wait")
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open()
        assert browser.find("[data-key=shop] [data-cell=in_use]").text == "3"
        assert browser.find("[data-key=shop] .pools-badge").text == "Full, callers wait"
        assert browser.find(".pools-link").text.endswith("As of when this page was loaded")
        assert not browser.find(".pools-trace").is_displayed()
        assert browser.find("[data-key=shop] .pools-bar").is_displayed()
        assert browser.find("meta[http-equiv=refresh]").get_attribute("content") == "10"
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_page__says_that_the_server_does_not_answer(
    browser: Browser, project: Host, server: LiveServerThread
) -> None:
    browser.open()
    eventually(lambda: browser.text(".pools-link").endswith("Live"))
    browser.cut_off(True)
    eventually(lambda: "No answer since" in browser.text(".pools-link"))
    assert float(browser.style("[data-table=pools]", "opacity")) < 1
    browser.cut_off(False)
    eventually(lambda: browser.text(".pools-link").endswith("Live"), 30)
    assert float(browser.style("[data-table=pools]", "opacity")) == 1


def test_page__says_that_one_is_signed_out(browser: Browser, project: Host) -> None:
    browser.open()
    eventually(lambda: browser.text(".pools-link").endswith("Live"))
    browser.driver.delete_all_cookies()
    eventually(lambda: "You are signed out" in browser.text(".pools-link"))


def test_page__asks_nothing_while_its_tab_is_hidden(browser: Browser, project: Host) -> None:
    def hide(hidden: str) -> None:
        browser.driver.execute_script(
            f"Object.defineProperty(document, 'hidden', {{configurable: true, value: {hidden}}});"
            "document.dispatchEvent(new Event('visibilitychange'));"
        )

    def asked() -> int:
        entries = "performance.getEntriesByType('resource')"
        return browser.driver.execute_script(
            f"return {entries}.filter(e => e.name.endsWith('data.json')).length"
        )

    browser.open()
    eventually(lambda: asked() >= 2)
    hide("true")
    assert "Paused" in browser.text(".pools-link")
    before = asked()
    # Longer than the time between two polls.
    browser.driver.execute_async_script("setTimeout(arguments[0], 3000)")
    assert asked() == before
    hide("false")
    eventually(lambda: asked() > before)
    eventually(lambda: browser.text(".pools-link").endswith("Live"))


NAMES = ["the_very_long_alias_of_a_reporting_replica", *(f"tenant{n}" for n in range(18))]


@pytest.mark.parametrize("more_pools", [NAMES], ids=["20 pools"])
@pytest.mark.parametrize("width", [375, 800, 1280])
def test_page__needs_no_scrolling_sideways(browser: Browser, project: Host, width: int) -> None:
    worker = project.worker().do("take")
    worker.do(f"on {NAMES[0]}", "take", "take", "take", "wait")
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 800}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.open()
        eventually(lambda: browser.text(".pools-link").endswith("Live"))
        real = browser.driver.execute_script("return document.documentElement.scrollWidth")
        assert real <= width
        cells = browser.find("[data-table=pools] [data-key=shop]").find_elements(By.XPATH, "*")
        assert [each.aria_role for each in cells] == ["rowheader", *["cell"] * 7]
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
