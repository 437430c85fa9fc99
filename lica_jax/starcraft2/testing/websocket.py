"""The server's half of RFC 6455, as much as the game's API needs: one client, binary messages."""

from __future__ import annotations

import base64
import hashlib
import select
import socket
import struct

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MAX_MESSAGE = 256 << 20


class Gone(Exception):
    """The client has closed the connection or broke the protocol."""


def read_head(sock: socket.socket, timeout: float = 10.0) -> tuple[str, dict[bytes, bytes]]:
    """Reads an HTTP request: its path and its headers (names in lower case)."""
    sock.settimeout(timeout)
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            more = sock.recv(4096)
        except OSError as error:
            raise Gone("no request") from error
        if not more or len(data) > 16384:
            raise Gone("no request")
        data += more
    sock.settimeout(None)
    first, *lines = data.split(b"\r\n\r\n")[0].split(b"\r\n")
    words = first.split()
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    return (words[1].decode("latin-1") if len(words) > 1 else ""), headers


def accept_head(headers: dict[bytes, bytes]) -> bytes:
    """The answer that turns the connection into a websocket; `Gone` if it was not asked for."""
    key = headers.get(b"sec-websocket-key")
    if key is None or headers.get(b"upgrade", b"").lower() != b"websocket":
        raise Gone("not a websocket request")
    accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def http_error(code: int, text: str) -> bytes:
    """A whole HTTP answer with an error."""
    body = text.encode()
    return b"HTTP/1.1 %d %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
        code, body, len(body), body,
    )  # fmt: skip


def frame_head(length: int, opcode: int = BINARY, *, last: bool = True) -> bytes:
    """The bytes before a payload of this length (which may be a lie)."""
    first = opcode | (0x80 if last else 0)
    if length < 126:
        return struct.pack("!BB", first, length)
    if length < 1 << 16:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)


def _unmask(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    if not size:
        return b""
    long_mask = (mask * (size // 4 + 1))[:size]
    xor = int.from_bytes(payload, "little") ^ int.from_bytes(long_mask, "little")
    return xor.to_bytes(size, "little")


class Connection:
    """A websocket after the handshake.

    Answers wait in a buffer while further requests are there already.
    """

    def __init__(self, sock: socket.socket, listener: socket.socket):
        self.sock = sock
        self.listener = listener
        self.incoming = bytearray()
        self.outgoing = bytearray()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def receive(self) -> bytes:
        """The next message; `Gone` when the client has left."""
        message = b""
        while True:
            opcode, last, payload = self._frame()
            if opcode == PING:
                self.send(payload, PONG)
            elif opcode == CLOSE:
                self.send(payload[:2], CLOSE)
                self.flush()
                raise Gone("closed")
            elif opcode in (BINARY, TEXT, CONTINUATION):
                message += payload
                if len(message) > MAX_MESSAGE:
                    raise Gone("message too long")
                if last:
                    return message

    def _frame(self) -> tuple[int, bool, bytes]:
        head = self._take(2)
        length = head[1] & 0x7F
        if length == 126:
            length = int.from_bytes(self._take(2), "big")
        elif length == 127:
            length = int.from_bytes(self._take(8), "big")
        if not head[1] & 0x80 or length > MAX_MESSAGE:
            raise Gone("frame without mask or too long")  # RFC 6455 5.1: clients must mask
        mask = self._take(4)
        return head[0] & 0x0F, bool(head[0] & 0x80), _unmask(self._take(length), mask)

    def _take(self, count: int) -> bytes:
        while len(self.incoming) < count:
            self._more()
        data = bytes(self.incoming[:count])
        del self.incoming[:count]
        return data

    def _more(self) -> None:
        self.flush()
        ready, _, _ = select.select([self.sock, self.listener], [], [])
        if self.listener in ready:  # one client at a time: the second is dropped without a word
            other, _ = self.listener.accept()
            other.close()
        if self.sock in ready:
            try:
                data = self.sock.recv(1 << 16)
            except OSError as error:
                raise Gone(str(error)) from error
            if not data:
                raise Gone("connection closed")
            self.incoming += data

    def send(self, payload: bytes, opcode: int = BINARY, *, pieces: int = 1) -> None:
        """Queues a message, in several frames if asked."""
        if pieces <= 1:
            self.outgoing += frame_head(len(payload), opcode) + payload
            return
        size = max(1, -(-len(payload) // pieces))
        parts = [payload[i : i + size] for i in range(0, len(payload), size)] or [b""]
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            code = opcode if number == 0 else CONTINUATION
            self.outgoing += frame_head(len(part), code, last=last) + part

    def send_raw(self, data: bytes) -> None:
        """Sends bytes as they are, at once."""
        self.flush()
        self.outgoing += data
        self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        if self.outgoing:
            try:
                self.sock.sendall(self.outgoing)
            except OSError as error:
                raise Gone(str(error)) from error
            self.outgoing.clear()

    def close(self) -> None:
        """Closes the connection without a farewell."""
        self.sock.close()
