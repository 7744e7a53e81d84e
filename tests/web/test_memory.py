"""What unfinished requests hold in memory: limited in sum and for each client, and given back at every end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from doubles import JOB, job_file, job_status
from support import DATA, Client, Server, chunked, compose, serving

from pacarchive.web.download import SMALL
from pacarchive.web.http.admission import IDLE
from pacarchive.web.http.body import BLOCK, FIRST
from pacarchive.web.http.settings import LimitSettings

JSON = "Content-Type: application/json"
TOTAL = 1 << 20
LIMITS = LimitSettings(memory=TOTAL, client_share=50)
PIECE = 100_000


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server(limits=LIMITS)) as server:
        server.archive.place(102, DATA)
        yield server


def held(server: Server) -> int:
    """Bytes on the account."""
    return server.site.memory.shares.held


def document(client: Client) -> Client:
    """Most of a document."""
    return client.send(compose("POST", "/jobs", JSON, "Content-Length: 500000")).send(b" " * PIECE)


def in_chunks(client: Client) -> Client:
    """A document whose end nobody knows."""
    client.send(compose("POST", "/jobs", JSON, "Transfer-Encoding: chunked"))
    return client.send(chunked(b" " * PIECE).removesuffix(b"0\r\n\r\n"))


def head(client: Client) -> Client:
    """Most of a head."""
    return client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: %b\r\n" % (b"x" * 1000) * 28)


def small_body(client: Client) -> Client:
    """A body that is waited for before the route starts."""
    return client.send(compose("PUT", "/8", "Content-Length: 16000") + b"x" * 15_000)


def first_bytes(client: Client) -> Client:
    """An upload that is none yet."""
    return client.send(compose("PUT", "/8", "Content-Length: 500000") + bytes(FIRST - 1000))


def pipeline(client: Client) -> Client:
    """Much behind a request that is being answered."""
    return client.send(compose("GET", f"/jobs/{JOB}/events")).send(b"GET / " * 10_000)


KINDS = [document, in_chunks, head, small_body, first_bytes]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_sum(server: Server, kind: Callable[[Client], Client]) -> None:
    """What is too much is refused in words, by whomever it is sent; the others go on, and nothing is kept."""
    refused, most = 0, 0
    for number in range(200):
        client = kind(server.connect(f"10.0.0.{number}"))
        most = max(most, held(server))
        for answer in client.answers("PUT" if kind in (small_body, first_bytes) else "POST"):
            assert answer.status == 503
            assert answer.field("Retry-After") == "5"
            assert "[limits] memory" in answer.error["message"]
            refused += 1
    assert 0 < refused < 200
    assert TOTAL // 2 < most < TOTAL + 2 * PIECE
    assert server.connect("10.1.0.1").ask("GET", "/102").body == DATA
    assert server.connect("10.1.0.1").ask("PUT", "/103", body=DATA).status == 201
    for client in server.clients:
        client.hang_up()
    assert held(server) == 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_share(server: Server, kind: Callable[[Client], Client]) -> None:
    """One client gets its part; then another has room."""
    answers = [answer for _ in range(100) for answer in kind(server.connect("10.0.0.1")).answers("PUT")]
    assert {answer.status for answer in answers} == {503}
    assert "client_share of memory" in answers[0].error["message"]
    assert TOTAL // 4 < held(server) <= TOTAL // 2 + PIECE
    before = held(server)
    other = kind(server.connect("10.0.0.2"))
    assert other.answers() == []
    assert held(server) > before


def test_a_proxy_has_no_share() -> None:
    """Many clients are one address there: only the sum counts."""
    with serving(Server(limits=LimitSettings(memory=TOTAL, client_share=10, proxies=("192.168.1.0/24",)))) as server:
        clients = [document(server.connect()) for _ in range(8)]
        assert [answer for client in clients for answer in client.answers()] == []


def test_uploads_are_held_back(server: Server) -> None:
    """One that has begun is not refused: what came is stored first, and the sender waits meanwhile."""
    data = bytes(range(256)) * (16 * BLOCK // 256)
    uploads = []
    for number in range(4):
        client = server.connect(f"10.0.0.{number}")
        uploads.append(client.send(compose("PUT", f"/{number}", f"Content-Length: {len(data)}")))
    gates = [server.archive.hold("write") for _ in uploads]
    for client in uploads:
        client.send(data[: 4 * BLOCK])
    assert all(client.unsent for client in uploads)
    assert held(server) <= 4 * (BLOCK + FIRST)  # a block each that is being stored, and what one read brings
    for gate in gates:
        gate.callback(None)
    for number, client in enumerate(uploads):
        client.send(data[4 * BLOCK :])
        assert [answer.status for answer in client.answers("PUT")] == [201]
        assert server.archive.data(number) == data
    assert held(server) == 0


def test_an_upload_that_rests_holds_nothing(server: Server) -> None:
    """What came of a block is stored, before the rest of it is there."""
    client = server.connect()
    client.send(compose("PUT", "/7", f"Content-Length: {10 * BLOCK}")).send(bytes(FIRST)).send(bytes(100_000))
    assert held(server) == 100_000
    server.clock.advance(IDLE)
    assert held(server) == 0
    client.send(bytes(50_000))
    server.clock.advance(IDLE)
    assert held(server) == 0
    client.send(bytes(10 * BLOCK - FIRST - 150_000))
    assert [answer.status for answer in client.answers("PUT")] == [201]
    assert server.archive.data(7) == bytes(10 * BLOCK)


def test_what_waits_behind_a_request(server: Server) -> None:
    """The request is answered, and the connection closed."""
    server.recalls.place(job_status())
    clients = [pipeline(server.connect(f"10.0.0.{number}")) for number in range(60)]
    assert held(server) < TOTAL + 2 * PIECE
    assert server.site.events["memory"] > 0
    for client in clients:
        client.hang_up()
    assert held(server) == 0


def test_documents_that_are_worked_on(server: Server) -> None:
    """A large one takes many times its size, and is refused where there is no room for it."""
    body = b'{"files": [' + b"[],".join([b""] * 20_000) + b"1]}"
    answer = server.ask("POST", "/jobs", JSON, body=body)
    assert answer.status == 503
    assert "memory" in answer.error["message"]
    assert held(server) == 0


def test_answers_that_are_not_taken(server: Server) -> None:
    """Each is counted until it has been sent."""
    server.recalls.place(job_status(files=2000), *(job_file(each, reason="x" * 30) for each in range(2000)))
    target = "/jobs/" + JOB + "/files?limit=2000"
    clients = []
    for number in range(6):
        client = server.connect(f"10.0.0.{number}")
        client.transport.room = 1
        client.send(compose("GET", target))
        server.finish_work()
        clients.append(client)
    assert TOTAL // 2 < held(server) < TOTAL
    (answer,) = clients[-1].answers()
    assert answer.status == 503
    for client in clients:
        client.hang_up()
    assert held(server) == 0


def test_downloads_through_this_process(server: Server) -> None:
    """What is read ahead of a client that takes nothing counts, and the next is refused before anything is sent."""
    server.archive.place(104, bytes(SMALL + 1))
    clients = []
    for number in range(40):
        client = server.connect(f"10.0.0.{number}")
        client.transport.room = 1
        clients.append(client.send(compose("GET", "/104")))
    assert TOTAL // 2 < held(server) <= TOTAL
    (answer,) = clients[-1].answers()
    assert answer.status == 503
    for client in clients:
        client.hang_up()
    assert held(server) == 0


def test_chunks_that_are_not_looked_at_yet(server: Server) -> None:
    """Where they wait for their turn, they are counted; a route that reads them answers as for any other memory."""
    heads = compose("PUT", "/8", "Transfer-Encoding: chunked")
    clients = [server.connect(f"10.0.0.{number}").send(heads) for number in range(40)]
    for client in clients:
        client.protocol.dataReceived(b"1\r\nx\r\n" * 10_000)  # all in one turn
    assert TOTAL // 2 < held(server) < TOTAL + PIECE
    server.finish_work()
    answers = [answer for client in clients for answer in client.answers("PUT")]
    assert {answer.status for answer in answers} == {503}
    assert 0 < len(answers) < 40
    assert "[limits] memory" in answers[0].error["message"]
    for client in clients:
        client.hang_up()
    assert held(server) == 0
