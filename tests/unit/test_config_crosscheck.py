"""What only sections together, or this machine, show to be wrong: each finding by its sentence."""

from __future__ import annotations

import datetime
import re
import resource
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mysqlproxy.config.crosscheck import Findings, crosscheck
from mysqlproxy.config.load import read

MONITOR = '[monitor]\nuser = "monitor"\n'
MANAGER = '[[servers]]\nname = "manager"\naddress = "127.0.0.1:3306"\nrole = "manager"\n'
WORKER = '[[servers]]\nname = "worker1"\naddress = "127.0.0.1:3307"\nrole = "worker"\n'
USER = '[[users]]\nname = "app"\npassword = { env = "MYSQLPROXY_TEST_PASSWORD" }\n'
WHOLE = MONITOR + MANAGER + WORKER + USER


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYSQLPROXY_TEST_PASSWORD", "geheim")


def find(folder: Path, text: str) -> Findings:
    """Findings without the file's name, which each must begin with."""
    file = folder / "mysqlproxy.toml"
    file.write_text(text)
    file.chmod(0o600)
    found = crosscheck(read(file), file)
    for lines in (found.faults, found.warnings):
        assert all(line.startswith(f"{file}: ") for line in lines)
        lines[:] = [line.removeprefix(f"{file}: ") for line in lines]
    return found


def test_nothing_to_say_about_a_good_one(tmp_path: Path) -> None:
    found = find(tmp_path, WHOLE)
    assert (found.faults, found.warnings) == ([], [])


HTTP_TAKEN = "listen.http: 127.0.0.1:9104 is taken by listen.mysql; choose another port"
FAULTS = {
    "[listen]\nprocesses = 0": "listen.processes: only 1 process is supported in this version; write 1",
    "[listen]\nprocesses = 2": "listen.processes: only 1 process is supported in this version; write 1",
    '[listen]\nmysql = ["127.0.0.1:9104"]': HTTP_TAKEN,
    '[listen]\nmysql = ["0.0.0.0:9104"]': HTTP_TAKEN,
    '[listen]\nmysql = ["[::1]:1", "[::1]:1"]': (
        "listen.mysql: [::1]:1 is taken by listen.mysql; choose another port"
    ),
    '[listen]\nmysql = ["unix:/tmp/a", "unix:/tmp/a"]': (
        "listen.mysql: unix:/tmp/a is taken by listen.mysql; choose another port"
    ),
    '[listen]\nmysql = ["::1:6033"]': (
        "listen.mysql: '::1:6033' has several colons; write host:port, [ipv6]:port or unix:/path"
    ),
    '[listen]\nmysql = ["localhost"]': (
        "listen.mysql: 'localhost' has no port; write host:port, [ipv6]:port or unix:/path"
    ),
    '[listen]\nhttp = "unix:/tmp/x"': (
        "listen.http: cannot be a unix socket; write host:port, or an empty text to turn it off"
    ),
    '[limits]\nmax_connections = 1000000000000': (
        "limits.max_connections: 1000000000000 clients and 400 connections to servers need 1000000000464 "
    ),
    '[[servers]]\nname = "manager"\naddress = "h"\nrole = "worker"': (
        "servers[manager].name: is given twice; names are unique"
    ),
    '[[servers]]\nname = "other"\naddress = "h"\nrole = "manager"': (
        'servers: exactly one has the role "manager", and 2 have it: manager, other; make the others "worker"'
    ),
    '[[servers]]\nname = "other"\naddress = "127.0.0.1:3306"\nrole = "worker"': (
        "servers[other].address: 127.0.0.1:3306 is the address of manager, too; each server has its own"
    ),
    '[[servers]]\nname = "other"\naddress = "h:0"\nrole = "worker"': (
        "servers[other].address: 'h:0' has port 0, which no server listens on; "
        "write host:port, [ipv6]:port or unix:/path"
    ),
    '[[servers]]\nname = "other"\naddress = "unix:/run/m.sock"\nrole = "worker"\ntls = "verify"': (
        'servers[other].tls: a unix socket has no host name to verify; write "off"'
    ),
    '[[servers]]\nname = "other"\naddress = "h"\nrole = "worker"\ntls_key = "k"': (
        "servers[other].tls_key: needs tls_certificate beside it; add it"
    ),
    '[[servers]]\nname = "other"\naddress = "h"\nrole = "worker"\ntls_certificate = "k"': (
        "servers[other].tls_certificate: needs tls_key beside it; add it"
    ),
    '[[users]]\nname = "app"\npassword = ""': "users[app].name: is given twice; names are unique",
    '[[users]]\nname = "u"': "users[u]: has neither password nor verifier; add one of them",
    f'[[users]]\nname = "u"\npassword = ""\nverifier = "*{"A" * 40}"': (
        "users[u]: has both password and verifier; leave one of them out"
    ),
    '[[users]]\nname = "u"\nverifier = "*12"': (
        "users[u].verifier: is no mysql_native_password verifier (* and 40 hexadecimal digits); "
        "see mysqlproxy user hash"
    ),
    '[[users]]\nname = "u"\nverifier = "geheim"': (
        "users[u].verifier: begins with neither * nor $; write what mysqlproxy user hash prints"
    ),
    '[[users]]\nname = "u"\nverifier = ""': (
        "users[u].verifier: is empty; write what mysqlproxy user hash prints"
    ),
    '[[users]]\nname = "u"\npassword = { env = "MYSQLPROXY_TEST_NONE" }': (
        "users[u].password: the environment variable MYSQLPROXY_TEST_NONE is not set; set it for the daemon"
    ),
    '[[users]]\nname = "u"\npassword = "a\\u0000b"': (
        "users[u].password: holds a NUL, which no login packet can carry; change the password"
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", FAULTS, ids=range(len(FAULTS)))
def test_each_fault(tmp_path: Path, text: str) -> None:
    found = find(tmp_path, WHOLE + text)
    assert any(fault.startswith(FAULTS[text]) for fault in found.faults), found.faults
    assert len(found.faults) == 1, "one mistake, one sentence"
    assert "geheim" not in "".join(found.faults + found.warnings)


def test_no_manager(tmp_path: Path) -> None:
    found = find(tmp_path, MONITOR + WORKER + USER)
    assert found.faults == [
        'servers: exactly one has the role "manager", and none has it; make the others "worker"'
    ]


@pytest.mark.parametrize("place", ["routing", "user"])
def test_weighted_without_weights(tmp_path: Path, place: str) -> None:
    text = WHOLE.replace('role = "worker"', 'role = "worker"\nweight = 0')
    strategy = 'strategy = "weighted"\n'
    text += strategy if place == "user" else f"[routing]\n{strategy}"
    key = "users[app]" if place == "user" else "routing"
    assert find(tmp_path, text).faults == [
        f"{key}.strategy: is weighted and every worker has weight 0; give one of them a weight above 0"
    ]
    assert find(tmp_path, text.replace("weight = 0", "weight = 1")).faults == []


def test_the_hard_limit_of_open_files_is_what_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, 10464))
    assert find(tmp_path, WHOLE).faults == []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, 10463))
    (fault,) = find(tmp_path, WHOLE).faults
    assert fault.startswith(
        "limits.max_connections: 10000 clients and 400 connections to servers need 10464 open files, "
        "and this system allows 10463; raise the limit"
    )
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, resource.RLIM_INFINITY))
    assert find(tmp_path, WHOLE).faults == []


