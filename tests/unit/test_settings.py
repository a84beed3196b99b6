"""What the environment says, and the one line that says what is wrong with it."""

import errno
import os
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from streams.settings import (
    FIELDS,
    MAX_SECONDS,
    PER_ORDER_MAX_SECONDS,
    SECRETS_DIR_VARIABLE,
    BridgeSettings,
    ConsoleSettings,
    LogFormat,
    SaslMechanism,
    SecurityProtocol,
    SettingsError,
    WorkerSettings,
    effective,
    in_force,
    load_settings,
    unknown_variables,
    variable_of,
)
from streams.wire.intake import SUBMISSION_MAX_BYTES
from tests.core.builders import DEADLINES, NOW
from tests.support.settings import only_these, set_all

CALLBACK_SECRET = "callback-s3cret"  # made up
SASL_PASSWORD = "br0ker-pass"  # made up
REQUIRED = {
    "ROBOT_COORDINADORA_URL": "http://robot.example.com:8000",
    "ROBOT_CALLBACK_SECRET": CALLBACK_SECRET,
    "NEXT_PUBLIC_APP_URL": "https://app.example.com",
}
SASL = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "broker-user",
    "KAFKA_SASL_PASSWORD": SASL_PASSWORD,
}

CLIENT_SECRET = "cl1ent-s3cret"  # made up
OAUTH = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
    "KAFKA_SASL_OAUTH_TOKEN_URL": "https://id.example.com/token",
    "KAFKA_SASL_OAUTH_CLIENT_ID": "orchestrator",
    "KAFKA_SASL_OAUTH_CLIENT_SECRET": CLIENT_SECRET,
    "KAFKA_SASL_OAUTH_SCOPE": "kafka",
}
MSK = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "AWS_MSK_IAM",
    "KAFKA_SASL_AWS_REGION": "eu-west-1",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Leave of the environment's settings only those without which nothing starts."""
    only_these(monkeypatch, REQUIRED)
    return monkeypatch


def complaint() -> str:
    with pytest.raises(SettingsError) as raised:
        load_settings(WorkerSettings)
    text = str(raised.value)
    assert "\n" not in text
    assert CALLBACK_SECRET not in text
    assert SASL_PASSWORD not in text
    assert CLIENT_SECRET not in text
    assert not any(word in text for word in ("Input", "Value error", "String", "should"))
    return text


def test_three_variables_are_enough() -> None:
    settings = load_settings(WorkerSettings)
    assert settings.robot_endpoint == "http://robot.example.com:8000/api/crear-pedidos-batch"
    assert settings.callback_url == "https://app.example.com/api/webhooks/robot-callback"
    assert settings.callback_secret.get_secret_value() == CALLBACK_SECRET
    assert settings.deadlines == DEADLINES


