"""Importing this registers our own tabs, in the order they stand in."""

# ruff: noqa: I001
from modules.ui.tabs import txt2img
from modules.ui.tabs import img2img
from modules.ui.tabs import inpaint
from modules.ui.tabs import extras
from modules.ui.tabs import queue
from modules.ui.tabs import gallery
from modules.ui.tabs import pnginfo
from modules.ui.tabs import models
from modules.ui.tabs import extensions
from modules.ui.tabs import settings

__all__ = ["extensions", "extras", "gallery", "img2img", "inpaint", "models", "pnginfo", "queue", "settings", "txt2img"]
