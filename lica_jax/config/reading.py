"""YAML, as files of settings, presets and flags say it."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from lica_jax.errors import UserError


@functools.cache
def _loader(aliases: bool) -> type:
    """YAML's safe loader, for which ``1:8`` is a text (a range of seeds), not 68 in base 60, and
    which refuses a key that stands twice: YAML's own takes the last one and says nothing. Without
    ``aliases`` it refuses those, too, with which a short text stands for any number of values."""
    import yaml

    def compose_node(self: Any, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise UserError("has an alias, which only a file may have")
        return yaml.SafeLoader.compose_node(self, parent, index)

    def compose(self: Any, anchor: str | None) -> Any:
        node = yaml.SafeLoader.compose_mapping_node(self, anchor)
        _check_keys(node)  # before merge keys (<<) put in what the mapping may say again
        return node

    base_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$")
    rules = dict(yaml.SafeLoader.yaml_implicit_resolvers)
    for first in "-+0123456789":
        rules[first] = [("tag:yaml.org,2002:str", base_60), *rules[first]]
    changes = {"yaml_implicit_resolvers": rules, "compose_mapping_node": compose}
    if not aliases:
        changes["compose_node"] = compose_node
    return type("Loader", (yaml.SafeLoader,), changes)


def _check_keys(mapping: Any) -> None:
    """Refuses a mapping of a YAML file that says a key twice; ``<<`` may stand several times."""
    lines: dict[tuple[str, str], int] = {}
    for key, _ in mapping.value:
        name, line = (key.tag, str(key.value)), key.start_mark.line + 1
        if name in lines and key.tag != "tag:yaml.org,2002:merge":
            raise UserError(f"says {key.value} twice, in lines {lines[name]} and {line}")
        lines[name] = line


def parse_yaml(text: str, aliases: bool = True) -> Any:
    """The value that a YAML text stands for, of a file or of a flag.

    Raises:
      UserError: it is no YAML, says a key twice, or has aliases where it may not; of the text it
        says "is", "says" or "has".
    """
    import yaml

    try:
        return yaml.load(text, _loader(aliases))
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: the 99th of May
        raise UserError(f"is not YAML: {' '.join(str(error).split())[:200]}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, {} where it is empty.

    Raises:
      UserError: it cannot be read, is no YAML, says something twice, or holds something else.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    try:
        values = parse_yaml(text)
    except UserError as error:
        raise UserError(f"{path} {error}") from None
    if values is not None and not isinstance(values, dict):
        raise UserError(f"{path} must hold settings by name, got {type(values).__name__}")
    return values or {}
