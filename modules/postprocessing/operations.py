"""The operations of the Extras tab under A1111's names, and the order they run in.

An operation turns one picture into one or more; the next one gets each of them. Adding one is a part in
`generation/extras.py` and a decorated function here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from PIL import Image, ImageOps

from modules.faces.mixing import RestoreFaces, faces_restored
from modules.generation.extras import NO_UPSCALER, ExtrasRequest, UpscalePart
from modules.images import crops
from modules.registry import Registry
from modules.upscaling.mixing import Upscale, check_size, enlarged

Describe = Callable[[Image.Image], str]
"""A picture → words."""

FindFaces = Callable[[Image.Image], list[crops.Box]]
"""A picture → the boxes of its faces."""


@dataclass(frozen=True)
class Work:
    """A picture between two operations, what infotext says of it so far, what the person should know, and the words
    that describe it."""

    image: Image.Image
    facts: dict[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    caption: str = ""


@dataclass(frozen=True)
class Tools:
    """What needs networks: they raise UnknownName without a file for it. `find_faces` is None without one."""

    upscale: Upscale
    describe: Describe
    restore_faces: RestoreFaces
    find_faces: FindFaces | None = None


@dataclass(frozen=True)
class Asked:
    """What an operation is told beside the picture: the request, the size it aims at, and what it may use."""

    request: ExtrasRequest
    target: tuple[int, int]
    tools: Tools


Apply = Callable[[Work, Asked], tuple[Work, ...]]


@dataclass(frozen=True)
class Operation:
    """`order` is A1111's; smaller runs first. `is_asked` tells whether a request has it switched on; its values are
    the request's `part`."""

    name: str
    order: int
    part: str
    apply: Apply

    def is_asked(self, request: ExtrasRequest) -> bool:
        part = getattr(request, self.part)
        return part is not None and getattr(part, "upscaler", "") != NO_UPSCALER


OPERATIONS: Registry[Operation] = Registry("operation")


def operation(name: str, order: int, part: str) -> Callable[[Apply], Apply]:
    """Register the decorated function as an operation."""

    def register(apply: Apply) -> Apply:
        OPERATIONS.add(name, Operation(name, order, part, apply))
        return apply

    return register


def in_order(wanted: Iterable[str] = ()) -> tuple[Operation, ...]:
    """All operations: those named first, in that order, then the others in A1111's. Unknown names are passed over."""
    listed = [name for name in wanted if name in OPERATIONS]
    rest = sorted((one for one in OPERATIONS if one.name not in listed), key=lambda one: one.order)
    return (*(OPERATIONS.get(name) for name in listed), *rest)


def process(image: Image.Image, request: ExtrasRequest, tools: Tools, *, order: Iterable[str] = ()) -> tuple[Work, ...]:
    """Every picture that the asked operations make of one. Raises WebuiError for what cannot be done."""
    asked = Asked(request, target_size(image.size, request.upscale), tools)
    works = (Work(image),)
    for one in in_order(order):
        if one.is_asked(request):
            works = tuple(made for work in works for made in one.apply(work, asked))
    return works


def target_size(size: tuple[int, int], upscale: UpscalePart) -> tuple[int, int]:
    """The size that cuts aim at: that of "scale to", else the picture's times the factor, whoever enlarges it."""
    if upscale.mode == "to":
        return upscale.width, upscale.height
    return int(size[0] * upscale.factor), int(size[1] * upscale.factor)


@operation("Upscale", 1000, "upscale")
def enlarge(work: Work, asked: Asked) -> tuple[Work, ...]:
    """By a factor or to a size, two upscalers mixed."""
    image, facts = enlarged(work.image, asked.request.upscale, asked.tools.upscale)
    return (replace(work, image=image, facts={**work.facts, **facts}),)


@operation("GFPGAN", 2000, "gfpgan")
def gfpgan(work: Work, asked: Asked) -> tuple[Work, ...]:
    part = asked.request.gfpgan
    assert part is not None
    return (_with_faces(work, asked, "GFPGAN", part.visibility, None),)


