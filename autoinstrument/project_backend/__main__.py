"""Run `python -m autoinstrument.project_backend ENTRY_POINT`, as a ClearML agent does for an MLflow project."""

from __future__ import annotations

from autoinstrument.project_backend.program import main

raise SystemExit(main())
