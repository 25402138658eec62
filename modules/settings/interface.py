"""How the page looks and behaves; nothing here changes a picture."""

from modules.settings.option import Section, option

_LOOK = "the page has one look of its own, dark and light"


class UserInterface(Section, title="User interface", page="ui"):
    localization: str = option("None", "Language", reload=True)
    quicksettings_list: tuple[str, ...] = option(
        ("sd_model_checkpoint",), "Settings shown at the top of the page", reload=True
    )
    ui_tab_order: tuple[str, ...] = option((), "Order of the tabs", reload=True)
    hidden_tabs: tuple[str, ...] = option((), "Hidden tabs", reload=True)
    ui_reorder_list: tuple[str, ...] = option(
        (),
        "Order of the parts of txt2img and img2img: sampler, accordions, dimensions, batch, cfg, denoising, seed, "
        "override_settings, scripts",
        reload=True,
    )
    gradio_theme: str = option("Default", "Theme", reload=True, no_effect=_LOOK)
    gradio_themes_cache: bool = option(True, "Keep downloaded themes", no_effect=_LOOK)
    show_progress_in_title: bool = option(True, "Show progress in the page title")
    send_seed: bool = option(True, "Sending a picture to a tab also sends its seed")
    send_size: bool = option(True, "Sending a picture to a tab also sends its size")
    enable_reloading_ui_scripts: bool = option(
        False,
        "Load scripts anew when the page is reloaded",
        no_effect="extensions are loaded when the program starts",
    )


class LivePreviews(Section, title="Live previews", page="ui"):
    show_progressbar: bool = option(True, "Show a progress bar")
    live_previews_enable: bool = option(True, "Show previews while a picture is made")
    live_previews_image_format: str = option("png", "File format of previews", choices=("jpeg", "png", "webp"))
    show_progress_grid: bool = option(True, "Preview the whole batch as a grid")
    show_progress_every_n_steps: int = option(
        10,
        "Full and TAESD previews: every so many steps; the others come faster (-1: no previews)",
        minimum=-1,
        maximum=32,
    )
    show_progress_type: str = option(
        "Approx NN", "How previews are made", choices=("Full", "Approx NN", "Approx cheap", "TAESD")
    )
    live_preview_allow_lowvram_full: bool = option(False, "Allow full previews with --lowvram and --medvram")
    live_preview_content: str = option("Prompt", "Previews show", choices=("Combined", "Prompt", "Negative prompt"))
    live_preview_refresh_period: int = option(200, "Time between previews, in ms", minimum=0)
    live_preview_fast_interrupt: bool = option(False, "Decode interrupted pictures as previews: quicker, rougher")
    js_live_preview_in_modal_lightbox: bool = option(False, "Show previews in the full page viewer")
    prevent_screen_sleep_during_generation: bool = option(True, "Keep the screen awake while pictures are made")


class Gallery(Section, title="Gallery", page="ui_gallery"):
    return_grid: bool = option(True, "Show the grid in the gallery")
    do_not_show_images: bool = option(False, "Show no pictures in the gallery")
    js_modal_lightbox: bool = option(True, "Open pictures in a full page viewer")
    js_modal_lightbox_initially_zoomed: bool = option(True, "The viewer starts zoomed in")
    js_modal_lightbox_gamepad: bool = option(False, "Steer the viewer with a gamepad")
    js_modal_lightbox_gamepad_repeat: int = option(250, "Gamepad repeat time, in ms")
    sd_webui_modal_lightbox_icon_opacity: float = option(
        1.0, "Opacity of the viewer's buttons", minimum=0.0, maximum=1.0, step=0.01, reload=True
    )
    sd_webui_modal_lightbox_toolbar_opacity: float = option(
        0.9, "Opacity of the viewer's bar", minimum=0.0, maximum=1.0, step=0.01, reload=True
    )
    gallery_height: str = option("", "Height of the gallery (as in CSS; empty: automatic)", reload=True)
    open_dir_button_choice: str = option(
        "Subdirectory",
        "The folder button opens",
        choices=("Output Root", "Subdirectory", "Subdirectory (even temp dir)"),
    )


class PromptEditing(Section, title="Prompt editing", page="ui_prompt_editing"):
    keyedit_precision_attention: float = option(
        0.1, "Step of Ctrl+↑/↓ inside ( )", minimum=0.01, maximum=0.2, step=0.001
    )
    keyedit_precision_extra: float = option(0.05, "Step of Ctrl+↑/↓ inside < >", minimum=0.01, maximum=0.2, step=0.001)
    keyedit_delimiters: str = option(".,\\/!?%^*;:{}=`~() ", "Characters that end a word for Ctrl+↑/↓")
    keyedit_delimiters_whitespace: tuple[str, ...] = option(
        ("Tab", "Carriage Return", "Line Feed"),
        "Blanks that end a word for Ctrl+↑/↓",
        choices=("Tab", "Carriage Return", "Line Feed"),
    )
    keyedit_move: bool = option(True, "Alt+←/→ moves parts of the prompt")
    disable_token_counters: bool = option(False, "Do not count tokens")
    include_styles_into_token_counters: bool = option(True, "Count the tokens of chosen styles too")