@operation("CodeFormer", 3000, "codeformer")
def codeformer(work: Work, asked: Asked) -> tuple[Work, ...]:
    part = asked.request.codeformer
    assert part is not None
    return (_with_faces(work, asked, "CodeFormer", part.visibility, part.weight),)


@operation("Split oversized images", 4000, "split")
def split(work: Work, asked: Asked) -> tuple[Work, ...]:
    part = asked.request.split
    assert part is not None
    _check_covers(work, asked)
    cut = crops.pieces(work.image, asked.target, threshold=part.threshold, overlap=part.overlap)
    return tuple(replace(work, image=piece) for piece in cut)


@operation("Auto focal point crop", 4010, "focal_crop")
def focal_crop(work: Work, asked: Asked) -> tuple[Work, ...]:
    part = asked.request.focal_crop
    assert part is not None
    _check_covers(work, asked)
    find = asked.tools.find_faces
    cut = crops.focal_crop(
        work.image,
        asked.target,
        entropy=part.entropy_weight,
        edges=part.edges_weight,
        face_weight=part.face_weight,
        faces=find(work.image) if part.face_weight and find is not None else (),
    )
    made = replace(work, image=cut.image)
    return (made, replace(work, image=cut.explained())) if part.debug else (made,)


@operation("Auto-sized crop", 4020, "auto_size")
def auto_size(work: Work, asked: Asked) -> tuple[Work, ...]:
    part = asked.request.auto_size
    assert part is not None
    size = crops.suitable_size(
        work.image.size,
        sides=(part.side_lower, part.side_upper),
        areas=(part.area_lower, part.area_upper),
        objective=part.objective,
        threshold=part.threshold,
    )
    if size is None:
        notice = (
            f"auto-sized crop: no size within the bounds is within {part.threshold:g} of the proportions of "
            f"{work.image.width}x{work.image.height}; the picture stays as it is"
        )
        return (replace(work, notices=(*work.notices, notice)),)
    return (replace(work, image=crops.centre_crop(work.image, size)),)


@operation("Create flipped copies", 4030, "flips")
def flips(work: Work, asked: Asked) -> tuple[Work, ...]:
    part = asked.request.flips
    assert part is not None
    copies = (
        (part.horizontal, lambda image: ImageOps.mirror(image)),
        (part.vertical, lambda image: ImageOps.flip(image)),
        (part.both, lambda image: ImageOps.mirror(ImageOps.flip(image))),
    )
    return (work, *(replace(work, image=turn(work.image)) for is_asked, turn in copies if is_asked))


@operation("Caption", 4040, "caption")
def caption(work: Work, asked: Asked) -> tuple[Work, ...]:
    part = asked.request.caption
    assert part is not None
    return (replace(work, caption=asked.tools.describe(work.image)),) if part.blip else (work,)


def with_existing(caption: str, existing: str, action: str) -> str:
    """A caption together with the one that a picture had, by the setting `postprocessing_existing_caption_action`."""
    if not existing or action == "Ignore":
        return caption.strip()
    together = {"Keep": existing, "Prepend": f"{existing} {caption}", "Append": f"{caption} {existing}"}
    return together[action].strip()


def _check_covers(work: Work, asked: Asked) -> None:
    """Refuse a target that the picture could only cover by becoming too large to hold."""
    check_size(work.image.size, max(asked.target[0] / work.image.width, asked.target[1] / work.image.height))


def _with_faces(work: Work, asked: Asked, name: str, visibility: float, weight: float | None) -> Work:
    image, facts, found = faces_restored(work.image, name, visibility, weight, asked.tools.restore_faces)
    lacks = visibility > 0 and not found
    notices = (f"{name}: no face was found; the picture stays as it is",) if lacks else ()
    return replace(work, image=image, facts={**work.facts, **facts}, notices=(*work.notices, *notices))
