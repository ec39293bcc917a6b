"""A model's files as one archive, for an upload."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from autoinstrument.mlflow_store.artifacts import MOST_FILES, ArtifactStore

ARCHIVE = "model_package.zip"
"""The name that the SDK gives to a model of several files (`OutputModel.update_weights_package`, clearml 2.1.12)."""


@contextlib.contextmanager
def packed(store: ArtifactStore) -> Iterator[Path]:
    """Give all files of a folder as one archive, as the SDK packs them: zip, without compression.

    Raises:
        OSError: there are none or too many, or they would take over half of the free space of the temporary folder.
        Exception: see `ArtifactStore`.
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
        archive = Path(folder) / ARCHIVE
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, strict_timestamps=False) as package:
            for file in files:
                with store.local(file.path) as local:
                    package.write(local, file.path)
        yield archive
