"""Routes of the extra-network cards: what there is, its previews and notes. `kind` is one of KINDS.

Model files are everybody's, so everyone who may use the page sees the cards; changing notes and previews is for who may
change settings. Cards are asked for by id: no path comes from the browser, and only previews beside model files are
served.

    GET  /cards/{kind}?checkpoint=    {"cards": [Card…], "folders": {folder: count}, "options": {setting: value}};
                                      with a checkpoint's title LoRAs made for other models are left out, as the
                                      settings say. Card = the fields of `modules/models/cards.py`, and "preview":
                                      address or null
    POST /cards/refresh               look at the model folders again
    GET  /cards/{kind}/{id}           what the editor shows, and "may_change"
    GET  /cards/{kind}/{id}/preview   a WebP of at most 384 px
    GET  /cards/{kind}/{id}/metadata  {"metadata": the texts in the file's header}
    POST /cards/{kind}/{id}           {key of the notes: value} → as GET
    POST /cards/{kind}/{id}/preview   {"picture": base64}: replace the preview → {}
"""

# no `from __future__ import annotations`: FastAPI could not resolve annotations that name local dependencies

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response

from modules.api.answers import picture_answers
from modules.api.bodies import Body
from modules.api.jobs import may_change
from modules.api.waiting import Apart
from modules.errors import InvalidImage, NotPermitted
from modules.images.data import ImageData
from modules.models.cards import Card, CardRules, Cards, Kind, folders_of, id_of, save_notes, save_preview
from modules.models.files import ModelFile
from modules.outputs.thumbnails import Thumbnails

if TYPE_CHECKING:
    from modules.app import App

_OPTIONS = (
    "extra_networks_show_hidden_directories", "extra_networks_hidden_models", "extra_networks_tree_view_default_width",
    "extra_networks_card_width", "extra_networks_card_height", "extra_networks_card_text_scale",
    "extra_networks_card_show_desc", "extra_networks_card_order_field", "extra_networks_card_order",
    "extra_networks_tree_view_style", "extra_networks_tree_view_default_enabled", "extra_networks_add_text_separator",
)  # fmt: skip
_KEPT_BY_BROWSERS = {"cache-control": "private, max-age=604800"}


class NewPreview(Body):
    picture: str


def routes(app: "App") -> APIRouter:
    """Everything in this module's docstring."""
    router = APIRouter(prefix="/cards", tags=["cards"])
    cards, apart = Cards(app.catalog), Apart()
    thumbnails = Thumbnails(app.data_dir / "cache" / "thumbnails")

    def known_file(kind: Kind, card_id: str) -> ModelFile:
        file = cards.find(kind, card_id)
        if file is None:
            raise HTTPException(404, "there is no such model file; look for new ones again")
        return file

    def change_allowed(request: Request) -> None:
        if not may_change(request):
            raise NotPermitted("models are for everybody here, so only the administrator may change their cards")

    File = Annotated[ModelFile, Depends(known_file)]
    MayChange = Depends(change_allowed)

    @router.post("/refresh")
    async def refresh() -> dict[str, Any]:
        await apart.run(app.catalog.refresh)
        return {}

    @router.get("/{kind}")
    def show_all(kind: Kind, checkpoint: str = "") -> dict[str, Any]:
        settings = app.settings.current
        rules = CardRules(settings.extra_networks_default_multiplier, settings.lora_preferred_name != "Filename")
        found = cards.all(kind, rules)
        if kind == "lora" and checkpoint and not settings.lora_show_all:
            version = cards.fitting_version(checkpoint)
            hides_unknown = version in settings.lora_hide_unknown_for_versions
            found = [
                card
                for card in found
                if version is None or card.version == version or (card.version == "Unknown" and not hides_unknown)
            ]
        return {
            "cards": [{**asdict(card), "preview": preview_address(kind, card)} for card in found],
            "folders": folders_of(found),
            "options": {key: getattr(settings, key) for key in _OPTIONS},
        }

    @router.get("/{kind}/{card_id}")
    def show(kind: Kind, file: File, request: Request) -> dict[str, Any]:
        return {**cards.details(kind, file), "id": id_of(file), "may_change": may_change(request)}

    @router.post("/{kind}/{card_id}", dependencies=[MayChange])
    def change(kind: Kind, file: File, values: dict[str, Any], request: Request) -> dict[str, Any]:
        save_notes(kind, file, values)
        return show(kind, file, request)

    @router.get("/{kind}/{card_id}/metadata")
    def metadata(file: File) -> dict[str, dict[str, str]]:
        return {"metadata": app.catalog.metadata(file)}

    @router.get("/{kind}/{card_id}/preview", responses=picture_answers("The preview"), response_class=Response)
    def preview(file: File) -> Response:
        path = file.preview
        if path is None:
            raise HTTPException(404, f"{file.name} has no preview")
        try:
            return Response(thumbnails.of_file(path), media_type="image/webp", headers=_KEPT_BY_BROWSERS)
        except (InvalidImage, OSError) as error:
            raise HTTPException(404, f"the preview of {file.name} cannot be read: {error}") from error

    @router.post("/{kind}/{card_id}/preview", dependencies=[MayChange])
    def replace_preview(kind: Kind, file: File, new: NewPreview) -> dict[str, Any]:
        save_preview(kind, file, ImageData.from_base64(new.picture))
        return {}

    return router


def preview_address(kind: Kind, card: Card) -> str | None:
    """Where a card's preview is; the address changes when the picture does."""
    return f"cards/{kind}/{card.id}/preview?v={card.preview_ns}" if card.preview_ns is not None else None
