"""Addresses of servers: what is one, what is said of what isn't, and that no password shows."""

import pickle

import pytest
from tests.unit.config.reading import WALL, problems, read

from holdfast.config import ServerUrl, check
from holdfast.config.server_url import postgres_url, redis_url

CANARY = "hunter2-canary"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:{}@h/db", "postgresql://u:***@h/db"),
        ("postgres://u:{}@h:5432/db", "postgres://u:***@h:5432/db"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("postgresql://u:{}@h1:5432,[::1]:5433/db?sslmode=require", "postgresql://u:***@h1:5432,[::1]:5433/db?sslmode=require"),
        ("postgresql:///db?host=/tmp&user=u&password={}", "postgresql:///db?host=/tmp&user=u&password=***"),
        ("postgresql://h?dbname=db&sslpassword={}&sslmode=require", "postgresql://h?dbname=db&sslpassword=***&sslmode=require"),
    ],
)  # fmt: skip
def test_a_database_is_shown_without_its_password(url, shown):
    made = postgres_url(url.format(CANARY))
    assert made == shown
    assert made.reveal() == url.format(CANARY)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:{}@redis:6379/0", "redis://:***@redis:6379/0"),
        ("redis://localhost", "redis://localhost"),
        ("rediss://u:{}@h/15?ssl_ca_certs=/etc/ca.pem", "rediss://u:***@h/15?ssl_ca_certs=/etc/ca.pem"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("redis://[::1]:6379", "redis://[::1]:6379"),
    ],
)
def test_redis_is_shown_without_its_password(url, shown):
    made = redis_url(url.format(CANARY))
    assert made == shown
    assert made.reveal() == url.format(CANARY)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:x@h", "names no database"),
        ("postgresql://u:x@h/", "names no database"),
        ("postgresql://u:x@h/a/b", "percent-encode a / as %2F"),
        ("postgresql://u:a/b@h/d", "percent-encode"),
        ("postgresql://u:1/b@h", "percent-encode a / in a password as %2F"),
        ("postgresql://u:a@b@h/d", "percent-encode an @ in a password as %40"),
        ("postgresql://u:a#b@h/d", "percent-encode a # as %23"),
        ("postgresql://u:a%zz@h/d", "write %25 for a % itself"),
        ("postgresql://u:a b@h/d", "it holds spaces"),
        ("postgresql://h:0/d", "its host or port can't be read"),
        ("postgresql://h:65536/d", "its host or port can't be read"),
        ("postgresql://h/d?sslmod=require", "sslmod is no parameter of it; did you mean sslmode?"),
        ("postgresql://h/d?pass%77ord=x", "what follows the ? is no parameter of it"),
    ],
)
def test_what_is_no_database_is_refused(url, said):
    with pytest.raises(ValueError, match="must be") as caught:
        postgres_url(url)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://", "it names no host"),
        ("unix://host", "it names no path"),
        ("unix:///", "it names no path"),
        ("http://h", "must be redis://"),
        ("ä", "must be redis://"),
        ("redis://h:x", "its host or port can't be read"),
        ("redis://h:0", "its host or port can't be read"),
        ("redis://:a/b@h", "percent-encode what is special in a password"),
        ("redis://:1/b@h", "a database's number"),
        ("redis://h/x", "a database's number"),
        ("redis://h#1", "percent-encode a # as %23"),
        ("redis://h?socket_timeout=9", "socket_timeout is no parameter of it"),
        ("rediss://h?ssl_cert_reqs=maybe", "ssl_cert_reqs is required, optional or none"),
        ("redis://h?ssl_ca_certs=/x", "ssl_… are for rediss://"),
    ],
)
def test_what_is_no_redis_is_refused(url, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # what it says is what is tested
        redis_url(url)
    assert said in str(caught.value)


def test_another_password_is_another_address():
    one, other = (ServerUrl(f"redis://:{word}@h") for word in ("a", "b"))
    assert str(one) == str(other)
    assert one != other
    assert one == ServerUrl("redis://:a@h")
    assert one == "redis://:***@h"
    assert len({one, other}) == 2


def test_an_address_does_not_leave_the_process():
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(ServerUrl("redis://:a@h"))


class TestInTheFile:
    def test_a_ledger_that_several_processes_may_write(self):
        config = read(
            '[ledger]\nurl = "${DATABASE_URL}"\n', {"DATABASE_URL": f" postgresql://u:{CANARY}@h/d\n"}
        )
        assert config.ledger.shared
        assert isinstance(config.ledger.url, ServerUrl)
        assert config.ledger.url.reveal() == f"postgresql://u:{CANARY}@h/d"
        assert CANARY not in repr(config)
        assert config.ledger.path == "postgresql://u:***@h/d"

    def test_a_file_is_one_processes(self):
        assert not read("").ledger.shared

    def test_the_environments_redis_goes_over_the_files(self, tmp_path):
        file = tmp_path / "holdfast.toml"
        file.write_text('[redis]\nurl = "${NOWHERE}"\ntimeout_ms = 10\n', encoding="utf-8")
        env = {"REDIS_URL": f"redis://:{CANARY}@redis:6379/0"}
        config = read(file.read_text(encoding="utf-8"), env)
        assert config.redis.url is not None
        assert config.redis.url.reveal() == env["REDIS_URL"]
        assert config.redis.timeout_ms == 10
        report = check(file, env, at_ns=0)
        assert "environment REDIS_URL: limits are shared through redis://:***@redis:6379/0" in report.notes
        assert CANARY not in str(report)

    def test_an_empty_variable_is_none(self):
        assert read("", {"REDIS_URL": " "}).redis.url is None
        assert read('[redis]\nurl = "redis://h"\n', {"REDIS_URL": ""}).redis.url == "redis://h"

    def test_a_variable_that_cant_be_read_is_named_and_not_shown(self):
        (said,) = problems("", {"REDIS_URL": f"http://{CANARY}"})
        assert said.startswith("redis.url: must be redis://")
        assert CANARY not in said

    def test_none_switches_the_files_off(self):
        assert read('[redis]\nurl = "redis://h"\n', {"REDIS_URL": "none"}).redis.url is None

    def test_a_request_waits_at_least_as_long_as_a_command(self):
        (said,) = problems("[redis]\ntimeout_ms = 30\nbudget_ms = 29\n")
        assert said.startswith("redis.budget_ms: must be at least redis.timeout_ms, 30")
        assert read("[redis]\ntimeout_ms = 30\nbudget_ms = 30\n").redis.budget_ms == 30


SEVERAL = '[gateway]\nworkers = 2\n[ledger]\nurl = "postgresql://u@h/d"\n'
ALONE = f"{WALL}[breaker]\nenabled = false\n"


class TestSeveralProcesses:
    def test_are_not_sqlites(self):
        (said,) = problems("[gateway]\nworkers = 2\n")
        assert said.startswith(
            "gateway.workers: must be 1 here: SQLite's file takes one process; for 2 set ledger.url"
        )

    @pytest.mark.parametrize(
        ("text", "shared"),
        [
            (WALL, "circuit breakers (breaker)"),
            (
                f'{ALONE}[routes.r]\ntargets = ["wall/m"]\nbreaker = {{ enabled = true }}\n',
                "circuit breakers",
            ),
            (f"{ALONE}[adaptive]\nenabled = true\n", "adaptive limits (adaptive)"),
            (f"{ALONE}[rate]\nrequests = 5\n", "rate limits of targets (rate)"),
            (f'{ALONE}[models."gpt-*"]\nrate = {{ requests = 5 }}\n', "rate limits of callers"),
        ],
    )
    def test_need_redis_for_what_they_limit_together(self, text, shared):
        (said,) = problems(SEVERAL + text)
        assert said.startswith("gateway.workers: several processes share ")
        assert shared in said
        assert "redis.url" in said
        assert "REDIS_URL" in said
        assert read(SEVERAL + text, {"REDIS_URL": "redis://h"}).gateway.workers == 2

    def test_need_none_where_they_limit_nothing_together(self):
        assert read(SEVERAL + ALONE).gateway.workers == 2

    def test_one_process_needs_none(self):
        assert read(f'{WALL}[ledger]\nurl = "postgresql://u@h/d"\n').gateway.workers == 1
