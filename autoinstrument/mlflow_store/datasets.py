"""Read the data sets of a run from an MLflow store."""

from __future__ import annotations

from typing import Any

from autoinstrument.records import Dataset, InputsLogged


def read_inputs(run: Any) -> InputsLogged:
    """Return the data sets of a run (`mlflow.entities.Run`), by name."""
    inputs = getattr(run, "inputs", None)
    datasets = [_dataset(logged) for logged in inputs.dataset_inputs] if inputs else []
    return InputsLogged(run.info.run_id, sorted(datasets, key=lambda dataset: (dataset["name"], dataset["digest"])))


def _dataset(logged: Any) -> Dataset:
    dataset = logged.dataset
    return Dataset(
        name=dataset.name,
        digest=dataset.digest,
        source_type=dataset.source_type or "",
        source=dataset.source or "",
        schema=dataset.schema or "",
        profile=dataset.profile or "",
        tags={tag.key: tag.value for tag in sorted(logged.tags, key=lambda tag: str(tag.key))},
    )
