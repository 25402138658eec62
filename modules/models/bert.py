"""CompVis' own text encoder behind the face of a text tower: chunks, emphasis and textual inversions as with CLIP.

The network is diffusers' LDMBertEncoder, run layer by layer; every token, padding too, is attended to, as in training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertEncoder
from torch import Tensor, nn

from modules.models.towers import with_inversions
from modules.prompts.bert import PAD_ID, BertTokenizer, bert_tokenizer


class BertTower:
    """The encoder with its tokenizer (modules/models/loaded.py, TextTower)."""

    pad_id = PAD_ID
    projection = None

    def __init__(self, name: str, network: LDMBertEncoder, *, tokenizer: BertTokenizer | None = None) -> None:
        self.name = name
        self.network = network
        self.tokenizer = tokenizer or bert_tokenizer()
        self.width: int = network.config.d_model
        self.start_id = self.tokenizer.start_id
        self.end_id = self.tokenizer.end_id
        self.comma_id = self.tokenizer.comma_id
        self.before_run: Callable[[nn.Module], None] = _nothing  # brings the network to the device

    @property
    def device(self) -> torch.device:
        return self.network.embed_tokens.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.network.embed_tokens.weight.dtype

    def tokenize(self, text: str) -> list[int]:
        """Token ids without start and end, never truncated."""
        return self.tokenizer.encode(text)

    @torch.no_grad()
    def encode(
        self, tokens: Tensor, *, replaced: list[list[tuple[int, Tensor]]] | None = None, clip_skip: int = 1
    ) -> tuple[Tensor, None]:
        """Hidden states (B, T, width), float32, for token ids (B, T); clip skip has no effect, nothing is pooled."""
        network = self.network
        self.before_run(network)
        tokens = tokens.to(self.device)
        hidden = with_inversions(network.embed_tokens(tokens), replaced)
        hidden = hidden + network.embed_positions.weight[: tokens.shape[1]]
        for layer in network.layers:
            hidden = layer(hidden, None, layer_head_mask=None)[0]
        return network.layer_norm(hidden).float(), None


def build_bert_network(config: Mapping[str, Any]) -> LDMBertEncoder:
    """An encoder of these arguments; made where torch's default device is."""
    return LDMBertEncoder(LDMBertConfig(**config))


def _nothing(network: nn.Module) -> None:
    pass
