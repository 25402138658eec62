"""Text encoders that read a text in one piece, without chunks of 77 and without weights: T5, SD 3's third one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5Stack

from modules.prompts.t5 import T5Tokenizer, t5_tokenizer


class T5Tower:
    """T5's encoder with its tokenizer (modules/models/loaded.py, PassageTower)."""

    def __init__(self, name: str, network: T5Stack, *, tokenizer: T5Tokenizer | None = None) -> None:
        self.name = name
        self.network = network
        self.tokenizer = tokenizer or t5_tokenizer()
        self.width: int = network.config.d_model
        self.before_run: Callable[[nn.Module], None] = _nothing  # brings the network to the device

    @torch.no_grad()
    def encode(self, texts: Sequence[Sequence[str]], length: int) -> Tensor:
        """Hidden states (n, length, width), float32, of texts given in pieces.

        Pieces are tokenised one by one and joined; what is over `length` tokens is cut off, the end token with it; what
        is missing is padding, which is attended to as any token (so was the model trained, and so A1111 does).
        """
        self.before_run(self.network)
        rows = []
        for pieces in texts:
            tokens = [token for piece in pieces for token in self.tokenizer.encode(piece)] + [self.tokenizer.end_id]
            rows.append((tokens + [self.tokenizer.pad_id] * (length - len(tokens)))[:length])
        ids = torch.tensor(rows, device=self.network.embed_tokens.weight.device)
        return self.network(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.float()


def build_t5_network(config: Mapping[str, Any]) -> T5Stack:
    """An encoder of these arguments; made where torch's default device is."""
    return T5Stack(T5Config(**config, is_decoder=False, use_cache=False))


def finished_t5(network: T5Stack) -> T5Stack:
    """The network with its outer feed-forward layers in float32 where it is float16, which overflows there."""
    if network.embed_tokens.weight.dtype == torch.float16:
        for block in network.block:
            block.layer[1].DenseReluDense.wo.float()
    return network


def _nothing(network: nn.Module) -> None:
    pass
