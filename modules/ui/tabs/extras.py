"""Extras: pictures enlarged, cut and mirrored; one, many, or a whole folder of the machine.

The form is one component (assets/js/extras.js); its jobs are shown by a live panel like those of the other tabs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import gradio as gr
from pydantic import ValidationError

from modules.errors import WebuiError
from modules.extras import pictures_in
from modules.generation.extras import ExtrasPicture, ExtrasRequest
from modules.models.faces import USUAL_NAMES
from modules.postprocessing.operations import OPERATIONS, in_order
from modules.ui.page import TABS, Page, Tab
from modules.ui.parts.panel import live_panel
from modules.ui.parts.restore import JOBS_KEPT
from modules.ui.parts.scripts import argument
from modules.ui.session import ADMIN_HEADER, session_of

if TYPE_CHECKING:
    from modules.ui.services import Services

PICTURES_LIMIT = 1000
"""Pictures in one batch of uploads."""

FILES_LIMIT = 100_000
"""Files of one folder."""


def server_functions(services: Services) -> list[Callable[..., dict[str, Any]]]:
    """What `server.<name>(values)` in assets/js/extras.js calls."""

    def offers(values: dict[str, Any]) -> dict[str, Any]:
        if values.get("refresh"):
            services.refresh_models()
        return {"upscalers": services.choices("pixel_upscalers"), "operations": operations(services)}

    def submit(values: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        session = session_of(request)

        def folder(named: str, *, must_exist: bool = True) -> Path:
            trusted = bool(request.headers.get(ADMIN_HEADER))
            return services.picture_folder(named, session.owner, is_administrator=trusted, must_exist=must_exist)

        try:
            wanted = to_request(values, lambda digest: services.drafts.picture(session.owner, digest), folder)
            job = services.submit_extras(wanted, session.owner)
        except WebuiError as error:
            return {"error": str(error)}
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            return {"error": f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}"}
        services.drafts.append(session.owner, session.browser, "jobs.extras", job, keep=JOBS_KEPT)
        return {"job": job}

    return [offers, submit]


def operations(services: Services) -> list[dict[str, Any]]:
    """What can be done to a picture, in the order of the settings and without what they hide, as JSON.

    `problem` is what one lacks that cannot be done yet.
    """
    settings, parts = services.settings, ExtrasRequest.model_fields
    found = []
    for one in in_order(settings.postprocessing_operation_order):
        if one.name in settings.postprocessing_disable_in_extras:
            continue
        if one.part == "caption" and not services.can_describe:
            continue
        annotation = parts[one.part].annotation
        (model,) = [kind for kind in (annotation, *get_args(annotation)) if hasattr(kind, "model_fields")]
        fields = [argument(name, field, "extras", services.choices) for name, field in model.model_fields.items()]
        if one.part == "focal_crop" and services.faces.detector is None:
            fields = [field for field in fields if field is not None and field["name"] != "face_weight"]
        found.append(
            {
                "name": one.name,
                "part": one.part,
                "fields": [field for field in fields if field is not None],
                "problem": services.faces.problem(one.name) if one.name in USUAL_NAMES else None,
            }
        )
    return found


def to_request(
    values: dict[str, Any], picture: Callable[[str], Any], folder: Callable[..., Path] | None = None
) -> ExtrasRequest:
    """The request that the form's values ask for.

    `picture` gives the stored picture with a sha256, `folder` the folder that somebody named if they may. Raises
    InvalidRequest and its kinds, NotPermitted, or pydantic's ValidationError naming the field.
    """
    fields: dict[str, Any] = {one.part: values[one.part] for one in OPERATIONS if values.get(one.part) is not None}
    if (source := values.get("folder")) is not None and folder is not None:
        pictures = pictures_in(folder(str(source.get("input", ""))))
        if not pictures:
            raise WebuiError(f'there is no picture in "{source.get("input")}"')
        if len(pictures) > FILES_LIMIT:
            raise WebuiError(f"the folder holds {len(pictures)} pictures, one job takes {FILES_LIMIT}")
        if output := str(source.get("output", "")).strip():
            fields["output_folder"] = str(folder(output, must_exist=False))
        return ExtrasRequest(pictures=pictures, is_batch=True, shows=bool(source.get("shows", True)), **fields)
    given = list(values.get("pictures") or ())[:PICTURES_LIMIT]
    if not given:
        raise WebuiError("there is no picture yet; drop, paste or choose one first")
    pictures = tuple(
        ExtrasPicture(image=picture(str(one.get("sha256", ""))), name=str(one.get("name", ""))[:200]) for one in given
    )
    return ExtrasRequest(pictures=pictures, is_batch=bool(values.get("is_batch")), **fields)


def build(page: Page) -> None:
    """Draw the tab."""
    with gr.Row(elem_classes="webui-work"):
        with gr.Column(scale=5, min_width=320, elem_classes="webui-settings"):
            gr.HTML(
                None,
                elem_id="extras",
                html_template="<div class='webui-extras'></div>",
                js_on_load="window.webuiReady.then((webui) => webui.attachExtras({element, server}));",
                apply_default_css=False,
                server_functions=server_functions(page.services),
            )
        with gr.Column(scale=6, min_width=320, elem_classes="webui-output"):
            page.panels["extras"] = live_panel("extras")


TABS.add("extras", Tab("extras", "Extras", build))
