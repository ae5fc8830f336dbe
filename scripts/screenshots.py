"""Take the pictures of docs/images: the admin page of the example shop while a lock is held.

`scripts/setup test`, then `.venv/bin/python -m scripts.screenshots`.
"""

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from example_project.demo.servers import running
from example_project.demo.site import Address, Site
from example_project.demo.traffic import Traffic

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
# Four connections at most for the twelve threads of a worker, so that callers wait now and then.
SETTINGS = {
    "POOL_PROFILE": "development",
    "POOL_SIZE": "1",
    "GUNICORN_CMD_ARGS": "--threads=12",
    "DEBUG": "0",
    "SECRET_KEY": secrets.token_urlsafe(32),
}
KEYS = ("host", "port", "user", "password")
CALM, BUSY = 20, 90  # seconds
FULL = (By.CSS_SELECTOR, "[data-link=live] [data-key=default][data-state=exhausted]")
PASSWORD = "only-for-the-picture"  # noqa: S105


def main() -> None:
    with TemporaryDirectory() as folder, running("postgresql") as databases:
        site = Site(databases.environment | SETTINGS, Path(folder))
        site.migrate_and_seed()
        databases.wait_for_replicas()
        arguments = ("--noinput", "--username=admin", "--email=admin@example.com")
        site.manage("createsuperuser", *arguments, DJANGO_SUPERUSER_PASSWORD=PASSWORD)
        with site.served() as address, browser(Path(folder)) as driver:
            sign_in(driver, address)
            driver.get(f"http://{address[0]}:{address[1]}/admin/poolrouter_admin/pools/")
            time.sleep(CALM)
            with Traffic(address), Traffic(address), Traffic(address):
                time.sleep(BUSY)
                while not take_full(driver, databases.environment):
                    time.sleep(CALM)


def take_full(driver: webdriver.Chrome, environment: dict[str, str]) -> bool:
    """Take the pictures while a pool is full; False if the page's own requests waited too."""
    with reviews_locked(environment):
        try:
            WebDriverWait(driver, 10).until(lambda _: driver.find_elements(*FULL))
        except TimeoutException:
            return False
        for scheme in ("light", "dark"):
            take(driver, scheme)
    return True


@contextmanager
def reviews_locked(environment: dict[str, str]) -> Iterator[None]:
    """Let everybody who writes a review wait, with a connection in hand."""
    server = {key: environment[f"DB_DEFAULT_{key.upper()}"] for key in KEYS}
    with psycopg.connect(dbname="shop", **server) as connection:
        connection.execute("LOCK TABLE catalogue_review IN EXCLUSIVE MODE")
        yield


def browser(folder: Path) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={folder / 'chromium'}")
    service = webdriver.ChromeService(shutil.which("chromedriver") or "chromedriver")
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_window_size(1280, 1100)
    return driver


def sign_in(driver: webdriver.Chrome, address: Address) -> None:
    driver.get(f"http://{address[0]}:{address[1]}/admin/")
    driver.find_element(By.NAME, "username").send_keys("admin")
    driver.find_element(By.NAME, "password").send_keys(PASSWORD)
    driver.find_element(By.CSS_SELECTOR, "[type=submit]").click()


def take(driver: webdriver.Chrome, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    path = IMAGES / f"admin-{scheme}.png"
    driver.save_screenshot(path)
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
