"""Provider ``aws-kms``: root keys in a file, encrypted by a key of AWS KMS that never leaves KMS.

The encryption context is {"pgkeymgr": "root key"}. CloudTrail shows it, and a key policy can require it. boto3
finds the credentials in the instance profile, or in the files and variables of the AWS tools.

Settings: ``key_id``, an ARN, an id or an alias; ``region``; ``endpoint_url``, if it is not AWS's own; ``file``.

Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html and API_Decrypt.html
"""

from collections.abc import Callable
from typing import Any

from ..errors import ProviderError
from .envelope import Envelope, encode, to_base64
from .guard import call_safely, import_extra, silence
from .kept import KeptInFile
from .plain import LINE_BYTES
from .settings import Settings

KIND = "aws-kms"
CONTEXT = {"pgkeymgr": "root key"}
PLAINTEXT_BYTES_MAX = 4096
"""The largest plaintext that KMS encrypts."""
TIMEOUT_SECONDS = 5
ATTEMPTS = 2


class _Kms:
    def __init__(self, key_id: str, region: str | None, endpoint_url: str | None, source: str) -> None:
        self._key_id = key_id
        self._region = region
        self._endpoint_url = endpoint_url
        self._source = source

    def protect(self, text: bytes) -> bytes:
        ciphertext = self._call(
            lambda kms: kms.encrypt(KeyId=self._key_id, Plaintext=text, EncryptionContext=CONTEXT)[
                "CiphertextBlob"
            ]
        )
        return encode(KIND, {"ciphertext": to_base64(ciphertext)})

    def open(self, content: bytes) -> bytes:
        ciphertext = Envelope(content, KIND, self._source).binary("ciphertext")
        return self._call(
            # Without the key's name, KMS would decrypt with any key of the account.
            lambda kms: kms.decrypt(KeyId=self._key_id, CiphertextBlob=ciphertext, EncryptionContext=CONTEXT)[
                "Plaintext"
            ]
        )

    def _call(self, work: Callable[[Any], Any]) -> bytes:
        boto3 = import_extra("boto3", KIND)
        config = import_extra("botocore.config", KIND)
        # At the level DEBUG, these libraries log requests and answers.
        silence("boto3", "botocore", "urllib3")

        def call() -> bytes:
            kms = boto3.session.Session().client(
                "kms",
                region_name=self._region,
                endpoint_url=self._endpoint_url,
                config=config.Config(
                    connect_timeout=TIMEOUT_SECONDS,
                    read_timeout=TIMEOUT_SECONDS,
                    retries={"total_max_attempts": ATTEMPTS},
                ),
            )
            try:
                answer = work(kms)
            finally:
                kms.close()
            if not isinstance(answer, bytes):
                raise TypeError
            return answer

        return call_safely(call, self._describe)

    def _describe(self, error: Exception) -> ProviderError:
        # An error that AWS has answered has a code, such as AccessDeniedException.
        response = getattr(error, "response", None)
        code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
        reason = code if isinstance(code, str) and code.isidentifier() else type(error).__name__
        return ProviderError(
            f"{self._source}: KMS failed: {reason}",
            hint="Check the region, the credentials, the policy and the state of the key, and whether this key "
            "has encrypted the file.",
        )


def from_settings(settings: Settings, ask: Callable[[str], bytes] | None) -> KeptInFile:
    """Return the provider; see ``open_provider``."""
    file, key_id = settings.path("file"), settings.text("key_id")
    region, endpoint = settings.optional_text("region"), settings.optional_address("endpoint_url")
    source = f'the file "{file}", under the AWS KMS key "{key_id}"'
    kms = _Kms(key_id, region, None if endpoint is None else endpoint.geturl(), source)
    return KeptInFile(KIND, source, file, lambda: kms, keys_max=PLAINTEXT_BYTES_MAX // LINE_BYTES)
