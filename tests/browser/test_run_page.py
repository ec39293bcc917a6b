"""A person goes from the run's page in MLflow to the Task's page in ClearML, and back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clearml_server import ClearMLServer
from tests.end_to_end.harness import Place, ended, link_tags, properties

pytest.importorskip("selenium", reason="selenium is not installed (dependency group `browser`)")

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

SCRIPT = """
import mlflow
mlflow.set_experiment("browsed")
with mlflow.start_run(run_name="seen in a browser"):
    mlflow.log_param("lr", 0.1)
"""


def test_run_and_task_are_reached_from_each_others_page(
    browser: Chrome, place: Place, server: ClearMLServer, mlflow_server: str
) -> None:
    """MLflow 3 (seen in 3.17) shows a tag cut short; a click on it shows the whole address, as text to be copied."""
    place.uri = mlflow_server
    done = place.run(SCRIPT)
    assert done.code == 0, done.stderr
    (run,) = place.client.search_runs([place.client.get_experiment_by_name("browsed").experiment_id])
    task = ended(server, run.info.run_id)
    wait: WebDriverWait[Chrome] = WebDriverWait(browser, 90)

    def shown(selector: str) -> Any:
        found = (By.CSS_SELECTOR, selector)
        return wait.until(lambda _: next((item for item in browser.find_elements(*found) if item.is_displayed()), None))

    browser.get(f"{mlflow_server}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
    shown('[role="status"][title="clearml.task_url"]').click()
    address = shown('[role="dialog"] pre, [role="status"][title="clearml.task_url"] a').text
    assert address == link_tags(run)["task_url"]

    browser.get(address)
    assert browser.find_element(By.TAG_NAME, "h1").text == task["name"] == "seen in a browser"
    shown(f'a[href="{properties(task)["mlflow_run_url"]}"]').click()
    assert shown('[role="status"][title="clearml.task_id"]').text.endswith(task["id"])
