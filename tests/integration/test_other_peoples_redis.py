"""Test Redis as other people run it: one database, limited users, sockets, TLS, no INFO."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis as blocking_redis
from celery import Celery
from kombu.exceptions import OperationalError

from pool.errors import Fenced, SettingsError, StoreUnavailable
from pool.model.meetings import Meeting
from pool.nudges import broker
from pool.store import Store
from pool.store.broker_rights import check_broker
from pool.store.capabilities import acl, check_redis
from pool.store.records import payload
from pool.up import ports
from tests.any_redis import SECRET_KEY
from tests.bad_settings import attempt

SERVER = shutil.which("redis-server")
OPENSSL = shutil.which("openssl")

pytestmark = pytest.mark.skipif(
    SERVER is None or OPENSSL is None,
    reason="no server or certificates of the system: apt-get install redis-server openssl",
)


@contextmanager
def running(directory: Path, *options: str, port: int) -> Iterator[blocking_redis.Redis]:
    """Run a server with these options, and yield a client of its default user."""
    directory.mkdir(exist_ok=True)
    command = [str(SERVER), "--port", str(port), "--dir", str(directory), "--save", "", *options]
    if "--cluster-enabled" in options:  # the usual port, 10,000 above its own, may be taken
        command += ["--cluster-port", str(ports.choose())]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    client = blocking_redis.Redis(port=port)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                client.ping()
                break
            except blocking_redis.AuthenticationError:
                break
            except blocking_redis.ConnectionError:
                assert time.monotonic() < deadline, (directory / "log").read_text()
                time.sleep(0.02)
        yield client
    finally:
        client.close()
        process.kill()
        process.wait()


def certificates(directory: Path) -> Path:
    """Make an authority and a certificate for localhost. Return their folder."""
    made = directory / "tls"
    made.mkdir()

    def openssl(*arguments: str) -> None:
        subprocess.run([str(OPENSSL), *arguments], cwd=made, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
            "-subj", "/CN=authority")  # fmt: skip
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (made / "names").write_text("subjectAltName=DNS:localhost")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-out", "server.pem", "-days", "2", "-extfile", "names")  # fmt: skip
    return made


class Theirs:
    """A managed Redis: one database, a password, TLS, a socket, and users by ACL."""

    def __init__(
        self, client: blocking_redis.Redis, port: int, tls_port: int, folder: Path
    ) -> None:
        self.client = client
        self.port = port
        self.tls_port = tls_port
        self.folder = folder
        self.plain = f"redis://linkpool-api:PASSWORD@127.0.0.1:{port}/0"
        self.socket = f"unix://linkpool-api:PASSWORD@{folder}/redis.sock"
        self.tls = f"rediss://linkpool-api:PASSWORD@localhost:{tls_port}/0"
        self.authority = f"ssl_ca_certs={folder}/tls/ca.pem"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theirs]:
    folder = tmp_path_factory.mktemp("theirs")
    tls = certificates(folder)
    port, tls_port = ports.choose(), ports.choose()
    options = ["--databases", "1", "--unixsocket", f"{folder}/redis.sock"]
    options += ["--tls-port", str(tls_port), "--tls-auth-clients", "no"]
    for name in ("ca-cert-file ca.pem", "cert-file server.pem", "key-file server.key"):
        option, file = name.split()
        options += [f"--tls-{option}", str(tls / file)]
    with running(folder, *options, port=port) as client:
        for rule in acl():
            client.execute_command(*rule.split())
        yield Theirs(client, port, tls_port, folder)


@pytest.fixture
async def nothing_refused(theirs: Theirs) -> AsyncIterator[None]:
    """Fail the test if the server refused one of linkpool's users anything meanwhile."""
    theirs.client.execute_command("ACL", "LOG", "RESET")
    yield
    assert theirs.client.acl_log() == []


@pytest.mark.usefixtures("nothing_refused")
@pytest.mark.parametrize("kind", ["plain", "socket", "tls"])
async def test_pool_and_broker_share_one_database_with_few_rights(
    theirs: Theirs, kind: str
) -> None:
    """The rules that doctor prints suffice by TCP, by a socket and by TLS."""
    url = getattr(theirs, kind) + (f"?{theirs.authority}" if kind == "tls" else "")
    await check_redis(url)
    await check_broker(url, works=True)
    store = Store.open(url, SECRET_KEY)
    try:
        await store.published.put([Meeting(kind)])
        assert (await store.look([kind]))[0].fence == "fallen"
        with pytest.raises(Fenced):
            await store.claim(kind, [("name", payload("ann"))])
        with pytest.raises(Fenced):
            await store.add(kind, "epoch", ["one-off-1"], 1)
    finally:
        await store.close()
    send_and_receive(url, kind)


