"""An embedded Kafka with TLS, SASL and ACLs: who is not allowed something may not do it."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import trustme
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from streams.dev.kafka import EmbeddedKafka
from streams.dev.loopback import HOST, free_port
from streams.dev.stack import environment
from streams.kafka.access import Operation
from streams.kafka.admin import admin_client
from tests.support.tokens import CLIENT_SECRET, SCOPE, Signer, TokenEndpoint

# Characters that look different in JSON, in URLs and in base64.
PASSWORD = "br0ker+pa$/w0rd"
USERS = (
    "worker",
    "bridge",
    "submit",
    "topics-check",
    "topics-create",
    "topics-adopt",
    "staging",
    "jobs-resubmit",
    "on-call",
    "console",
    "console-actions",
)
# Whoever logs in with a token is cut off after this time, or when the token ends: aiokafka does not log in again.
SESSION_SECONDS = 3
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")


class Resource(IntEnum):
    """Kafka's codes for what an ACL is about."""

    TOPIC = 2
    GROUP = 3
    TRANSACTIONAL_ID = 5


class Pattern(IntEnum):
    """Whether an ACL names one resource or the beginning of names."""

    LITERAL = 3
    PREFIXED = 4


class Acl(NamedTuple):
    """Something that a user may do."""

    resource: Resource
    name: str
    operation: Operation
    pattern: Pattern = Pattern.LITERAL


_ANY, _ALLOW, _EVERY_HOST = 1, 3, "*"


