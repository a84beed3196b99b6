"""An address for every job, and the job of every address."""

from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.core.job import JobKey
from streams.wire.callback import CALLBACK_PATH, callback_url, ids_of
from tests.support.builders import NASTY_IDS

TEMPLATE = f"https://bridge.example{CALLBACK_PATH}/{{workspaceId}}/{{jobId}}"
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200) | st.sampled_from(NASTY_IDS)


def path_of(key: JobKey) -> bytes:
    return urlsplit(callback_url(TEMPLATE, *key)).path.encode("ascii")


@given(ids, ids)
@example("{jobId}", "{workspaceId}")
def test_the_address_of_a_job_names_that_job(workspace_id: str, job_id: str) -> None:
    key = JobKey(workspace_id, job_id)
    assert ids_of(path_of(key)) == key


@given(ids, ids)
def test_an_address_has_two_segments_that_nobody_resolves(workspace_id: str, job_id: str) -> None:
    path = path_of(JobKey(workspace_id, job_id)).decode()
    segments = path.removeprefix(f"{CALLBACK_PATH}/").split("/")
    assert len(segments) == 2
    assert not {unquote(segment) for segment in segments} & {".", ".."}
    # A client that escapes an address anew changes nothing.
    assert quote(path, safe="/%~") == path


@given(ids, ids)
def test_what_a_client_escapes_more_than_it_must_is_the_same_job(workspace_id: str, job_id: str) -> None:
    key = JobKey(workspace_id, job_id)
    prefix = f"{CALLBACK_PATH}/"
    segments = path_of(key).decode().removeprefix(prefix).split("/")
    everything = "/".join("".join(f"%{byte:02x}" for byte in unquote(segment).encode()) for segment in segments)
    assert ids_of((prefix + everything).encode()) == key


@pytest.mark.parametrize(
    ("workspace_id", "job_id", "path"),
    [
        ("shop-5", "job-17", "/shop-5/job-17"),
        ("a/b", "c%2Fd", "/a%2Fb/c%252Fd"),
        ("Ñandú", "a b+c", "/%C3%91and%C3%BA/a%20b%2Bc"),
        (".", "..", "/~./~.."),
        ("~", "~.", "/~~/~~."),
        ("...", ".a", "/.../.a"),
    ],
)
def test_an_address_looks_as_documented(workspace_id: str, job_id: str, path: str) -> None:
    assert callback_url(TEMPLATE, workspace_id, job_id) == f"https://bridge.example{CALLBACK_PATH}{path}"


@pytest.mark.parametrize(
    "rest",
    [
        *("", "/", "/w", "/w/", "//j", "/w/j/", "/w/j/k", "s/w/j"),
        *("/w/j%", "/w/j%2", "/w/j%zz", "/w/%ff", "/w/%ED%A0%80", "/~/j"),
        *(f"/w/{'x' * 201}", f"/w/{'%F0%9F%98%80' * 201}"),
    ],
)
def test_a_path_that_names_no_job_is_none(rest: str) -> None:
    assert ids_of((CALLBACK_PATH + rest).encode()) is None


def test_only_a_path_of_callbacks_names_a_job() -> None:
    assert ids_of(b"/w/j") is None
    assert ids_of(f"/base{CALLBACK_PATH}/w/j".encode()) is None
