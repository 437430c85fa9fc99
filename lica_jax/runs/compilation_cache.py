"""Compiled programs that outlive the process."""

from __future__ import annotations

import os
from pathlib import Path

import jax


def use_compilation_cache() -> None:
    """Keeps compiled programs between processes, unless JAX has been told where to, or not to.

    It holds for the whole process. A directory that is set in `jax.config` or as
    ``JAX_COMPILATION_CACHE_DIR`` stays ("" for none), and so does
    ``JAX_ENABLE_COMPILATION_CACHE=false``; else ``lica_jax/xla`` in the user's cache directory.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    if not jax.config.jax_enable_compilation_cache:
        return
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = base / "lica_jax" / "xla"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
