"""Softmax regression on scikit-learn's digits, written out by hand: mini-batches, momentum, one line an epoch.

Logs one of everything: parameters, metrics, a figure, an image, a table, a report and the model.
"""

import argparse
import logging

import mlflow
import numpy as np
from matplotlib.figure import Figure
from mlflow.models import infer_signature
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay, classification_report
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--momentum", type=float, default=0.9)
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--seed", type=int, default=0)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def cross_entropy(probabilities, labels):
    return -np.log(probabilities[np.arange(len(labels)), labels] + 1e-12).mean()


def classifier(weights):
    """Return scikit-learn's model with these weights, which others can load."""
    model = LogisticRegression()
    model.coef_, model.intercept_ = weights.T, np.zeros(weights.shape[1])
    model.classes_, model.n_features_in_ = np.arange(weights.shape[1]), weights.shape[0]
    return model


def log_results(weights, images, labels, probabilities):
    predictions = probabilities.argmax(axis=1)
    figure = Figure(figsize=(6, 6))
    ConfusionMatrixDisplay.from_predictions(labels, predictions, ax=figure.subplots(), colorbar=False)
    mlflow.log_figure(figure, "figures/confusion.png")
    tiles = (weights.T.reshape(10, 8, 8) - weights.min()) / (weights.max() - weights.min())
    mlflow.log_image(np.kron(np.hstack(list(tiles)), np.ones((8, 8))), "images/weights.png")
    wrong = np.flatnonzero(predictions != labels)
    mistakes = {"digit": labels[wrong], "taken for": predictions[wrong], "sure": probabilities[wrong].max(axis=1)}
    mlflow.log_table({name: column.tolist() for name, column in mistakes.items()}, "tables/mistakes.json")
    mlflow.log_text(classification_report(labels, predictions), "report.txt")
    logging.getLogger("mlflow.sklearn").setLevel(logging.ERROR)  # it warns of pickles from strangers
    mlflow.sklearn.log_model(
        classifier(weights),
        name="classifier",
        signature=infer_signature(images, predictions),
        pip_requirements=["scikit-learn"],  # MLflow would find out by loading the model in another process
        serialization_format="cloudpickle",  # skops imports all of scikit-learn
    )


def main():
    args = parser.parse_args()
    random = np.random.default_rng(args.seed)
    images, labels = load_digits(return_X_y=True)
    images = images / images.max()
    x_train, x_val, y_train, y_val = train_test_split(images, labels, test_size=0.2, random_state=args.seed)
    weights = random.normal(0, 0.01, (images.shape[1], 10))
    velocity = np.zeros_like(weights)

    mlflow.set_experiment("digits")
    with mlflow.start_run():
        mlflow.log_params(vars(args))
        for epoch in range(args.epochs):
            order = random.permutation(len(x_train))
            for start in range(0, len(order), args.batch_size):
                batch = order[start : start + args.batch_size]
                error = softmax(x_train[batch] @ weights)
                error[np.arange(len(batch)), y_train[batch]] -= 1
                velocity = args.momentum * velocity - args.lr * x_train[batch].T @ error / len(batch)
                weights += velocity

            train_loss = cross_entropy(softmax(x_train @ weights), y_train)
            predictions = softmax(x_val @ weights)
            accuracy = (predictions.argmax(axis=1) == y_val).mean()
            mlflow.log_metric("train/loss", train_loss, step=epoch)
            mlflow.log_metric("val/loss", cross_entropy(predictions, y_val), step=epoch)
            mlflow.log_metric("val/accuracy", accuracy, step=epoch)
            print(f"epoch {epoch + 1:2d}/{args.epochs}  loss {train_loss:.4f}  val accuracy {accuracy:.4f}")
        log_results(weights, x_val, y_val, predictions)


if __name__ == "__main__":
    main()
