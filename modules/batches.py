"""Running img2img's Batch: a job whose pictures come from other jobs, one for each source. Part of the application.

As in A1111 every picture starts from the same seed, which is drawn once when the batch is asked for. So a batch that
was stopped, or that the program's end cut short, goes on where it was when it is run again: what was made is not made
twice (`Ask.reuses`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.errors import InvalidImage, InvalidRequest, WebuiError
from modules.extensions.api import Ask, Asked, Made, Recipe, changed, with_seed_drawn
from modules.extensions.dispatch import selected
from modules.generation.batch import BatchItem, BatchPicture, BatchRequest
from modules.generation.part import Size
from modules.generation.request import GenerationRequest
from modules.images.data import ImageData
from modules.infotext.files import read_metadata
from modules.infotext.parse import Infotext, parse
from modules.infotext.paste import split_label
from modules.jobs.blobs import pack
from modules.jobs.handle import JobHandle
from modules.jobs.record import Job, NewJob, Priority
from modules.recipes import ScriptRun, copied

if TYPE_CHECKING:
    from modules.app import App

KIND = "batch"
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".avif"})
LIMIT = 10_000
"""Pictures in one batch."""


def submit(app: App, batch: BatchRequest, *, owner: str, priority: int = Priority.INTERACTIVE) -> JobHandle:
    """Queue a batch; raises what the first picture's own job would be refused for. Nothing is queued then."""
    if batch.output_dir and selected(app.extensions, batch.request) is not None:
        raise InvalidRequest("a script saves where the settings say; choose no output directory, or no script")
    batch = batch.model_copy(update={"request": with_seed_drawn(batch.request)})
    app.plan(_first_readable(batch), owner)
    payload, blobs = pack(batch, app.blobs)
    title = f"{len(batch.items)} × {batch.request.prompt.strip()}"[:120]
    return app.put(NewJob(kind=KIND, payload=payload, blobs=blobs, owner=owner, title=title, priority=priority))


def _first_readable(batch: BatchRequest) -> GenerationRequest:
    for item in batch.items:
        try:
            return request_for(batch, item)
        except (OSError, InvalidImage):
            continue  # told as a notice when its turn comes
    raise InvalidRequest("none of these files can be read as a picture")


class BatchRun(ScriptRun):
    """One batch job. Its pictures appear as they come; a source that cannot be read is a notice."""

    def __init__(self, app: App, job: Job, stopped: set[str]) -> None:
        super().__init__(app, job, stopped)
        self.item: BatchItem | None = None
        self.shown = 0

    def parse(self, content: Any) -> GenerationRequest:
        self.batch = BatchRequest.model_validate(content)
        return self.batch.request

    def recipe(self) -> Recipe:
        total = len(self.batch.items)
        for item in self.batch.items:
            if self.is_stopped:
                break
            self.item = item
            try:
                request = request_for(self.batch, item)
            except (OSError, WebuiError) as error:
                self.done += 1
                self.note(f"{item.picture.name}: {error}")
                continue
            (made,) = yield Ask((Asked(request),), expected=total, reuses=True, skips_failures=True)
            self._show(made)
        return ()

    def saving(self) -> dict[str, Any] | None:
        """Where the picture in hand is saved under which name, when the batch says so (behaviour reference 5.8)."""
        if not self.batch.output_dir or self.item is None:
            return None
        stem, batch = Path(self.item.picture.name).stem, self.batch.request.batch
        return {
            "outdir_samples": self.batch.output_dir,
            "save_to_dirs": False,
            "save_images_add_number": False,
            "save_images_replace_action": "Add number suffix",
            "samples_filename_pattern": stem if batch.count * batch.size == 1 else f"{stem}-[generation_number]",
        }

    def _show(self, made: Iterable[Made]) -> None:
        limit = self.app.settings.current.img2img_batch_show_results_limit
        for picture in made:
            row = copied(picture, self.job, self.shown)
            is_shown = row.shown and (limit < 0 or self.shown < limit)
            self.app.add_result(self.job, row.replace(shown=is_shown))
            self.shown += 1


