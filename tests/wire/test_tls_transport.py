"""TlsTransport on real sockets, on asyncio's loop and on uvloop's, against OpenSSL by way of Python's ssl."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from mysqlproxy.net.tls import CHUNK, TlsTransport
from mysqlproxy.net.tls_context import client_context, server_context
from tests.support.certificates import Authority

CLEAR = b"clear"  # stands for SSLRequest: what is read before TLS begins
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
BIG = bytes(range(256)) * 4096 * 8  # 8 MiB


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server_tls(authority: Authority) -> ssl.SSLContext:
    return server_context(*authority.issue("server", "localhost", "127.0.0.1"))


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    def runner(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as loop:
            loop.run(asyncio.wait_for(main, 60))

    return runner


class Peer(asyncio.Protocol):
    """One side: keeps what it gets and can be waited for. ``half`` keeps the connection open at its end."""

    def __init__(self, half: bool = False) -> None:
        self.transport: asyncio.Transport
        self.received = bytearray()
        self.sizes: list[int] = []
        self.handshakes: list[BaseException | None] = []
        self.eof = self.lost = self.writable = False
        self.lost_by: Exception | None = None
        self.half = half
        self.on_data: Callable[[], None] = lambda: None
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.writable = True

    def data_received(self, data: bytes) -> None:
        assert not self.lost
        self.received += data
        self.sizes.append(len(data))
        self.on_data()
        self._changed.set()

    def eof_received(self) -> bool:
        assert not self.eof
        self.eof = True
        self._changed.set()
        return self.half

    def connection_lost(self, exc: Exception | None) -> None:
        assert not self.lost
        self.lost, self.lost_by = True, exc
        self._changed.set()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._changed.set()

    def handshake(self, outcome: BaseException | None) -> None:
        self.handshakes.append(outcome)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()


class ServerPeer(Peer):
    """Takes CLEAR in clear, then TLS with whatever came behind it."""

    def __init__(self, context: ssl.SSLContext, half: bool = False) -> None:
        super().__init__(half)
        self.context = context
        self.clear = b""
        self.early = b""

    def data_received(self, data: bytes) -> None:
        if self.handshakes or isinstance(self.transport, TlsTransport):
            super().data_received(data)
            return
        self.clear += data
        if len(self.clear) >= len(CLEAR):
            assert self.clear.startswith(CLEAR)
            self.early = self.clear[len(CLEAR) :]
            tls = TlsTransport(
                self.transport, self, self.context, server_side=True, on_handshake=self.handshake
            )
            self.transport = tls.transport()
            tls.start(self.early)


async def serve(context: ssl.SSLContext, half: bool = False) -> tuple[ServerPeer, socket.socket]:
    """A ServerPeer and the blocking socket of who is connected to it."""
    peer = ServerPeer(context, half)
    ours, theirs = socket.socketpair()
    await asyncio.get_running_loop().connect_accepted_socket(lambda: peer, ours)
    theirs.settimeout(30)
    return peer, theirs


async def connect(
    peer: Peer, sock: socket.socket, context: ssl.SSLContext, name: str | None = "localhost"
) -> None:
    sock.setblocking(False)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: peer, sock)
    tls = TlsTransport(
        peer.transport, peer, context, server_side=False, server_hostname=name, on_handshake=peer.handshake
    )
    peer.transport.write(CLEAR)
    peer.transport = tls.transport()
    tls.start()


async def pair(
    context: ssl.SSLContext, version: ssl.TLSVersion | None = None, half: bool = False
) -> tuple[ServerPeer, Peer]:
    """Both sides in this loop, their handshakes done."""
    client_tls = client_context("required")
    if version is not None:
        client_tls.maximum_version = version
    server, sock = await serve(context, half)
    client = Peer(half)
    await connect(client, sock, client_tls)
    await client.until(lambda: bool(client.handshakes))
    await server.until(lambda: bool(server.handshakes))
    assert client.handshakes == server.handshakes == [None]
    return server, client


async def in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work)


class MemoryClient:
    """A TLS client whose bytes the test carries itself, at its own pace."""

    def __init__(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        context = client_context("required")
        context.maximum_version = version
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)

    def handshake(self, sock: socket.socket, before: bytes = b"", piece: int = 0) -> None:
        while True:
            try:
                self.tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            before = self.send(sock, before, piece)
            if done:
                return
            self.incoming.write(sock.recv(65536))

    def send(self, sock: socket.socket, before: bytes = b"", piece: int = 0) -> bytes:
        data = before + self.outgoing.read()
        for start in range(0, len(data), piece or len(data) or 1):
            sock.sendall(data[start : start + (piece or len(data))])
        return b""

    def read(self, sock: socket.socket) -> bytes:
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                data = sock.recv(65536)
                if not data:
                    return b""
                self.incoming.write(data)


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize("piece", [0, 1, 7], ids=["coalesced", "byte by byte", "in sevens"])
def test_clear_bytes_and_hello_in_one_piece_or_in_many(
    run: Callable[..., None], server_tls: ssl.SSLContext, version: ssl.TLSVersion, piece: int
) -> None:
    async def main() -> None:
        peer, sock = await serve(server_tls)
        with sock:
            client = MemoryClient(version)
            await in_thread(lambda: client.handshake(sock, CLEAR, piece))
            if not piece:
                assert peer.early  # the ClientHello did come with the clear bytes
            client.tls.write(b"question")
            await in_thread(lambda: client.send(sock, piece=piece))
            await peer.until(lambda: bytes(peer.received) == b"question")
            assert peer.handshakes == [None]
            peer.transport.write(b"answer")
            assert await in_thread(lambda: client.read(sock)) == b"answer"
            assert peer.transport.get_extra_info("ssl_object").version() == client.tls.version()
        await peer.until(lambda: peer.lost)

    run(main())


def test_split_between_clear_and_tls_at_every_byte(server_tls: ssl.SSLContext) -> None:
    async def main() -> None:
        client = MemoryClient()
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.do_handshake()
        hello = CLEAR + client.outgoing.read()
        for at in range(1, len(hello)):
            peer, sock = await serve(server_tls)
            with sock:
                peer.transport.pause_reading()  # bytes by hand: the kernel would join them
                raw: Any = peer.transport
                peer.data_received(hello[:at])
                if at < len(CLEAR):
                    peer.data_received(hello[at:])
                else:
                    cast(TlsTransport, peer.transport).data_received(hello[at:])
                flight = await in_thread(lambda sock=sock: sock.recv(65536))
                assert flight[:2] == b"\x16\x03", at  # a handshake record: ServerHello
                assert not peer.handshakes and not peer.received
                raw.abort()
            await peer.until(lambda peer=peer: peer.lost)  # type: ignore[misc]
            assert len(peer.handshakes) == 1 and isinstance(peer.handshakes[0], ConnectionError)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main(), 60))


def test_data_that_comes_with_the_end_of_the_handshake(
    run: Callable[..., None], server_tls: ssl.SSLContext
) -> None:
    async def main() -> None:
        peer, sock = await serve(server_tls)

        def go(client: MemoryClient) -> None:
            with pytest.raises(ssl.SSLWantReadError):
                client.tls.do_handshake()
            client.send(sock, CLEAR)
            client.incoming.write(sock.recv(65536))
            client.tls.do_handshake()  # TLS 1.3: Finished is in outgoing, and not sent
            client.tls.write(b"at once")
            client.send(sock)

        with sock:
            await in_thread(lambda: go(MemoryClient()))
            await peer.until(lambda: bytes(peer.received) == b"at once")
            assert peer.handshakes == [None]
        await peer.until(lambda: peer.lost)

    run(main())


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_big_transfers_both_ways_with_back_pressure(
    run: Callable[..., None], server_tls: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    async def main() -> None:
        server, client = await pair(server_tls, version)
        for peer in (server, client):
            peer.on_data = peer.transport.pause_reading
        client.transport.write(BIG)
        server.transport.writelines([BIG[:5], BIG[5:]])
        assert not client.writable and client.transport.get_write_buffer_size() > 0
        for peer in (server, client):
            while len(peer.received) < len(BIG):
                before = len(peer.sizes)
                peer.transport.resume_reading()
                await peer.until(lambda peer=peer, before=before: len(peer.sizes) > before)  # type: ignore[misc]
                await asyncio.sleep(0)
                assert len(peer.sizes) == before + 1  # paused: nothing more came
            assert sha256(peer.received).digest() == sha256(BIG).digest()
            assert max(peer.sizes) <= CHUNK + 16384
        for peer in (server, client):
            await peer.until(lambda peer=peer: peer.writable)  # type: ignore[misc]
        client.transport.close()
        await client.until(lambda: client.lost)
        server.transport.abort()
        await server.until(lambda: server.lost)

    run(main())


def test_pausing_within_the_handshakes_callback(run: Callable[..., None], server_tls: ssl.SSLContext) -> None:
    async def main() -> None:
        server, sock = await serve(server_tls)
        client = Peer()
        note = server.handshake

        def pause(outcome: BaseException | None) -> None:
            server.transport.pause_reading()
            note(outcome)

        server.handshake = pause  # type: ignore[method-assign]
        await connect(client, sock, client_context("preferred"), None)
        client.transport.write(b"early")  # waits for the handshake
        await server.until(lambda: bool(server.handshakes))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not server.received and not server.transport.is_reading()
        server.transport.resume_reading()
        await server.until(lambda: bytes(server.received) == b"early")
        server.transport.close()
        await client.until(lambda: client.lost)
        await server.until(lambda: server.lost)
        assert client.eof and client.lost_by is None

    run(main())


def test_close_writes_everything_first(run: Callable[..., None], server_tls: ssl.SSLContext) -> None:
    async def main() -> None:
        server, client = await pair(server_tls)
        server.transport.write(BIG)
        server.transport.close()
        server.transport.write(b"dropped")
        assert server.transport.is_closing()
        await client.until(lambda: client.lost)
        await server.until(lambda: server.lost)
        assert bytes(client.received) == BIG and client.eof
        assert client.lost_by is None and server.lost_by is None

    run(main())


def test_half_close(run: Callable[..., None], server_tls: ssl.SSLContext) -> None:
    async def main() -> None:
        server, client = await pair(server_tls, half=True)
        tls = cast(TlsTransport, client.transport)
        with pytest.raises(ssl.SSLWantReadError):
            tls._ssl.unwrap()  # close_notify alone
        tls._flush()
        await server.until(lambda: server.eof)
        assert not server.transport.is_closing() and not server.lost
        server.transport.close()
        await server.until(lambda: server.lost)
        client.transport.abort()
        await client.until(lambda: client.lost)

    run(main())


@pytest.mark.parametrize(
    "garbage", [b"\x00" * 200, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" * 9000]
)
def test_garbage_instead_of_a_hello(
    run: Callable[..., None], server_tls: ssl.SSLContext, garbage: bytes
) -> None:
    async def main() -> None:
        peer, sock = await serve(server_tls)
        with sock:

            def go() -> None:
                try:
                    sock.sendall(CLEAR + garbage)
                    while sock.recv(65536):
                        pass
                except ConnectionError:
                    pass

            await in_thread(go)
            await peer.until(lambda: peer.lost)
        assert len(peer.handshakes) == 1 and isinstance(peer.handshakes[0], ssl.SSLError)
        assert peer.lost_by is peer.handshakes[0] and not peer.received

    run(main())


def test_garbage_after_the_handshake(run: Callable[..., None], server_tls: ssl.SSLContext) -> None:
    async def main() -> None:
        peer, sock = await serve(server_tls)
        with sock:
            client = MemoryClient()
            await in_thread(lambda: client.handshake(sock, CLEAR))
            client.tls.write(b"good")
            await in_thread(lambda: client.send(sock))
            await peer.until(lambda: bytes(peer.received) == b"good")
            await in_thread(lambda: sock.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32))
            await peer.until(lambda: peer.lost)
        assert isinstance(peer.lost_by, ssl.SSLError) and bytes(peer.received) == b"good" and not peer.eof

    run(main())


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("when", ["after clear", "in the handshake", "after it"])
def test_abrupt_close(run: Callable[..., None], server_tls: ssl.SSLContext, when: str, reset: bool) -> None:
    async def main() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        sock = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        listener.close()
        peer = ServerPeer(server_tls)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: peer, accepted)

        def go() -> None:
            client = MemoryClient()
            if when == "after it":
                client.handshake(sock, CLEAR)
            elif when == "in the handshake":
                with pytest.raises(ssl.SSLWantReadError):
                    client.tls.do_handshake()
                client.send(sock, CLEAR)
                sock.recv(100)
            else:
                sock.sendall(CLEAR)

        await in_thread(go)
        await peer.until(lambda: isinstance(peer.transport, TlsTransport))
        if when == "after it":
            await peer.until(lambda: bool(peer.handshakes))
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        sock.close()
        await peer.until(lambda: peer.lost)
        if when == "after it":
            assert peer.handshakes == [None]
            assert peer.eof is not reset
        else:
            assert len(peer.handshakes) == 1 and isinstance(peer.handshakes[0], ConnectionError)
            assert not peer.eof
        peer.transport.write(b"into the void")
        peer.transport.close()

    run(main())


def test_what_came_before_a_reset_is_delivered_when_a_write_meets_the_reset(
    run: Callable[..., None], server_tls: ssl.SSLContext
) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        client = Peer()
        await connect(client, ours, client_context("required"))

        def answer() -> ssl.SSLSocket:
            assert theirs.recv(len(CLEAR)) == CLEAR
            return server_tls.wrap_socket(theirs, server_side=True)

        secure = await in_thread(answer)
        await client.until(lambda: bool(client.handshakes))
        client.transport.write(b"x" * 1000)  # never read: the close is a reset
        secure.sendall(b"too large")
        secure.close()
        client.transport.write(b"x" * 1000)  # and nothing was awaited since
        await client.until(lambda: client.lost)
        assert client.received == b"too large"

    run(main())


def test_a_peer_that_provokes_key_updates_and_reads_none(server_tls: ssl.SSLContext) -> None:
    async def main() -> None:
        server, client = await pair(server_tls)
        tls = cast(TlsTransport, server.transport)
        tls.pause_writing()
        tls._unread_answers = 65536
        tls._outgoing.write(b"x" * 29)  # what OpenSSL puts there for each key update it is asked for
        tls._answer()
        await server.until(lambda: server.lost)
        assert isinstance(server.lost_by, ConnectionAbortedError)
        await client.until(lambda: client.lost)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_verify_checks_ca_and_host(
    run: Callable[..., None], server_tls: ssl.SSLContext, authority: Authority, tmp_path: Path
) -> None:
    async def outcome(context: ssl.SSLContext, name: str) -> BaseException | None:
        server, sock = await serve(server_tls)
        client = Peer()
        await connect(client, sock, context, name)
        await client.until(lambda: bool(client.handshakes))
        client.transport.close()
        await client.until(lambda: client.lost)
        await server.until(lambda: server.lost)
        return client.handshakes[0]

    async def main() -> None:
        verify = client_context("verify", authority.ca)
        assert await outcome(verify, "localhost") is None
        assert await outcome(verify, "127.0.0.1") is None
        assert isinstance(await outcome(verify, "example.org"), ssl.SSLCertVerificationError)
        other = client_context("verify", Authority(tmp_path).ca)
        assert isinstance(await outcome(other, "localhost"), ssl.SSLCertVerificationError)
        assert isinstance(await outcome(client_context("verify"), "localhost"), ssl.SSLCertVerificationError)
        assert await outcome(client_context("required"), "example.org") is None

    run(main())


def test_a_client_certificate_is_shown(authority: Authority) -> None:
    async def main() -> None:
        context = server_context(*authority.issue("asks", "localhost"))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.ca)
        server, sock = await serve(context)
        client = Peer()
        own = client_context("verify", authority.ca, *authority.issue("client", "app.example.org"))
        await connect(client, sock, own)
        await server.until(lambda: bool(server.handshakes))
        assert server.handshakes == [None]
        names = server.transport.get_extra_info("peercert")["subjectAltName"]
        assert names == (("DNS", "app.example.org"),)
        assert server.transport.get_extra_info("cipher") is not None
        assert server.transport.get_extra_info("socket") is not None
        client.transport.abort()
        await client.until(lambda: client.lost)
        await server.until(lambda: server.lost)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_old_versions_are_refused(server_tls: ssl.SSLContext) -> None:
    assert server_tls.minimum_version == ssl.TLSVersion.TLSv1_2
    assert client_context("preferred").minimum_version == ssl.TLSVersion.TLSv1_2


def test_an_encrypted_key_is_an_error_and_asks_nobody(authority: Authority, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    certificate, _ = authority.issue("locked", "localhost")
    key = tmp_path / "locked.key"
    key.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    errors: list[BaseException] = []

    def load() -> None:
        try:
            server_context(certificate, key)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(10)
    assert len(errors) == 1
