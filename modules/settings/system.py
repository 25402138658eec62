"""The program around the pictures: start-up, API, profiler, training, extensions."""

from modules.settings.option import Section, option

_LOGLEVEL = "--loglevel says what the console shows"
_BARS = "the page shows the progress, the console has no bars"
_TRAINING = "training is not part of this program"
_PROFILER = "the profiler is not part of this program"


class System(Section, title="System", page="system"):
    auto_launch_browser: str = option("Local", "Open the browser at start", choices=("Disable", "Local", "Remote"))
    enable_console_prompts: bool = option(False, "Print prompts in the console")
    show_warnings: bool = option(False, "Show warnings in the console", reload=True, no_effect=_LOGLEVEL)
    show_gradio_deprecation_warnings: bool = option(
        True, "Show Gradio's warnings in the console", reload=True, no_effect=_LOGLEVEL
    )
    memmon_poll_rate: int = option(
        8,
        "Looks at video memory per second (0: none)",
        minimum=0,
        maximum=40,
        no_effect="memory is measured when somebody looks, on the Models tab",
    )
    samples_log_stdout: bool = option(False, "Print the parameters of every picture in the console")
    multiple_tqdm: bool = option(True, "Second console bar for the whole job", no_effect=_BARS)
    enable_upscale_progressbar: bool = option(True, "Console bar while upscaling", no_effect=_BARS)
    print_hypernet_extra: bool = option(
        False, "Print details of hypernetworks", no_effect="hypernetworks print nothing in the console"
    )
    list_hidden_files: bool = option(
        True,
        "List models in hidden folders",
        no_effect="they are always listed; Extra Networks, Show hidden folders, hides their cards",
    )
    disable_mmap_load_safetensors: bool = option(
        False,
        "Read safetensors files whole instead of mapping them (for slow network disks)",
        no_effect="numbers that are converted while loading are read in order; only the others are mapped",
    )
    hide_ldm_prints: bool = option(True, "Hide messages of model code", no_effect="model code prints nothing here")
    worker_patience_minutes: int = option(
        30, "Minutes without progress after which a job's worker is ended (0: never)", minimum=0, maximum=1440
    )
    dump_stacks_on_signal: bool = option(False, "Print what every thread does on Ctrl+C")


class Profiler(Section, title="Profiler", page="profiler"):
    profiling_enable: bool = option(False, "Profile the next jobs", no_effect=_PROFILER)
    profiling_activities: tuple[str, ...] = option(
        ("CPU",), "What to profile", choices=("CPU", "CUDA"), no_effect=_PROFILER
    )
    profiling_record_shapes: bool = option(True, "Record shapes of tensors", no_effect=_PROFILER)
    profiling_profile_memory: bool = option(True, "Record memory", no_effect=_PROFILER)
    profiling_with_stack: bool = option(True, "Record call stacks", no_effect=_PROFILER)
    profiling_filename: str = option("trace.json", "Profile file name", no_effect=_PROFILER)


class ApiAccess(Section, title="API", page="API"):
    api_enable_requests: bool = option(False, "The API may fetch pictures from http(s) addresses")
    api_forbid_local_requests: bool = option(True, "But not from this machine or its network")
    api_useragent: str = option("", "User agent of such requests")


class Training(Section, title="Training", page="training"):
    unload_models_when_training: bool = option(
        False, "Move VAE and text encoder to RAM while training", no_effect=_TRAINING
    )
    pin_memory: bool = option(False, "Pin memory for the training data", no_effect=_TRAINING)
    save_optimizer_state: bool = option(False, "Keep the optimizer's state to resume training", no_effect=_TRAINING)
    save_training_settings_to_txt: bool = option(
        True, "Write the settings to a file when training starts", no_effect=_TRAINING
    )
    dataset_filename_word_regex: str = option("", "Regular expression for words of file names", no_effect=_TRAINING)
    dataset_filename_join_string: str = option(" ", "Text put between those words", no_effect=_TRAINING)
    training_image_repeats_per_epoch: int = option(
        1, "Repeats of a picture in an epoch (for the count shown)", no_effect=_TRAINING
    )
    training_write_csv_every: int = option(
        500, "Write the loss to a csv every so many steps (0: never)", no_effect=_TRAINING
    )
    training_xattention_optimizations: bool = option(
        False, "Use attention optimizations while training", no_effect=_TRAINING
    )
    training_enable_tensorboard: bool = option(False, "Log to TensorBoard", no_effect=_TRAINING)
    training_tensorboard_save_images: bool = option(False, "Log pictures to TensorBoard", no_effect=_TRAINING)
    training_tensorboard_flush_every: int = option(120, "Seconds between writes to TensorBoard", no_effect=_TRAINING)


class HiddenOptions(Section, title="Hidden options", page="hidden"):
    disabled_extensions: tuple[str, ...] = option((), "Extensions switched off")
    disable_all_extensions: str = option("none", "Switch off extensions", choices=("none", "extra", "all"))
    restore_config_state_file: str = option(
        "", "Saved state to restore at the next start", no_effect="states of extensions are not saved here"
    )
    sd_checkpoint_hash: str = option("", "SHA-256 of the current checkpoint")
