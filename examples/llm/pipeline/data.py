"""Questions with their answers, and a tokenizer whose vocabulary is their words."""

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

ANSWERS = {
    "What does LoRA train ?": "two small matrices beside each frozen weight",
    "What does a tokenizer do ?": "it cuts a text into tokens",
    "What is a prompt ?": "the text that a model continues",
    "What is an epoch ?": "one pass over all examples",
    "What is the learning rate ?": "the size of a step against the gradient",
    "What is perplexity ?": "the exponential of the loss",
    "What is overfitting ?": "learning the examples by heart",
    "What is a data set ?": "many examples of one kind",
}
UNKNOWN, END, PAD = "<unk>", "<end>", "<pad>"


def training_data() -> Dataset:
    """Return prompts and completions, as SFTTrainer takes them."""
    rows = [{"prompt": f"{question} ", "completion": answer} for question, answer in ANSWERS.items()]
    return Dataset.from_list(rows)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token a word, which needs no download."""
    words = sorted({word for pair in ANSWERS.items() for text in pair for word in text.split()})
    vocabulary = {word: number for number, word in enumerate([UNKNOWN, END, PAD, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=UNKNOWN, eos_token=END, pad_token=PAD)