@dataclass(frozen=True)
class SecureKafka:
    """A running one. `bootstrap_servers` is the plaintext listener, where everybody may do everything."""

    bootstrap_servers: str
    sasl_servers: str
    plain_servers: str
    tls_servers: str
    token_servers: str
    signer: Signer
    ca_file: Path
    other_ca_file: Path
    cert_file: Path
    key_file: Path
    data_dir: Path

    def login(self, user: str, mechanism: str = "SCRAM-SHA-512") -> dict[str, str]:
        """Return the variables with which a program logs in as a user, over TLS."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.sasl_servers,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": mechanism,
            "KAFKA_SASL_USERNAME": user,
            "KAFKA_SASL_PASSWORD": PASSWORD,
            "KAFKA_SSL_CA_FILE": str(self.ca_file),
        }

    def plain_login(self, user: str) -> dict[str, str]:
        """Return the variables with which a program logs in by PLAIN, the one way of the listener without TLS."""
        secure = self.login(user, "PLAIN")
        del secure["KAFKA_SSL_CA_FILE"]
        return secure | {"KAFKA_BOOTSTRAP_SERVERS": self.plain_servers, "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}

    def token_login(self, user: str, endpoint: TokenEndpoint) -> dict[str, str]:
        """Return the variables with which a program logs in with a token, as the user that has this client id."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.token_servers,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
            "KAFKA_SASL_OAUTH_TOKEN_URL": endpoint.url,
            "KAFKA_SASL_OAUTH_CLIENT_ID": user,
            "KAFKA_SASL_OAUTH_CLIENT_SECRET": CLIENT_SECRET,
            "KAFKA_SASL_OAUTH_SCOPE": SCOPE,
            "KAFKA_SSL_CA_FILE": str(self.ca_file),
        }

    def certificate(self) -> dict[str, str]:
        """Return the variables with which a program shows its certificate, as the user `worker`."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.tls_servers,
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_SSL_CA_FILE": str(self.ca_file),
            "KAFKA_SSL_CERT_FILE": str(self.cert_file),
            "KAFKA_SSL_KEY_FILE": str(self.key_file),
        }

    async def allow_only(self, user: str, acls: Iterable[Acl]) -> None:
        """Let a user do this and nothing else; returns when the broker goes by it."""
        wanted = set(acls)
        async with admin_client(bootstrap_servers=self.bootstrap_servers) as admin:
            present = await _acls(admin, user)
            for acl in present - wanted:
                await admin._send_request(DeleteAclsRequest(*_fields(user, acl)))
            for acl in wanted - present:
                response = await admin._send_request(CreateAclsRequest(*_fields(user, acl)))
                assert response.creation_responses[0][0] == 0, response
            while await _acls(admin, user) != wanted:
                await asyncio.sleep(0.05)


def _fields(user: str, acl: Acl) -> tuple[Any, ...]:
    return acl.resource, acl.name, acl.pattern, f"User:{user}", _EVERY_HOST, acl.operation, _ALLOW


async def _acls(admin: AIOKafkaAdminClient, user: str) -> set[Acl]:
    request = DescribeAclsRequest(_ANY, None, _ANY, f"User:{user}", None, _ANY, _ANY)
    return {
        Acl(Resource(kind), name, Operation(operation), Pattern(pattern))
        for kind, name, pattern, entries in (await admin._send_request(request)).resources
        for _, _, operation, _ in entries
    }


@contextmanager
def secure_kafka(folder: Path) -> Iterator[SecureKafka]:
    """Run one for the length of the block."""
    authority = trustme.CA()
    server, client = authority.issue_cert(HOST), authority.issue_cert("worker.example", common_name="worker")
    files = {
        "ca.pem": authority.cert_pem.bytes(),
        "other-ca.pem": trustme.CA().cert_pem.bytes(),
        # Kafka reads keys in PKCS #8 only, which trustme does not write.
        "server.pem": _pkcs8(server.private_key_pem.bytes()) + b"".join(c.bytes() for c in server.cert_chain_pems),
        "client.pem": b"".join(c.bytes() for c in client.cert_chain_pems),
        "client-key.pem": client.private_key_pem.bytes(),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    ports = {name: free_port() for name in ("PLAINTEXT", "SASL", "PLAIN", "TLS", "TOKEN", "CONTROLLER")}
    address = {name: f"{HOST}:{port}" for name, port in ports.items()}
    module = "org.apache.kafka.common.security"
    users = " ".join(f'user_{user}="{PASSWORD}"' for user in USERS)
    config = {
        "listeners": ",".join(f"{name}://{where}" for name, where in address.items()),
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,SASL:SASL_SSL,PLAIN:SASL_PLAINTEXT,TLS:SSL,TOKEN:SASL_SSL,CONTROLLER:PLAINTEXT"
        ),
        "controller.quorum.voters": f"1@{address['CONTROLLER']}",
        "inter.broker.listener.name": "PLAINTEXT",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": (folder / "server.pem").as_posix(),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": (folder / "ca.pem").as_posix(),
        "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]*).*$/$1/",
        "listener.name.tls.ssl.client.auth": "required",
        "listener.name.sasl.sasl.enabled.mechanisms": ",".join(SCRAM),
        "listener.name.plain.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.plain.plain.sasl.jaas.config": f"{module}.plain.PlainLoginModule required {users};",
    }
    signer = Signer()
    config |= _token_listener(folder, signer)
    for mechanism in SCRAM:
        login = f"{module}.scram.ScramLoginModule required;"
        config[f"listener.name.sasl.{mechanism.lower()}.sasl.jaas.config"] = login
    options = [
        option
        for user in USERS
        for mechanism in SCRAM
        for option in ("--add-scram", f'{mechanism}=[name={user},password="{PASSWORD}"]')
    ]
    broker = EmbeddedKafka(folder / "broker", port=ports["PLAINTEXT"], config=config, format_options=options)
    # Without these a broker reads keys from nowhere.
    allowed = "org.apache.kafka.sasl.oauthbearer.allowed"
    keys = folder / "keys.json"
    with environment({"JAVA_TOOL_OPTIONS": f"-D{allowed}.urls={keys.as_uri()} -D{allowed}.files={keys}"}):
        broker.start()
    try:
        yield SecureKafka(
            bootstrap_servers=address["PLAINTEXT"],
            sasl_servers=address["SASL"],
            plain_servers=address["PLAIN"],
            tls_servers=address["TLS"],
            token_servers=address["TOKEN"],
            signer=signer,
            ca_file=folder / "ca.pem",
            other_ca_file=folder / "other-ca.pem",
            cert_file=folder / "client.pem",
            key_file=folder / "client-key.pem",
            data_dir=Path(broker.config["log.dirs"]),
        )
    finally:
        broker.stop()


def _token_listener(folder: Path, signer: Signer) -> dict[str, str]:
    """Return the settings of the listener for tokens, checked by Kafka's own validator against the signer's keys."""
    keys = folder / "keys.json"
    keys.write_text(signer.keys)
    listener = "listener.name.token."
    bearer = f"{listener}oauthbearer."
    module = "org.apache.kafka.common.security.oauthbearer"
    return {
        f"{listener}sasl.enabled.mechanisms": "OAUTHBEARER",
        f"{bearer}sasl.jaas.config": f"{module}.OAuthBearerLoginModule required;",
        f"{bearer}sasl.server.callback.handler.class": f"{module}.OAuthBearerValidatorCallbackHandler",
        f"{bearer}connections.max.reauth.ms": str(SESSION_SECONDS * 1000),
        # Its default looks at no signature.
        f"{listener}sasl.oauthbearer.jwt.validator.class": f"{module}.BrokerJwtValidator",
        f"{listener}sasl.oauthbearer.jwks.endpoint.url": keys.as_uri(),
        f"{listener}sasl.oauthbearer.clock.skew.seconds": "0",
    }


def _pkcs8(key: bytes) -> bytes:
    loaded = load_pem_private_key(key, password=None)
    return loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
