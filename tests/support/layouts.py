"""The tensor layouts of real checkpoints, key → shape, computed from the published network definitions.

Sources: CompVis/latent-diffusion and stable-diffusion `openaimodel.py`, `model.py` (U-Net, KL autoencoder),
Stability-AI/stablediffusion and generative-models (OpenCLIP towers, SDXL), openai/CLIP (text transformer). No weights:
with these, identification is tested on full-size layouts and benchmarks make random checkpoints of true size.
"""

from __future__ import annotations

from collections.abc import Sequence

Layout = dict[str, tuple[int, ...]]


def prefixed(prefix: str, layout: Layout) -> Layout:
    return {prefix + key: shape for key, shape in layout.items()}


def _linear(name: str, outputs: int, inputs: int, *, bias: bool = True) -> Layout:
    return {f"{name}.weight": (outputs, inputs)} | ({f"{name}.bias": (outputs,)} if bias else {})


def _conv(name: str, outputs: int, inputs: int, kernel: int = 3) -> Layout:
    return {f"{name}.weight": (outputs, inputs, kernel, kernel), f"{name}.bias": (outputs,)}


def _norm(name: str, channels: int) -> Layout:
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def _unet_resnet(name: str, inputs: int, outputs: int, embedding: int) -> Layout:
    layout = _norm(f"{name}.in_layers.0", inputs) | _conv(f"{name}.in_layers.2", outputs, inputs)
    layout |= _linear(f"{name}.emb_layers.1", outputs, embedding)
    layout |= _norm(f"{name}.out_layers.0", outputs) | _conv(f"{name}.out_layers.3", outputs, outputs)
    return layout | (_conv(f"{name}.skip_connection", outputs, inputs, 1) if inputs != outputs else {})


def _transformer(
    name: str, channels: int, context: int, depth: int, linear_projection: bool, attends_itself: bool = True
) -> Layout:
    projection = _linear if linear_projection else lambda key, outputs, inputs: _conv(key, outputs, inputs, 1)
    layout = _norm(f"{name}.norm", channels) | projection(f"{name}.proj_in", channels, channels)
    for block in (f"{name}.transformer_blocks.{index}" for index in range(depth)):
        for attention, source in (("attn1", channels if attends_itself else context), ("attn2", context)):
            layout |= _linear(f"{block}.{attention}.to_q", channels, channels, bias=False)
            layout |= _linear(f"{block}.{attention}.to_k", channels, source, bias=False)
            layout |= _linear(f"{block}.{attention}.to_v", channels, source, bias=False)
            layout |= _linear(f"{block}.{attention}.to_out.0", channels, channels)
        layout |= _linear(f"{block}.ff.net.0.proj", channels * 8, channels)
        layout |= _linear(f"{block}.ff.net.2", channels, channels * 4)
        for norm in ("norm1", "norm2", "norm3"):
            layout |= _norm(f"{block}.{norm}", channels)
    return layout | projection(f"{name}.proj_out", channels, channels)


def _attention_block(name: str, channels: int) -> Layout:
    """Guided diffusion's attention among pixels: queries, keys and values in one tensor."""
    layout = _norm(f"{name}.norm", channels)
    layout |= {f"{name}.qkv.weight": (3 * channels, channels, 1), f"{name}.qkv.bias": (3 * channels,)}
    return layout | {f"{name}.proj_out.weight": (channels, channels, 1), f"{name}.proj_out.bias": (channels,)}


