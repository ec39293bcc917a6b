from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.conftest import database, fork_server, mlflow_server, new_place, place, server

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

__all__ = ["database", "fork_server", "mlflow_server", "new_place", "place", "server"]  # fixtures


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    """Debian's Chromium without a screen."""
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("no chromium and chromedriver on this machine (Debian's packages chromium and chromium-driver)")
    from tests.browser.chromium import start

    driver = start(tmp_path / "profile")
    yield driver
    driver.quit()
