"""The protocol client against servers that behave, fail, and mean harm."""

import base64
import hashlib
import socket
import struct
import threading
import time

import pytest

from lica_jax.starcraft2.errors import GameError, GameTimeout
from lica_jax.starcraft2.game import messages
from lica_jax.starcraft2.game.client import ANSWER_BYTES, Client, NotReady

BINARY, CONTINUATION, TEXT, CLOSE, PING = 2, 0, 1, 8, 9


class Server:
    """Listens on loopback; ``script(connection)`` plays the game's side, once per connection."""

    def __init__(self, script, handshake=True):
        self.script, self.handshake = script, handshake
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            with peer:
                try:
                    self.request = b""
                    while b"\r\n\r\n" not in self.request:
                        self.request += peer.recv(4096)
                    if self.handshake:
                        peer.sendall(accept(self.request))
                    self.script(peer, self)
                except OSError:
                    pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(0.1)


def accept(request):
    key = next(x for x in request.split(b"\r\n") if x.lower().startswith(b"sec-websocket-key"))
    digest = hashlib.sha1(key.split()[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


def frame(payload, opcode=BINARY, fin=True, announced=None):
    size = len(payload) if announced is None else announced
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        return head + bytes([size]) + payload
    if size < 1 << 16:
        return head + b"\x7e" + struct.pack("!H", size) + payload
    return head + b"\x7f" + struct.pack("!Q", size) + payload


def exactly(peer, count):
    data = b""
    while len(data) < count:
        more = peer.recv(count - len(data))
        if not more:
            raise OSError("closed")
        data += more
    return data


def read_request(peer):
    size = exactly(peer, 2)[1] & 0x7F
    if size == 126:
        size = struct.unpack("!H", exactly(peer, 2))[0]
    elif size == 127:
        size = struct.unpack("!Q", exactly(peer, 8))[0]
    mask, data = exactly(peer, 4), exactly(peer, size)
    request = messages.Request()
    request.ParseFromString(bytes(b ^ mask[i % 4] for i, b in enumerate(data)))
    return request


def pong(request, **fields):
    return messages.Response(
        id=request.id, status=messages.launched, ping={"game_version": "x"}, **fields
    )


def ping():
    return messages.Request(ping={})


def echo(peer, server):
    while True:
        peer.sendall(frame(pong(read_request(peer)).SerializeToString()))


def answering(data):
    """A script that sends ``data`` after the first request and then goes on holding the line."""

    def script(peer, server):
        read_request(peer)
        peer.sendall(data)
        server.over.wait(5)

    return script


def test_call_and_status_and_recorder():
    seen = []
    with Server(echo) as server:
        client = Client(server.port, timeout=5, recorder=lambda *pair: seen.append(pair))
        assert client.status == 0
        response = client.call(ping())
        assert response.ping.game_version == "x"
        assert client.status == messages.launched
        answers = client.calls([ping(), ping(), ping()])
        assert [a.id for a in answers] == [2, 3, 4]
        assert [messages.Request.FromString(r).id for r, _ in seen] == [1, 2, 3, 4]
        assert [messages.Response.FromString(a).id for _, a in seen] == [1, 2, 3, 4]
        client.close()
        client.close()
        with pytest.raises(GameError, match="closed before"):
            client.call(ping())


def test_pipelined_requests_are_all_written_before_an_answer_is_read():
    def script(peer, server):
        requests = [read_request(peer) for _ in range(3)]
        for request in requests:
            peer.sendall(frame(pong(request).SerializeToString()))
        server.over.wait(5)

    with Server(script) as server:
        assert len(Client(server.port, timeout=5).calls([ping() for _ in range(3)])) == 3


def test_an_answer_in_fragments_with_pings_between():
    def script(peer, server):
        data = pong(read_request(peer)).SerializeToString()
        peer.sendall(
            frame(data[:3], fin=False) + frame(b"hello", PING) + frame(data[3:], CONTINUATION)
        )
        server.over.wait(5)

    with Server(script) as server:
        assert Client(server.port, timeout=5).call(ping()).ping.game_version == "x"


def test_an_answer_without_id_is_taken():
    def script(peer, server):
        read_request(peer)
        peer.sendall(frame(messages.Response(ping={}).SerializeToString()))
        server.over.wait(5)

    with Server(script) as server:
        assert Client(server.port, timeout=5).call(ping()).HasField("ping")


@pytest.mark.parametrize(
    "data, says",
    [
        (frame(b"\xff" * 20), "not a protocol message"),
        (frame(b""), "an answer to nothing"),
        (frame(messages.Response(id=7, ping={}).SerializeToString()), "request 7 instead of 1"),
        (frame(messages.Response(id=1, step={}).SerializeToString()), "answer to step"),
        (frame(b"hello", TEXT), "type 1"),
        (frame(b"", CLOSE), "closed the connection"),
        (frame(b"x" * 200, PING), "ping"),
        (frame(b"x", CONTINUATION), "ping"),
    ],
)
def test_broken_answers_are_game_errors_and_end_the_connection(data, says):
    with Server(answering(data)) as server:
        client = Client(server.port, timeout=2)
        with pytest.raises(GameError, match=says) as caught:
            client.call(ping())
        assert not isinstance(caught.value, GameTimeout)
        assert "ping" in str(caught.value)
        assert not client.usable
        with pytest.raises(GameError, match="closed before"):
            client.call(ping())


def test_the_game_goes_away():
    def script(peer, server):
        read_request(peer)
        peer.sendall(frame(b"x" * 50)[:20])

    with Server(script) as server, pytest.raises(GameError, match="lost"):
        Client(server.port, timeout=5).call(ping())


def test_errors_of_the_protocol_leave_the_connection_usable():
    def script(peer, server):
        request = read_request(peer)
        answer = messages.Response(id=request.id, error=["not in \x1b[31m a game\n"])
        peer.sendall(frame(answer.SerializeToString()))
        request = read_request(peer)
        answer = messages.Response(
            id=request.id,
            create_game={"error": messages.ResponseCreateGame.InvalidMapPath, "error_details": "?"},
        )
        peer.sendall(frame(answer.SerializeToString()))
        echo(peer, server)

    with Server(script) as server:
        client = Client(server.port, timeout=5)
        with pytest.raises(GameError, match=r"ping: the game says: not in \?\[31m a game$"):
            client.call(ping())
        with pytest.raises(GameError, match=r"create_game: .*InvalidMapPath \(\?\)"):
            client.call(messages.Request(create_game={}))
        assert client.usable
        assert client.call(ping()).id == 3


def test_an_objection_in_no_known_encoding_is_still_a_game_error():
    def script(peer, server):
        answer = messages.Response(id=read_request(peer).id, error=["AAAA"])
        peer.sendall(frame(answer.SerializeToString().replace(b"AAAA", b"\xff\xfe\xfd\xfc")))
        echo(peer, server)

    with Server(script) as server, pytest.raises(GameError, match="ping"):
        Client(server.port, timeout=5).call(ping())


def test_one_refused_request_of_a_batch_leaves_the_rest_in_step():
    def script(peer, server):
        first, second = read_request(peer), read_request(peer)
        peer.sendall(frame(messages.Response(id=first.id, error=["no"]).SerializeToString()))
        peer.sendall(frame(pong(second).SerializeToString()))
        echo(peer, server)

    with Server(script) as server:
        client = Client(server.port, timeout=5)
        with pytest.raises(GameError, match="no"):
            client.calls([ping(), ping()])
        assert client.call(ping()).id == 3


# --- time ----------------------------------------------------------------------------------------


def dripping(peer, server):
    data = frame(pong(read_request(peer)).SerializeToString() + b"\x00" * 100)
    for byte in data:
        peer.sendall(bytes([byte]))
        if server.over.wait(0.05):
            return


def fragments_without_end(peer, server):
    read_request(peer)
    peer.sendall(frame(b"x", fin=False))
    while not server.over.wait(0.02):
        peer.sendall(frame(b"x", CONTINUATION, fin=False))


def pings_without_end(peer, server):
    read_request(peer)
    while not server.over.wait(0.02):
        peer.sendall(frame(b"x", PING))


def silence(peer, server):
    server.over.wait(5)


@pytest.mark.parametrize("script", [silence, dripping, fragments_without_end, pings_without_end])
def test_a_call_ends_in_time_however_slowly_bytes_arrive(script):
    with Server(script) as server:
        client = Client(server.port, timeout=10)
        start = time.monotonic()
        with pytest.raises(GameTimeout, match="ping"):
            client.call(ping(), timeout=0.4)
        assert 0.3 < time.monotonic() - start < 3
        assert not client.usable


def test_a_game_that_reads_nothing_ends_in_time():
    big = messages.Request(create_game={"local_map": {"map_data": b"x" * 20_000_000}})
    with Server(silence) as server:
        client = Client(server.port, timeout=0.5)
        start = time.monotonic()
        with pytest.raises(GameTimeout, match="create_game"):
            client.call(big)
        assert time.monotonic() - start < 5


def test_a_handshake_ends_in_time():
    def headers(peer, server):
        peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\n")
        while not server.over.wait(0.02):
            peer.sendall(b"a")

    with Server(headers, handshake=False) as server:
        start = time.monotonic()
        with pytest.raises(GameTimeout):
            Client(server.port, timeout=0.4)
        assert time.monotonic() - start < 3


# --- size ----------------------------------------------------------------------------------------


def flood(first, then):
    def script(peer, server):
        read_request(peer)
        peer.sendall(first)
        while not server.over.is_set():
            peer.sendall(then)

    return script


@pytest.mark.parametrize(
    "first, then",
    [
        (frame(b"", announced=2**62), b"x" * 65536),
        (frame(b"x", fin=False), frame(b"x" * 65536, CONTINUATION, fin=False)),
        (frame(b"x", PING), frame(b"x" * 100, PING) * 100),
    ],
    ids=["one frame", "fragments", "pings"],
)
def test_an_answer_without_end_is_cut_off(first, then):
    with Server(flood(first, then)) as server:
        client = Client(server.port, timeout=20)
        with pytest.raises(GameError, match=f"more than {ANSWER_BYTES:,} bytes"):
            client.call(ping())


def test_replays_may_be_longer_than_other_answers_but_are_bounded():
    def script(peer, server):
        for size in (ANSWER_BYTES + 1, 4 * ANSWER_BYTES):
            request = read_request(peer)
            answer = messages.Response(id=request.id, save_replay={"data": b"x" * size})
            peer.sendall(frame(answer.SerializeToString()))
        server.over.wait(5)

    with Server(script) as server:
        client = Client(server.port, timeout=20, max_bytes=2 * ANSWER_BYTES)
        request = messages.Request(save_replay={})
        assert len(client.call(request).save_replay.data) == ANSWER_BYTES + 1
        with pytest.raises(GameError, match="more than"):
            client.call(request)


@pytest.mark.parametrize(
    "page",
    [
        b"HTTP/1.1 101 Switching Protocols\r\n" + b"a: b\r\n" * 100_000,
        b"HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 1_000_000,
    ],
)
def test_a_handshake_without_end_is_cut_off(page):
    def script(peer, server):
        peer.sendall(page)
        server.over.wait(5)

    with Server(script, handshake=False) as server, pytest.raises(GameError, match="more than"):
        Client(server.port, timeout=10)


# --- connecting ----------------------------------------------------------------------------------


def answers_http(text):
    def script(peer, server):
        peer.sendall(text)

    return Server(script, handshake=False)


def test_not_ready_yet():
    page = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    with answers_http(page) as server, pytest.raises(NotReady, match="404"):
        Client(server.port, timeout=2)
    with pytest.raises(NotReady, match="nothing listens"):
        Client(server.port, timeout=2)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ws://192.0.2.1/sc2api\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 101 \xff\xfe\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nSet-Cookie: \x00;;;=\r\n\r\n",
    ],
)
def test_something_else_on_the_port(text):
    with answers_http(text) as server, pytest.raises(GameError) as caught:
        Client(server.port, timeout=2)
    assert not isinstance(caught.value, NotReady | GameTimeout)


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server(echo) as server:
        assert Client(server.port, timeout=5).call(ping()).id == 1
        assert server.request.startswith(b"GET /sc2api HTTP/1.1\r\n")
