"""`mlflow.autolog()` with the real libraries: each makes its runs in its own way, and each run has its Task."""

from __future__ import annotations

from collections.abc import Callable

from tests.frameworks.mirrored import Mirrored

Train = Callable[[str], list[Mirrored]]


def test_a_grid_search_has_a_task_for_each_child_run(train: Train) -> None:
    """scikit-learn: runs, children and parameters all come through autologging's queueing client."""
    runs = train("""
        import mlflow
        from sklearn.datasets import load_iris
        from sklearn.model_selection import GridSearchCV
        from sklearn.tree import DecisionTreeClassifier
        mlflow.autolog()
        x, y = load_iris(return_X_y=True)
        search = GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2, 3]}, cv=2).fit(x, y)
        print(search.best_params_, search.best_score_)
        """)
    (search,) = [of_run for of_run in runs if "cv" in of_run.run.data.params]
    children = [of_run for of_run in runs if of_run is not search]
    assert len(children) == 3
    assert {child.task["parent"] for child in children} == {search.task["id"]}
    assert {child.run.data.params["max_depth"] for child in children} == {"1", "2", "3"}
    assert ("best_cv_score", 0) in search.points


def test_boosters_have_a_curve_and_their_models_can_be_logged(train: Train) -> None:
    """XGBoost and LightGBM; ClearML's own LightGBM binding would make `mlflow.lightgbm.log_model` raise (2.1.12)."""
    xgboost, lightgbm = train("""
        import lightgbm, mlflow, numpy, xgboost
        mlflow.autolog(log_models=False)
        random = numpy.random.default_rng(0)
        x, y = random.random((200, 4)), random.integers(0, 2, 200)

        with mlflow.start_run(run_name="xgboost"):
            data = xgboost.DMatrix(x, y)
            params = {"max_depth": 2, "objective": "binary:logistic", "seed": 0}
            model = xgboost.train(params, data, 5, evals=[(data, "train")], verbose_eval=False)
            mlflow.xgboost.log_model(model, name="model", pip_requirements=["xgboost"], model_format="json")
            print(model.predict(data)[:9].tolist())

        with mlflow.start_run(run_name="lightgbm"):
            data = lightgbm.Dataset(x, y)
            params = {"objective": "binary", "num_leaves": 4, "verbosity": -1, "metric": "binary_logloss"}
            model = lightgbm.train(params, data, 5, valid_sets=[data])
            mlflow.lightgbm.log_model(model, name="model", pip_requirements=["lightgbm"])
            print(model.predict(x)[:9].tolist())
        """)
    assert {step for key, step in xgboost.points if key == "train-logloss"} == set(range(5))
    assert {step for key, step in lightgbm.points if key == "training-binary_logloss"} == set(range(5))
    assert xgboost.run.data.params["max_depth"] == "2"
    assert lightgbm.run.data.params["num_leaves"] == "4"


def test_keras_has_a_point_for_each_epoch(train: Train) -> None:
    (fit,) = train("""
        import os
        os.environ["KERAS_BACKEND"] = "torch"
        import keras, mlflow, numpy
        mlflow.autolog(log_models=False)
        keras.utils.set_random_seed(0)
        x = numpy.random.rand(64, 4).astype("float32")
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        print(model.fit(x, x.sum(1), epochs=3, verbose=0, validation_split=0.25).history)
        """)
    for key in ("loss", "val_loss"):
        assert {step for name, step in fit.points if name == key} == {0, 1, 2}
    assert fit.run.data.params["epochs"] == "3"


def test_optuna_has_a_task_for_each_trial(train: Train) -> None:
    """Its callback resumes the run that the objective logged to."""
    trials = train("""
        import mlflow, optuna
        from optuna_integration import MLflowCallback
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        callback = MLflowCallback(metric_name="loss")
        study = optuna.create_study(study_name="a study", sampler=optuna.samplers.RandomSampler(0))

        @callback.track_in_mlflow()
        def objective(trial):
            x = trial.suggest_float("x", -1, 1)
            mlflow.log_metric("twice", 2 * x, step=1)
            return x * x

        study.optimize(objective, n_trials=3, callbacks=[callback])
        print(study.best_value)
        """)
    assert [trial.run.info.run_name for trial in trials] == ["0", "1", "2"]
    for trial in trials:
        assert set(trial.points) == {("loss", 0), ("twice", 1)}
        assert set(trial.run.data.params) == {"x"}


LIGHTNING = """
    import mlflow, torch, pytorch_lightning as lightning
    from pytorch_lightning.loggers import MLFlowLogger
    from torch.utils.data import DataLoader, TensorDataset

    class Model(lightning.LightningModule):
        def __init__(self, lr=0.1):
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch, index):
            loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
            self.log("train_loss", loss, on_step=True, on_epoch=True)
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)

    def fit(logger):
        lightning.seed_everything(0)
        x = torch.rand(32, 4)
        trainer = lightning.Trainer(
            max_epochs=2, logger=logger, log_every_n_steps=1, accelerator="cpu", enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )
        trainer.fit(Model(), DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8))
        print(float(trainer.callback_metrics["train_loss"]))

    fit(MLFlowLogger("by logger", run_name="logger", tracking_uri=mlflow.get_tracking_uri()))
    mlflow.pytorch.autolog(log_models=False)
    with mlflow.start_run(run_name="autologging"):
        fit(False)
"""


def test_lightnings_logger_and_its_autologging_are_mirrored(train: Train) -> None:
    """`MLFlowLogger` uses `MlflowClient` alone; autologging has its own callback."""
    logger, autologging = train(LIGHTNING)
    assert {step for key, step in logger.points if key == "train_loss_step"} == set(range(8))
    assert logger.run.data.params == {"lr": "0.1"}
    assert {step for key, step in autologging.points if key == "train_loss_epoch"} == {0, 1}
    assert autologging.run.data.params["optimizer_name"] == "SGD"
