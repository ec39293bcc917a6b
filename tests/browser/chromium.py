"""Chromium without a screen, as Debian packages it; for the tests, and for the pictures in the documentation."""

from __future__ import annotations

import shutil
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

_FLAGS = (
    "headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run",
    # it connects to the test's servers alone
    "disable-quic", "disable-background-networking", "disable-component-update", "disable-sync",
)  # fmt: skip


def start(profile: Path, width: int = 1400, height: int = 900) -> Chrome:
    """Start the browser with a profile of its own; `quit()` ends it."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in (*_FLAGS, f"user-data-dir={profile}", f"window-size={width},{height}"):
        options.add_argument(f"--{flag}")
    # The driver is named: selenium would look for one on the internet otherwise.
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver") or "chromedriver"))
    driver.set_page_load_timeout(120)
    return driver
