"""Find the cluster's job that a process runs in, by the variables that the scheduler has set.

Runs in the training process: some schedulers set variables in a process that is running already (Airflow's
PythonOperator), which the system does not show to others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoinstrument.named_tuple import NamedTuple
from autoinstrument.scrubber import hide_in_text

_LONGEST = 1000


class JobScheduler(NamedTuple):
    """A cluster's scheduler, and the variables by which it describes a job.

    Attributes:
        name: its name in the documentation.
        signs: variables of which a job has at least one. Others may be set anywhere: Jenkins sets NODE_NAME, too.
        properties: user property to the variables that hold its value, the first one that is set counts. A variable
            that holds JSON is followed by the path to the value: "CLUSTER_SPEC.task.type".
    """

    name: str
    signs: tuple[str, ...]
    properties: Mapping[str, tuple[str, ...]]


SCHEDULERS = (
    JobScheduler(  # SLURM 20.11 to 25.05, sbatch(1) and srun(1)
        "SLURM",
        ("SLURM_JOB_ID",),
        {
            "slurm_job_id": ("SLURM_JOB_ID",),
            "slurm_job_name": ("SLURM_JOB_NAME",),
            "slurm_array_job_id": ("SLURM_ARRAY_JOB_ID",),
            "slurm_array_index": ("SLURM_ARRAY_TASK_ID",),
            "slurm_restarts": ("SLURM_RESTART_COUNT",),
            "slurm_node": ("SLURMD_NODENAME",),
            "slurm_nodes": ("SLURM_JOB_NODELIST",),
            "slurm_partition": ("SLURM_JOB_PARTITION",),
            "slurm_cluster": ("SLURM_CLUSTER_NAME",),
        },
    ),
    JobScheduler(  # the names are those that manifests give to the downward API's fields in documentation and by habit
        "Kubernetes",
        ("KUBERNETES_SERVICE_HOST",),
        {
            "kubernetes_pod": ("POD_NAME", "MY_POD_NAME", "K8S_POD_NAME", "KUBERNETES_POD_NAME", "KFP_POD_NAME"),
            "kubernetes_namespace": (
                "POD_NAMESPACE", "MY_POD_NAMESPACE", "K8S_NAMESPACE", "K8S_NAMESPACE_NAME", "KUBERNETES_NAMESPACE",
            ),
            "kubernetes_node": ("NODE_NAME", "MY_NODE_NAME", "K8S_NODE_NAME", "KUBERNETES_NODE_NAME"),
            "kubernetes_job_index": ("JOB_COMPLETION_INDEX",),
        },
    ),
    JobScheduler(  # Airflow 2 and 3, `context_to_airflow_vars`
        "Airflow",
        ("AIRFLOW_CTX_DAG_ID",),
        {
            "airflow_dag": ("AIRFLOW_CTX_DAG_ID",),
            "airflow_task": ("AIRFLOW_CTX_TASK_ID",),
            "airflow_run": ("AIRFLOW_CTX_DAG_RUN_ID",),
            "airflow_try": ("AIRFLOW_CTX_TRY_NUMBER",),
        },
    ),
    JobScheduler(  # Ray 2.60: workers have the first, the entry points of `ray job submit` the second
        "Ray",
        ("RAY_JOB_ID", "RAY_JOB_CONFIG_JSON_ENV_VAR"),
        {
            "ray_job": ("RAY_JOB_ID",),
            "ray_submission": ("RAY_JOB_CONFIG_JSON_ENV_VAR.metadata.job_submission_id",),
        },
    ),
    JobScheduler(
        "AWS Batch",
        ("AWS_BATCH_JOB_ID",),
        {
            "aws_batch_job_id": ("AWS_BATCH_JOB_ID",),
            "aws_batch_array_index": ("AWS_BATCH_JOB_ARRAY_INDEX",),
            "aws_batch_node_index": ("AWS_BATCH_JOB_NODE_INDEX",),
            "aws_batch_attempt": ("AWS_BATCH_JOB_ATTEMPT",),
            "aws_batch_queue": ("AWS_BATCH_JQ_NAME",),
        },
    ),
    JobScheduler(
        "SageMaker",
        ("TRAINING_JOB_ARN", "SM_CURRENT_HOST"),
        {
            "sagemaker_job": ("TRAINING_JOB_NAME",),
            "sagemaker_job_arn": ("TRAINING_JOB_ARN",),
            "sagemaker_node": ("SM_CURRENT_HOST",),
            "sagemaker_instance_type": ("SM_CURRENT_INSTANCE_TYPE",),
        },
    ),
    JobScheduler(
        "Vertex AI",
        ("CLOUD_ML_JOB_ID",),
        {
            "vertex_job_id": ("CLOUD_ML_JOB_ID",),
            "vertex_trial_id": ("CLOUD_ML_TRIAL_ID",),
            "vertex_worker_pool": ("CLUSTER_SPEC.task.type",),
            "vertex_node_index": ("CLUSTER_SPEC.task.index",),
        },
    ),
    JobScheduler(
        "Azure ML",
        ("AZUREML_RUN_ID",),
        {
            "azureml_run_id": ("AZUREML_RUN_ID",),
            "azureml_experiment": ("AZUREML_ARM_PROJECT_NAME",),
            "azureml_workspace": ("AZUREML_ARM_WORKSPACE_NAME",),
        },
    ),
)  # fmt: skip
"""All schedulers that are known; `docs/schedulers.md` has this table for users."""


def job_of(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the user properties that name the job of a process, {} if no scheduler has started it.

    Several schedulers may have: Airflow starts pods, and Ray runs in a SLURM job.

    Args:
        environ: the process's environment.
    """
    found = {}
    for scheduler in SCHEDULERS:
        if any(sign in environ for sign in scheduler.signs):
            for name, sources in scheduler.properties.items():
                value = next(filter(None, (_value(environ, source) for source in sources)), "")
                if value:
                    found[name] = hide_in_text(value[:_LONGEST])
    return found


def _value(environ: Mapping[str, str], source: str) -> str:
    variable, *path = source.split(".")
    text = environ.get(variable, "")
    if not path or not text:
        return text
    import json  # most processes are in no such job

    value: Any = None
    try:
        value = json.loads(text)
        for key in path:
            value = value[key]
    except (ValueError, LookupError, TypeError, RecursionError):  # it may hold anything
        return ""
    return str(value) if isinstance(value, str | int) else ""