def unet(
    *,
    channels: int = 320,
    multipliers: Sequence[int] = (1, 2, 4, 4),
    residual_blocks: int = 2,
    depths: Sequence[int] = (1, 1, 1, 0),
    middle_depth: int | None = None,
    context: int = 768,
    in_channels: int = 4,
    out_channels: int = 4,
    linear_projection: bool = False,
    vector: int | None = None,
    without_self_attention: Sequence[int] = (),
    has_text: bool = True,
) -> Layout:
    """LDM's `UNetModel` with spatial transformers; `depths` are transformer blocks a level, 0 for none.

    Levels `without_self_attention` attend to the text twice. Without a text there is attention among pixels only.
    """

    def attend(name: str, width: int, depth: int, level: int) -> Layout:
        if not has_text:
            return _attention_block(name, width)
        return _transformer(name, width, context, depth, linear_projection, level not in without_self_attention)

    embedding = channels * 4
    layout = _linear("time_embed.0", embedding, channels) | _linear("time_embed.2", embedding, embedding)
    if vector is not None:
        layout |= _linear("label_emb.0.0", embedding, vector) | _linear("label_emb.0.2", embedding, embedding)
    layout |= _conv("input_blocks.0.0", channels, in_channels)
    skips, current, block = [channels], channels, 1
    for level, multiplier in enumerate(multipliers):
        for _ in range(residual_blocks):
            width = channels * multiplier
            layout |= _unet_resnet(f"input_blocks.{block}.0", current, width, embedding)
            current = width
            if depths[level]:
                layout |= attend(f"input_blocks.{block}.1", current, depths[level], level)
            skips.append(current)
            block += 1
        if level < len(multipliers) - 1:
            layout |= _conv(f"input_blocks.{block}.0.op", current, current)
            skips.append(current)
            block += 1
    middle = middle_depth if middle_depth is not None else (max(depths) and (depths[-1] or 1))
    layout |= _unet_resnet("middle_block.0", current, current, embedding)
    layout |= attend("middle_block.1", current, middle, -1)
    layout |= _unet_resnet("middle_block.2", current, current, embedding)
    block = 0
    for level, multiplier in reversed(list(enumerate(multipliers))):
        for index in range(residual_blocks + 1):
            width = channels * multiplier
            layout |= _unet_resnet(f"output_blocks.{block}.0", current + skips.pop(), width, embedding)
            current, part = width, 1
            if depths[level]:
                layout |= attend(f"output_blocks.{block}.1", current, depths[level], level)
                part = 2
            if level and index == residual_blocks:
                layout |= _conv(f"output_blocks.{block}.{part}.conv", current, current)
            block += 1
    return layout | _norm("out.0", current) | _conv("out.2", out_channels, channels)


def _vae_resnet(name: str, inputs: int, outputs: int) -> Layout:
    layout = _norm(f"{name}.norm1", inputs) | _conv(f"{name}.conv1", outputs, inputs)
    layout |= _norm(f"{name}.norm2", outputs) | _conv(f"{name}.conv2", outputs, outputs)
    return layout | (_conv(f"{name}.nin_shortcut", outputs, inputs, 1) if inputs != outputs else {})


def _vae_middle(name: str, channels: int) -> Layout:
    layout = _vae_resnet(f"{name}.block_1", channels, channels) | _vae_resnet(f"{name}.block_2", channels, channels)
    layout |= _norm(f"{name}.attn_1.norm", channels)
    for part in ("q", "k", "v", "proj_out"):
        layout |= _conv(f"{name}.attn_1.{part}", channels, channels, 1)
    return layout


def autoencoder(
    *, channels: int = 128, multipliers: Sequence[int] = (1, 2, 4, 4), residual_blocks: int = 2, latent: int = 4
) -> Layout:
    """LDM's `AutoencoderKL` without its loss."""
    layout, current = _conv("encoder.conv_in", channels, 3), channels
    for level, multiplier in enumerate(multipliers):
        for index in range(residual_blocks):
            layout |= _vae_resnet(f"encoder.down.{level}.block.{index}", current, channels * multiplier)
            current = channels * multiplier
        if level < len(multipliers) - 1:
            layout |= _conv(f"encoder.down.{level}.downsample.conv", current, current)
    layout |= _vae_middle("encoder.mid", current)
    layout |= _norm("encoder.norm_out", current) | _conv("encoder.conv_out", 2 * latent, current)
    layout |= _conv("decoder.conv_in", current, latent) | _vae_middle("decoder.mid", current)
    for level, multiplier in reversed(list(enumerate(multipliers))):
        for index in range(residual_blocks + 1):
            layout |= _vae_resnet(f"decoder.up.{level}.block.{index}", current, channels * multiplier)
            current = channels * multiplier
        if level:
            layout |= _conv(f"decoder.up.{level}.upsample.conv", current, current)
    layout |= _norm("decoder.norm_out", current) | _conv("decoder.conv_out", 3, current)
    return layout | _conv("quant_conv", 2 * latent, 2 * latent, 1) | _conv("post_quant_conv", latent, latent, 1)


