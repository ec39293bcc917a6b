"""The project's command line."""

import click

from pipeline.training import training


@click.command()
@click.option("--run-training", is_flag=True, help="Run the training pipeline.")
@click.option("--learning-rate", type=float, default=0.02, show_default=True)
@click.option("--max-steps", type=int, default=40, show_default=True)
@click.option("--lora-rank", type=int, default=8, show_default=True)
def main(run_training: bool, learning_rate: float, max_steps: int, lora_rank: int) -> None:
    """Run the pipelines of this project."""
    if run_training:
        training(learning_rate, max_steps, lora_rank)


if __name__ == "__main__":
    main()