def test_secret_files(tmp_path: Path) -> None:
    text = MONITOR + MANAGER + WORKER + '[[users]]\nname = "u"\npassword = { file = "secret" }\n'
    file = tmp_path / "secret"
    assert find(tmp_path, text).faults == [
        f"users[u].password: cannot read {file}: No such file or directory; let the daemon's user read it"
    ]
    file.write_text("geheim\n")
    file.chmod(0o640)
    found = find(tmp_path, text)
    assert found.faults == []
    assert found.warnings == [
        f"users[u].password: {file} holds a secret and others than its owner may read it; "
        f"run chmod go-rwx {file}"
    ]
    file.chmod(0o600)
    assert find(tmp_path, text).warnings == []


def test_a_file_with_passwords_in_it_that_all_may_read(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(MONITOR + 'password = "geheim"\n' + MANAGER + WORKER + USER)
    file.chmod(0o644)
    (warning,) = crosscheck(read(file), file).warnings
    assert warning == (
        f"{file}: password: {file} holds a secret and others than its owner may read it; "
        f"run chmod go-rwx {file}"
    )


def test_warnings(tmp_path: Path) -> None:
    text = WHOLE.replace('role = "worker"', 'role = "worker"\ntls_ca = "ca.pem"')
    text += 'max_connections = 20000\n[listen]\nmysql = ["unix:none/mysql.sock"]\n'
    shutil.copy(certificate(tmp_path, "ca")[0], tmp_path / "ca.pem")
    assert find(tmp_path, text).warnings == [
        f"listen.mysql: the folder of {tmp_path}/none/mysql.sock does not exist; "
        "make it before the daemon starts",
        "users[app].max_connections: is above limits.max_connections, 10000, which comes first; lower it",
        'servers[worker1].tls_ca: is not used with tls = "preferred"; write tls = "verify"',
    ]


def certificate(
    folder: Path, name: str, password: bytes | None = None, days: float = 365
) -> tuple[Path, Path]:
    """A self-signed certificate and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.crt", folder / f"{name}.key"
    files[0].write_bytes(built.public_bytes(serialization.Encoding.PEM))
    protect: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        protect = serialization.BestAvailableEncryption(password)
    form = serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, protect))
    files[1].chmod(0o600)
    return files


def test_certificates_of_the_daemon(tmp_path: Path) -> None:
    certificate(tmp_path, "one")
    certificate(tmp_path, "two")
    certificate(tmp_path, "locked", b"phrase")
    (tmp_path / "empty").write_text("")
    tls = '[tls]\ncertificate = "{}"\nkey = "{}"\n'

    def first(cert: str, key: str) -> str:
        found = find(tmp_path, WHOLE + tls.format(cert, key)).faults
        assert len(found) <= 1
        return found[0].replace(f"{tmp_path}/", "") if found else ""

    assert first("one.crt", "one.key") == ""
    assert first("one.crt", "two.key") == (
        "tls.key: two.key is not the key of one.crt; name the two that belong together"
    )
    assert first("one.crt", "none.key") == (
        "tls.key: cannot read none.key: No such file or directory; "
        "name a file that the daemon's user may read"
    )
    assert first("none.crt", "none.key").startswith("tls.certificate: cannot read none.crt: ")
    assert first("locked.crt", "locked.key") == (
        "tls.key: locked.key is protected by a pass phrase; store it without one, readable by the daemon only"
    )
    assert first("empty", "one.key").startswith("tls.certificate: empty holds no usable certificate (")
    assert first("one.crt", "empty").startswith("tls.key: empty holds no usable key (")
    (tmp_path / "one.key").chmod(0o644)
    assert len(find(tmp_path, WHOLE + tls.format("one.crt", "one.key")).warnings) == 1


def test_certificates_that_expire(tmp_path: Path) -> None:
    for name, days in (("old", -1), ("soon", 29), ("long", 31)):
        certificate(tmp_path, name, days=days)
    for several, names in (("chain", ("long", "soon")), ("both", ("old", "long"))):
        (tmp_path / f"{several}.crt").write_bytes(
            b"".join((tmp_path / f"{n}.crt").read_bytes() for n in names)
        )

    def warnings(own: str, ca: str) -> list[str]:
        key = own.replace("chain", "long")
        text = f'[tls]\ncertificate = "{own}.crt"\nkey = "{key}.key"\nclient_ca = "{ca}.crt"\n'
        server = 'role = "worker"\ntls = "verify"\ntls_ca = "both.crt"'
        found = find(tmp_path, WHOLE.replace('role = "worker"', server) + text)
        assert not found.faults
        return [re.sub(r" at 20\d\d-.* UTC;", ";", one.replace(f"{tmp_path}/", "")) for one in found.warnings]

    assert warnings("long", "both") == []  # the CA before the new one is there while they change
    assert warnings("soon", "old") == [
        "tls.certificate: soon.crt expires; renew it and reload",
        "tls.client_ca: old.crt expired; renew it and reload",
    ]
    assert warnings("chain", "long") == ["tls.certificate: chain.crt expires; renew it and reload"]


def test_certificates_towards_servers(tmp_path: Path) -> None:
    certificate(tmp_path, "one")
    certificate(tmp_path, "two")

    def with_worker(text: str) -> Findings:
        return find(tmp_path, WHOLE.replace('role = "worker"', f'role = "worker"\n{text}'))

    good = with_worker('tls = "verify"\ntls_ca = "one.crt"\ntls_certificate = "one.crt"\ntls_key = "one.key"')
    assert (good.faults, good.warnings) == ([], [])
    assert with_worker('tls = "verify"\ntls_ca = "one.key"').faults == [
        f"servers[worker1].tls_ca: {tmp_path}/one.key holds no certificate; "
        "write the authority's certificates in PEM form"
    ]
    assert with_worker('tls = "required"\ntls_certificate = "one.crt"\ntls_key = "two.key"').faults == [
        f"servers[worker1].tls_key: {tmp_path}/two.key is not the key of {tmp_path}/one.crt; "
        "name the two that belong together"
    ]
    assert with_worker('tls = "off"\ntls_certificate = "one.crt"\ntls_key = "one.key"').warnings == [
        'servers[worker1].tls_certificate: is not used with tls = "off"; write "required" or "verify"'
    ]
