"""Variables that processes of the agent must not inherit from the training process."""

HIDDEN = (
    # The worker must not be instrumented itself, nor believe that it is the process which an agent or a `Task.init`
    # of the user's started (the SDK reads these when it is imported).
    "AUTOINSTRUMENT_ENABLED", "AUTOINSTRUMENT_EXPLAIN",
    "CLEARML_TASK_ID", "TRAINS_TASK_ID", "CLEARML_PROC_MASTER_ID", "TRAINS_PROC_MASTER_ID",
    "CLEARML_LOG_TASK_TO_BACKEND", "TRAINS_LOG_TASK_TO_BACKEND", "CLEARML_OFFLINE_MODE", "TRAINS_OFFLINE_MODE",
)  # fmt: skip
