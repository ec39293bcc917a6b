"""The cluster's job, as variables name it; the documentation has the same table."""

from __future__ import annotations

import json

import pytest

from autoinstrument.capture.job_scheduler import SCHEDULERS, job_of
from tests.startup.environment import ROOT

JOBS = {
    "SLURM": (
        {
            "SLURM_JOB_ID": "4712", "SLURM_JOB_NAME": "train", "SLURM_ARRAY_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": "3",
            "SLURM_RESTART_COUNT": "1", "SLURMD_NODENAME": "gpu07", "SLURM_JOB_NODELIST": "gpu[07-08]",
            "SLURM_JOB_PARTITION": "a100", "SLURM_CLUSTER_NAME": "c1", "SLURM_NTASKS": "2",
        },
        {
            "slurm_job_id": "4712", "slurm_job_name": "train", "slurm_array_job_id": "4711", "slurm_array_index": "3",
            "slurm_restarts": "1", "slurm_node": "gpu07", "slurm_nodes": "gpu[07-08]", "slurm_partition": "a100",
            "slurm_cluster": "c1",
        },
    ),
    "Kubernetes": (
        {
            "KUBERNETES_SERVICE_HOST": "10.0.0.1", "MY_POD_NAME": "train-x7", "POD_NAMESPACE": "ml",
            "NODE_NAME": "node-1", "JOB_COMPLETION_INDEX": "0",
        },
        {
            "kubernetes_pod": "train-x7", "kubernetes_namespace": "ml", "kubernetes_node": "node-1",
            "kubernetes_job_index": "0",
        },
    ),
    "Airflow": (
        {
            "AIRFLOW_CTX_DAG_ID": "nightly", "AIRFLOW_CTX_TASK_ID": "train", "AIRFLOW_CTX_TRY_NUMBER": "2",
            "AIRFLOW_CTX_DAG_RUN_ID": "scheduled__2026-01-01T00:00:00+00:00",
        },
        {
            "airflow_dag": "nightly", "airflow_task": "train", "airflow_try": "2",
            "airflow_run": "scheduled__2026-01-01T00:00:00+00:00",
        },
    ),
    "Ray": (
        {
            "RAY_JOB_ID": "02000000",
            "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(
                {"runtime_env": {"env_vars": {"K": "s3cret"}}, "metadata": {"job_submission_id": "raysubmit_1"}}
            ),
        },
        {"ray_job": "02000000", "ray_submission": "raysubmit_1"},
    ),
    "AWS Batch": (
        {
            "AWS_BATCH_JOB_ID": "1b2c:0", "AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_NODE_INDEX": "1",
            "AWS_BATCH_JOB_ATTEMPT": "1", "AWS_BATCH_JQ_NAME": "gpus",
        },
        {
            "aws_batch_job_id": "1b2c:0", "aws_batch_array_index": "0", "aws_batch_node_index": "1",
            "aws_batch_attempt": "1", "aws_batch_queue": "gpus",
        },
    ),
    "SageMaker": (
        {
            "TRAINING_JOB_NAME": "bert-1", "TRAINING_JOB_ARN": "arn:aws:sagemaker:eu-west-1:1:training-job/bert-1",
            "SM_CURRENT_HOST": "algo-1", "SM_CURRENT_INSTANCE_TYPE": "ml.p4d.24xlarge",
        },
        {
            "sagemaker_job": "bert-1", "sagemaker_job_arn": "arn:aws:sagemaker:eu-west-1:1:training-job/bert-1",
            "sagemaker_node": "algo-1", "sagemaker_instance_type": "ml.p4d.24xlarge",
        },
    ),
    "Vertex AI": (
        {
            "CLOUD_ML_JOB_ID": "123", "CLOUD_ML_TRIAL_ID": "4",
            "CLUSTER_SPEC": json.dumps({"cluster": {}, "task": {"type": "workerpool1", "index": 0}}),
        },
        {"vertex_job_id": "123", "vertex_trial_id": "4", "vertex_worker_pool": "workerpool1", "vertex_node_index": "0"},
    ),
    "Azure ML": (
        {"AZUREML_RUN_ID": "run_1", "AZUREML_ARM_PROJECT_NAME": "bert", "AZUREML_ARM_WORKSPACE_NAME": "ws"},
        {"azureml_run_id": "run_1", "azureml_experiment": "bert", "azureml_workspace": "ws"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda scheduler: scheduler.name)
def test_variables_name_the_job(scheduler) -> None:
    environ, job = JOBS[scheduler.name]
    assert job_of(environ) == job
    assert job.keys() == scheduler.properties.keys(), "the whole row is tried"


def test_no_scheduler_no_job() -> None:
    """Names that others use, too: Jenkins sets NODE_NAME, and a script may have a TRAINING_JOB_NAME."""
    assert job_of({"NODE_NAME": "built-in", "POD_NAME": "x", "TRAINING_JOB_NAME": "x", "CLUSTER_SPEC": "{}"}) == {}


def test_schedulers_are_nested() -> None:
    """Airflow starts a pod, and the pod's variables are there, too."""
    assert job_of(JOBS["Airflow"][0] | JOBS["Kubernetes"][0]) == JOBS["Airflow"][1] | JOBS["Kubernetes"][1]


@pytest.mark.parametrize(
    "spec", ["", "{", "[]", "7", '"text"', '{"task": null}', '{"task": {"type": {}}}', "[" * 10**5]
)
def test_variables_may_hold_anything(spec: str) -> None:
    environ = {"CLOUD_ML_JOB_ID": "1" * 5000, "CLOUD_ML_TRIAL_ID": "", "CLUSTER_SPEC": spec}
    assert job_of(environ) == {"vertex_job_id": "1" * 1000}


def test_passwords_in_addresses_are_hidden() -> None:
    environ = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "s3://user:hunter2@host/x"}
    assert "hunter2" not in str(job_of(environ))


def test_the_documentation_has_the_same_table() -> None:
    page = (ROOT / "docs" / "schedulers.md").read_text("utf-8").partition("## ")[0]
    rows = {line.split(" | ")[0].strip("| "): line for line in page.splitlines() if line.startswith("|")}
    for scheduler in SCHEDULERS:
        row = rows[scheduler.name]
        for name, sources in scheduler.properties.items():
            assert f"`{name}`" in row
            for source in sources:
                assert f"`{source.partition('.')[0]}`" in row, name
