"""What a run is: settings, presets, and the checks before anything compiles."""

from lica_jax.config.checks import resolve, reward_scale
from lica_jax.config.load import (
    dump_settings,
    from_dict,
    is_settings_file,
    load_config,
    load_settings,
    read_settings,
)
from lica_jax.config.presets import (
    ablation_names,
    load_preset,
    preset_coverage,
    preset_names,
    presets_dir,
)
from lica_jax.config.schema import (
    DEFAULT_PRESET,
    MAX_EPISODES,
    RESUMABLE,
    CheckpointConfig,
    EvalConfig,
    TrainConfig,
    iterations_per_chunk,
    merge,
    steps_per_iteration,
    to_dict,
)

__all__ = [
    "DEFAULT_PRESET",
    "MAX_EPISODES",
    "RESUMABLE",
    "CheckpointConfig",
    "EvalConfig",
    "TrainConfig",
    "ablation_names",
    "dump_settings",
    "from_dict",
    "is_settings_file",
    "iterations_per_chunk",
    "load_config",
    "load_preset",
    "load_settings",
    "merge",
    "preset_coverage",
    "preset_names",
    "presets_dir",
    "read_settings",
    "resolve",
    "reward_scale",
    "steps_per_iteration",
    "to_dict",
]