def send_and_receive(url: str, text: str) -> None:
    """Send a message through the broker as Celery connects, and take it out again."""
    celery_url, settings = broker(url)
    app = Celery(broker=celery_url, set_as_current=False)
    app.conf.update(settings)
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=5)
        queue = connection.SimpleQueue(f"test-{text}")
        queue.put({"text": text})
        message = queue.get(timeout=5)
        assert message.payload == {"text": text}
        message.ack()
        queue.close()
    app.close()


@pytest.mark.usefixtures("nothing_refused")
def test_beats_own_user_may_send(theirs: Theirs) -> None:
    url = theirs.plain.replace("linkpool-api", "linkpool-beat")
    celery_url, settings = broker(url)
    app = Celery(broker=celery_url, set_as_current=False)
    app.conf.update(settings)
    app.send_task("linkpool.sweep", queue="test-beat", retry=False, ignore_result=True)
    app.close()
    assert theirs.client.llen("lp:broker:test-beat") == 1


async def test_beats_own_user_passes_the_check_of_a_process_that_only_sends(theirs: Theirs) -> None:
    """The same user is refused where messages are to be received."""
    url = theirs.plain.replace("linkpool-api", "linkpool-beat")
    theirs.client.execute_command("ACL", "LOG", "RESET")
    await check_broker(url)
    refused = {each["object"] for each in theirs.client.acl_log()}
    assert refused <= {"info"}, "INFO is useful and not needed"
    with pytest.raises(SettingsError, match="LINKPOOL_BROKER_URL"):
        await check_broker(url, works=True)


async def test_an_unknown_authority_is_refused_by_pool_and_broker_alike(theirs: Theirs) -> None:
    """Neither falls back to a connection that anybody could listen to."""
    with pytest.raises(SettingsError, match="not trusted"):
        await check_redis(theirs.tls)
    with pytest.raises(SettingsError, match="not trusted"):
        await check_broker(theirs.tls)
    with pytest.raises(
        (OperationalError, blocking_redis.ConnectionError), match=r"(?i)certificate"
    ):
        send_and_receive(theirs.tls, "never")
    elsewhere = theirs.tls.replace("localhost", "127.0.0.1") + f"?{theirs.authority}"
    with pytest.raises(SettingsError, match="does not bear this IP address"):
        await check_redis(elsewhere)
    for weaker in ("ssl_cert_reqs=none", f"{theirs.authority}&ssl_check_hostname=false"):
        await check_redis(f"{theirs.tls.replace('localhost', '127.0.0.1')}?{weaker}")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"PASSWORD": "wrong"}, "user or password that this Redis refuses"),
        ({"linkpool-api": "nobody"}, "user or password that this Redis refuses"),
        ({"/0": "/1"}, "names a database that this Redis does not have"),
    ],
)
async def test_a_connection_that_never_will_work_is_named(
    theirs: Theirs, change: dict[str, str], problem: str
) -> None:
    """The error is one line, which names the setting and shows no secret."""
    url = theirs.plain
    for old, new in change.items():
        url = url.replace(old, new)
    with pytest.raises(SettingsError, match=f"LINKPOOL_REDIS_URL: .*{problem}") as raised:
        await check_redis(url)
    assert "PASSWORD" not in str(raised.value)
    with pytest.raises(SettingsError, match=f"LINKPOOL_BROKER_URL: .*{problem}"):
        await check_broker(url)


@pytest.mark.parametrize("words", ["api", "worker", "beat"])
@pytest.mark.parametrize("setting", ["REDIS_URL", "BROKER_URL"])
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("plain", "PASSWORD", "wrong"), "user or password that this Redis refuses"),
        (("plain", "/0", "/1"), "names a database that this Redis does not have"),
        (("tls", "", ""), "not trusted"),
    ],
)
def test_it_ends_the_start_of_every_part(
    theirs: Theirs,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: str,
    setting: str,
    change: tuple[str, str, str],
    problem: str,
) -> None:
    """Beat ends too, which needs Redis only as its broker."""
    monkeypatch.chdir(tmp_path)
    kind, old, new = change
    bad = getattr(theirs, kind)
    bad = bad.replace(old, new) if old else bad
    given = {"LINKPOOL_REDIS_URL": theirs.plain, f"LINKPOOL_{setting}": bad}
    done = attempt(words, given, monkeypatch)
    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert f"LINKPOOL_{setting}: " in done.err
    assert problem in done.err
    assert "PASSWORD" not in done.err