class InterfaceAlternatives(Section, title="UI alternatives", page="ui_alternatives"):
    compact_prompt_box: bool = option(False, "Compact prompt boxes", reload=True)
    samplers_in_dropdown: bool = option(True, "Samplers in a drop-down instead of buttons", reload=True)
    dimensions_and_batch_together: bool = option(True, "Size and batch in one row", reload=True)
    sd_checkpoint_dropdown_use_short: bool = option(False, "Show checkpoints without their folders")
    hires_fix_show_sampler: bool = option(False, "Hires fix: show checkpoint and sampler", reload=True)
    hires_fix_show_prompts: bool = option(False, "Hires fix: show prompts", reload=True)
    txt2img_settings_accordion: bool = option(False, "txt2img: fold the settings away", reload=True)
    img2img_settings_accordion: bool = option(False, "img2img: fold the settings away", reload=True)
    interrupt_after_current: bool = option(True, "The first Interrupt lets the current picture finish")


class ExtraNetworks(Section, title="Extra Networks", page="extra_networks"):
    extra_networks_show_hidden_directories: bool = option(True, "Show hidden folders")
    extra_networks_dir_button_function: bool = option(
        False, "Folder buttons search from the top folder", no_effect="folder buttons always begin at the top folder"
    )
    extra_networks_hidden_models: str = option(
        "When searched", "Show cards from hidden folders", choices=("Always", "When searched", "Never")
    )
    extra_networks_default_multiplier: float = option(
        1.0, "Multiplier put into the prompt", minimum=0.0, maximum=2.0, step=0.01
    )
    extra_networks_card_width: int = option(0, "Card width (0: automatic)")
    extra_networks_card_height: int = option(0, "Card height (0: automatic)")
    extra_networks_card_text_scale: float = option(1.0, "Text size on cards", minimum=0.0, maximum=2.0, step=0.01)
    extra_networks_card_show_desc: bool = option(True, "Show descriptions on cards")
    extra_networks_card_description_is_html: bool = option(
        False,
        "Descriptions are HTML",
        no_effect="descriptions are shown as text: HTML in a downloaded file could act in your name",
    )
    extra_networks_card_order_field: str = option(
        "Path", "Order cards by", choices=("Path", "Name", "Date Created", "Date Modified"), reload=True
    )
    extra_networks_card_order: str = option(
        "Ascending", "Order of cards", choices=("Ascending", "Descending"), reload=True
    )
    extra_networks_tree_view_style: str = option("Dirs", "Show folders as", choices=("Tree", "Dirs"), reload=True)
    extra_networks_tree_view_default_enabled: bool = option(True, "Show folders at first", reload=True)
    extra_networks_tree_view_default_width: int = option(180, "Width of the folder tree, in px", reload=True)
    extra_networks_add_text_separator: str = option(" ", "Text put before an added network")
    ui_extra_networks_tab_reorder: str = option("", "Order of the tabs of networks", reload=True)
    textual_inversion_print_at_load: bool = option(
        False, "List embeddings in the console", no_effect="the cards of Textual Inversion list them"
    )
    textual_inversion_add_hashes_to_infotext: bool = option(True, "Write hashes of embeddings into the parameters")
    sd_hypernetwork: str = option("None", "Hypernetwork added to every prompt")


class CanvasHotkeys(Section, title="Canvas Hotkeys", page="canvas_hotkey"):
    canvas_hotkey_zoom: str = option("Alt", "Zoom with the wheel and", choices=("Shift", "Ctrl", "Alt"))
    canvas_hotkey_adjust: str = option(
        "Ctrl", "Change the brush size with the wheel and", choices=("Shift", "Ctrl", "Alt")
    )
    canvas_hotkey_shrink_brush: str = option("Q", "Key: smaller brush")
    canvas_hotkey_grow_brush: str = option("W", "Key: larger brush")
    canvas_hotkey_move: str = option("F", "Key: move the picture")
    canvas_hotkey_fullscreen: str = option("S", "Key: full screen")
    canvas_hotkey_reset: str = option("R", "Key: reset zoom and position")
    canvas_hotkey_overlap: str = option("O", "Key: lay over the page")
    canvas_show_tooltip: bool = option(True, "Show the canvas help")
    canvas_auto_expand: bool = option(True, "Fit large pictures into the canvas")
    canvas_blur_prompt: bool = option(False, "Leave the prompt box when the pointer is over the canvas")
    canvas_disabled_functions: tuple[str, ...] = option(
        ("Overlap",),
        "Canvas functions switched off",
        choices=(
            "Zoom",
            "Adjust brush size",
            "Hotkey enlarge brush",
            "Hotkey shrink brush",
            "Moving canvas",
            "Fullscreen",
            "Reset Zoom",
            "Overlap",
        ),
    )


class SettingsInInterface(Section, title="Settings in UI", page="settings_in_ui"):
    extra_options_txt2img: tuple[str, ...] = option((), "Settings shown in txt2img", reload=True)
    extra_options_img2img: tuple[str, ...] = option((), "Settings shown in img2img", reload=True)
    extra_options_cols: int = option(1, "Columns of these settings", minimum=1, maximum=20, reload=True)
    extra_options_accordion: bool = option(False, "Fold these settings away", reload=True)