def request_for(batch: BatchRequest, item: BatchItem) -> GenerationRequest:
    """What is asked for one picture; raises OSError for a file that is gone, InvalidImage for what is no picture."""
    request = batch.request
    image = content(item.picture)
    image.size  # noqa: B018 - reads the header: what is not a picture ends here
    assert request.source is not None  # the form says so
    source: dict[str, Any] = {"images": (image,)}
    if request.source.inpaint is not None:
        if item.mask is None:
            raise InvalidRequest("there is no mask for this picture")
        mask = ImageData.from_image(content(item.mask).open().resize(image.open().size))
        source["inpaint"] = changed(request.source.inpaint, mask=mask)
    request = request.model_copy(update={"source": changed(request.source, **source)})
    if batch.scale:
        width, height = (max(8, int(side * batch.scale) // 8 * 8) for side in image.open().size)
        request = request.model_copy(update={"size": Size(width=width, height=height)})
    if not batch.png_info:
        return request
    infotext = read_metadata(image if item.info is None else content(item.info)).infotext
    return request if infotext is None else with_png_info(request, parse(infotext), batch.png_info)


def with_png_info(request: GenerationRequest, info: Infotext, fields: Iterable[str]) -> GenerationRequest:
    """The request with what a picture's infotext decides: prompts are put behind those asked for, the rest replaces.

    A value that cannot be read leaves the request's own, as in A1111.
    """
    wanted = set(fields)

    def number(key: str, kind: type[int] | type[float]) -> Any:
        try:
            return kind(info.values[key]) if key in wanted else None
        except (KeyError, ValueError):
            return None

    changes: dict[str, Any] = {}
    if "Prompt" in wanted and info.prompt:
        changes["prompt"] = f"{request.prompt} {info.prompt}"
    if "Negative prompt" in wanted and info.negative_prompt:
        changes["negative_prompt"] = f"{request.negative_prompt} {info.negative_prompt}"
    if (seed := number("Seed", int)) is not None:
        changes["seed"] = changed(request.seed, value=seed)
    sampling: dict[str, Any] = {"cfg_scale": number("CFG scale", float), "steps": number("Steps", int)}
    if "Sampler" in wanted and "Sampler" in info.values:
        sampling["sampler"], schedule = split_label(info.values["Sampler"], info.values.get("Schedule type", ""))
        sampling["schedule"] = schedule or None
    changes["sampling"] = changed(request.sampling, **{name: one for name, one in sampling.items() if one is not None})
    if "Model hash" in wanted and "Model hash" in info.values:
        changes["model"] = changed(request.model, checkpoint=info.values["Model hash"])
    return request.model_copy(update=changes)


def pictures_in(folder: Path) -> tuple[BatchPicture, ...]:
    """The picture files in a folder and those below it, by name; links that lead out of it are left out.

    Raises InvalidRequest when it is no folder, holds none, or holds more than LIMIT.
    """
    root = folder.resolve()
    if not root.is_dir():
        raise InvalidRequest(f'there is no folder "{folder}" on the machine this server runs on')
    found = []
    for path in root.rglob("*"):
        if path.suffix.lower() in EXTENSIONS and path.is_file() and path.resolve().is_relative_to(root):
            found.append(path.resolve())
        if len(found) > LIMIT:
            raise InvalidRequest(f'"{folder}" holds more than {LIMIT} pictures; take a smaller folder')
    if not found:
        raise InvalidRequest(f'there is no picture in "{folder}" (looked for {", ".join(sorted(EXTENSIONS))})')
    return tuple(BatchPicture(name=path.name, path=str(path)) for path in sorted(set(found)))


def items_of(
    pictures: Iterable[BatchPicture], masks: Iterable[BatchPicture] = (), infos: Iterable[BatchPicture] = ()
) -> tuple[BatchItem, ...]:
    """Pictures with what belongs to them: a mask of the same stem, or the only one there is; an info of the same name.

    With several masks a picture without one is left out, as in A1111. Raises InvalidRequest when none is left.
    """
    pictures, masks = tuple(pictures), tuple(masks)
    by_stem = {Path(mask.name).stem: mask for mask in masks}
    by_name = {info.name: info for info in infos}
    only = masks[0] if len(masks) == 1 else None
    items = [
        BatchItem(picture=picture, mask=only or by_stem.get(Path(picture.name).stem), info=by_name.get(picture.name))
        for picture in pictures
    ]
    if masks:
        items = [item for item in items if item.mask is not None]
    if not items:
        raise InvalidRequest("no mask has the name of a picture: for portrait.jpg a mask is portrait.png, say")
    return tuple(items)


def content(picture: BatchPicture) -> ImageData:
    """The bytes of a picture; raises OSError when its file is gone, or is a link to elsewhere by now."""
    if picture.image is not None:
        return picture.image
    path = Path(picture.path or "")
    if path.resolve(strict=True) != path:
        raise FileNotFoundError(f"{path.name} is not the file any more that it was")
    return ImageData(path.read_bytes())