def test_a_bridge_needs_the_secret_and_knows_the_former_one(environment: pytest.MonkeyPatch) -> None:
    for name in ("ROBOT_COORDINADORA_URL", "NEXT_PUBLIC_APP_URL"):
        environment.delenv(name)
    settings = load_settings(BridgeSettings)
    assert settings.callback_secrets == (CALLBACK_SECRET,)
    assert (settings.bridge_host, settings.bridge_port, settings.bridge_hold_seconds) == ("127.0.0.1", 8082, 60)
    assert in_force(settings)["ROBOT_CALLBACK_SECRET"] == "**********"
    assert "ROBOT_CALLBACK_SECRET_PREVIOUS" not in in_force(settings)
    environment.setenv("ROBOT_CALLBACK_SECRET_PREVIOUS", "former-s3cret")
    assert load_settings(BridgeSettings).callback_secrets == (CALLBACK_SECRET, "former-s3cret")
    environment.setenv("ROBOT_CALLBACK_SECRET_PREVIOUS", "")
    assert load_settings(BridgeSettings).callback_secrets == (CALLBACK_SECRET,)
    environment.delenv("ROBOT_CALLBACK_SECRET")
    with pytest.raises(SettingsError, match=r"^ROBOT_CALLBACK_SECRET is not set$"):
        load_settings(BridgeSettings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROBOT_CALLBACK_SECRET_PREVIOUS", " s3cret"),
        ("ROBOT_ORCHESTRATOR_BRIDGE_PORT", "65536"),
        ("ROBOT_ORCHESTRATOR_BRIDGE_HOLD_SECONDS", "0"),
        ("ROBOT_ORCHESTRATOR_BRIDGE_HOLD_SECONDS", "1e9"),
    ],
)
def test_a_malformed_variable_of_a_bridge_stops_that_and_no_worker(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: ") as raised:
        load_settings(BridgeSettings)
    assert "s3cret" not in str(raised.value)
    assert load_settings(WorkerSettings)


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("empty", [True, False])
def test_a_missing_or_empty_variable_is_named(environment: pytest.MonkeyPatch, name: str, empty: bool) -> None:
    if empty:
        environment.setenv(name, "")
    else:
        environment.delenv(name)
    assert complaint() == f"{name} is not set"


MALFORMED = {
    "ROBOT_COORDINADORA_URL": ("robot.example.com", "ftp://robot.example.com", "http://"),
    "NEXT_PUBLIC_APP_URL": ("/webhooks", "https://app.example.com:99999"),
    "KAFKA_SECURITY_PROTOCOL": ("TLS",),
    "KAFKA_SASL_MECHANISM": ("GSSAPI",),
    "ROBOT_ORCHESTRATOR_APP_ID": ("two words", "x" * 101),
    "ROBOT_ORCHESTRATOR_TIMEOUT_PER_ORDER_SECONDS": ("-1", "30s", "1e9"),
    "ROBOT_ORCHESTRATOR_TIMEOUT_BASE_SECONDS": ("nan", "inf", "1e9"),
    "ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS": ("0", "1e9"),
    "ROBOT_ORCHESTRATOR_ROBOT_CONCURRENCY": ("0", "1.5"),
    "ROBOT_ORCHESTRATOR_JOBS_PER_WORKSPACE": ("-1",),
    "ROBOT_ORCHESTRATOR_WORKSPACE_PAUSE_SECONDS": ("-0.1", "1e9"),
    "ROBOT_ORCHESTRATOR_SESSION_TIMEOUT_SECONDS": ("0", "nan"),
    "ROBOT_ORCHESTRATOR_RETENTION_SECONDS": ("0", "1e10"),
    "ROBOT_ORCHESTRATOR_DRAIN_SECONDS": ("1e9", "-1"),
    "ROBOT_ORCHESTRATOR_PROBE_PORT": ("65536", "http"),
    "ROBOT_ORCHESTRATOR_LOG_FORMAT": ("xml",),
    "ROBOT_ORCHESTRATOR_LOG_LEVEL": ("trace",),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in MALFORMED.items() for value in values])