def clip_text(*, width: int = 768, layers: int = 12, vocabulary: int = 49408) -> Layout:
    """Transformers' CLIP text model, as in `cond_stage_model.transformer.`"""
    layout: Layout = {
        "text_model.embeddings.token_embedding.weight": (vocabulary, width),
        "text_model.embeddings.position_embedding.weight": (77, width),
    }
    for layer in (f"text_model.encoder.layers.{index}" for index in range(layers)):
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            layout |= _linear(f"{layer}.self_attn.{part}", width, width)
        layout |= _norm(f"{layer}.layer_norm1", width) | _norm(f"{layer}.layer_norm2", width)
        layout |= _linear(f"{layer}.mlp.fc1", width * 4, width) | _linear(f"{layer}.mlp.fc2", width, width * 4)
    return layout | _norm("text_model.final_layer_norm", width)


def open_clip_text(*, width: int = 1024, layers: int = 24, vocabulary: int = 49408) -> Layout:
    """OpenCLIP's text tower, as in `cond_stage_model.model.`"""
    layout: Layout = {
        "positional_embedding": (77, width),
        "text_projection": (width, width),
        "logit_scale": (),
        "token_embedding.weight": (vocabulary, width),
    }
    for block in (f"transformer.resblocks.{index}" for index in range(layers)):
        layout |= {f"{block}.attn.in_proj_weight": (width * 3, width), f"{block}.attn.in_proj_bias": (width * 3,)}
        layout |= _linear(f"{block}.attn.out_proj", width, width)
        layout |= _norm(f"{block}.ln_1", width) | _norm(f"{block}.ln_2", width)
        layout |= _linear(f"{block}.mlp.c_fc", width * 4, width) | _linear(f"{block}.mlp.c_proj", width, width * 4)
    return layout | _norm("ln_final", width)


def open_clip_vision(
    *, width: int = 1280, layers: int = 32, projection: int = 1024, patch: int = 14, grid: int = 16, inner: int = 5120
) -> Layout:
    """OpenCLIP's vision tower (ViT-H by default), as in `embedder.model.visual.`"""
    layout: Layout = {
        "class_embedding": (width,),
        "positional_embedding": (grid * grid + 1, width),
        "proj": (width, projection),
        "conv1.weight": (width, 3, patch, patch),
    }
    for block in (f"transformer.resblocks.{index}" for index in range(layers)):
        layout |= {f"{block}.attn.in_proj_weight": (width * 3, width), f"{block}.attn.in_proj_bias": (width * 3,)}
        layout |= _linear(f"{block}.attn.out_proj", width, width)
        layout |= _norm(f"{block}.ln_1", width) | _norm(f"{block}.ln_2", width)
        layout |= _linear(f"{block}.mlp.c_fc", inner, width) | _linear(f"{block}.mlp.c_proj", width, inner)
    return layout | _norm("ln_pre", width) | _norm("ln_post", width)


