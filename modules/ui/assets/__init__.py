"""What the browser loads besides Gradio: one stylesheet, our modules, and Konva for the mask editor.

`head()` goes to `Blocks.launch`, styles included: what Gradio is given as `css` it rewrites, breaking media queries
and selector lists inside parentheses on the way. `serve()` must have been called, so that the files can be fetched.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from urllib.parse import quote

import gradio as gr

FOLDER = Path(__file__).parent
STYLESHEETS = (
    "theme.css", "icons.css", "editor.css", "batch.css", "gallery.css", "queue.css", "extras.css",
    "cards.css", "models.css",
)  # fmt: skip

# Tells one person's browsers apart, so that each has its own draft; grants nothing (modules/ui/session.py).
_BROWSER_COOKIE = (
    "if (!/webui_browser=/.test(document.cookie)) document.cookie = 'webui_browser=' + "
    "[...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, '0')).join('')"
    " + '; path=/; max-age=63072000; samesite=strict';"
)


def serve() -> None:
    """Let Gradio serve this folder (to logged-in users only); it holds nothing but what belongs in a browser."""
    gr.set_static_paths([FOLDER])


def head(theme: str | None = None) -> str:
    """What goes into the page's <head>: the entry module, and a promise that components wait for.

    `theme` ("light", "dark") holds for everybody whose address names none; Gradio reads it from the address.

    The address carries a digest of all assets, so that a browser never runs yesterday's module after an update.
    """
    base = f"gradio_api/file={quote(FOLDER.as_posix())}"
    return (
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_styles()}</style>"
        f"<script>{_BROWSER_COOKIE}{_in_address(theme) if theme else ''}"
        "window.webuiReady = new Promise((ready) => { window.webuiIsReady = ready; });</script>"
        f'<script type="module" src="{base}/js/main.js?v={digest()}"></script>'
    )


def _in_address(theme: str) -> str:
    return (
        "{const address = new URL(location); if (!address.searchParams.has('__theme')) {"
        f"address.searchParams.set('__theme', '{theme}'); history.replaceState(history.state, '', address);}}}}"
    )


@cache
def digest() -> str:
    """Twelve hex digits that change when any asset changes."""
    state = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path.suffix in (".js", ".css"):
            state.update(path.relative_to(FOLDER).as_posix().encode() + path.read_bytes())
    return state.hexdigest()[:12]


def _styles() -> str:
    """The stylesheets, for dark and light."""
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in STYLESHEETS)
