"""Bring the models of a Task up to those of the run."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from autoinstrument.clearml_api.errors import FilesUnavailableError, RefusedError
from autoinstrument.clearml_api.models import Models
from autoinstrument.clearml_api.tasks import Task
from autoinstrument.guard import logger
from autoinstrument.mirror.mapping import model_fields
from autoinstrument.mirror.mapping.model_fields import Copy
from autoinstrument.mirror.uploads import Uploads
from autoinstrument.mlflow_store.artifacts import MOST_FILES, ArtifactStore
from autoinstrument.records import Model, ModelsLogged, RunStarted

_ARCHIVE = "model_package.zip"
"""The name that the SDK gives to a model of several files (`OutputModel.update_weights_package`, clearml 2.1.12)."""


class ModelWriter:
    """Writes models of one run, with copies of their files where these are wanted.

    Args:
        models: those of the server.
        run: gives the run as it is known at the moment.
        uploads: the place for copies, None for links alone.
    """

    def __init__(self, models: Models, run: Callable[[], RunStarted], uploads: Uploads | None) -> None:
        self._models = models
        self._run = run
        self._uploads = uploads
        self._waiting: tuple[str, ModelsLogged] | None = None
        """Task and models of which only copies are missing."""

    def write(self, task: Task, logged: ModelsLogged) -> None:
        """Make the models that the Task lacks, change those that are other than in MLflow, and link them.

        A model is found again by its metadata, or by its address where it was made and the metadata did not get
        through: nothing is kept elsewhere, so that a second worker and `sync` find it too.

        Raises:
            FilesUnavailableError: all was sent but copies.
            ClearMLError: the server did not take everything; calling again goes on from there.
        """
        if self._uploads is not None and self._waiting == (task.id, logged):
            self._uploads.check()
        holder = self._models.task(task.id)
        held = self._models.of_task(task.id)
        problem: FilesUnavailableError | None = None
        for model in logged.models:
            wanted = model_fields.wanted(model, logged.run_id)
            found = next((one for one in held if model_fields.is_same(one, wanted)), None)
            if found is None:
                found = self._made(holder, wanted)
                held.append(found)
            try:
                wanted = model_fields.wanted(model, logged.run_id, self._copy(task, model, found))
            except FilesUnavailableError as error:
                problem = error
            self._models.edit(found["id"], model_fields.edits(found, wanted))
            self._models.set_metadata(found["id"], model_fields.new_metadata(found, wanted))
            linked = holder["models"]["output"]
            if found["id"] not in [entry.get("model") for entry in linked]:
                name = model_fields.free_name(wanted.name, [entry.get("name") for entry in linked])
                self._models.link(holder, name, found["id"])
        self._waiting = (task.id, logged) if problem else None
        if problem is not None:
            raise problem

    def _made(self, holder: dict[str, Any], wanted: model_fields.ModelFields) -> dict[str, Any]:
        fields = {"name": wanted.name, "uri": wanted.uri, "framework": wanted.framework, "tags": wanted.tags}
        return {**fields, "id": self._models.create(holder["id"], holder["project"], fields), "metadata": {}}

    def _copy(self, task: Task, model: Model, held: dict[str, Any]) -> Copy:
        """Copy a model's files where that is wanted; a copy that the server has stays.

        Raises:
            FilesUnavailableError: the place for files does not answer.
        """
        known = model_fields.copy_of(held, model)
        if known.address:
            return known
        if self._uploads is None or not model["revision"]:
            return model_fields.NO_COPY
        self._uploads.check()
        with contextlib.ExitStack() as stack:
            try:
                archive = stack.enter_context(_packed(ArtifactStore(self._run(), model)))
            except Exception as error:  # the store raises what its driver raises
                logger().warning("model %s is not copied (%s: %s)", model["name"], type(error).__name__, error)
                return Copy(problem=f"the files cannot be read from MLflow's store: {error}"[:500])
            try:
                path = f"{model['revision']}/{_ARCHIVE}"
                return Copy(self._uploads.upload(task, "models", path, archive, artifact=True))
            except RefusedError as error:
                return Copy(problem=str(error))


@contextlib.contextmanager
def _packed(store: ArtifactStore) -> Iterator[Path]:
    """Give all files of a folder as one archive, as the SDK packs them: zip, without compression.

    Raises:
        OSError: there are none or too many, or they would take more than half of what the temporary folder's disk has
            free.
        Exception: as `ArtifactStore`.
    """
    files = list(store.files())
    if not files:
        raise FileNotFoundError("there are none")
    if len(files) >= MOST_FILES:
        raise OSError(f"they are {MOST_FILES} or more")
    with tempfile.TemporaryDirectory(prefix="autoinstrument-") as folder:
        size, free = sum(max(file.size, 0) for file in files), shutil.disk_usage(folder).free
        if size > free // 2:  # the training needs that disk too
            raise OSError(f"they are {size // 10**6} MB, and {folder} has {free // 10**6} MB free")
        archive = Path(folder) / _ARCHIVE
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, strict_timestamps=False) as package:
            for file in files:
                with store.local(file.path) as local:
                    package.write(local, file.path)
        yield archive
