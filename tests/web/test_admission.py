"""Who is let in: transfers while their bytes flow, look-ups by their files; in sum, and each client with a share."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support import DATA, Answer, Client, Server, compose, serving
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress

from pacarchive import errors
from pacarchive.settings.server import Compatibility
from pacarchive.web.download import SMALL
from pacarchive.web.http.admission import IDLE, Admission, Crowds
from pacarchive.web.http.body import FIRST
from pacarchive.web.http.settings import LimitSettings

JSON = "Content-Type: application/json"
LARGE = bytes(SMALL + 1)


def address(host: str) -> IAddress:
    """The address of a connection."""
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, 1)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that takes two transfers, whoever sends them."""
    with serving(Server(limits=LimitSettings(transfers=2, client_share=100))) as server:
        server.archive.place(102, DATA)
        server.archive.place(103, LARGE)
        yield server


def upload(server: Server, sent: int = FIRST, length: int = 10 * FIRST) -> Client:
    """An upload under way."""
    client = server.connect()
    client.send(compose("PUT", "/7", f"Content-Length: {length}"))
    return client.send(bytes(sent))


def download(server: Server) -> Client:
    """A download that the client does not take."""
    client = server.connect()
    client.transport.room = 1
    client.send(compose("GET", "/103"))
    return client


def refused(answer: Answer) -> bool:
    """Whether there was no room."""
    if answer.status != 503:
        return False
    assert answer.field("Retry-After") == "5"
    assert "[limits] transfers" in answer.error["message"]
    assert "ETag" not in [name for name, _ in answer.fields]
    return True


class TestTransfers:
    @pytest.mark.parametrize("mode", list(Compatibility), ids=lambda mode: mode.value)
    def test_both_directions_are_counted(self, mode: Compatibility) -> None:
        """What has no body, or a small one to send, is not held up."""
        with serving(Server(limits=LimitSettings(transfers=2, client_share=100), compatibility=mode)) as server:
            server.archive.place(102, DATA)
            server.archive.place(103, LARGE)
            first, second = upload(server), download(server)
            assert refused(server.ask("PUT", "/8", body=DATA))
            assert refused(server.ask("GET", "/103"))
            assert server.ask("GET", "/102").body == DATA
            assert server.ask("GET", "/103", "Range: bytes=0-9").status == 206
            assert server.ask("HEAD", "/102").status == 204
            assert server.ask("DELETE", "/9").status in (404, 500)
            first.hang_up()
            assert server.ask("PUT", "/8", body=DATA).status == 201
            second.hang_up()
            for _ in range(5):
                assert server.ask("GET", "/103").status == 200

    def test_a_refusal_costs_no_body(self, server: Server) -> None:
        for _ in range(2):
            upload(server)
        client = server.connect()
        client.send(compose("PUT", "/8", "Expect: 100-continue", "Content-Length: 50000"))
        (answer,) = client.answers("PUT")
        assert (answer.status, answer.closes) == (503, True)

    def test_uploads_that_send_nothing_are_not_counted(self, server: Server) -> None:
        """Any number of them; and whoever sends is let in."""
        idle = [upload(server, sent=sent) for sent in (0, 1, FIRST - 1) for _ in range(20)]
        assert server.site.transfers.shares.held == 0
        assert server.ask("PUT", "/8", body=DATA).status == 201
        uploads = [upload(server), upload(server)]
        assert refused(server.ask("PUT", "/8", body=DATA))
        idle[-1].send(b"x")  # now it is one, and there is no room
        (answer,) = idle[-1].answers("PUT")
        assert refused(answer)
        assert server.archive.data(7) is None
        for each in uploads:
            each.hang_up()
        assert server.site.transfers.shares.held == 0

    def test_uploads_that_come_to_rest_are_not_counted(self, server: Server) -> None:
        """Until they go on: then they have their place, whoever has come meanwhile."""
        rests = [upload(server), upload(server)]
        server.clock.advance(IDLE - 1)
        assert refused(server.ask("PUT", "/8", body=DATA))
        server.clock.advance(1)
        others = [upload(server), upload(server)]
        assert server.site.transfers.shares.held == 2
        for each in rests:
            each.send(bytes(9 * FIRST))
            assert [answer.status for answer in each.answers("PUT")] == [201]
        assert server.site.transfers.shares.held == 2
        for each in others:
            each.hang_up()

    def test_downloads_that_come_to_rest_are_not_counted(self, server: Server) -> None:
        rests = [download(server), download(server)]
        assert refused(server.ask("GET", "/103"))
        server.clock.advance(IDLE)
        assert server.ask("GET", "/103").status == 200
        for each in rests:
            each.transport.room = None
            each.protocol.resumeProducing()
            assert [len(answer.body) for answer in each.answers()] == [len(LARGE)]
        assert server.site.transfers.shares.held == 0

    def test_a_slow_backend_is_not_the_clients_rest(self, server: Server) -> None:
        waiting = server.archive.hold("write")
        upload(server)
        upload(server)
        server.clock.advance(10 * IDLE)
        assert refused(server.ask("PUT", "/8", body=DATA))
        del server.archive.waits["write"]
        waiting.callback(None)