@pytest.mark.parametrize(
    ("command", "rest"),
    [
        ("info", "shows that Redis lost data"),
        ("evalsha", "all claims are scripts"),
        ("script|load", "all claims are scripts"),
        ("time", ""),
        ("zadd", ""),
        ("xadd", ""),
        ("hscan", ""),
        ("unlink", ""),
    ],
)
async def test_a_command_that_is_refused_is_named_at_the_start(
    theirs: Theirs, command: str, rest: str
) -> None:
    """The error has the rule that grants it, before a claim needs the command."""
    rule = acl()[0].replace("linkpool-api", f"without-{command}").replace(f" +{command} ", " ")
    theirs.client.execute_command(*rule.split())
    url = theirs.plain.replace("linkpool-api", f"without-{command}")
    name = command.upper().replace("|", r"\|")
    with pytest.raises(SettingsError, match=rf"may not run .*{name}.*{rest}.*grant .*\+"):
        await check_redis(url)


@pytest.mark.parametrize(
    ("rights", "works", "named"),
    [
        ("+@all -brpop ~lp:* &*", True, r"may not run BRPOP.*grant \+brpop on the keys lp:\*"),
        ("+@all -multi ~lp:* &*", False, "may not run MULTI"),
        ("+@all -lpush ~lp:* &*", False, "may not run LPUSH"),
        ("+@all -zadd ~lp:* &*", True, "may not run ZADD"),
        ("+@all ~other:* &*", False, "may not run SADD, SMEMBERS, EXISTS, LPUSH"),
        ("+@read +@connection %R~* &*", False, "may not run SADD"),
    ],
)
async def test_what_a_broker_refuses_is_named_at_the_start(
    theirs: Theirs, rights: str, works: bool, named: str
) -> None:
    """Without this error a worker would wait for messages for ever and look healthy."""
    if "%R" in rights and int(theirs.client.info("server")["redis_version"].split(".")[0]) < 7:
        rights = rights.replace("%R", "")
    theirs.client.execute_command(
        "ACL", "SETUSER", "some", "reset", "on", ">s3cr3t", *rights.split()
    )
    url = f"redis://some:s3cr3t@127.0.0.1:{theirs.port}/0"
    with pytest.raises(SettingsError, match=f"LINKPOOL_BROKER_URL: .*{named}"):
        await check_broker(url, works=works)
    assert not list(theirs.client.scan_iter("lp:broker:probe*")), "nothing is left"


async def test_without_client_and_config_everything_works(theirs: Theirs) -> None:
    """linkpool sends neither command where it is not allowed."""
    rule = acl()[0].replace("linkpool-api", "plain").replace("+config|get ", "")
    theirs.client.execute_command(*rule.split(), "-client", "-hello", "-config", "-bgrewriteaof")
    url = theirs.plain.replace("linkpool-api", "plain")
    theirs.client.execute_command("ACL", "LOG", "RESET")
    await check_redis(url)
    send_and_receive(url, "plain")
    refused = {each["object"] for each in theirs.client.acl_log()}
    assert not refused & {"client", "config"}, refused


async def test_a_password_that_is_missing_or_not_wanted_is_named(
    theirs: Theirs, tmp_path: Path
) -> None:
    port = ports.choose()
    with running(tmp_path / "own", "--requirepass", "p", port=port):
        with pytest.raises(SettingsError, match="has no password"):
            await check_redis(f"redis://127.0.0.1:{port}")
        with pytest.raises(SettingsError, match="refuses"):
            await check_redis(f"redis://:q@127.0.0.1:{port}")
        await check_redis(f"redis://:p@127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--rename-command", "INFO", ""], "INFO"),
        (["--rename-command", "SCRIPT", ""], r"SCRIPT\|LOAD"),
        (["--cluster-enabled", "yes"], "is a Redis Cluster"),
        (["--maxmemory", "50mb", "--maxmemory-policy", "volatile-lru"], "evicts keys"),
    ],
)
async def test_a_server_that_cannot_hold_claims_is_refused(
    tmp_path: Path, options: list[str], problem: str
) -> None:
    port = ports.choose()
    with (
        running(tmp_path / "own", *options, port=port),
        pytest.raises(SettingsError, match=problem),
    ):
        await check_redis(f"redis://127.0.0.1:{port}")