def test_a_malformed_variable_is_named_in_one_line(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    assert complaint().startswith(f"{name}: ")


def test_several_malformed_variables_are_all_named_in_one_line(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ROBOT_COORDINADORA_URL", "nowhere")
    environment.setenv("ROBOT_ORCHESTRATOR_ROBOT_CONCURRENCY", "many")
    for name in ("NEXT_PUBLIC_APP_URL", "ROBOT_CALLBACK_SECRET"):
        environment.delenv(name)
    said = [part.partition(":")[0] for part in complaint().split("; ")]
    assert sorted(said) == [
        "NEXT_PUBLIC_APP_URL is not set",
        "ROBOT_CALLBACK_SECRET is not set",
        "ROBOT_COORDINADORA_URL",
        "ROBOT_ORCHESTRATOR_ROBOT_CONCURRENCY",
    ]


def test_every_setting_is_read_from_its_variable(environment: pytest.MonkeyPatch) -> None:
    set_all(environment, SASL)
    for name, value in {
        "KAFKA_BOOTSTRAP_SERVERS": "b1:9092,b2:9092",
        "ROBOT_ORCHESTRATOR_TIMEOUT_PER_ORDER_SECONDS": "0",
        "ROBOT_ORCHESTRATOR_TIMEOUT_BASE_SECONDS": "1.5",
        "ROBOT_ORCHESTRATOR_JOBS_PER_WORKSPACE": "0",
        "ROBOT_ORCHESTRATOR_WORKSPACE_PAUSE_SECONDS": "0",
        "ROBOT_ORCHESTRATOR_LOG_FORMAT": "pretty",
        "ROBOT_ORCHESTRATOR_PROBE_PORT": "0",
    }.items():
        environment.setenv(name, value)
    settings = load_settings(WorkerSettings)
    assert settings.bootstrap_servers == "b1:9092,b2:9092"
    assert settings.security_protocol is SecurityProtocol.SASL_SSL
    assert settings.sasl_mechanism is SaslMechanism.SCRAM_SHA_512
    assert (settings.deadlines.per_order, settings.deadlines.base) == (timedelta(0), timedelta(seconds=1.5))
    assert (settings.jobs_per_workspace, settings.probe_port) == (0, 0)
    assert settings.log_format is LogFormat.PRETTY


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_a_slash_at_the_end_of_an_address_makes_no_difference(environment: pytest.MonkeyPatch, slashes: str) -> None:
    environment.setenv("ROBOT_COORDINADORA_URL", f"http://robot.example.com/base{slashes}")
    environment.setenv("NEXT_PUBLIC_APP_URL", f"http://app.example.com{slashes}")
    settings = load_settings(WorkerSettings)
    assert settings.robot_endpoint == "http://robot.example.com/base/api/crear-pedidos-batch"
    assert settings.callback_url == "http://app.example.com/api/webhooks/robot-callback"


def test_names_of_variables_are_taken_as_they_are_written(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("kafka_bootstrap_servers", "elsewhere:9092")
    assert load_settings(WorkerSettings).bootstrap_servers == "localhost:9092"


def test_secrets_may_lie_in_files_named_as_their_variables(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.delenv("ROBOT_CALLBACK_SECRET")
    environment.setenv(SECRETS_DIR_VARIABLE, str(tmp_path))
    set_all(environment, SASL)
    environment.delenv("KAFKA_SASL_PASSWORD")
    (tmp_path / "ROBOT_CALLBACK_SECRET").write_text("from-a-file\n", encoding="utf-8")
    (tmp_path / "KAFKA_SASL_PASSWORD").write_text(SASL_PASSWORD, encoding="utf-8")
    settings = load_settings(WorkerSettings)
    assert settings.callback_secret.get_secret_value() == "from-a-file"
    assert settings.sasl_password is not None
    assert settings.sasl_password.get_secret_value() == SASL_PASSWORD


@pytest.mark.parametrize("field", [name for name in FIELDS if name.endswith(("ca_file", "cert_file", "key_file"))])
@pytest.mark.parametrize("in_a_file", [True, False])
@pytest.mark.parametrize(
    "key",
    [
        "-----BEGIN PRIVATE KEY-----\nMIIEuwIBADAN\n-----END PRIVATE KEY-----\n",
        " -----BEGIN PRIVATE KEY-----MIIEuwIBADAN",
        "MIIEuwIBADAN" * 100,
    ],
    ids=("PEM", "one line", "no PEM"),
)
def test_a_key_in_the_place_of_its_file_s_name_is_refused_and_shown_nowhere(
    environment: pytest.MonkeyPatch, tmp_path: Path, field: str, in_a_file: bool, key: str
) -> None:
    """A secret's key that is named as the variable is an obvious mistake."""
    name = variable_of(field)
    set_all(environment, OAUTH)
    if in_a_file:
        environment.setenv(SECRETS_DIR_VARIABLE, str(tmp_path))
        (tmp_path / name).write_text(key, encoding="utf-8")
    else:
        environment.setenv(name, key)
    assert complaint() == f"{name}: must be the path of a file, and not what is in it"
    assert "MIIEuwIBADAN" not in str(effective())


@pytest.fixture
def secret_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return where the callback secret is read from: nothing is there yet."""
    environment.delenv("ROBOT_CALLBACK_SECRET")
    environment.setenv(SECRETS_DIR_VARIABLE, str(tmp_path))
    return tmp_path / "ROBOT_CALLBACK_SECRET"


def test_of_a_secret_file_that_cannot_be_used_it_is_said_which_and_why(secret_file: Path) -> None:
    assert complaint() == "ROBOT_CALLBACK_SECRET is not set"
    secret_file.mkdir()
    assert complaint() == f"ROBOT_CALLBACK_SECRET: {secret_file} cannot be read: Is a directory"
    secret_file.rmdir()
    secret_file.symlink_to("nowhere")
    assert complaint() == f"ROBOT_CALLBACK_SECRET: {secret_file} cannot be read: No such file or directory"
    secret_file.unlink()
    secret_file.write_text(" \n", encoding="utf-8")
    assert complaint() == f"ROBOT_CALLBACK_SECRET: {secret_file} is empty"
    # Of the former one it says that there is none any more.
    (secret_file.parent / "ROBOT_CALLBACK_SECRET_PREVIOUS").touch()
    secret_file.write_text(CALLBACK_SECRET, encoding="utf-8")
    assert load_settings(BridgeSettings).callback_secrets == (CALLBACK_SECRET,)
    secret_file.write_bytes(b"\xff" + CALLBACK_SECRET.encode())
    assert complaint() == f"ROBOT_CALLBACK_SECRET: {secret_file} is not text in UTF-8"


def test_a_secret_file_may_be_a_link_to_another_folder(
    secret_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As what replaces a secret lays it: pydantic would pass over it."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret"
    elsewhere.write_text("from-elsewhere\n", encoding="utf-8")
    secret_file.symlink_to(elsewhere)
    assert load_settings(WorkerSettings).callback_secret.get_secret_value() == "from-elsewhere"


def test_who_may_not_read_a_secret_is_told_whom_it_has_to_be_readable_for(
    secret_file: Path, environment: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    secret_file.write_text(CALLBACK_SECRET, encoding="utf-8")
    # Root, as whom tests may run, is refused nothing.
    environment.setattr(Path, "read_bytes", refuse)
    reason = f"Permission denied, as the user with id {os.geteuid()}"
    assert complaint() == f"ROBOT_CALLBACK_SECRET: {secret_file} cannot be read: {reason}"


def test_an_empty_token_opens_nothing(secret_file: Path) -> None:
    token = secret_file.parent / "ROBOT_ORCHESTRATOR_CONSOLE_TOKEN"
    token.touch()
    with pytest.raises(SettingsError, match=r"^ROBOT_ORCHESTRATOR_CONSOLE_TOKEN: .* is empty$"):
        load_settings(ConsoleSettings)


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "cannot be read: No such file or directory"), ("", "is not a folder")]
)
def test_a_folder_of_secrets_that_is_none_is_said_to_be_so(
    environment: pytest.MonkeyPatch, tmp_path: Path, content: str | None, reason: str
) -> None:
    folder = tmp_path / "secrets"
    if content is not None:
        folder.write_text(content, encoding="utf-8")
    environment.setenv(SECRETS_DIR_VARIABLE, str(folder))
    assert complaint() == f"{SECRETS_DIR_VARIABLE}: {folder} {reason}"


def test_a_secret_file_with_a_name_that_is_no_settings_is_named_with_the_nearest_one(secret_file: Path) -> None:
    for name in ("ROBOT_CALBACK_SECRET", "ROBOT_ORCHESTRATOR_QUOTA", "ca.pem", "..data"):
        (secret_file.parent / name).write_text(CALLBACK_SECRET, encoding="utf-8")
    assert unknown_variables() == (
        f"ROBOT_CALBACK_SECRET (a file in {secret_file.parent}) is unknown and ignored "
        "(nearest: ROBOT_CALLBACK_SECRET); "
        f"ROBOT_ORCHESTRATOR_QUOTA (a file in {secret_file.parent}) is unknown and ignored"
    )


def test_the_environment_comes_before_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv(SECRETS_DIR_VARIABLE, str(tmp_path))
    (tmp_path / "ROBOT_CALLBACK_SECRET").write_text("from-a-file", encoding="utf-8")
    assert load_settings(WorkerSettings).callback_secret.get_secret_value() == CALLBACK_SECRET


def test_no_dotenv_file_is_read(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KAFKA_BOOTSTRAP_SERVERS=elsewhere:9092\n", encoding="utf-8")
    environment.chdir(tmp_path)
    assert load_settings(WorkerSettings).bootstrap_servers == "localhost:9092"


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
def test_sasl_needs_to_know_the_way_to_log_in(environment: pytest.MonkeyPatch, protocol: str) -> None:
    environment.setenv("KAFKA_SECURITY_PROTOCOL", protocol)
    assert complaint() == f"KAFKA_SASL_MECHANISM is not set, but KAFKA_SECURITY_PROTOCOL is {protocol}"


LOGINS = {login["KAFKA_SASL_MECHANISM"]: login for login in (SASL, OAUTH, MSK)}
NEEDED = [
    (way, name)
    for way, login in LOGINS.items()
    for name in login
    if name.startswith("KAFKA_SASL") and not name.endswith(("MECHANISM", "SCOPE"))
]


@pytest.mark.parametrize(("way", "part"), NEEDED)
def test_a_way_to_log_in_needs_each_of_its_parts(environment: pytest.MonkeyPatch, way: str, part: str) -> None:
    set_all(environment, LOGINS[way])
    environment.delenv(part)
    assert complaint() == f"{part} is not set, but KAFKA_SASL_MECHANISM is {way}"


@pytest.mark.parametrize("way", LOGINS)
def test_a_part_of_another_way_to_log_in_is_refused(environment: pytest.MonkeyPatch, way: str) -> None:
    for other in LOGINS.values():
        for name in other.keys() - LOGINS[way].keys():
            set_all(environment, LOGINS[way])
            environment.setenv(name, other[name])
            assert complaint() == f"{name} is set, but KAFKA_SASL_MECHANISM is {way}"
            environment.delenv(name)


def test_a_login_with_a_token_reaches_the_kafka_client(environment: pytest.MonkeyPatch) -> None:
    set_all(environment, OAUTH)
    settings = load_settings(WorkerSettings)
    options = settings.kafka_client_options()
    assert options["sasl_mechanism"] == "OAUTHBEARER"
    # One for all clients, so that they share its token.
    assert options["sasl_oauth_token_provider"] is settings.tokens is settings.tokens
    assert not {"sasl_plain_username", "sasl_plain_password"} & options.keys()
    for text in (repr(settings), settings.model_dump_json(), repr(settings.model_dump()), repr(in_force(settings))):
        assert CLIENT_SECRET not in text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_a_token_is_asked_for_without_tls_on_this_machine_only(environment: pytest.MonkeyPatch, host: str) -> None:
    set_all(environment, OAUTH | {"KAFKA_SASL_OAUTH_TOKEN_URL": f"http://{host}:8080/token"})
    assert load_settings(WorkerSettings).tokens is not None
    environment.setenv("KAFKA_SASL_OAUTH_TOKEN_URL", f"http://{host}.example.com/token".replace("[::1]", "one"))
    assert complaint() == "KAFKA_SASL_OAUTH_TOKEN_URL: must begin with https://: a secret is sent there"


def test_a_ca_file_of_the_provider_that_cannot_be_used_is_said_to_be_so(environment: pytest.MonkeyPatch) -> None:
    set_all(environment, OAUTH | {"KAFKA_SASL_OAUTH_CA_FILE": "/nowhere.pem"})
    with pytest.raises(SettingsError, match=r"^KAFKA_SASL_OAUTH_CA_FILE: .* cannot be read: No such file"):
        load_settings(WorkerSettings).kafka_client_options()


def test_amazon_msk_needs_an_extra(environment: pytest.MonkeyPatch) -> None:
    set_all(environment, MSK)
    environment.delitem(sys.modules, "streams.login.aws", raising=False)
    environment.delattr("streams.login.aws", raising=False)
    # What is None there cannot be imported.
    environment.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)
    with pytest.raises(SettingsError) as raised:
        load_settings(WorkerSettings).kafka_client_options()
    assert str(raised.value) == "KAFKA_SASL_MECHANISM: AWS_MSK_IAM needs an extra: install robot-orchestrator[msk]"


@pytest.mark.parametrize(
    ("name", "protocols"),
    [
        *((name, ("PLAINTEXT", "SSL")) for name in SASL if name.startswith("KAFKA_SASL")),
        *((f"KAFKA_SSL_{part}_FILE", ("PLAINTEXT", "SASL_PLAINTEXT")) for part in ("CA", "CERT", "KEY")),
    ],
)
def test_a_setting_that_the_protocol_does_not_use_is_refused(
    environment: pytest.MonkeyPatch, name: str, protocols: tuple[str, ...]
) -> None:
    """Who gives a password expects a login."""
    for protocol in protocols:
        for other, value in SASL.items() if protocol.startswith("SASL") else ():
            environment.setenv(other, value)
        environment.setenv("KAFKA_SECURITY_PROTOCOL", protocol)
        environment.setenv(name, SASL.get(name, "file.pem"))
        assert complaint() == f"{name} is set, but KAFKA_SECURITY_PROTOCOL is {protocol}"


def test_a_key_without_its_certificate_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    environment.setenv("KAFKA_SSL_KEY_FILE", "key.pem")
    assert complaint() == "KAFKA_SSL_KEY_FILE is set, but KAFKA_SSL_CERT_FILE is not"


def test_sasl_and_tls_reach_the_kafka_client(environment: pytest.MonkeyPatch) -> None:
    set_all(environment, SASL)
    options = load_settings(WorkerSettings).kafka_client_options()
    assert options.pop("ssl_context") is not None
    assert options == {
        "bootstrap_servers": "localhost:9092",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "broker-user",
        "sasl_plain_password": SASL_PASSWORD,
    }


def test_without_sasl_and_tls_the_kafka_client_gets_neither() -> None:
    assert load_settings(WorkerSettings).kafka_client_options() == {
        "bootstrap_servers": "localhost:9092",
        "security_protocol": "PLAINTEXT",
        "ssl_context": None,
    }


@pytest.mark.parametrize("name", ["KAFKA_SSL_CA_FILE", "KAFKA_SSL_CERT_FILE", "KAFKA_SSL_KEY_FILE"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "{name}: {file} cannot be read: No such file or directory"),
        ("no certificate", "{name}: .*no certificate.* in PEM"),
    ],
)
def test_a_tls_file_that_cannot_be_used_is_said_to_be_so(
    environment: pytest.MonkeyPatch, tmp_path: Path, name: str, content: str | None, problem: str
) -> None:
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    environment.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    environment.setenv(name, str(file))
    if name == "KAFKA_SSL_KEY_FILE":
        certificate = tmp_path / "certificate.pem"
        trustme.CA().cert_pem.write_to_path(certificate)
        environment.setenv("KAFKA_SSL_CERT_FILE", str(certificate))
        name = "KAFKA_SSL_CERT_FILE, KAFKA_SSL_KEY_FILE"
    with pytest.raises(SettingsError, match=f"^{problem.format(name=name, file=file)}"):
        load_settings(WorkerSettings).kafka_client_options()


def test_no_secret_shows_in_the_settings_repr_text_or_dump(environment: pytest.MonkeyPatch) -> None:
    set_all(environment, SASL)
    settings = load_settings(WorkerSettings)
    for text in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert CALLBACK_SECRET not in text
        assert SASL_PASSWORD not in text


def test_the_effective_settings_say_what_came_from_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.delenv("ROBOT_CALLBACK_SECRET")
    environment.setenv(SECRETS_DIR_VARIABLE, str(tmp_path))
    (tmp_path / "ROBOT_CALLBACK_SECRET").write_text(CALLBACK_SECRET, encoding="utf-8")
    rows = {name: (value, origin) for name, value, origin in effective()[0]}
    assert rows["ROBOT_CALLBACK_SECRET"] == ("**********", f"file in {tmp_path}")


@pytest.mark.parametrize(("robot_timeout", "drain", "expected"), [("", "", 65), ("90", "", 95), ("90", "10", 10)])
def test_a_stop_waits_for_a_call_that_has_just_begun_unless_something_else_is_said(
    environment: pytest.MonkeyPatch, robot_timeout: str, drain: str, expected: float
) -> None:
    environment.setenv("ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS", robot_timeout)
    environment.setenv("ROBOT_ORCHESTRATOR_DRAIN_SECONDS", drain)
    assert load_settings(WorkerSettings).drain_seconds == expected


def test_of_a_malformed_time_out_only_that_is_said(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS", "a minute")
    text = complaint()
    assert text.startswith("ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS: must be a valid number")
    assert ";" not in text


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("DRAIN_SECOND", "ROBOT_ORCHESTRATOR_DRAIN_SECONDS"),
        ("CONCURRENCY", "ROBOT_ORCHESTRATOR_ROBOT_CONCURRENCY"),
        ("WORKSPACE_PAUSE", "ROBOT_ORCHESTRATOR_WORKSPACE_PAUSE_SECONDS"),
        ("SECRET_DIR", "ROBOT_ORCHESTRATOR_SECRETS_DIR"),
        ("CALLBACK_SECRET", "ROBOT_CALLBACK_SECRET"),
        ("BRIDGE_HOLD_SECS", "ROBOT_ORCHESTRATOR_BRIDGE_HOLD_SECONDS"),
        ("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS"),
        ("app_id", None),
        ("QUOTA", None),
    ],
)
def test_a_variable_that_is_no_setting_is_named_with_the_nearest_one(
    environment: pytest.MonkeyPatch, name: str, nearest: str | None
) -> None:
    environment.setenv(f"ROBOT_ORCHESTRATOR_{name}", CALLBACK_SECRET)
    end = f" (nearest: {nearest})" if nearest else ""
    assert unknown_variables() == f"ROBOT_ORCHESTRATOR_{name} is unknown and ignored{end}"
    assert load_settings(WorkerSettings)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
        ("KAFKA_SASL_USER", "KAFKA_SASL_USERNAME"),
        ("KAFKA_SSL_CAFILE", "KAFKA_SSL_CA_FILE"),
        ("KAFKA_SASL_OAUTH_TOKEN_URI", "KAFKA_SASL_OAUTH_TOKEN_URL"),
        ("ROBOT_COORDINADORA_URI", "ROBOT_COORDINADORA_URL"),
        ("ROBOT_CALLBACK_SECRET_PREVIUS", "ROBOT_CALLBACK_SECRET_PREVIOUS"),
    ],
)
def test_what_is_nearly_a_setting_that_has_not_our_prefix_is_named(
    environment: pytest.MonkeyPatch, name: str, nearest: str
) -> None:
    environment.setenv(name, "1")
    assert unknown_variables() == f"{name} is unknown and ignored (nearest: {nearest})"


@pytest.mark.parametrize("name", ["KAFKA_HOME", "KAFKA_OPTS", "KAFKA_HEAP_OPTS", "KAFKA_LOG4J_OPTS", "ROBOT_NAME"])
def test_what_others_have_for_kafka_or_a_robot_is_left_alone(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, "1")
    assert unknown_variables() is None


def test_all_unknown_variables_are_one_line(environment: pytest.MonkeyPatch) -> None:
    for name in ("QUOTA", "APP", "FAIRNESS"):
        environment.setenv(f"ROBOT_ORCHESTRATOR_{name}", "1")
    assert unknown_variables() == (
        "ROBOT_ORCHESTRATOR_APP is unknown and ignored (nearest: ROBOT_ORCHESTRATOR_APP_ID); "
        "ROBOT_ORCHESTRATOR_FAIRNESS is unknown and ignored; ROBOT_ORCHESTRATOR_QUOTA is unknown and ignored"
    )


def test_what_is_known_or_empty_or_not_ours_is_not_called_unknown(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for field in FIELDS:
        environment.setenv(variable_of(field), "1")
    environment.setenv(SECRETS_DIR_VARIABLE, str(tmp_path))
    environment.setenv("ROBOT_ORCHESTRATOR_QUOTA", "")
    environment.setenv("ROBOT_QUOTA", "1")
    assert unknown_variables() is None


def test_the_addresses_that_kubernetes_gives_of_services_named_after_us_are_not_called_unknown(
    environment: pytest.MonkeyPatch,
) -> None:
    for service in ("ROBOT_ORCHESTRATOR", "ROBOT_ORCHESTRATOR_METRICS"):
        for end in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR"):
            environment.setenv(f"{service}_{end}", "10.0.0.1")
    assert unknown_variables() is None
    environment.delenv("ROBOT_ORCHESTRATOR_SERVICE_HOST")
    assert unknown_variables() is not None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "console.example"])
def test_a_console_that_others_could_reach_needs_a_token_or_a_proxy_that_names_people(
    environment: pytest.MonkeyPatch, host: str
) -> None:
    environment.setenv("ROBOT_ORCHESTRATOR_CONSOLE_HOST", host)
    with pytest.raises(SettingsError, match=r"CONSOLE_HOST is .* set ROBOT_ORCHESTRATOR_CONSOLE_TOKEN, or "):
        load_settings(ConsoleSettings)
    rows, problem = effective(ConsoleSettings)
    assert problem is not None
    assert ("ROBOT_ORCHESTRATOR_CONSOLE_HOST", host, "environment") in rows
    for name in ("ROBOT_ORCHESTRATOR_CONSOLE_TOKEN", "ROBOT_ORCHESTRATOR_CONSOLE_USER_HEADER"):
        with environment.context() as given:
            given.setenv(name, "X-User-Who-Has-Logged-In")
            assert load_settings(ConsoleSettings)


def test_the_settings_in_force_are_all_that_have_a_value(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS", "20")
    shown = in_force(load_settings(WorkerSettings))
    assert shown == {name: value for name, value, _ in effective()[0] if value}
    assert shown["ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS"] == "20.0"
    assert shown["ROBOT_ORCHESTRATOR_DRAIN_SECONDS"] == "25.0"
    assert shown["ROBOT_CALLBACK_SECRET"] == "**********"


def test_settings_cannot_be_changed_after_the_start() -> None:
    settings = load_settings(WorkerSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.app_id = "other"


def test_with_the_longest_durations_every_deadline_of_the_largest_submission_is_a_date(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("ROBOT_ORCHESTRATOR_TIMEOUT_PER_ORDER_SECONDS", str(PER_ORDER_MAX_SECONDS))
    for name in ("TIMEOUT_BASE", "ROBOT_TIMEOUT", "WORKSPACE_PAUSE"):
        environment.setenv(f"ROBOT_ORCHESTRATOR_{name}_SECONDS", str(MAX_SECONDS))
    most_orders = SUBMISSION_MAX_BYTES // len('{"itemId":"1","orderId":"1","pedidoInput":{}},')
    deadlines = load_settings(WorkerSettings).deadlines
    deadline = deadlines.after_claim(NOW + deadlines.retention, most_orders)
    assert deadline + deadlines.workspace_pause > NOW


@pytest.mark.parametrize(
    "template",
    [
        "https://bridge.example/{jobId}/{workspaceId}",
        "https://bridge.example/{workspaceId}{jobId}",
        "https://bridge.example/{workspaceId}/{jobId}/",
        "https://bridge.example/{workspaceId}/{jobId}/{workspaceId}/{jobId}",
        "https://{workspaceId}.example/{workspaceId}/{jobId}",
        "https://bridge.example/callback",
        "ftp://bridge.example/{workspaceId}/{jobId}",
        "https://user:password@bridge.example/{workspaceId}/{jobId}",
        "/{workspaceId}/{jobId}",
    ],
)
def test_a_callback_address_that_no_bridge_could_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    monkeypatch.setenv("ROBOT_ORCHESTRATOR_CALLBACK_URL", template)
    with pytest.raises(SettingsError, match="ROBOT_ORCHESTRATOR_CALLBACK_URL"):
        load_settings(WorkerSettings)
