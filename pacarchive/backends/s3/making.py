"""The C{s3} backend, put together."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.ssl import Certificate, platformTrust, trustRootFromCertificates
from twisted.logger import Logger
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS

from pacarchive import errors
from pacarchive.backends.s3.archive import S3Archive
from pacarchive.backends.s3.bucket import Bucket
from pacarchive.backends.s3.connections import Connections
from pacarchive.backends.s3.incoming import Way
from pacarchive.backends.s3.memory import Memory
from pacarchive.backends.s3.move import Mover
from pacarchive.backends.s3.probe import probe, words_of
from pacarchive.backends.s3.recall import Recaller, RecallingArchive
from pacarchive.backends.s3.record import Layout
from pacarchive.backends.s3.records import Records
from pacarchive.backends.s3.request import Addresses
from pacarchive.backends.s3.restore import Restorer
from pacarchive.backends.s3.sending import Wire
from pacarchive.backends.s3.settings import Addressing, S3Settings
from pacarchive.backends.s3.signing import CredentialSource, find_credentials
from pacarchive.backends.s3.store import ObjectStore
from pacarchive.backends.s3.upload import Parting
from pacarchive.interfaces import BackendSettings, IArchiveBackend
from pacarchive.runtime.threads import BlockingPool

_log = Logger()


def make(reactor: Any, settings: BackendSettings) -> IArchiveBackend:
    """Build the backend (L{pacarchive.interfaces.IBackendProvider.make})."""
    own: S3Settings = settings.own
    _, bucket_name, *parts = settings.prefix.parts if len(settings.prefix.parts) > 1 else ("/", "")
    layout = Layout(bucket_name, "".join(f"{part}/" for part in parts))
    url = urlsplit(own.endpoint)
    connections = Connections(reactor, _policy(own), own.connect_timeout, own.idle_connections)
    agent = Agent.usingEndpointFactory(reactor, connections, connections.pool)
    pool = BlockingPool(reactor, "s3-credentials", 1)
    store = ObjectStore(
        Wire(agent, reactor, own.answer_timeout, connections.settled),
        reactor,
        CredentialSource(pool, reactor.seconds, find_credentials(own.access_key, own.secret_key, own.profile)),
        Addresses(url.scheme, url.netloc, bucket_name, own.addressing is Addressing.VIRTUAL),
        own.region,
        most=own.connections,
        retry_for=own.retry_for,
        chance=random.random,
    )
    unsigned = url.scheme == "https" or _is_this_machine(url.hostname or "")
    bucket = Bucket(store, unsigned=unsigned, storage_class=own.storage_class)
    way = Way(
        bucket=bucket,
        records=Records(bucket, layout),
        memory=Memory(own.upload_memory),
        parting=Parting(size=own.part_size, equal=own.equal_parts, in_flight=own.parts_in_flight),
        small=own.small_file,
    )

    async def begin() -> None:
        if not bucket_name:
            raise errors.BackendUnavailable("[server] prefix names no bucket; write /BUCKET or /BUCKET/START-OF-KEYS")
        pool.start()
        try:
            bucket.promises = await probe(bucket, layout.probes)
        except BaseException:
            await end()
            raise
        _log.info("the object store {words}", words=words_of(bucket.promises))
        if not bucket.promises.conditional_put:
            words = "this process is said to be alone" if own.single_node else "nothing can be written"
            _log.warn("the object store ignores conditions: {words}", words=words)
        if own.cold_classes and not bucket.promises.restores:
            _log.warn("the object store knows no restores: files in cold storage classes cannot be recalled")

    async def end() -> None:
        await connections.close()
        pool.stop()

    build: Callable[..., S3Archive] = S3Archive
    if own.cold_classes:
        restorer = Restorer(bucket, own.restore_days, own.restore_tier.word)
        build = partial(RecallingArchive, Recaller(restorer, bucket, way.records, own.cold_classes, own.restore_days))
    return build(
        way,
        Mover(way, settings.move_roots),
        begin=begin,
        end=end,
        algorithms=settings.digests,
        is_alone=own.single_node,
        grace=own.sweep_after,
    )


def _policy(own: S3Settings) -> BrowserLikePolicyForHTTPS:
    """Whose certificates are believed."""
    if own.ca_file is None:
        return BrowserLikePolicyForHTTPS(platformTrust())
    pem = own.ca_file.read_bytes()
    found = [part + _END for part in pem.split(_END) if b"-----BEGIN CERTIFICATE-----" in part]
    return BrowserLikePolicyForHTTPS(trustRootFromCertificates([Certificate.loadPEM(each) for each in found]))


_END = b"-----END CERTIFICATE-----"


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
