"""The Kafka of a round: one broker or three, reached by the workers directly or through proxies."""

import asyncio
import os
import resource
import signal
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from random import Random
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest

from streams.dev.kafka import EmbeddedCluster, EmbeddedKafka
from streams.dev.loopback import HOST, free_port
from streams.kafka_admin import admin_client
from streams.names import OUTCOME_TOPICS, Topic, changelog_topic
from streams.settings import Settings
from streams.topics import create_topics, topic_specs
from tests.chaos.proxy import Proxy
from tests.support.worker import freeze

PARTITIONS = 4
# Workers are spread over the links, so that one of them is cut off while others are not.
LINKS = ("LINKA", "LINKB")
CONFIG = {
    # Compaction and the end of an abandoned transaction must happen within a round.
    "log.cleaner.backoff.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}
# So that a topic can be denied for a while. A cluster's brokers would need to be super users, as which all come here.
AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
# Everything but the newest half second of the changelog is compacted at once, and tombstones do not stay.
COMPACTION = {
    "segment.ms": "500",
    "min.cleanable.dirty.ratio": "0.001",
    "max.compaction.lag.ms": "1000",
    "delete.retention.ms": "0",
}
# Kafka's error codes of DeleteGroups that need no other attempt: done, and no such group.
GROUP_IS_GONE = (0, 69)
FULL_DISK_SECONDS = 60.0
RETRY_SECONDS = 0.5
RESET_SECONDS = 40.0
# Kafka's codes of (operation, permission): everything is allowed, and writing is denied.
ACL_RULES = ((2, 3), (4, 2))


class Brokers:
    """Starts, kills and restarts; `links` holds per link one proxy a broker, none without proxies.

    With `moving` the workers have a bootstrap address that leads to the one broker, wherever it listens for them.
    """

    def __init__(self, folder: Path, count: int, *, proxied: bool, moving: bool) -> None:
        self._cluster = EmbeddedCluster(folder, count, config=CONFIG) if count > 1 else None
        self.all = self._cluster.brokers if self._cluster else [EmbeddedKafka(folder, config=CONFIG | AUTHORIZER)]
        self.links: list[list[Proxy]] = [self._add_link(name) for name in LINKS] if proxied else []
        self.bootstrap_servers = ",".join(broker.bootstrap_servers for broker in self.all)
        self._door = Proxy(free_port()) if moving else None
        if self._door is not None:
            self._advertise("DOOR", self.all[0], listener=self._door.target, advertised=self._door.target)
        self._changelog_config: Mapping[str, str] = {}

    def _add_link(self, name: str) -> list[Proxy]:
        proxies = []
        for broker in self.all:
            proxy = Proxy(free_port())
            self._advertise(name, broker, listener=proxy.target, advertised=proxy.port)
            proxies.append(proxy)
        return proxies

    @staticmethod
    def _advertise(name: str, broker: EmbeddedKafka, *, listener: int, advertised: int) -> None:
        """Let a broker listen at one more port, and tell its clients there to come to another."""
        config = broker.config
        config.setdefault("advertised.listeners", f"PLAINTEXT://{broker.bootstrap_servers}")
        config["advertised.listeners"] += f",{name}://{HOST}:{advertised}"
        config["listeners"] += f",{name}://{HOST}:{listener}"
        config["listener.security.protocol.map"] += f",{name}:PLAINTEXT"
        config["inter.broker.listener.name"] = "PLAINTEXT"

    def address(self, worker_number: int) -> str:
        """Return the bootstrap servers for a worker: behind its link, if there are any."""
        if self._door is not None:
            return f"{HOST}:{self._door.port}"
        if not self.links:
            return self.bootstrap_servers
        return ",".join(f"{HOST}:{proxy.port}" for proxy in self.links[worker_number % len(self.links)])

    async def start(self) -> None:
        """Start every broker and proxy."""
        await asyncio.to_thread(self._cluster.start if self._cluster else self.all[0].start)
        for proxy in self.proxies:
            await proxy.start()

    async def stop(self) -> None:
        """End everything at once: nobody reads on."""
        for proxy in self.proxies:
            await proxy.stop()
        for broker in self.all:
            broker.kill()

    @property
    def proxies(self) -> list[Proxy]:
        """Every proxy there is."""
        doors = [] if self._door is None else [self._door]
        return [*doors, *(proxy for link in self.links for proxy in link)]

    async def interrupt(self, rng: Random, *, gently: bool, seconds: float) -> None:
        """Take a broker down, with SIGTERM or kill -9, and bring it back after a while."""
        broker = rng.choice(self.all)
        await asyncio.to_thread(broker.stop if gently else broker.kill)
        await asyncio.sleep(seconds)
        await self._bring_back([broker])

    async def freeze(self, rng: Random, *, seconds: float) -> None:
        """Stop a broker by a signal, and wake it up after a while."""
        broker = rng.choice(self.all)
        freeze(broker.pid)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        await self._until_complete(broker)

    async def fill_disk(self, rng: Random, *, seconds: float) -> None:
        """Let a broker's files grow no more: it gives up by itself. Bring it back a while after that."""
        broker = rng.choice(self.all)
        # As on a full disk a write fails or is cut short; the files that are there are far larger than this.
        resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        async with asyncio.timeout(FULL_DISK_SECONDS):
            while broker.running:
                await asyncio.sleep(RETRY_SECONDS)
        await asyncio.sleep(seconds)
        await self._bring_back([broker])

    async def outage(self, *, seconds: float) -> None:
        """Kill every broker, and bring all of them back after a while."""
        for broker in self.all:
            broker.kill()
        await asyncio.sleep(seconds)
        await self._bring_back(self.all)

    async def move(self, *, seconds: float) -> None:
        """Take the broker down, and bring it back at another port for the workers, behind the same door."""
        assert self._door is not None
        (broker,) = self.all
        await asyncio.to_thread(broker.kill)
        await asyncio.sleep(seconds)
        before, self._door.target = self._door.target, free_port()
        for name in ("listeners", "advertised.listeners"):
            broker.config[name] = broker.config[name].replace(f":{before}", f":{self._door.target}")
        await self._bring_back([broker])

    async def _bring_back(self, brokers: Sequence[EmbeddedKafka]) -> None:
        for broker in brokers:
            broker.launch()
        await self._until_complete(brokers[0])

    async def _until_complete(self, broker: EmbeddedKafka) -> None:
        """Return when a broker knows every one of them as live."""
        everyone = {int(other.config["node.id"]) for other in self.all}
        await asyncio.to_thread(broker.wait_until_ready, everyone)

    async def deny_writes(self, topic: str) -> None:
        """Let nobody write to a topic."""
        async with self._admin() as admin:
            for rule in ACL_RULES:
                _raise_any((await admin._send_request(CreateAclsRequest(*_acl(topic), *rule))).creation_responses)

    async def allow_writes(self, topic: str) -> None:
        """Let everybody write again."""
        async with self._admin() as admin:
            for rule in ACL_RULES:
                _raise_any((await admin._send_request(DeleteAclsRequest(*_acl(topic), *rule))).filter_responses)

    def _admin(self) -> AbstractAsyncContextManager[AIOKafkaAdminClient]:
        return admin_client(bootstrap_servers=self.bootstrap_servers)

    async def create_topics(self, settings: Settings, *, compacted: bool) -> None:
        """Create the topics; completions and outcomes are judged by the time when the broker had them."""
        specs = {spec.name: dict(spec.config) for spec in topic_specs(settings)}
        stamped = [
            NewTopic(
                name,
                PARTITIONS,
                len(self.all),
                topic_configs=specs[name] | {"message.timestamp.type": "LogAppendTime"},
            )
            for name in (Topic.BATCH_COMPLETED, *OUTCOME_TOPICS)
        ]
        async with self._admin() as admin:
            await admin.create_topics(stamped)
        await create_topics(settings, PARTITIONS, len(self.all))
        if compacted:
            self._changelog_config = COMPACTION
            await self.configure(settings, changelog_topic(settings.app_id), {})

    async def configure(self, settings: Settings, name: str, changes: Mapping[str, str]) -> None:
        """Set a topic's configuration to the one it was created with and these changes."""
        config = next(dict(spec.config) for spec in topic_specs(settings) if spec.name == name) | dict(changes)
        if name == changelog_topic(settings.app_id):
            config |= self._changelog_config
        async with self._admin() as admin:
            for response in await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, config)]):
                _raise_any(response.resources)

    async def delete_group(self, group: str) -> None:
        """Delete a group and its offsets, as soon as its last member is gone."""
        give_up = time.monotonic() + RESET_SECONDS
        while True:
            codes = [await asyncio.to_thread(_delete_group, broker.port, group) for broker in self.all]
            if any(code in GROUP_IS_GONE for code in codes):
                return
            if time.monotonic() > give_up:
                raise TimeoutError(f"the group could not be deleted: error codes {codes}")
            await asyncio.sleep(RETRY_SECONDS)


