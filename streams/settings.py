"""The settings: the only place that knows the names of environment variables."""

import contextlib
import difflib
import ipaddress
import os
import re
import ssl
from collections.abc import Callable, Container, Mapping
from datetime import timedelta
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    AnyHttpUrl,
    BeforeValidator,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from streams.core.deadlines import Deadlines
from streams.names import TOPIC_PREFIX

if TYPE_CHECKING:
    from streams.login.tokens import Token, Tokens

PREFIX = "ROBOT_ORCHESTRATOR_"
# Secrets may lie in files of this folder, named as their variables (the mount point of container secrets).
SECRETS_DIR_VARIABLE = f"{PREFIX}SECRETS_DIR"
# How settings begin. Others have variables that begin with the last two: those are only looked at if they are nearly
# a setting's.
_OURS = (PREFIX, "KAFKA_", "ROBOT_")
_NEARLY = 0.85

_TLS_FIELDS = ("ssl_ca_file", "ssl_cert_file", "ssl_key_file")
MISSING = "missing"
MSK_EXTRA = "robot-orchestrator[msk]"
TOKEN_MIN_LENGTH = 16
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# No environment has a variable of this name, and no folder a file.
_NO_VARIABLE = "/"


class SettingsError(Exception):
    """The settings cannot be used; the text is one line that names the variable.

    `variables` are those that are missing or malformed, each with what is wrong with it.
    """

    def __init__(self, text: str, variables: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.variables = variables or {}


class LogFormat(StrEnum):
    """How log lines look."""

    JSON = "json"
    PRETTY = "pretty"


class LogLevel(StrEnum):
    """The least severe level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class SecurityProtocol(StrEnum):
    """How the connection to Kafka is secured."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"


class SaslMechanism(StrEnum):
    """How we authenticate to Kafka."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"
    AWS_MSK_IAM = "AWS_MSK_IAM"


# What each way to log in needs, and what it may have beside that.
_PASSWORD: tuple[tuple[str, ...], tuple[str, ...]] = (("sasl_username", "sasl_password"), ())
_LOGINS = {
    SaslMechanism.PLAIN: _PASSWORD,
    SaslMechanism.SCRAM_SHA_256: _PASSWORD,
    SaslMechanism.SCRAM_SHA_512: _PASSWORD,
    SaslMechanism.OAUTHBEARER: (
        ("oauth_token_url", "oauth_client_id", "oauth_client_secret"),
        ("oauth_scope", "oauth_ca_file"),
    ),
    SaslMechanism.AWS_MSK_IAM: (("aws_region",), ()),
}
_LOGIN_FIELDS = tuple(dict.fromkeys(name for needed, more in _LOGINS.values() for name in (*needed, *more)))


def _variable(name: str) -> AliasChoices:
    return AliasChoices(name)


def _own(name: str) -> AliasChoices:
    return AliasChoices(f"{PREFIX}{name}")


def _plain_url(url: AnyHttpUrl) -> AnyHttpUrl:
    if url.username or url.password or url.query is not None or url.fragment is not None:
        raise ValueError("must have no credentials, query or fragment")
    return url


def _token_url(url: AnyHttpUrl) -> AnyHttpUrl:
    if url.scheme != "https" and not _is_loopback(url.host or ""):
        raise ValueError("must begin with https://: a secret is sent there")
    return _plain_url(url)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _server_list(servers: str) -> str:
    for server in servers.split(","):
        host, _, port = server.strip().rpartition(":")
        if (
            not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", host)
            or not port.isdigit()
            or not 0 < int(port) < 65536
        ):
            raise ValueError("must be host:port, several separated by commas")
    return servers


def _topic_prefix(prefix: str | None) -> str | None:
    # With a separator at its end it is a word of its own: a right to all of `stag` would be one to `staging.`.
    if prefix is not None and not re.fullmatch(r"[a-zA-Z0-9._-]{0,49}[._-]", prefix):
        raise ValueError(
            "must be up to 50 letters, digits, dots, hyphens and underscores, and end in one of those three"
        )
    if prefix is not None and prefix.endswith("dlq."):
        raise ValueError("must not end in dlq.: its topics would be the dead letters of others")
    if (prefix or "") != TOPIC_PREFIX:
        raise ValueError("must be in the environment when the program is started")
    return prefix


def _with_prefix(app_id: str) -> str:
    return f"{TOPIC_PREFIX}{app_id}"


def _callback_template(template: str) -> str:
    ending = "/{workspaceId}/{jobId}"
    if not template.endswith(ending) or "{" in template.removesuffix(ending):
        # A bridge reads the ids there, in this order.
        raise ValueError(f"must end in {ending}, and have no other braces")
    TypeAdapter(BaseUrl).validate_python(template.removesuffix(ending))
    return template


# Keys are longer; no path is that anybody gives.
_PATH_MAX_LENGTH = 1_000


def _path(given: object) -> object:
    # As where a secret file that has the variable's name has the key: it would be shown wherever the settings are.
    if isinstance(given, str) and ("-----BEGIN" in given or "\n" in given or len(given) > _PATH_MAX_LENGTH):
        raise ValueError("must be the path of a file, and not what is in it")
    return given


def _header_value(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", secret.get_secret_value()):
        raise ValueError("must be printable ASCII, without spaces around it: it travels in an HTTP header")
    return secret


def networks_of(text: str) -> tuple[Network, ...]:
    """Return addresses and networks of a list. Raises ValueError."""
    return tuple(ipaddress.ip_network(one.strip()) for one in text.split(","))


def _network_list(text: str) -> str:
    try:
        networks_of(text)
    except ValueError:
        raise ValueError("must be addresses or networks, separated by commas") from None
    return text


def _token(secret: SecretStr) -> SecretStr:
    if len(_header_value(secret).get_secret_value()) < TOKEN_MIN_LENGTH:
        raise ValueError(f"must have at least {TOKEN_MIN_LENGTH} characters")
    return secret


FilePath = Annotated[Path, BeforeValidator(_path)]
BaseUrl = Annotated[AnyHttpUrl, AfterValidator(_plain_url)]
HeaderSecret = Annotated[SecretStr, AfterValidator(_header_value)]


def is_base_url(text: str) -> bool:
    """Whether a text is an address that a program may be given: with a scheme, and without a login or a query."""
    try:
        TypeAdapter(BaseUrl).validate_python(text)
    except ValidationError:
        return False
    return True


# A day an order: a submission can have 100,000 orders, and its deadline must still be a date.
PER_ORDER_MAX_SECONDS = 86_400
MAX_SECONDS = 365 * 86_400
# A call that has just begun takes its whole time-out, and then its outcome is written down.
DRAIN_MARGIN_SECONDS = 5.0
PositiveSeconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
SecondsPerOrder = Annotated[float, Field(ge=0, le=PER_ORDER_MAX_SECONDS, allow_inf_nan=False)]


class KafkaSettings(BaseSettings):
    """What every program needs that talks to Kafka: the connection, and what the topics' names and retention follow."""

    # A program has use for one kind of settings: the validators of the others are never built. And Python's patterns,
    # since the other engine takes longer to make one of 100 letters than all else here.
    model_config = SettingsConfigDict(
        extra="ignore",
        hide_input_in_errors=True,
        env_ignore_empty=True,
        case_sensitive=True,
        frozen=True,
        regex_engine="python-re",
    )

    bootstrap_servers: Annotated[str, AfterValidator(_server_list)] = Field(
        "localhost:9092", validation_alias=_variable("KAFKA_BOOTSTRAP_SERVERS")
    )
    security_protocol: SecurityProtocol = Field(
        SecurityProtocol.PLAINTEXT, validation_alias=_variable("KAFKA_SECURITY_PROTOCOL")
    )
    sasl_mechanism: SaslMechanism | None = Field(None, validation_alias=_variable("KAFKA_SASL_MECHANISM"))
    sasl_username: str | None = Field(None, validation_alias=_variable("KAFKA_SASL_USERNAME"))
    sasl_password: SecretStr | None = Field(None, validation_alias=_variable("KAFKA_SASL_PASSWORD"))
    oauth_token_url: Annotated[AnyHttpUrl, AfterValidator(_token_url)] | None = Field(
        None, validation_alias=_variable("KAFKA_SASL_OAUTH_TOKEN_URL")
    )
    oauth_client_id: str | None = Field(None, validation_alias=_variable("KAFKA_SASL_OAUTH_CLIENT_ID"))
    oauth_client_secret: SecretStr | None = Field(None, validation_alias=_variable("KAFKA_SASL_OAUTH_CLIENT_SECRET"))
    oauth_scope: str | None = Field(None, validation_alias=_variable("KAFKA_SASL_OAUTH_SCOPE"))
    oauth_ca_file: FilePath | None = Field(None, validation_alias=_variable("KAFKA_SASL_OAUTH_CA_FILE"))
    aws_region: str | None = Field(
        None, validation_alias=_variable("KAFKA_SASL_AWS_REGION"), pattern=r"^[a-z0-9-]{1,40}$"
    )
    ssl_ca_file: FilePath | None = Field(None, validation_alias=_variable("KAFKA_SSL_CA_FILE"))
    ssl_cert_file: FilePath | None = Field(None, validation_alias=_variable("KAFKA_SSL_CERT_FILE"))
    ssl_key_file: FilePath | None = Field(None, validation_alias=_variable("KAFKA_SSL_KEY_FILE"))

    topic_prefix: Annotated[str | None, AfterValidator(_topic_prefix)] = Field(
        None, validation_alias=_own("TOPIC_PREFIX"), validate_default=True
    )
    app_id: Annotated[str, AfterValidator(_with_prefix)] = Field(
        "robot-orchestrator",
        validation_alias=_own("APP_ID"),
        pattern=r"^[a-zA-Z0-9._-]{1,100}\Z",
        validate_default=True,
    )
    # Under two hours the tolerance for producers' clocks would be longer than the table remembers.
    retention_seconds: float = Field(604_800.0, validation_alias=_own("RETENTION_SECONDS"), ge=7200, le=10**9)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is passed by name, then the environment; no .env file is read, and files of secrets by `_read`."""
        return init_settings, env_settings

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context of the connection to Kafka, None without TLS. Raises SettingsError for unusable files."""
        if self.security_protocol not in (SecurityProtocol.SSL, SecurityProtocol.SASL_SSL):
            return None
        context = self._trusting("ssl_ca_file")
        if self.ssl_cert_file is not None:
            names = ", ".join(variable_of(field) for field in ("ssl_cert_file", "ssl_key_file") if getattr(self, field))
            for path in filter(None, (self.ssl_cert_file, self.ssl_key_file)):
                _read_bytes(path, names)
            try:
                # Without a password OpenSSL would ask for one on the terminal.
                context.load_cert_chain(self.ssl_cert_file, self.ssl_key_file, password="")
            except ssl.SSLError as error:
                raise SettingsError(
                    f"{names}: no certificate with its key, in PEM and not encrypted: {error}"
                ) from error
        return context

    def _trusting(self, field: str) -> ssl.SSLContext:
        """Return a context that trusts the authorities in a field's file, without one the system's.

        Raises SettingsError.
        """
        path = getattr(self, field)
        if path is not None:
            _read_bytes(path, variable_of(field))
        try:
            return ssl.create_default_context(cafile=path)
        except ssl.SSLError as error:
            raise SettingsError(f"{variable_of(field)}: {path} has no certificates in PEM: {error}") from error

    @property
    def login_fields(self) -> tuple[str, ...]:
        """The settings that say who we are to Kafka."""
        return () if self.sasl_mechanism is None else _LOGINS[self.sasl_mechanism][0]

    @property
    def tokens(self) -> "Tokens | None":
        """What gives the token of the login to Kafka, one for all clients; None where none is needed.

        Raises SettingsError if the CA file cannot be used, or the extra is missing.
        """
        return self._tokens

    @cached_property
    def _tokens(self) -> "Tokens | None":
        if self.sasl_mechanism not in (SaslMechanism.OAUTHBEARER, SaslMechanism.AWS_MSK_IAM):
            return None
        # Imported here, for who logs in otherwise needs neither an HTTP client nor AWS's packages for it.
        from streams.login.refusals import heed_refusals
        from streams.login.tokens import Tokens

        heed_refusals()
        return Tokens(self._signed() if self.sasl_mechanism is SaslMechanism.AWS_MSK_IAM else self._granted())

    def _signed(self) -> Callable[[], "Token"]:
        try:
            from streams.login import aws
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("aws_msk_iam_sasl_signer", "boto3", "botocore"):
                raise
            text = f"{variable_of('sasl_mechanism')}: {self.sasl_mechanism} needs an extra: install {MSK_EXTRA}"
            raise SettingsError(text) from None
        return partial(aws.fetch_token, str(self.aws_region))

    def _granted(self) -> Callable[[], "Token"]:
        from streams.login import oidc

        tls = self._trusting("oauth_ca_file")
        secret = "" if self.oauth_client_secret is None else self.oauth_client_secret.get_secret_value()
        credentials = oidc.ClientCredentials(
            str(self.oauth_token_url), str(self.oauth_client_id), secret, self.oauth_scope, tls
        )
        return partial(oidc.fetch_token, credentials)

    def kafka_client_options(self) -> dict[str, Any]:
        """Return the connection options that every aiokafka client takes."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol.value,
            "ssl_context": self.ssl_context,
        }
        if self.tokens is not None:
            options |= {
                "sasl_mechanism": SaslMechanism.OAUTHBEARER.value,
                "sasl_oauth_token_provider": self.tokens,
            }
        elif self.sasl_mechanism is not None and self.sasl_password is not None:
            options |= {
                "sasl_mechanism": self.sasl_mechanism.value,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password.get_secret_value(),
            }
        return options


class RuleSettings(KafkaSettings):
    """What decides when a job is called and until when it has time. Durations are seconds, as their names say."""

    timeout_per_order_seconds: SecondsPerOrder = Field(30.0, validation_alias=_own("TIMEOUT_PER_ORDER_SECONDS"))
    timeout_base_seconds: Seconds = Field(300.0, validation_alias=_own("TIMEOUT_BASE_SECONDS"))
    robot_timeout_seconds: PositiveSeconds = Field(60.0, validation_alias=_own("ROBOT_TIMEOUT_SECONDS"))
    jobs_per_workspace: int = Field(1, validation_alias=_own("JOBS_PER_WORKSPACE"), ge=0)
    workspace_pause_seconds: Seconds = Field(5.0, validation_alias=_own("WORKSPACE_PAUSE_SECONDS"))
    patience_seconds: Seconds = Field(0.0, validation_alias=_own("PATIENCE_SECONDS"))

    @property
    def deadlines(self) -> Deadlines:
        """The durations that the core works with."""
        return Deadlines(
            per_order=timedelta(seconds=self.timeout_per_order_seconds),
            base=timedelta(seconds=self.timeout_base_seconds),
            call_timeout=timedelta(seconds=self.robot_timeout_seconds),
            workspace_pause=timedelta(seconds=self.workspace_pause_seconds),
            retention=timedelta(seconds=self.retention_seconds),
            patience=timedelta(seconds=self.patience_seconds),
        )


class ServiceSettings(KafkaSettings):
    """What every program needs that runs until it is stopped."""

    log_format: LogFormat | None = Field(None, validation_alias=_own("LOG_FORMAT"))
    log_level: LogLevel = Field(LogLevel.INFO, validation_alias=_own("LOG_LEVEL"))
    # Of what the program was built from; an image may bring it along.
    revision: str = Field("unknown", validation_alias=_own("REVISION"), pattern=r"^[\w.:@/+-]{1,100}\Z")


class RobotSideSettings(ServiceSettings):
    """What every program needs that the robot talks to."""

    callback_secret: HeaderSecret = Field(validation_alias=_variable("ROBOT_CALLBACK_SECRET"))


class WorkerSettings(RobotSideSettings, RuleSettings):
    """What a worker needs."""

    robot_url: BaseUrl = Field(validation_alias=_variable("ROBOT_COORDINADORA_URL"))
    app_url: BaseUrl = Field(validation_alias=_variable("NEXT_PUBLIC_APP_URL"))

    callback_template: Annotated[str, AfterValidator(_callback_template)] | None = Field(
        None, validation_alias=_own("CALLBACK_URL")
    )
    robot_concurrency: int = Field(32, validation_alias=_own("ROBOT_CONCURRENCY"), ge=1, le=10_000)
    session_timeout_seconds: float = Field(10.0, validation_alias=_own("SESSION_TIMEOUT_SECONDS"), ge=1, le=300)
    drain_seconds: Seconds = Field(
        default_factory=lambda given: min(given["robot_timeout_seconds"] + DRAIN_MARGIN_SECONDS, MAX_SECONDS),
        validation_alias=_own("DRAIN_SECONDS"),
    )
    probe_host: str = Field("127.0.0.1", validation_alias=_own("PROBE_HOST"))
    probe_port: int = Field(8081, validation_alias=_own("PROBE_PORT"), ge=0, le=65535)

    @property
    def robot_endpoint(self) -> str:
        """The address that a batch is POSTed to."""
        return f"{str(self.robot_url).rstrip('/')}/api/crear-pedidos-batch"

    @property
    def robot_health(self) -> str:
        """The address at which somebody answers where there is a robot."""
        return f"{str(self.robot_url).rstrip('/')}/api/health"

    @property
    def callback_url(self) -> str:
        """The address to which the robot reports each order, or the template of it."""
        return self.callback_template or f"{str(self.app_url).rstrip('/')}/api/webhooks/robot-callback"


class BridgeSettings(RobotSideSettings):
    """What a callback bridge needs."""

    # The former secret, while there are still batches at the robot that were called with it.
    callback_secret_previous: HeaderSecret | None = Field(
        None, validation_alias=_variable("ROBOT_CALLBACK_SECRET_PREVIOUS")
    )
    bridge_host: str = Field("127.0.0.1", validation_alias=_own("BRIDGE_HOST"))
    bridge_port: int = Field(8082, validation_alias=_own("BRIDGE_PORT"), ge=0, le=65535)
    bridge_hold_seconds: PositiveSeconds = Field(60.0, validation_alias=_own("BRIDGE_HOLD_SECONDS"))

    @property
    def callback_secrets(self) -> tuple[str, ...]:
        """The secrets by which the robot may show who it is."""
        known = (self.callback_secret, self.callback_secret_previous)
        return tuple(secret.get_secret_value() for secret in known if secret is not None)


class ConsoleSettings(ServiceSettings, RuleSettings):
    """What a console needs. Elsewhere than on this machine it also needs to know who asks: a token, or a header."""

    console_host: str = Field("127.0.0.1", validation_alias=_own("CONSOLE_HOST"))
    console_port: int = Field(8080, validation_alias=_own("CONSOLE_PORT"), ge=0, le=65535)
    console_file: Path = Field(Path("robot-orchestrator-console.sqlite3"), validation_alias=_own("CONSOLE_FILE"))
    console_token: Annotated[SecretStr, AfterValidator(_token)] | None = Field(
        None, validation_alias=_own("CONSOLE_TOKEN")
    )
    # Names the person who asks, as a proxy knows it that has checked who that is.
    console_user_header: str | None = Field(
        None, validation_alias=_own("CONSOLE_USER_HEADER"), pattern=r"^[A-Za-z0-9-]{1,100}\Z"
    )
    # From where the header is believed.
    console_proxies: Annotated[str, AfterValidator(_network_list)] = Field(
        "127.0.0.1,::1", validation_alias=_own("CONSOLE_PROXIES")
    )

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """The addresses from which the header that names a person is believed."""
        return networks_of(self.console_proxies)

    @property
    def console_is_open(self) -> bool:
        """Whether everybody may look who can connect."""
        return self.console_token is None and self.console_user_header is None


Kind = TypeVar("Kind", bound=KafkaSettings)
# Of all programs, each by its name: what two of them have is one field.
FIELDS = WorkerSettings.model_fields | BridgeSettings.model_fields | ConsoleSettings.model_fields


def variable_of(field: str) -> str:
    """Return the environment variable that sets a field."""
    alias = FIELDS[field].validation_alias
    assert isinstance(alias, AliasChoices)  # noqa: S101 # narrows the type; every field is declared that way
    return str(alias.choices[0])


def load_settings(kind: type[Kind]) -> Kind:
    """Return what this process has of one kind of settings.

    Raises SettingsError with one line that names every missing or malformed variable.
    """
    settings = _read(kind)
    _check_security(settings)
    if isinstance(settings, ConsoleSettings):
        _check_guarded(settings)
    return settings


def _check_guarded(settings: ConsoleSettings) -> None:
    """Raise SettingsError for a console that others could reach, and that would not know who asks."""
    if settings.console_is_open and not _is_loopback(settings.console_host):
        raise SettingsError(
            f"{variable_of('console_host')} is {settings.console_host}, which others can reach: set "
            f"{variable_of('console_token')}, or {variable_of('console_user_header')} behind a proxy that sets it"
        )


def _read(kind: type[Kind]) -> Kind:
    try:
        return kind(**_from_files(kind))  # type: ignore[arg-type] # fields come by their variables' names
    except ValidationError as error:
        problems = {
            str(problem["loc"][0]): MISSING if problem["type"] == "missing" else _in_our_words(problem["msg"])
            for problem in error.errors(include_input=False)
            # A default that follows from other settings, one of which is named already.
            if problem["type"] != "default_factory_not_called"
        }
        text = "; ".join(
            f"{name} is not set" if problem == MISSING else f"{name}: {problem}" for name, problem in problems.items()
        )
        raise SettingsError(text, problems) from None


def _from_files(kind: type[KafkaSettings]) -> dict[str, str]:
    """Return what the files of secrets say, by variable: the environment comes first.

    Not by pydantic, which passes over what it cannot read, or says neither which file that is nor why.
    """
    variables = {variable_of(field) for field in kind.model_fields}
    # Without any other one something would be open that is not meant to be.
    may_be_empty = (variable_of("callback_secret_previous"),)
    files = {name: path for name, path in _secret_files().items() if name in variables and not os.environ.get(name)}
    found = {}
    for name, path in files.items():
        try:
            found[name] = _read_bytes(path, name).decode().strip()
        except UnicodeDecodeError:
            # The error would quote the file.
            raise SettingsError(f"{name}: {path} is not text in UTF-8") from None
        if not found[name] and name not in may_be_empty:
            raise SettingsError(f"{name}: {path} is empty")
    return {name: value for name, value in found.items() if value}


def _secret_files() -> dict[str, Path]:
    """Return what lies in the folder of secrets, by name. Raises SettingsError."""
    folder = os.environ.get(SECRETS_DIR_VARIABLE)
    try:
        return {path.name: path for path in sorted(Path(folder).iterdir())} if folder else {}
    except NotADirectoryError:
        raise SettingsError(f"{SECRETS_DIR_VARIABLE}: {folder} is not a folder") from None
    except OSError as error:
        raise SettingsError(f"{SECRETS_DIR_VARIABLE}: {folder} cannot be read: {_why(error)}") from None


def _read_bytes(path: Path, names: str) -> bytes:
    """Return what a file has. Raises SettingsError, with the variables that name it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{names}: {path} cannot be read: {_why(error)}") from None


def _why(error: OSError) -> str:
    """Return why a file cannot be read; who may not wants to know who that is."""
    refused = f", as the user with id {os.geteuid()}" if isinstance(error, PermissionError) else ""
    return f"{error.strerror}{refused}"


def _in_our_words(message: str) -> str:
    """Return pydantic's message as one about a variable."""
    return re.sub(r"^(Value error, |Input |String )", "", message).replace("should", "must", 1)


def _check_security(settings: KafkaSettings) -> None:
    """Raise SettingsError for a setting that the protocol needs and lacks, or that it does not use."""
    protocol = settings.security_protocol
    because = f"but {variable_of('security_protocol')} is {protocol}"
    for fields, used in (
        (("sasl_mechanism", *_LOGIN_FIELDS), protocol.startswith("SASL")),
        (_TLS_FIELDS, protocol.endswith("SSL")),
    ):
        for field in fields:
            if not used and getattr(settings, field) is not None:
                raise SettingsError(f"{variable_of(field)} is set, {because}")
    if protocol.startswith("SASL"):
        _check_login(settings, because)
    if settings.ssl_key_file is not None and settings.ssl_cert_file is None:
        raise SettingsError(f"{variable_of('ssl_key_file')} is set, but {variable_of('ssl_cert_file')} is not")


def _check_login(settings: KafkaSettings, because: str) -> None:
    """Raise SettingsError for a setting that the way to log in needs and lacks, or that it does not use."""
    if settings.sasl_mechanism is None:
        raise SettingsError(f"{variable_of('sasl_mechanism')} is not set, {because}")
    because = f"but {variable_of('sasl_mechanism')} is {settings.sasl_mechanism}"
    needed, more = _LOGINS[settings.sasl_mechanism]
    for field in _LOGIN_FIELDS:
        given = getattr(settings, field) is not None
        if field in needed and not given:
            raise SettingsError(f"{variable_of(field)} is not set, {because}")
        if given and field not in (*needed, *more):
            raise SettingsError(f"{variable_of(field)} is set, {because}")


def unknown_variables() -> str | None:
    """Return one line that names what looks like a setting and is none; None without any.

    That is of our own prefix every variable and every file of secrets, and of the others those that are nearly a
    setting's. They are no error: in a rolling upgrade the former release is given the variables of the newer one as
    well.
    """
    files: set[str] = set()
    # Who needs the folder says that it cannot be read.
    with contextlib.suppress(SettingsError):
        files.update(_secret_files())
    variables = {name for name, value in os.environ.items() if value}
    known = {SECRETS_DIR_VARIABLE, *map(variable_of, FIELDS)}
    # Kubernetes gives each pod the addresses of all services beside it, and one may be named after us.
    services = [name.removesuffix("_SERVICE_HOST") for name in variables if name.endswith("_SERVICE_HOST")]
    links = tuple(f"{service}_{kind}" for service in services for kind in ("SERVICE_", "PORT"))
    by_end = {name.removeprefix(PREFIX): name for name in known}
    lines = []
    for name in sorted((variables | files) - known):
        if name.startswith(links) or not name.startswith(_OURS):
            continue
        if name.startswith(PREFIX):
            near = [by_end[end] for end in difflib.get_close_matches(name.removeprefix(PREFIX), by_end, n=1)]
        elif not (near := difflib.get_close_matches(name, known, n=1, cutoff=_NEARLY)):
            continue
        where = "" if name in variables else f" (a file in {os.environ[SECRETS_DIR_VARIABLE]})"
        lines.append(f"{name}{where} is unknown and ignored" + "".join(f" (nearest: {one})" for one in near))
    return "; ".join(lines) or None


def in_force(settings: ServiceSettings) -> dict[str, str]:
    """Return the settings as they are, by variable, those with a default too, secrets masked."""
    return {variable_of(field): str(value) for field, value in settings if value is not None}


def effective(kind: type[ServiceSettings] = WorkerSettings) -> tuple[list[tuple[str, str, str]], SettingsError | None]:
    """Return (variable, value, origin) of every setting of a program, secrets masked, and why it cannot start or None.

    What is missing or malformed has no value, and what is wrong with it in place of the origin. Raises SettingsError if
    the files of secrets cannot be read.
    """
    problem: SettingsError | None = None
    try:
        load_settings(kind)
    except SettingsError as error:
        problem = error
    unusable = problem.variables if problem else {}
    settings = _read(_without(kind, unusable))
    rows = []
    for field in kind.model_fields:
        variable = variable_of(field)
        value = getattr(settings, field)
        if variable in unusable:
            value, origin = None, unusable[variable]
        elif os.environ.get(variable):
            origin = "environment"
        elif field in settings.model_fields_set:
            origin = f"file in {os.environ[SECRETS_DIR_VARIABLE]}"
        else:
            origin = "default"
        rows.append((variable, "" if value is None else str(value), origin))
    return rows, problem


def _without(kind: type[Kind], variables: Container[str]) -> type[Kind]:
    """Return a kind of settings that some variables cannot set: those fields have their defaults, or None."""
    fields = {
        field: (Any, Field(None if info.default is PydanticUndefined else info.default, validation_alias=_NO_VARIABLE))
        for field, info in kind.model_fields.items()
        if variable_of(field) in variables
    }
    return create_model("Readable", __base__=kind, **fields)  # type: ignore[call-overload, no-any-return] # dict