@contextmanager
def sentinel(directory: Path, master: int) -> Iterator[int]:
    """Run a Sentinel with a password of its own, which knows a master as `main`. Yield its port."""
    port = ports.choose()
    (directory / "sentinel.conf").write_text(
        f"port {port}\nbind 127.0.0.1\ndir {directory}\nlogfile {directory}/sentinel.log\n"
        f"requirepass s3cr3t\nsentinel monitor main 127.0.0.1 {master} 1\n"
    )
    process = subprocess.Popen([str(SERVER), str(directory / "sentinel.conf"), "--sentinel"])
    try:
        deadline = time.monotonic() + 20
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline, (directory / "sentinel.log").read_text()
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()


async def test_sentinels_with_a_password_of_their_own(theirs: Theirs, tmp_path: Path) -> None:
    """An error names the server that refuses, the Sentinel or the Redis."""
    with sentinel(tmp_path, theirs.port) as port:
        url = f"redis+sentinel://linkpool-api:PASSWORD@127.0.0.1:{port}/main/0"
        for given in ("", "?sentinel_password=wrong"):
            with pytest.raises(SettingsError, match="refused by its Sentinels"):
                await check_redis(url + given)
        known = f"{url}?sentinel_password=s3cr3t"
        async with asyncio.timeout(20):
            while True:  # until it has reached the master
                with suppress(StoreUnavailable):
                    await check_redis(known)
                    break
                await asyncio.sleep(0.05)
        with pytest.raises(StoreUnavailable, match="know none that is up"):
            await check_redis(known.replace("/main/", "/mymaster/"))
        with pytest.raises(SettingsError, match="is a Sentinel"):
            await check_redis(f"redis://:s3cr3t@127.0.0.1:{port}")
        with pytest.raises(SettingsError, match="names as Sentinel what is none"):
            await check_redis(f"redis+sentinel://127.0.0.1:{theirs.port}/main")


async def test_a_certificate_that_clients_lack_is_named(theirs: Theirs) -> None:
    url = f"{theirs.tls}?{theirs.authority}"
    theirs.client.config_set("tls-auth-clients", "yes")
    try:
        with pytest.raises(SettingsError, match="wants a certificate of its clients"):
            await check_redis(url)
        tls = f"{theirs.folder}/tls/server"
        await check_redis(f"{url}&ssl_certfile={tls}.pem&ssl_keyfile={tls}.key")
    finally:
        theirs.client.config_set("tls-auth-clients", "no")


async def test_a_server_that_is_no_redis_is_named() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for check in (check_redis, check_broker):
            with pytest.raises(SettingsError, match="leads to a server that is no Redis"):
                await check(f"redis://127.0.0.1:{port}")


async def test_a_server_that_takes_no_writes_does_not_look_well(tmp_path: Path) -> None:
    """It may be a replica that was a master; a start waits for it, and doctor reports it."""
    port = ports.choose()
    with running(tmp_path / "own", "--min-replicas-to-write", "1", port=port) as client:
        url = f"redis://127.0.0.1:{port}"
        with pytest.raises(StoreUnavailable, match="cannot be written to: NOREPLICAS"):
            await check_redis(url)
        client.config_set("min-replicas-to-write", 0)
        client.replicaof("127.0.0.1", 1)
        with pytest.raises(StoreUnavailable, match=r"(?i)read only replica"):
            await check_redis(url)
        with pytest.raises(StoreUnavailable, match=r"(?i)read only replica"):
            await check_broker(url, works=True)


async def test_a_policy_of_eviction_without_a_limit_evicts_nothing(tmp_path: Path) -> None:
    port = ports.choose()
    with running(tmp_path / "own", "--maxmemory-policy", "volatile-lru", port=port) as client:
        await check_redis(f"redis://127.0.0.1:{port}")
        client.config_set("maxmemory", "50mb")
        with pytest.raises(SettingsError, match="evicts keys"):
            await check_redis(f"redis://127.0.0.1:{port}")


async def test_a_server_that_is_away_is_no_wrong_setting(theirs: Theirs) -> None:
    """It may come back, and claims are answered 503 until then."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(StoreUnavailable):
        await check_redis(f"redis://127.0.0.1:{port}")
    with pytest.raises(StoreUnavailable):
        await check_redis(f"unix://{theirs.folder}/none.sock")
