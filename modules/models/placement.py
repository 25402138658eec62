"""Where a model's networks are while they work: all on the device, one at a time, or piece by piece.

A network announces itself with `enter` before it runs; the placement then sees to it that its weights are where they
are needed, and that others have made room.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.hooks import apply_group_offloading
from torch import nn

from modules.models.device import DevicePolicy

CPU = torch.device("cpu")


class AllOnDevice:
    """Every network stays on the device as long as the model is in use: the plain case, and the others' contract."""

    description = "the whole model on the device"

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self._networks = list(networks)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Everything that is placed."""
        return tuple(self._networks)

    def add(self, network: nn.Module) -> None:
        """Take over one more network (a VAE of another file)."""
        if not any(network is known for known in self._networks):
            self._networks.append(network)

    def remove(self, network: nn.Module) -> None:
        """Let go of a network, which goes to main memory."""
        self._networks = [known for known in self._networks if known is not network]
        network.to(CPU)

    def load(self, device: torch.device) -> None:
        """The model becomes the one in use."""
        for network in self._networks:
            network.to(device)

    def enter(self, network: nn.Module) -> None:
        """`network` is about to run."""

    def unload(self) -> None:
        """The model gives way to another one: everything goes to main memory."""
        for network in self._networks:
            network.to(CPU)


class OneAtATime(AllOnDevice):
    """Only the network that runs is on the device (--medvram)."""

    description = "one network on the device at a time (--medvram)"

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__(networks)
        self._device = CPU
        self._inside: nn.Module | None = None

    def load(self, device: torch.device) -> None:
        self._device = device

    def enter(self, network: nn.Module) -> None:
        if self._inside is network:
            return
        self.unload()
        try:
            network.to(self._device)
        except Exception:  # out of memory halfway: what got there comes back, or nothing could be done about it
            network.to(CPU)
            raise
        self._inside = network

    def remove(self, network: nn.Module) -> None:
        if self._inside is network:
            self._inside = None
        super().remove(network)

    def unload(self) -> None:
        if self._inside is not None:
            self._inside.to(CPU)
        self._inside = None


class PieceByPiece(OneAtATime):
    """As `OneAtATime`, and of the UNet only the layer that runs (--lowvram). Slow, but fits almost anywhere."""

    description = "the UNet layer by layer on the device (--lowvram)"

    def __init__(self, networks: Sequence[nn.Module], unet: nn.Module) -> None:
        super().__init__(networks)
        self._unet = unet
        self._is_hooked = False

    def enter(self, network: nn.Module) -> None:
        if network is not self._unet:
            super().enter(network)
            return
        self.unload()
        if not self._is_hooked:
            apply_group_offloading(
                self._unet, onload_device=self._device, offload_device=CPU, offload_type="leaf_level"
            )
            self._is_hooked = True


def placement_for(policy: DevicePolicy, family: str, networks: Sequence[nn.Module], unet: nn.Module) -> AllOnDevice:
    """The placement that the flags ask for a model of this family."""
    if policy.lowvram:
        return PieceByPiece(networks, unet)
    if policy.medvram or (policy.medvram_sdxl and family == "sdxl"):
        return OneAtATime(networks)
    return AllOnDevice(networks)
