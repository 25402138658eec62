"""SD 3's transformer with the face of our UNets: one way to call it, any size, and attention by a chosen kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import SD3Transformer2DModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from modules.errors import InvalidRequest
from modules.networks.attention import KernelProcessor


class JointKernelProcessor(KernelProcessor):
    """A diffusers attention processor around a kernel: the tokens of picture and text attend to each other.

    The text's queries, keys and values come from layers of their own; there is no context for hooks to change.
    """

    takes_hooks = False

    def __call__(  # type: ignore[override] - the blocks take two answers
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Picture (B, N, C) and text (B, T, C) from the same; without a text (B, N, C) alone."""
        q, k, v = (_heads(layer(hidden_states), attn.heads) for layer in (attn.to_q, attn.to_k, attn.to_v))
        q, k = _normed(attn.norm_q, q), _normed(attn.norm_k, k)
        if encoder_hidden_states is not None:
            layers = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
            text_q, text_k, text_v = (_heads(layer(encoder_hidden_states), attn.heads) for layer in layers)
            text_q, text_k = _normed(attn.norm_added_q, text_q), _normed(attn.norm_added_k, text_k)
            q, k, v = torch.cat([q, text_q], 2), torch.cat([k, text_k], 2), torch.cat([v, text_v], 2)
        dtype = v.dtype
        if self.upcast:
            q, k, v = q.float(), k.float(), v.float()
        answer = self.kernel(q, k, v).to(dtype).transpose(1, 2).flatten(2)
        picture = attn.to_out[0](answer[:, : hidden_states.shape[1]])
        if encoder_hidden_states is None:
            return picture
        text = answer[:, hidden_states.shape[1] :]
        return picture, text if attn.context_pre_only else attn.to_add_out(text)


class Mmdit(SD3Transformer2DModel):
    """SD3Transformer2DModel called as a UNet is, for latents of any size up to the table of places."""

    attention_processor = JointKernelProcessor

    def forward(  # type: ignore[override] - the UNets' call, not the parent's
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        class_labels: Tensor,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        """The velocity (B, C, h, w) at times (B,) from 0 to 1000; `class_labels` (B, P) is the pooled text.

        Odd sides grow by one row or column of their edge's values, which the answer loses again. Raises InvalidRequest
        for pictures larger than the model has places for.
        """
        height, width = sample.shape[-2:]
        patch = self.config.patch_size
        limit = self.config.pos_embed_max_size * patch
        if max(height, width) > limit:
            raise InvalidRequest(
                f"this model knows pictures of up to {limit * 8} pixels a side, {width * 8}x{height * 8} were asked; "
                "choose a smaller size",
                field="size",
            )
        padded = F.pad(sample, (0, -width % patch, 0, -height % patch), mode="replicate")
        (answer,) = super().forward(
            hidden_states=padded,
            encoder_hidden_states=encoder_hidden_states,
            pooled_projections=class_labels,
            timestep=timestep,
            return_dict=False,
        )
        return (answer[..., :height, :width],)


def build_mmdit(config: Mapping[str, Any]) -> Mmdit:
    """A transformer of these arguments; made where torch's default device is."""
    return Mmdit(**config)


def _heads(tensor: Tensor, heads: int) -> Tensor:
    return tensor.unflatten(2, (heads, -1)).transpose(1, 2)


def _normed(norm: torch.nn.Module | None, tensor: Tensor) -> Tensor:
    return tensor if norm is None else norm(tensor)
