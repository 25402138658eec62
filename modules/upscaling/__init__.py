"""Upscalers by name: resamplers, latent modes and neural networks from files."""