class TestShares:
    @pytest.mark.parametrize(
        ("hosts", "admitted"),
        [
            (["192.0.2.1"] * 9, 2),
            (["2001:db8::1", "2001:db8::2", "2001:db8::3"], 2),
            (["192.0.2.1", "192.0.2.2"] * 3, 4),
            (["127.0.0.1"] * 9, 8),
            (["::1"] * 9, 8),
            (["::ffff:127.0.0.1"] * 9, 8),
        ],
    )
    def test_a_client_has_a_share(self, hosts: list[str], admitted: int) -> None:
        """One address, or network of IPv6; where many come from one address, only the sum counts."""
        admission = Admission("transfers", "[limits] transfers", 8, 25, Crowds(LimitSettings().proxies))
        for number, host in enumerate(hosts):
            if number < admitted:
                admission.enter(address(host))
            else:
                with pytest.raises(errors.Overloaded, match=r"\[limits\] transfers"):
                    admission.enter(address(host))
        assert admission.shares.held == admitted

    def test_a_full_share_leaves_room_for_others(self) -> None:
        admission = Admission("transfers", "[limits] transfers", 8, 25, Crowds(["10.0.0.0/8"]))
        for _ in range(2):
            admission.enter(address("192.0.2.1"))
        with pytest.raises(errors.Overloaded, match="client_share"):
            admission.enter(address("192.0.2.1"))
        for host in ["10.1.2.3"] * 3 + ["192.0.2.2"]:
            admission.enter(address(host))
        for _ in range(2):
            admission.enter(UNIXAddress(b"/run/x"))
        with pytest.raises(errors.Overloaded, match="as it takes"):
            admission.enter(address("192.0.2.3"))

    def test_what_is_larger_than_a_share_is_let_in_alone(self) -> None:
        """Else it could never be done."""
        admission = Admission("files", "[limits] lookups", 100, 25, Crowds([]))
        with admission.enter(address("192.0.2.1"), 60):
            with pytest.raises(errors.Overloaded):
                admission.enter(address("192.0.2.1"))
            admission.enter(address("192.0.2.2"), 40)
        with pytest.raises(errors.Overloaded):
            admission.enter(address("192.0.2.1"), 200)

    def test_a_share_is_one_at_least(self) -> None:
        Admission("transfers", "[limits] transfers", 1, 1, Crowds([])).enter(address("192.0.2.1"))


class TestLookUps:
    @pytest.fixture
    def busy(self) -> Iterator[Server]:
        """A server that looks up 250 files at a time."""
        with serving(Server(limits=LimitSettings(lookups=250, client_share=100))) as server:
            yield server

    def test_plans(self, busy: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that would be too much is refused with words; the next is welcome when there is room."""
        plan = busy.recalls.plan
        waits: list[Deferred[None]] = []

        async def wait(file_ids: list[int]) -> object:
            waits.append(Deferred())
            await waits[-1]
            return await plan(file_ids)

        monkeypatch.setattr(busy.recalls, "plan", wait)
        first = busy.connect().send(_plan(200))
        answer = busy.ask("POST", "/jobs", JSON, body=_body(51))
        assert (answer.status, answer.field("Retry-After")) == (503, "5")
        assert "[limits] lookups" in answer.error["message"]
        second = busy.connect().send(_plan(50))
        for wait_ in waits:
            wait_.callback(None)
        for client in (first, second):
            assert [answer.status for answer in client.answers()] == [200]
        assert busy.site.lookups.shares.held == 0

    @pytest.mark.parametrize(
        ("target", "document"),
        [
            ("/jobs", {"files": ["0-199"]}),
            ("/jobs", {"files": ["0-199"], "dry_run": True}),
            ("/api/v1/archiveinfo", {"paths": [f"/{number}" for number in range(200)]}),
            ("/api/v1/stage", {"files": [{"path": f"/{number}"} for number in range(200)]}),
        ],
    )
    def test_all_that_works_on_many_files(self, busy: Server, target: str, document: object) -> None:
        with busy.site.lookups.enter(None, 100):
            answer = busy.ask("POST", target, JSON, body=json.dumps(document).encode())
            assert (answer.status, answer.field("Retry-After")) == (503, "5")
        client = busy.connect().send(compose("POST", target, JSON, body=json.dumps(document).encode()))
        busy.clock.pump([0] * 20)
        assert [answer.status for answer in client.answers()] == [
            200 if "info" in target or "dry" in str(document) else 201
        ]
        assert busy.site.lookups.shares.held == 0


def _body(files: int) -> bytes:
    return json.dumps({"files": [f"0-{files - 1}"], "dry_run": True}).encode()


def _plan(files: int) -> bytes:
    return compose("POST", "/jobs", JSON, body=_body(files))


class TestQuotas:
    @pytest.mark.parametrize("mode", list(Compatibility), ids=lambda mode: mode.value)
    @pytest.mark.parametrize(
        ("target", "document"), [("/jobs", {"files": [1]}), ("/api/v1/stage", {"files": [{"path": "/1"}]})]
    )
    def test_an_owner_that_has_enough(self, mode: Compatibility, target: str, document: object) -> None:
        """It is told so with a status that its client understands, and when to come back."""
        with serving(Server(compatibility=mode)) as server:
            server.recalls.trouble["submit"] = errors.QuotaReached("You have enough.", retry_after=300)
            answer = server.ask("POST", target, JSON, body=json.dumps(document).encode())
            assert (answer.status, answer.field("Retry-After")) == (429, "300")
            assert b"You have enough." in answer.body
