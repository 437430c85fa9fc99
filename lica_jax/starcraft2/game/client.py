"""A client of the game's wire protocol: one protobuf message per websocket message, on loopback.

The game is not trusted: a wrong, slow or endless answer becomes a ``GameError`` within the time and
the memory that were allowed, and nothing else leaves this module.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

from lica_jax.errors import UserError
from lica_jax.starcraft2.errors import GameError, GameTimeout
from lica_jax.starcraft2.game import messages

HOST = "127.0.0.1"
MEBIBYTE = 1024 * 1024
HANDSHAKE_BYTES = 64 * 1024
# Decoded messages are up to a hundred times as large as their bytes. Only replays are long, and
# they are one field of bytes; an observation of SMAC's maps has some ten kilobytes.
ANSWER_BYTES = 2 * MEBIBYTE
LONG_ANSWERS = ("save_replay",)

Recorder = Callable[[bytes, bytes], None]


class NotReady(GameError):
    """The game runs but does not serve the protocol yet."""


class Client:
    """A connection to the game that listens on ``port`` of the loopback interface.

    ``timeout`` bounds each call as a whole, in seconds; ``max_bytes`` bounds an answer.
    ``recorder(request, response)`` is called with the bytes of every pair, in order.
    Raises ``NotReady`` when the protocol is not served yet, ``GameError`` otherwise.
    """

    def __init__(
        self,
        port: int,
        *,
        timeout: float = 60.0,
        max_bytes: int = 64 * MEBIBYTE,
        recorder: Recorder | None = None,
        connect_timeout: float | None = None,
    ):
        self.timeout = timeout
        self.max_bytes = max_bytes
        self.recorder = recorder
        self._status = 0
        self._last_id = 0
        self._broken: str | None = None
        self._stream, self._websocket = _connect(port, connect_timeout or timeout)

    @property
    def status(self) -> int:
        """The game's state after the last answer, a value of ``messages.Status``; 0 before."""
        return self._status

    @property
    def usable(self) -> bool:
        """Whether calls may still succeed."""
        return self._broken is None

    def call(self, request, timeout: float | None = None):
        """Sends a ``Request`` and returns its ``Response``."""
        return self.calls([request], timeout)[0]

    def calls(self, requests: Sequence, timeout: float | None = None) -> list:
        """Sends all requests, then reads all answers: one round trip for the lot.

        Numbers the requests in place (``id``). Raises ``GameError`` when a request fails; the
        connection then stays usable if every answer was read, and is closed otherwise.
        """
        asked = "+".join(kind_of(request) for request in requests)
        if self._broken:
            raise GameError(f"{asked}: the connection was closed before ({self._broken})")
        try:
            pairs = self._exchange(requests, self.timeout if timeout is None else timeout)
        except BaseException as error:
            # Half a message may be on its way, so no later answer could be trusted.
            self._break(plain(error) or type(error).__name__)
            if not isinstance(error, Exception):
                raise
            raise _as_game_error(asked, error) from error
        for request, response in pairs:
            problem = refusal(response, kind_of(request))
            if problem:
                raise GameError(f"{kind_of(request)}: {problem}")
        return [response for _, response in pairs]

    def quit(self, timeout: float = 1.0) -> None:
        """Asks the game to end, without waiting for an answer. Never raises."""
        if self._broken is None:
            try:
                self._stream.allow(timeout, HANDSHAKE_BYTES)
                request = messages.Request(quit=messages.RequestQuit())
                self._websocket.send_binary(request.SerializeToString())
            except Exception as error:
                self._break(plain(error))

    def close(self) -> None:
        """Closes the connection. Never raises, may be called again."""
        self._break("closed here")

    def _break(self, reason: str) -> None:
        self._broken = self._broken or reason or "failed"
        self._stream.close()

    def _exchange(self, requests: Sequence, timeout: float) -> list[tuple]:
        sent = []
        self._stream.allow(timeout, 0)
        for request in requests:
            self._last_id += 1
            request.id = self._last_id
            sent.append(request.SerializeToString())
            self._websocket.send_binary(sent[-1])
        pairs = []
        for request, data in zip(requests, sent, strict=True):
            answer = self._receive(kind_of(request))
            response = messages.Response()
            response.ParseFromString(answer)
            check_pairing(request, response)
            self._status = response.status
            if self.recorder is not None:
                self.recorder(data, answer)
            pairs.append((request, response))
        return pairs

    def _receive(self, kind: str) -> bytes:
        import websocket

        limit = self.max_bytes if kind in LONG_ANSWERS else min(self.max_bytes, ANSWER_BYTES)
        self._stream.allow_bytes(limit)
        opcode, answer = self._websocket.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise GameError("the game closed the connection")
        if opcode != websocket.ABNF.OPCODE_BINARY:
            raise GameError(f"a websocket message of type {opcode} instead of a binary one")
        return answer


