"""Ask a registered model the questions, and score its answers without another model as a judge."""

import random

import mlflow
from mlflow.entities import Feedback
from mlflow.genai.scorers import scorer

from pipeline.data import ANSWERS


@scorer
def word_overlap(outputs: str, expectations: dict[str, str]) -> Feedback:
    """Return the share of the expected words that the answer has."""
    expected, given = expectations["expected_response"].split(), set(outputs.split())
    missing = [word for word in expected if word not in given]
    rationale = f"missing: {' '.join(missing)}" if missing else "has every expected word"
    return Feedback(value=1 - len(missing) / len(expected), rationale=rationale)


@scorer
def exact_match(outputs: str, expectations: dict[str, str]) -> bool:
    """Return True if the answer is the expected one, word for word."""
    return outputs == expectations["expected_response"]


def evaluate(model_uri: str) -> None:
    """Evaluate a model of MLflow's registry, as part of the active run."""
    # MLflow draws the ids of traces from `random`, and the trainer has seeded it: the next run would draw the same ids,
    # and its traces would replace those of this run.
    random.seed()
    generator = mlflow.transformers.load_model(model_uri)

    def predict(question: str) -> str:
        (answer,) = generator(f"{question} ", max_new_tokens=10, do_sample=False, return_full_text=False)
        return answer["generated_text"].strip()

    data = [
        {"inputs": {"question": question}, "expectations": {"expected_response": answer}}
        for question, answer in ANSWERS.items()
    ]
    mlflow.genai.evaluate(data=data, predict_fn=predict, scorers=[word_overlap, exact_match])
