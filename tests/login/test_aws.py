"""Amazon MSK: what AWS's own signer makes is handed over. There is no AWS here, so no broker has taken it."""

import base64
from urllib.parse import parse_qs, urlsplit

import pytest
from aiokafka.conn import OAuthAuthenticator

from streams.login import aws
from streams.login.tokens import TokenError
from streams.settings import KafkaSettings, load_settings
from tests.support.settings import only_these

KEY_ID, SECRET_KEY = "AKIDEXAMPLE", "an-example-and-no-secret"
MSK = {
    "KAFKA_BOOTSTRAP_SERVERS": "b-1.msk.example:9098",
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "AWS_MSK_IAM",
    "KAFKA_SASL_AWS_REGION": "eu-west-1",
}
# Nothing but what a test gives is looked for, least of all at the address where a cloud's machines learn who they are.
NO_IDENTITY = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    only_these(monkeypatch, MSK)
    for name, value in NO_IDENTITY.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


async def test_a_client_logs_in_with_a_token_of_awss_signer(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    options = load_settings(KafkaSettings).kafka_client_options()
    assert (options["sasl_mechanism"], options["security_protocol"]) == ("OAUTHBEARER", "SASL_SSL")
    login = OAuthAuthenticator(sasl_oauth_token_provider=options["sasl_oauth_token_provider"])
    sent = (await login.step(None))[0].decode()
    token = sent.removeprefix("n,,\x01auth=Bearer ").removesuffix("\x01\x01")
    url = urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    query = parse_qs(url.query)
    assert url.hostname == "kafka.eu-west-1.amazonaws.com"
    assert query["Action"] == ["kafka-cluster:Connect"]
    assert query["X-Amz-Credential"][0].startswith(f"{KEY_ID}/")
    assert SECRET_KEY not in url.geturl()


def test_a_token_lasts_as_long_as_the_signer_says(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    assert 890 < aws.fetch_token("eu-west-1").lifetime_seconds <= 900


def test_without_an_identity_it_is_said_that_there_is_none() -> None:
    with pytest.raises(TokenError, match=r"^no token for Amazon MSK: AWS's chain finds no credentials$") as raised:
        aws.fetch_token("eu-west-1")
    assert raised.value.fields == ("aws_region",)


def test_a_profile_that_is_not_there_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(TokenError, match="nobody"):
        aws.fetch_token("eu-west-1")
