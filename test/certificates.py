"""TLS certificates for the tests: authorities, and what they sign, in files NAME.crt and NAME.key.

They have what RFC 5280 wants of them: since Python 3.13, others are refused.
"""

import subprocess
from pathlib import Path

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl(directory: Path, *arguments: str) -> None:
    """Run openssl in a directory."""
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def make_ca(directory: Path, name: str) -> None:
    """Make a certificate authority."""
    files = ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    openssl(directory, "req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN={name}", *usage, *files)


def make_certificate(directory: Path, name: str, extensions: str, authority: str = "ca") -> None:
    """Make a key, and a certificate of an authority.

    Args:
        directory: where the authority's files are, and these are to be.
        name: theirs, and that of the certificate's subject.
        extensions: of the certificate, as in openssl.cnf.
        authority: the authority's name.
    """
    identifiers = "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid"
    (directory / f"{name}.ext").write_text(f"{extensions}\n{identifiers}\n")
    openssl(directory, "req", *_KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    signer = ["-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", "-CAcreateserial", "-days", "2"]
    files = ["-in", f"{name}.csr", "-out", f"{name}.crt", "-extfile", f"{name}.ext"]
    openssl(directory, "x509", "-req", *files, *signer)
