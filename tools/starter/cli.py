"""The stages by name and the command line that runs them."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tools.starter.architecture import Architecture
from tools.starter.concepts import CONCEPTS
from tools.starter.training import RunOptions, train

if TYPE_CHECKING:
    from tools.starter.evaluate import Evaluation

SCENES = 48_000
CHECKPOINT = Path("Stable-diffusion/starter.safetensors")


@dataclass(frozen=True)
class Settings:
    """Where files go and how much work each stage may do."""

    out: Path
    state: Path
    minutes: float | None
    processes: int
    seed: int
    architecture: Architecture
    learning_rate: float | None = None


def data(settings: Settings) -> None:
    """Fetch the emoji pictures and cut the sprites."""
    from tools.starter.sprites import load_sprites, save_sprites

    settings.state.mkdir(parents=True, exist_ok=True)
    save_sprites(load_sprites(CONCEPTS, settings.state / "npm"), settings.state / "sprites.npz")


def autoencoder(settings: Settings) -> None:
    """Train the autoencoder."""
    from tools.starter.autoencoder import AutoencoderObjective

    options = RunOptions(
        folder=settings.state,
        name="autoencoder",
        minutes=settings.minutes or 60,
        learning_rate=1e-3,
        batch=8,
        processes=settings.processes,
        seed=settings.seed,
        decay_from=0.3,
        report_every_s=120,
    )
    train(AutoencoderObjective, _autoencoder_arguments(settings, options.batch), options)


def text(settings: Settings) -> None:
    """Pretrain the text encoder on captions and scene descriptions."""
    from tools.starter.text import TextObjective

    options = RunOptions(
        folder=settings.state,
        name="text",
        minutes=settings.minutes or 6,
        learning_rate=2e-3,
        batch=128,
        processes=1,
        seed=settings.seed,
        decay_from=0.3,
        ema=0.99,
        report_every_s=30,
    )
    train(TextObjective, {"architecture": settings.architecture, "batch": options.batch}, options)


def latents(settings: Settings) -> None:
    """Encode painted scenes for the UNet."""
    from tools.starter.latents import encode_scenes

    encode_scenes(settings.state, settings.architecture, CONCEPTS, SCENES, settings.processes, settings.seed)


def unet(settings: Settings) -> None:
    """Train the UNet with the text encoder."""
    from tools.starter.unet import UNetObjective

    options = RunOptions(
        folder=settings.state,
        name="unet",
        minutes=settings.minutes or 120,
        learning_rate=settings.learning_rate or 1e-3,
        batch=16,
        processes=settings.processes,
        seed=settings.seed,
        decay_from=0.25,
        ema=0.998,
        warmup=0.015,
        report_every_s=120,
    )
    arguments = {"architecture": settings.architecture, "batch": options.batch, "folder": settings.state}
    train(UNetObjective, arguments, options)


def decoder(settings: Settings) -> None:
    """Sharpen the decoder on whole pictures; latents stay as they are."""
    from tools.starter.autoencoder import DecoderObjective

    options = RunOptions(
        folder=settings.state,
        name="decoder",
        minutes=settings.minutes or 20,
        learning_rate=8e-4,
        batch=4,
        processes=settings.processes,
        seed=settings.seed + 1,
        report_every_s=120,
        start_from=settings.state / "autoencoder.pt",
    )
    train(DecoderObjective, _autoencoder_arguments(settings, options.batch), options)


def export(settings: Settings) -> None:
    """Write the checkpoint file from what is trained so far."""
    from tools.starter.export import export_state

    export_state(settings.state, settings.out / CHECKPOINT, settings.architecture, CONCEPTS)


def classifier(settings: Settings) -> None:
    """Train the judge of evaluation on painted scenes."""
    from tools.starter.classifier import train_classifier

    accuracy = train_classifier(
        settings.state / "classifier.pt", CONCEPTS, settings.state / "sprites.npz", settings.minutes or 5, settings.seed
    )
    print(f"the classifier names {accuracy:.1%} of unseen painted scenes")
    (settings.state / "classifier.txt").write_text(f"{accuracy:.4f}")


def evaluate(settings: Settings) -> None:
    """Print the table of figures of the checkpoint file."""
    from tools.starter.evaluate import Figure, table

    accuracy = float((settings.state / "classifier.txt").read_text())
    figures = [
        Figure("the judging classifier on painted scenes", "-", f"{accuracy:.1%}"),
        *_evaluation(settings).full(),
    ]
    print(table(figures))


def resume(settings: Settings) -> None:
    """Make training state from the checkpoint file, where there is none."""
    from tools.starter.resume import resume_from_file

    resume_from_file(settings.out / CHECKPOINT, settings.state, CONCEPTS)


def sharpen(settings: Settings) -> None:
    """Put the decoder that went on from the checkpoint file into it; all else in the file stays as it is."""
    from tools.starter.export import replace_decoder

    replace_decoder(settings.out / CHECKPOINT, settings.state, settings.architecture)


def sheet(settings: Settings) -> None:
    """Print a few quick figures and draw the contact sheet beside the checkpoint."""
    from tools.starter.evaluate import contact_sheet, table

    evaluation = _evaluation(settings)
    print(table(evaluation.quick()))
    contact_sheet(evaluation.checkpoint, settings.out / CHECKPOINT.with_name("starter.samples.jpg"))


def lora(settings: Settings) -> None:
    """Train the outline LoRA on the checkpoint file."""
    from tools.starter.addons import LoraObjective, write_lora

    options = _addon_options(settings, "lora", minutes=8)
    train(LoraObjective, _addon_arguments(settings, options.batch), options)
    write_lora(settings.out / "Lora/starter-outline.safetensors", options.checkpoint, "Starter outline")


def embedding(settings: Settings) -> None:
    """Train the colour-word embedding on the checkpoint file."""
    from tools.starter.addons import EmbeddingObjective, write_embedding

    options = _addon_options(settings, "embedding", minutes=4)
    train(EmbeddingObjective, _addon_arguments(settings, options.batch), options)
    write_embedding(settings.out.parent / "embeddings/starter-lime.safetensors", options.checkpoint)


def _addon_options(settings: Settings, name: str, minutes: float) -> RunOptions:
    return RunOptions(
        folder=settings.state,
        name=name,
        minutes=settings.minutes or minutes,
        learning_rate=4e-3,
        batch=16,
        seed=settings.seed,
        decay_from=0.3,
        ema=0.98,
        report_every_s=60,
        weight_decay=0.0,
    )


def _addon_arguments(settings: Settings, batch: int) -> dict[str, object]:
    return {
        "checkpoint_file": settings.out / CHECKPOINT,
        "sprites_file": settings.state / "sprites.npz",
        "concepts": CONCEPTS,
        "batch": batch,
    }


def _evaluation(settings: Settings) -> "Evaluation":
    from tools.starter.checkpoint import Checkpoint
    from tools.starter.classifier import read_classifier
    from tools.starter.evaluate import Evaluation, Judge
    from tools.starter.scenes import Painter
    from tools.starter.sprites import read_sprites

    judge = Judge(read_classifier(settings.state / "classifier.pt", CONCEPTS), CONCEPTS)
    painter = Painter(read_sprites(CONCEPTS, settings.state / "sprites.npz"))
    return Evaluation(Checkpoint.read(settings.out / CHECKPOINT), judge, painter)


def _autoencoder_arguments(settings: Settings, batch: int) -> dict[str, object]:
    return {
        "architecture": settings.architecture,
        "batch": batch,
        "seed": settings.seed,
        "sprites_file": settings.state / "sprites.npz",
    }


STAGES: dict[str, Callable[[Settings], None]] = {
    "data": data,
    "autoencoder": autoencoder,
    "text": text,
    "latents": latents,
    "unet": unet,
    "decoder": decoder,
    "export": export,
    "classifier": classifier,
    "lora": lora,
    "embedding": embedding,
    "evaluate": evaluate,
    "sheet": sheet,
}
EXTRA_STAGES: dict[str, Callable[[Settings], None]] = {"resume": resume, "sharpen": sharpen}
"""Run only when named."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.starter", description=__doc__)
    parser.add_argument(
        "stages",
        nargs="*",
        metavar="stage",
        help=f"one or more of {', '.join(STAGES)} (all of these when none is named), {', '.join(EXTRA_STAGES)}",
    )
    parser.add_argument("--out", type=Path, default=Path("models"), help="the models folder to write to")
    parser.add_argument("--state", type=Path, default=Path(__file__).parent / "state", help="downloads and checkpoints")
    parser.add_argument("--minutes", type=float, help="training time of each stage, instead of its own")
    parser.add_argument("--processes", type=int, default=2, help="one-thread training processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, help="of the unet stage; less to go on from a file")
    given = parser.parse_args(arguments)
    stages = STAGES | EXTRA_STAGES
    unknown = [name for name in given.stages if name not in stages]
    if unknown:
        parser.error(f"no stage named {unknown[0]!r}; the stages are {', '.join(stages)}")
    settings = Settings(
        given.out,
        given.state,
        given.minutes,
        given.processes,
        given.seed,
        Architecture(),
        learning_rate=given.learning_rate,
    )
    for name in given.stages or STAGES:
        try:
            stages[name](settings)
        except (FileExistsError, FileNotFoundError) as error:
            parser.exit(1, f"{name}: {error}\n")
