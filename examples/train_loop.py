"""Softmax regression on scikit-learn's digits, written out by hand: mini-batches, momentum, one line an epoch."""

import argparse

import mlflow
import numpy as np
from sklearn.datasets import load_digits
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


if __name__ == "__main__":
    main()