def dpt_hybrid(
    *,
    width: int = 768,
    layers: int = 12,
    stem: int = 64,
    stages: Sequence[int] = (256, 512, 1024),
    blocks: Sequence[int] = (3, 4, 9),
    grid: int = 24,
    fusion: int = 256,
) -> Layout:
    """MiDaS' DPT-hybrid (isl-org/MiDaS `dpt_depth.py`, timm's `vit_base_resnet50_384`), its own names."""
    model, backbone = "pretrained.model", "pretrained.model.patch_embed.backbone"
    layout: Layout = {f"{model}.cls_token": (1, 1, width), f"{model}.pos_embed": (1, grid * grid + 1, width)}
    layout |= {f"{backbone}.stem.conv.weight": (stem, 3, 7, 7)} | _norm(f"{backbone}.stem.norm", stem)
    current = stem
    for stage, channels in enumerate(stages):
        inner = channels // 4
        for index in range(blocks[stage]):
            block = f"{backbone}.stages.{stage}.blocks.{index}"
            if index == 0:
                layout |= {f"{block}.downsample.conv.weight": (channels, current, 1, 1)}
                layout |= _norm(f"{block}.downsample.norm", channels)
            convs = ((inner, current, 1), (inner, inner, 3), (channels, inner, 1))
            for number, (outputs, inputs, kernel) in enumerate(convs, start=1):
                layout |= {f"{block}.conv{number}.weight": (outputs, inputs, kernel, kernel)}
                layout |= _norm(f"{block}.norm{number}", outputs)
            current = channels
    layout |= _conv(f"{model}.patch_embed.proj", width, current, 1)
    for block in (f"{model}.blocks.{index}" for index in range(layers)):
        layout |= _norm(f"{block}.norm1", width) | _norm(f"{block}.norm2", width)
        layout |= _linear(f"{block}.attn.qkv", width * 3, width) | _linear(f"{block}.attn.proj", width, width)
        layout |= _linear(f"{block}.mlp.fc1", width * 4, width) | _linear(f"{block}.mlp.fc2", width, width * 4)
    layout |= _norm(f"{model}.norm", width)
    for stage in (3, 4):
        layout |= _linear(f"pretrained.act_postprocess{stage}.0.project.0", width, width * 2)
        layout |= _conv(f"pretrained.act_postprocess{stage}.3", width, width, 1)
    layout |= _conv("pretrained.act_postprocess4.4", width, width)
    for level, channels in enumerate((*stages[:2], width, width), start=1):
        layout |= {f"scratch.layer{level}_rn.weight": (fusion, channels, 3, 3)}
        for unit in (1, 2):
            for conv in (1, 2):
                layout |= _conv(f"scratch.refinenet{level}.resConfUnit{unit}.conv{conv}", fusion, fusion)
        layout |= _conv(f"scratch.refinenet{level}.out_conv", fusion, fusion, 1)
    layout |= _conv("scratch.output_conv.0", fusion // 2, fusion) | _conv("scratch.output_conv.2", 32, fusion // 2)
    return layout | _conv("scratch.output_conv.4", 1, 32, 1)


def sd1(*, in_channels: int = 4) -> Layout:
    """Stable Diffusion 1.x: 860 M U-Net, 84 M autoencoder, 123 M text encoder; 9 channels inpaint, 8 pix2pix."""
    return (
        prefixed("model.diffusion_model.", unet(in_channels=in_channels))
        | prefixed("first_stage_model.", autoencoder())
        | prefixed("cond_stage_model.transformer.", clip_text())
    )


def sd2(*, in_channels: int = 4, vector: int | None = None) -> Layout:
    """Stable Diffusion 2.x with OpenCLIP-H; 9 channels inpaint, 5 depth2img; `vector` 2048 or 1536 is unCLIP."""
    network = unet(context=1024, in_channels=in_channels, linear_projection=True, vector=vector)
    return (
        prefixed("model.diffusion_model.", network)
        | prefixed("first_stage_model.", autoencoder())
        | prefixed("cond_stage_model.model.", open_clip_text())
    )


def sdxl(*, in_channels: int = 4) -> Layout:
    """Stable Diffusion XL base: CLIP-L and OpenCLIP-bigG, 2816 numbers of pooled text and sizes."""
    network = unet(
        multipliers=(1, 2, 4),
        depths=(0, 2, 10),
        context=2048,
        in_channels=in_channels,
        linear_projection=True,
        vector=2816,
    )
    return (
        prefixed("model.diffusion_model.", network)
        | prefixed("first_stage_model.", autoencoder())
        | prefixed("conditioner.embedders.0.transformer.", clip_text())
        | prefixed("conditioner.embedders.1.model.", open_clip_text(width=1280, layers=32))
    )


def sdxl_refiner() -> Layout:
    """Stable Diffusion XL refiner: bigG only, 2560 numbers of pooled text, sizes and aesthetic score."""
    network = unet(
        channels=384,
        multipliers=(1, 2, 4, 4),
        depths=(0, 4, 4, 0),
        middle_depth=4,
        context=1280,
        linear_projection=True,
        vector=2560,
    )
    return (
        prefixed("model.diffusion_model.", network)
        | prefixed("first_stage_model.", autoencoder())
        | prefixed("conditioner.embedders.0.model.", open_clip_text(width=1280, layers=32))
    )


def x4_upscaler() -> Layout:
    """Stability AI's x4 upscaler: 7 input channels, a class for each level of noise, self-attention only deepest."""
    network = unet(
        channels=256,
        multipliers=(1, 2, 2, 4),
        depths=(0, 1, 1, 1),
        context=1024,
        in_channels=7,
        linear_projection=True,
        without_self_attention=(1, 2),
    )
    return (
        prefixed("model.diffusion_model.", network | {"label_emb.weight": (1000, 1024)})
        | prefixed("first_stage_model.", autoencoder(multipliers=(1, 2, 4)))
        | prefixed("cond_stage_model.model.", open_clip_text())
        | {"low_scale_model.alphas_cumprod": (1000,)}
    )


def ldm_text(*, width: int = 1280, layers: int = 32, heads: int = 8, vocabulary: int = 30522) -> Layout:
    """CompVis' BERT-style text encoder (x-transformers' `TransformerWrapper`), as in `cond_stage_model.transformer.`"""
    text: Layout = {"token_emb.weight": (vocabulary, width), "pos_emb.emb.weight": (77, width)}
    for layer in (f"attn_layers.layers.{index}" for index in range(0, 2 * layers, 2)):
        text |= _norm(f"{layer}.0.0", width)
        for part in ("to_q", "to_k", "to_v"):
            text |= _linear(f"{layer}.1.{part}", heads * 64, width, bias=False)
        text |= _linear(f"{layer}.1.to_out", width, heads * 64)
    for layer in (f"attn_layers.layers.{index}" for index in range(1, 2 * layers, 2)):
        text |= _norm(f"{layer}.0.0", width)
        text |= _linear(f"{layer}.1.net.0.0", width * 4, width) | _linear(f"{layer}.1.net.2", width, width * 4)
    return text | _norm("norm", width) | _linear("to_logits", vocabulary, width)


def ldm_text2img() -> Layout:
    """CompVis' text2img-large: a BERT-style text encoder of 32 layers 1280 wide."""
    return (
        prefixed("model.diffusion_model.", unet(context=1280))
        | prefixed("first_stage_model.", autoencoder())
        | prefixed("cond_stage_model.transformer.", ldm_text())
    )


def vq_autoencoder(*, words: int = 8192, latent: int = 3, **sizes: int | Sequence[int]) -> Layout:
    """LDM's `VQModel` without its loss: the encoder has one answer, a codebook stands before the decoder."""
    layout = autoencoder(latent=latent, **sizes)  # type: ignore[arg-type]
    width = layout["encoder.conv_out.weight"][1]
    layout |= _conv("encoder.conv_out", latent, width) | _conv("quant_conv", latent, latent, 1)
    return layout | {"quantize.embedding.weight": (words, latent)}


def ldm_super_resolution() -> Layout:
    """CompVis' bsr_sr, A1111's LDSR: latents of a VQ autoencoder beside the small picture, no text."""
    network = unet(
        channels=160,
        multipliers=(1, 2, 2, 4),
        depths=(0, 0, 0, 1),
        in_channels=6,
        out_channels=3,
        has_text=False,
    )
    first_stage = vq_autoencoder(multipliers=(1, 2, 4))
    return prefixed("model.diffusion_model.", network) | prefixed("first_stage_model.", first_stage)


def t5_text(
    *, width: int = 4096, inner: int = 10240, layers: int = 24, heads: int = 64, head: int = 64, vocabulary: int = 32128
) -> Layout:
    """Transformers' T5 v1.1 encoder, as in `text_encoders.t5xxl.transformer.`"""
    layout: Layout = {"shared.weight": (vocabulary, width), "encoder.final_layer_norm.weight": (width,)}
    for block in (f"encoder.block.{index}" for index in range(layers)):
        attention, feed = f"{block}.layer.0.SelfAttention", f"{block}.layer.1.DenseReluDense"
        for part in "qkv":
            layout |= _linear(f"{attention}.{part}", heads * head, width, bias=False)
        layout |= _linear(f"{attention}.o", width, heads * head, bias=False)
        layout |= _linear(f"{feed}.wi_0", inner, width, bias=False) | _linear(f"{feed}.wi_1", inner, width, bias=False)
        layout |= _linear(f"{feed}.wo", width, inner, bias=False)
        layout |= {f"{block}.layer.0.layer_norm.weight": (width,), f"{block}.layer.1.layer_norm.weight": (width,)}
    return layout | {"encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (32, heads)}


def mmdit(
    *,
    depth: int = 24,
    context: int = 4096,
    pooled: int = 2048,
    side: int = 192,
    channels: int = 16,
    normed: bool = False,
    second_attention: int = 0,
) -> Layout:
    """Stability AI's MMDiT (sd3-ref's `mmdit.py`); `second_attention` blocks attend to the picture once more (3.5)."""
    width = depth * 64
    layout: Layout = {"pos_embed": (1, side * side, width)} | _conv("x_embedder.proj", width, channels, 2)
    layout |= _linear("t_embedder.mlp.0", width, 256) | _linear("t_embedder.mlp.2", width, width)
    layout |= _linear("y_embedder.mlp.0", width, pooled) | _linear("y_embedder.mlp.2", width, width)
    layout |= _linear("context_embedder", width, context)
    for block in range(depth):
        for stream in ("x_block", "context_block"):
            name = f"joint_blocks.{block}.{stream}"
            is_last, is_double = stream == "context_block" and block == depth - 1, False
            for attention in ("attn", "attn2"):
                if attention == "attn2" and (stream != "x_block" or block >= second_attention):
                    continue
                is_double = attention == "attn2"
                layout |= _linear(f"{name}.{attention}.qkv", width * 3, width)
                if normed:
                    layout |= {f"{name}.{attention}.ln_q.weight": (64,), f"{name}.{attention}.ln_k.weight": (64,)}
                if not is_last:
                    layout |= _linear(f"{name}.{attention}.proj", width, width)
            layout |= _linear(f"{name}.adaLN_modulation.1", width * (2 if is_last else 9 if is_double else 6), width)
            if not is_last:
                layout |= _linear(f"{name}.mlp.fc1", width * 4, width) | _linear(f"{name}.mlp.fc2", width, width * 4)
    layout |= _linear("final_layer.adaLN_modulation.1", width * 2, width)
    return layout | _linear("final_layer.linear", channels * 4, width)


def sd3_autoencoder(**sizes: int | Sequence[int]) -> Layout:
    """SD 3's autoencoder: 16 channels, no convolutions around the latents."""
    layout = autoencoder(latent=16, **sizes)  # type: ignore[arg-type]
    return {key: shape for key, shape in layout.items() if not key.startswith(("quant_conv", "post_quant_conv"))}


def sd3_texts(*, t5: bool = True) -> Layout:
    """The text encoders that some of SD 3's files carry."""
    big = clip_text(width=1280, layers=32) | _linear("text_projection", 1280, 1280, bias=False)
    texts = prefixed("text_encoders.clip_l.transformer.", clip_text())
    texts |= prefixed("text_encoders.clip_g.transformer.", big)
    return texts | (prefixed("text_encoders.t5xxl.transformer.", t5_text()) if t5 else {})


def sd3(*, texts: bool = True, t5: bool = False) -> Layout:
    """Stable Diffusion 3 medium: 2 billion numbers in its transformer."""
    network = prefixed("model.diffusion_model.", mmdit()) | prefixed("first_stage_model.", sd3_autoencoder())
    return network | (sd3_texts(t5=t5) if texts else {})


def sd35_medium() -> Layout:
    """Stable Diffusion 3.5 medium as published: without text encoders."""
    network = mmdit(side=384, normed=True, second_attention=13)
    return prefixed("model.diffusion_model.", network) | prefixed("first_stage_model.", sd3_autoencoder())


def sd35_large() -> Layout:
    """Stable Diffusion 3.5 large, with text encoders."""
    network = prefixed("model.diffusion_model.", mmdit(depth=38, normed=True))
    return network | prefixed("first_stage_model.", sd3_autoencoder()) | sd3_texts()


def parameters(layout: Layout) -> int:
    """How many numbers a layout holds."""
    total = 0
    for shape in layout.values():
        count = 1
        for side in shape:
            count *= side
        total += count
    return total