def _acl(topic: str) -> tuple[Any, ...]:
    """Return an ACL's first fields: this very topic, everybody, from everywhere."""
    topic_type, literal = 2, 3
    return topic_type, topic, literal, "User:*", "*"


def _raise_any(answers: Iterable[tuple[Any, ...]]) -> None:
    """Raise the first error of answers that begin with a code and a message."""
    for code, message, *_ in answers:
        if code:
            raise for_code(code)(message)


def _delete_group(port: int, group: str) -> int | None:
    """Send DeleteGroups (version 0), which aiokafka does not have; return its error code, None if nobody answers."""
    api_key, version, correlation_id, no_client_id, one_group = 42, 0, 0, -1, 1
    fields = ((api_key, 2), (version, 2), (correlation_id, 4), (no_client_id, 2), (one_group, 4), (len(group), 2))
    request = b"".join(value.to_bytes(width, "big", signed=True) for value, width in fields) + group.encode()
    try:
        with socket.create_connection((HOST, port), timeout=5) as peer, peer.makefile("rb") as stream:
            peer.sendall(len(request).to_bytes(4, "big") + request)
            body = stream.read(int.from_bytes(stream.read(4), "big"))
    except OSError:
        return None
    # The one group's error code is the last of the answer's fields.
    return int.from_bytes(body[-2:], "big", signed=True) if body else None
