"""The one component through which our scripts call Python: pictures, mask documents, token counts, and drafts.

Its functions are callable by every client that may use the page, so each takes the owner from the request, never from
its arguments, and answers `{"error": words}` for what cannot be done.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from modules.errors import WebuiError
from modules.infotext.files import read_metadata
from modules.ui.session import is_administrator, is_at_this_machine, session_of

if TYPE_CHECKING:
    from modules.ui.services import Services

SCRIPT_SETTINGS = (
    "interrupt_after_current", "show_progress_in_title", "js_modal_lightbox_initially_zoomed", "disable_token_counters",
    "js_modal_lightbox_gamepad", "js_modal_lightbox_gamepad_repeat", "js_live_preview_in_modal_lightbox",
    "live_preview_refresh_period", "set_scale_by_when_changing_upscaler",
    "img2img_sketch_default_brush_color", "img2img_inpaint_sketch_default_brush_color",
    "img2img_inpaint_mask_brush_color",
    "keyedit_precision_attention", "keyedit_precision_extra", "keyedit_delimiters", "keyedit_delimiters_whitespace",
    "keyedit_move", "notification_audio", "notification_volume",
    "canvas_hotkey_zoom", "canvas_hotkey_adjust", "canvas_hotkey_shrink_brush", "canvas_hotkey_grow_brush",
    "canvas_hotkey_move", "canvas_hotkey_fullscreen", "canvas_hotkey_reset", "canvas_hotkey_overlap",
    "show_progressbar", "do_not_show_images", "js_modal_lightbox", "gallery_height", "img2img_editor_height",
    "sd_webui_modal_lightbox_icon_opacity", "sd_webui_modal_lightbox_toolbar_opacity",
    "prevent_screen_sleep_during_generation",
    "canvas_show_tooltip", "canvas_auto_expand", "canvas_blur_prompt", "canvas_disabled_functions",
)  # fmt: skip
"""Settings that scripts in the browser go by."""

AT_ANOTHER_MACHINE = "folders open on the machine that the server runs on, and this page is open on another one"


def bridge(services: Services) -> gr.HTML:
    """The (invisible) component; its `draft` event comes half a second after the last change of anything."""
    return gr.HTML(
        script_settings(services),
        elem_id="webui_bridge",
        html_template="<div hidden></div>",
        js_on_load=("window.webuiReady.then((webui) => webui.attachBridge({server, trigger, props}));['draft'];"),
        apply_default_css=False,
        server_functions=server_functions(services),
    )


def script_settings(services: Services) -> dict[str, Any]:
    """What `bridge.config` in the browser holds; asked for again when a page opens and when settings were saved."""
    settings = services.settings
    return {**{key: getattr(settings, key) for key in SCRIPT_SETTINGS}, "why_no_folder": services.why_no_folder}


def server_functions(services: Services) -> list[Callable[..., dict[str, Any]]]:
    """What `server.<name>(values)` in assets/js/bridge.js calls."""
    drafts = services.drafts

    def put_picture(values: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        try:
            content = base64.b64decode(str(values.get("data", "")), validate=True)
            return {"sha256": drafts.put_picture(session_of(request).owner, content)}
        except (WebuiError, ValueError) as error:
            return {"error": str(error)}

    def get_picture(values: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        try:
            found = drafts.picture(session_of(request).owner, str(values.get("sha256", "")))
        except WebuiError:
            return {"data": None}  # a draft may outlive its picture: the editor then simply starts empty
        return {"data": found.to_base64()}

    def read_infotext(values: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"infotext": read_metadata(base64.b64decode(str(values.get("data", "")), validate=True)).meant}
        except (WebuiError, ValueError) as error:
            return {"error": str(error)}

    def put_document(values: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        session = session_of(request)
        key = f"document.{str(values.get('name', ''))[:80]}"
        drafts.save(session.owner, session.browser, {key: values.get("document")})
        return {}

    def get_document(values: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        session = session_of(request)
        key = f"document.{str(values.get('name', ''))[:80]}"
        return {"document": drafts.load(session.owner, session.browser).get(key)}

    def count_tokens(values: dict[str, Any]) -> dict[str, Any]:
        return {
            "text": services.count_tokens(
                str(values.get("text", "")),
                styles=[str(name) for name in values.get("styles") or ()],
                steps=int(values.get("steps") or 20),
                is_negative=bool(values.get("negative")),
            )
        }

    def get_localization(values: dict[str, Any]) -> dict[str, Any]:
        name = services.settings.localization
        return {"name": name, "table": services.localizations.table(name)}

    def get_script_settings(values: dict[str, Any]) -> dict[str, Any]:
        return script_settings(services)

    def prompt_names(values: dict[str, Any]) -> dict[str, Any]:
        return services.prompt_names()

    def open_folder(values: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        if not is_at_this_machine(request):
            return {"error": AT_ANOTHER_MACHINE}
        tab, job, picture = (str(values.get(key) or "") for key in ("tab", "job", "picture"))
        try:
            services.open_folder(tab, job, picture, session_of(request).owner)
        except WebuiError as error:
            return {"error": str(error)}
        return {}

    def list_styles(values: dict[str, Any]) -> dict[str, Any]:
        return {"styles": services.list_styles()}

    def save_style(values: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        texts = [str(values.get(key, "")) for key in ("name", "prompt", "negative_prompt")]
        return _change_styles(request, lambda: services.save_style(*texts))

    def delete_style(values: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        return _change_styles(request, lambda: services.delete_style(str(values.get("name", ""))))

    def _change_styles(request: gr.Request, change: Callable[[], None]) -> dict[str, Any]:
        if not is_administrator(request):
            return {"error": "styles are for everybody here, so only the administrator may change them"}
        try:
            change()
        except WebuiError as error:
            return {"error": str(error)}
        return {"styles": services.list_styles()}

    return [
        list_styles, save_style, delete_style, put_picture, get_picture, put_document, get_document, count_tokens,
        get_localization, read_infotext, prompt_names, open_folder, get_script_settings,
    ]  # fmt: skip
