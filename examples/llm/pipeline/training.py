"""Fine-tune a small causal language model with LoRA, register it, and evaluate the registered model."""

import mlflow
import torch
from peft import LoraConfig
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed
from trl import SFTConfig, SFTTrainer

from pipeline.data import make_tokenizer, training_data
from pipeline.evaluation import evaluate

EXPERIMENT, RUN, MODEL = "LLM-Engineers-Handbook", "Training", "handbook-llm"


def base_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return an untrained model of some 20,000 weights; a real project would call `from_pretrained`."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def training(learning_rate: float, max_steps: int, lora_rank: int) -> None:
    """Run the pipeline as one MLflow run.

    Args:
        learning_rate: the optimiser's, at the first step.
        max_steps: number of batches.
        lora_rank: width of the LoRA matrices.
    """
    set_seed(0)
    tokenizer, data = make_tokenizer(), training_data()
    arguments = SFTConfig(
        output_dir="output",
        learning_rate=learning_rate,
        max_steps=max_steps,
        per_device_train_batch_size=8,
        bf16=torch.cuda.is_available(),  # TRL's default is True, for GPUs
        logging_steps=1,
        save_strategy="no",
        report_to="mlflow",
        disable_tqdm=True,
    )
    lora = LoraConfig(
        r=lora_rank, target_modules="all-linear", modules_to_save=["embed_tokens", "lm_head"], task_type="CAUSAL_LM"
    )
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(run_name=RUN):
        mlflow.log_input(mlflow.data.from_huggingface(data, name="questions"), context="training")
        trainer = SFTTrainer(
            base_model(tokenizer), arguments, train_dataset=data, processing_class=tokenizer, peft_config=lora
        )
        trainer.train()
        model = trainer.model.merge_and_unload()
        logged = mlflow.transformers.log_model(
            {"model": model, "tokenizer": tokenizer},
            name="model",
            task="text-generation",
            registered_model_name=MODEL,
            pip_requirements=["transformers", "torch"],
        )
        evaluate(f"models:/{MODEL}/{logged.registered_model_version}")
