"""A language model of a few kilobytes."""

from __future__ import annotations

from pathlib import Path

import torch
from lm_eval.models.dummy import DummyLM
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

#: For its report the dummy model of lm_eval wants a tokenizer of the Hub; a folder of that name does.
DUMMY_TOKENIZER = DummyLM.tokenizer_name
WORDS = ("what", "is", "how", "much", "one", "two", "three", "plus", "?")


def tiny_model(folder: Path) -> None:
    """Write a random language model of a few kilobytes and its tokenizer, a word a token."""
    vocabulary = {word: number for number, word in enumerate(("<unk>", "<pad>", "</s>", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", eos_token="</s>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(
        LlamaConfig(vocab_size=len(vocabulary), pad_token_id=1, eos_token_id=2, **size)
    ).save_pretrained(folder)
