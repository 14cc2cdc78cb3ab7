"""No message shows a login, a key or a token."""

from __future__ import annotations

import pytest

from embedgate.core.errors import GateError
from embedgate.core.model import resolve
from embedgate.core.secrets import shown_arguments, without_secrets
from embedgate.core.spec import Spec
from embedgate.data.readers import load

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"https://me:{SECRET}@host:80/a", "https://host:80/a"),
        (f"https://{SECRET}@host", "https://host"),
        (f"git+ssh://git:{SECRET}@host/a.git, which", "git+ssh://host/a.git, which"),
        (f"'http://me:{SECRET}@a' and http://b:{SECRET}@c", "'http://a' and http://c"),
        (f"https://host/a?key={SECRET}", "https://host/a?***"),
        (f"https://host/a?key={SECRET}, which", "https://host/a?***, which"),
        (f"https://host?a=1&key={SECRET}#end", "https://host?***#end"),
        ("https://host/org@name and me@host", "https://host/org@name and me@host"),
        ("hub:org/name@0123 and http://[::1]:8080::model=a", "hub:org/name@0123 and http://[::1]:8080::model=a"),
        ("file.csv?score=dup: no?", "file.csv?score=dup: no?"),
    ],
)
def test_urls_are_shown_without_login_and_query(text, shown):
    assert without_secrets(text) == shown


def test_no_message_of_embedgate_has_a_login():
    error = GateError(f"http://me:{SECRET}@host is gone", f"ask https://host/?token={SECRET}")
    assert SECRET not in str(error) + repr(error) + error.cause + error.action + str(error.anew())


@pytest.mark.parametrize("place", [f"https://me:{SECRET}@host/model", f"https://host/model?key={SECRET}"])
@pytest.mark.parametrize("reads", [resolve, load, lambda place: Spec.parse(f"{place}::a=1,b")])
def test_a_url_where_none_is_meant_is_refused_without_its_secret(place, reads):
    with pytest.raises(GateError) as told:
        reads(place)
    assert "://host" in str(told.value)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--rp-api-key", SECRET, "-q"], ["--rp-api-key", "***", "-q"]),
        ([f"--rp-api-key={SECRET}", "suites"], ["--rp-api-key=***", "suites"]),
        (["--slack-token", SECRET], ["--slack-token", "***"]),
        (["--PASSWORD", SECRET], ["--PASSWORD", "***"]),
        (["--secrets", "--gate-report", "out"], ["--secrets", "--gate-report", "out"]),
        ([f"--url=https://me:{SECRET}@host"], ["--url=https://host"]),
        (["--gate-candidate", "http://host::token_env=MINE"], ["--gate-candidate", "http://host::token_env=MINE"]),
        (["-k", "tokens and keeps"], ["-k", "tokens and keeps"]),
        (["-o", f"rp_api_key={SECRET}", "-q"], ["-o", "rp_api_key=***", "-q"]),
        ([f"-orp_api_key={SECRET}"], ["-orp_api_key=***"]),
        ([f"--override-ini=rp_api_key={SECRET}"], ["--override-ini=rp_api_key=***"]),
        ([f"--api_key={SECRET}"], ["--api_key=***"]),
        ([f"--apiKey={SECRET}", f"--ssh-key={SECRET}"], ["--apiKey=***", "--ssh-key=***"]),
        (["--token", f"-{SECRET}", "-q"], ["--token", "***", "-q"]),
        (["--token", f"--{SECRET.upper()}"], ["--token", "***"]),
        ([f"--auth=user:{SECRET}"], ["--auth=***"]),
        (["--db-pass", SECRET, f"--pwd={SECRET}"], ["--db-pass", "***", "--pwd=***"]),
        ([f"--header=Authorization: Bearer {SECRET}"], ["--header=Authorization: ***"]),
        (["--header", f"X-Api-Key:{SECRET}"], ["--header", "X-Api-Key:***"]),
        ([f"--header=bearer {SECRET}"], ["--header=bearer ***"]),
        ([f"--env=TOKEN={SECRET}"], ["--env=TOKEN=***"]),
        (["-e", f"GITHUB_PAT={SECRET}\nmore"], ["-e", "GITHUB_PAT=***"]),
        ([f'--vars={{"a": 1, "token": "{SECRET}"}}'], ['--vars={"a": 1, "token": ***']),
        ([f"--slack-webhook=https://host/{SECRET}"], ["--slack-webhook=***"]),
        (
            ["test_auth.py::TestToken::test_key", "--no-auth", "-vv"],
            ["test_auth.py::TestToken::test_key", "--no-auth", "-vv"],
        ),
        (["--no-auth", "suites"], ["--no-auth", "suites"]),
        (
            ["--gate-candidate=http://token:8080/v1", "--author=me"],
            ["--gate-candidate=http://token:8080/v1", "--author=me"],
        ),
        (["--gate-prompt", "query=Find tokens: "], ["--gate-prompt", "query=Find tokens: "]),
        (["--gate-reason=why", f"--token={SECRET}"], ["--gate-reason=why", "--token=***"]),
        (["-o", f"addopts=-q --token {SECRET}"], ["-o", "addopts=-q --token ***"]),
        ([f"--header=Basic {SECRET}", f"--creds={SECRET}"], ["--header=Basic ***", "--creds=***"]),
        (["-k", "basic and not monkey"], ["-k", "basic and not monkey"]),
        (["--gate-reason=new tokens: all"], ["--gate-reason=new tokens: all"]),
    ],
)
def test_commands_are_shown_without_the_values_of_secrets(arguments, shown):
    assert list(shown_arguments(arguments)) == shown
