"""The double's import of the message package.

Not through `lica_jax.starcraft2.game.messages`, whose checks would slow the start down.
"""

from s2clientprotocol import common_pb2 as common
from s2clientprotocol import error_pb2 as errors
from s2clientprotocol import raw_pb2 as raw
from s2clientprotocol import sc2api_pb2 as api

__all__ = ["api", "common", "errors", "raw"]
