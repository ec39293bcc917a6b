"""Train a random forest on the wine data set: autologging, and a few things logged by hand."""

import mlflow
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import train_test_split

mlflow.set_experiment("wine")
mlflow.autolog()

X, y = load_wine(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=7, stratify=y)
print(f"{len(X_train)} wines to train on, {len(X_test)} to test on, {X.shape[1]} features")

with mlflow.start_run(run_name="random-forest"):
    mlflow.log_param("test_size", 0.25)
    model = RandomForestClassifier(n_estimators=60, max_depth=4, random_state=7)
    model.fit(X_train, y_train)

    predictions = model.predict(X_test)
    accuracy = accuracy_score(y_test, predictions)
    mlflow.log_metric("test/accuracy", accuracy)
    mlflow.log_metric("test/f1", f1_score(y_test, predictions, average="macro"))
    print(f"accuracy on the test wines: {accuracy:.3f}")
