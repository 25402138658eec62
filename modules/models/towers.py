"""Text encoders as the conditioning sees them: token ids in, hidden states out, with A1111's choice of layer.

The networks are transformers' CLIPTextModel modules, run layer by layer: the vectors of textual inversions go in
between the token and the position embeddings, and only the layers that are used are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from modules.prompts.tokenizer import ClipTokenizer, clip_tokenizer, open_clip_tokenizer

LayerRule = Literal["clip-skip", "penultimate", "last"]


class ClipTower:
    """One CLIP or OpenCLIP text encoder with its tokenizer (modules/models/loaded.py, TextTower)."""

    def __init__(
        self,
        name: str,
        network: CLIPTextModel,
        *,
        pad_id: int,
        layer: LayerRule,
        final_norm: bool,
        projection: Tensor | None = None,
        pools: bool = False,
        tokenizer: ClipTokenizer | None = None,
    ) -> None:
        self.name = name
        self.network = network
        self.layer: LayerRule = layer
        self.final_norm = final_norm
        self.projection = projection
        self.pools = pools or projection is not None
        self.tokenizer = tokenizer or (clip_tokenizer() if name == "clip_l" else open_clip_tokenizer())
        self.width: int = network.config.hidden_size
        self.start_id = self.tokenizer.start_id
        self.end_id = self.tokenizer.end_id
        self.comma_id = self.tokenizer.comma_id
        self.pad_id = pad_id
        self.before_run: Callable[[nn.Module], None] = _nothing  # brings the network to the device

    @property
    def device(self) -> torch.device:
        return self.network.final_layer_norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.network.final_layer_norm.weight.dtype

    def tokenize(self, text: str) -> list[int]:
        """Token ids without start and end, never truncated."""
        return self.tokenizer.encode(text)

    @torch.no_grad()
    def encode(
        self,
        tokens: Tensor,
        *,
        replaced: list[list[tuple[int, Tensor]]] | None = None,
        clip_skip: int = 1,
    ) -> tuple[Tensor, Tensor | None]:
        """Hidden states (B, T, width) and the pooled vector (B, P) or None, float32, for token ids (B, T).

        Section 1.7 of the behaviour reference: which layer, whether normed, how pooled. A `clip_skip` beyond the first
        layer means the embeddings themselves.
        """
        network, layers = self.network, self.network.encoder.layers
        self.before_run(network)
        tokens = tokens.to(self.device)
        hidden = with_inversions(network.embeddings.token_embedding(tokens), replaced)
        hidden = hidden + network.embeddings.position_embedding.weight[: tokens.shape[1]]
        mask = torch.full((tokens.shape[1],) * 2, float("-inf"), device=self.device, dtype=self.dtype).triu_(1)
        taken = self._layers_taken(clip_skip, len(layers))
        result = hidden if taken == 0 else None
        needed = len(layers) if self.pools else taken
        for index, layer in enumerate(layers[:needed], start=1):
            hidden = layer(hidden, mask[None, None])
            if index == taken:
                result = hidden
        assert result is not None
        if self.final_norm:
            result = network.final_layer_norm(result)
        return result.float(), self._pooled(hidden, tokens)

    def _layers_taken(self, clip_skip: int, layers: int) -> int:
        skip = {"penultimate": 2, "last": 1}.get(self.layer, clip_skip)
        return max(layers + 1 - max(skip, 1), 0)

    def _pooled(self, last: Tensor, tokens: Tensor) -> Tensor | None:
        if not self.pools:
            return None
        at_end = last[torch.arange(last.shape[0], device=last.device), tokens.argmax(dim=-1)]
        pooled = self.network.final_layer_norm(at_end)
        return (pooled if self.projection is None else pooled @ self.projection.to(pooled)).float()


def with_inversions(hidden: Tensor, replaced: list[list[tuple[int, Tensor]]] | None) -> Tensor:
    """Token embeddings (B, T, width) with the vectors of textual inversions in their places (`TextTower.encode`)."""
    for row, inversions in enumerate(replaced or ()):
        for offset, vectors in inversions:
            count = min(vectors.shape[0], hidden.shape[1] - offset - 1)
            hidden[row, offset + 1 : offset + 1 + count] = vectors[:count].to(hidden)
    return hidden


def _nothing(network: nn.Module) -> None:
    pass


def build_text_network(config: dict[str, object]) -> nn.Module:
    """A CLIPTextModel of these arguments; made where torch's default device is."""
    return CLIPTextModel(CLIPTextConfig(**config, attn_implementation="sdpa"))