class _Stream:
    """A socket that gives up at a deadline, and after a number of bytes.

    websocket-client takes its time-out per read and puts no bound on a message, a header or an
    error page. Bounding what it can read covers all of them, however they are cut up.
    """

    def __init__(self, connection: socket.socket):
        self._socket = connection
        self._ahead = b""  # read from the socket, not yet handed on
        self._deadline = 0.0
        self._bytes = 0
        self._limit = 0

    def allow(self, seconds: float, count: int) -> None:
        self._deadline = time.monotonic() + seconds
        self.allow_bytes(count)

    def allow_bytes(self, count: int) -> None:
        self._limit = self._bytes = count

    def recv(self, size: int) -> bytes:
        if not self._ahead:
            self._ahead = self._timed(self._socket.recv, 64 * 1024)
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        self._bytes -= len(data)
        if self._bytes < 0:
            raise GameError(f"an answer of more than {self._limit:,} bytes")
        return data

    def send(self, data: bytes) -> int:
        return self._timed(self._socket.send, data)

    def _timed(self, function, argument):
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(seconds)
        return function(argument)

    def gettimeout(self) -> float:
        return max(self._deadline - time.monotonic(), 0.001)

    def settimeout(self, seconds) -> None:
        """Ours is the deadline, whatever the websocket library asks for."""

    def fileno(self) -> int:
        return self._socket.fileno()

    def shutdown(self, how: int) -> None:
        self._socket.shutdown(how)

    def close(self) -> None:
        self._socket.close()


def _connect(port: int, timeout: float) -> tuple:
    """The bounded stream and the websocket on it; ``timeout`` is for all of it."""
    try:
        import websocket
    except ImportError:
        raise UserError(
            "playing StarCraft II needs websocket-client: pip install 'lica_jax[sc2]'"
        ) from None
    start = time.monotonic()
    try:
        connection = socket.create_connection((HOST, port), timeout)
    except OSError as error:
        raise NotReady(f"nothing listens on port {port} yet ({plain(error)})") from None
    stream = _Stream(connection)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.allow(max(timeout - (time.monotonic() - start), 0.01), HANDSHAKE_BYTES)
        link = websocket.WebSocket(skip_utf8_validation=True, enable_multithread=False)
        # A connected socket keeps proxies of the environment out; no redirect leaves loopback.
        link.connect(
            f"ws://{HOST}:{port}/sc2api", socket=stream, http_no_proxy=["*"], redirect_limit=0
        )
    except websocket.WebSocketBadStatusException as error:
        stream.close()
        if error.status_code == 404:
            raise NotReady(f"port {port} answers 404: the game is still starting") from None
        raise GameError(f"port {port} refused the connection: status {error.status_code}") from None
    except Exception as error:
        stream.close()
        raise _as_game_error(f"connecting to port {port}", error) from error
    except BaseException:
        stream.close()
        raise
    return stream, link


def check_pairing(request, response) -> None:
    """Raises when ``response`` cannot be the answer to ``request``."""
    if response.HasField("id") and response.id != request.id:
        raise GameError(f"an answer to request {response.id} instead of {request.id}")
    kind = response.WhichOneof("response")
    if kind != kind_of(request) and not response.error:
        raise GameError(f"an answer to {kind or 'nothing'} instead")


def refusal(response, kind: str) -> str | None:
    """What the game objects to, from the message as a whole or from the part asked for."""
    if response.error:
        return "the game says: " + plain("; ".join(map(str, response.error[:5])))
    part = getattr(response, kind)
    field = part.DESCRIPTOR.fields_by_name.get("error")
    if field is None or field.enum_type is None or not part.HasField("error"):
        return None
    value = field.enum_type.values_by_number.get(part.error)
    name = value.name if value else str(part.error)
    details = plain(getattr(part, "error_details", ""))
    return f"the game says: {name}" + (f" ({details})" if details else "")


def _as_game_error(asked: str, error: Exception) -> GameError:
    name = type(error).__name__
    if isinstance(error, TimeoutError) or name == "WebSocketTimeoutException":
        return GameTimeout(f"{asked}: no complete answer in time")
    if isinstance(error, GameError):
        return type(error)(f"{asked}: {error}")
    if name == "DecodeError":
        return GameError(f"{asked}: the answer is not a protocol message")
    return GameError(f"{asked}: {plain(error) or name}")


def kind_of(request) -> str:
    return request.WhichOneof("request") or "an empty request"


def plain(text: object, limit: int = 300) -> str:
    """One short printable line: what the game sends may end up on a terminal."""
    line = " ".join(str(text)[: 4 * limit].split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= limit else line[:limit] + "..."
