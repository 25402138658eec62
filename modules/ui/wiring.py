"""Ties buttons to handlers. Every handler is short: it reads values by path and returns at once; jobs run elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from modules.errors import InvalidRequest, WebuiError
from modules.generation.batch import BatchRequest
from modules.generation.request import GenerationRequest
from modules.images.data import ImageData
from modules.ui.form import to_request
from modules.ui.page import QUIET, Form, Page, values_read
from modules.ui.parts import batch
from modules.ui.parts.checkpoint import GUIDANCE
from modules.ui.parts.prompts import TopRow
from modules.ui.parts.quicksettings import overrides
from modules.ui.parts.restore import JOBS_KEPT
from modules.ui.parts.scripts import PATH as SCRIPTS
from modules.ui.parts.scripts import chosen
from modules.ui.parts.sending import wire_paste, wire_styles
from modules.ui.services import Services
from modules.ui.session import ADMIN_HEADER, Session, session_of


def wire_generation(
    page: Page, form: Form, buttons: TopRow, *, swap: gr.Button, random_seed: gr.Button, reuse_seed: gr.Button
) -> None:
    """Tie the buttons of one generation tab."""
    panel = page.panels[form.tab]
    services = page.services

    def submit(request: gr.Request, **values: Any) -> dict[str, Any]:
        session = session_of(request)

        def queue() -> str:
            if not batch.is_on(values):
                return services.submit(asked(services, form.tab, values, session), session.owner)
            trusted = bool(request.headers.get(ADMIN_HEADER))
            return services.submit_batch(_batch(services, form.tab, values, session, trusted), session.owner)

        return answered(services, form.tab, session, queue)

    components = values_read(page, form)
    buttons.generate.click(
        submit, inputs_kwargs=components, outputs=panel, js=_flush_pictures(form, components), trigger_mode="multiple",
        **QUIET,
    )  # fmt: skip
    if buttons.interrogate is not None:
        _wire_interrogate(services, form, buttons.interrogate)
    wire_paste(page, form, buttons.paste)
    wire_styles(page, form, buttons.apply_styles, buttons.edit_styles)
    sides = [form["size.width"], form["size.height"]]
    swap.click(
        None, sides, sides, js=f"(width, height) => window.webui.resized('{form.tab}', height, width)", **QUIET,
    )  # fmt: skip
    random_seed.click(lambda: -1, None, form["seed.value"], **QUIET)
    reuse_seed.click(
        None, form["seed.value"], form["seed.value"],
        js=f"(seed) => window.webui.selectedImage('{form.tab}')?.seed ?? seed", **QUIET,
    )  # fmt: skip
    buttons.clear.click(
        None, [form["prompt"], form["negative_prompt"]], [form["prompt"], form["negative_prompt"]],
        js="(prompt, negative) => confirm('Delete prompt?') ? ['', ''] : [prompt, negative]", **QUIET,
    )  # fmt: skip


def wire_hires_of_result(page: Page, form: Form) -> None:
    """✨: hires fix of the picture on show, with the values on the page and the picture's own seeds."""
    panel, services = page.panels[form.tab], page.services

    def enlarge(request: gr.Request, event: gr.EventData, **values: Any) -> dict[str, Any]:
        session = session_of(request)
        which = (str(event._data.get("job", "")), str(event._data.get("id", "")))
        return answered(
            services, form.tab, session,
            lambda: services.submit(_second_pass(services, form.tab, values, session, which), session.owner),
        )  # fmt: skip

    panel.hires(enlarge, inputs_kwargs=values_read(page, form), outputs=panel, **QUIET)


def _wire_interrogate(services: Services, form: Form, button: gr.Button) -> None:
    """📎: what a model sees in the source picture takes the prompt's place, as in A1111."""
    editor = form["source.picture"].elem_id

    def describe(source: Any, request: gr.Request) -> str:
        digest = str((source or {}).get("image") or "")
        if not digest:
            raise gr.Error("there is no picture to describe yet; drop, paste or choose one first")
        try:
            return services.describe(services.drafts.picture(session_of(request).owner, digest))
        except WebuiError as error:
            raise gr.Error(str(error)) from error

    button.click(
        describe, form["source.picture"], form["prompt"],
        js=f"(value) => window.webui.flushPicture('{editor}', value)", **QUIET,
    )  # fmt: skip


def asked(services: Services, tab: str, values: Mapping[str, Any], session: Session) -> GenerationRequest:
    """The request that the values of a tab ask for; raises WebuiError."""
    values = dict(values)
    if not services.takes_image_guidance(values.get("model.checkpoint")):
        values.pop(GUIDANCE, None)
    return to_request(
        tab,
        values,
        lambda digest: batch.stand_in() if digest == batch.STAND_IN else services.drafts.picture(session.owner, digest),
        scripts=chosen(values.get(SCRIPTS), services.scripts(tab)),
        overrides=overrides(values, services.settings),
    )


def answered(services: Services, tab: str, session: Session, submit: Callable[[], str]) -> dict[str, Any]:
    """What the panel is told: the job that `submit` queued, or in words why there is none."""
    try:
        job = submit()
        services.drafts.append(session.owner, session.browser, f"jobs.{tab}", job, keep=JOBS_KEPT)
    except WebuiError as error:
        return {"submitted": None, "error": str(error), "serial": time.time()}
    return {"submitted": job, "error": None, "serial": time.time()}


def _batch(
    services: Services, tab: str, values: Mapping[str, Any], session: Session, is_administrator: bool
) -> BatchRequest:
    request = asked(services, tab, batch.with_stand_ins(values), session)

    def uploaded(digest: str) -> ImageData:
        return services.drafts.picture(session.owner, digest)

    def folder(named: str, *, must_exist: bool) -> Path:
        return services.picture_folder(named, session.owner, is_administrator=is_administrator, must_exist=must_exist)

    return batch.to_batch(values, request, uploaded, folder)


def _second_pass(
    services: Services, tab: str, values: Mapping[str, Any], session: Session, which: tuple[str, str]
) -> GenerationRequest:
    """Hires fix of a finished picture: it is the first pass. One picture, of its size, with its seeds, as in A1111.

    A script that runs instead of the plain job (X/Y/Z plot) has no say here.
    """
    row, picture = services.picture(*which, session.owner)
    if row.role == "grid":
        raise InvalidRequest("a grid cannot be enlarged as one picture; choose a single picture first")
    request = asked(services, tab, {**values, "hires.on": True}, session)
    width, height = picture.size
    return GenerationRequest.model_validate(
        {
            **dict(request),
            "seed": {**dict(request.seed), "value": row.seed, "variation": row.subseed},
            "size": {"width": width, "height": height},
            "batch": {"size": 1, "count": 1},
            "hires": {**dict(request.hires), "first_pass_image": picture},
            "overrides": {**request.overrides, "save_images_before_highres_fix": False},
            "scripts": {
                script.name: request.scripts[script.name]
                for script in services.scripts(tab)
                if script.name in request.scripts and not script.is_selectable
            },
        }
    )


def _flush_pictures(form: Form, components: dict[str, Any]) -> str | None:
    """JavaScript that waits until the editor's newest strokes have reached the server, then sends its value."""
    if "source.picture" not in components:
        return None
    place = list(components).index("source.picture")
    name = components["source.picture"].elem_id
    return (
        f"async (...values) => {{ values[{place}] = await window.webui.flushPicture('{name}', values[{place}]);"
        " return values; }"
    )
