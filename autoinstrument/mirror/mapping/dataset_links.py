"""Data sets of a run that are data sets of ClearML's as well: how they are recognised, and linked on the Task."""

from __future__ import annotations

import re
from collections.abc import Iterable

from autoinstrument.mirror.mapping.hyperparameters import hyperparameter
from autoinstrument.records import Dataset

SECTION = "Datasets"
"""ClearML's own section: `Dataset.get(alias=…)` notes alias and id of a data set there (clearml 1.16 to 2.1.12)."""
TAG = "clearml.dataset_id"
"""Tag of an input (`mlflow.log_input(…, tags=…)`) by which a script names the id itself."""
_MOST = 100
_ID = r"([0-9a-f]{32})(?![0-9a-f])"
_PLACES = (
    r"[/\\]ds_",  # a folder of the SDK's cache: `Dataset.get_local_copy`
    r"/(?:datasets|projects)/[^\s\"]{1,200}/(?:experiments|tasks)/",  # a page of ClearML's
    r"/\.datasets/[^\s\"]{1,500}\.",  # a file in ClearML's storage
    r"\bclearml:/{0,3}(?:datasets?/)?",
    r"^\"?(?:\{\"\w+\": ?\")?(?=[0-9a-f]{32}\"?\}?$)",  # nothing but the id
)
_IN_SOURCE = re.compile(f"(?:{'|'.join(_PLACES)}){_ID}")


def dataset_ids(data_sets: Iterable[Dataset]) -> dict[str, str]:
    """Return what may be ids of ClearML's data sets, by the names that MLflow has for them; the first hundred."""
    found: dict[str, str] = {}
    for data_set in data_sets:
        named = data_set["tags"].get(TAG, "")
        match = re.fullmatch(_ID, named) or _IN_SOURCE.search(data_set["source"])
        if match is not None and len(found) < _MOST:
            found.setdefault(data_set["name"], match[1])
    return found


def as_parameters(ids: dict[str, str]) -> list[dict[str, str]]:
    """Return the hyperparameters that link data sets, given their ids by name."""
    return [hyperparameter(SECTION, name, data_set, "str") for name, data_set in ids.items()]
