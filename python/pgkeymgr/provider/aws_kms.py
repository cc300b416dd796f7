"""Provider ``aws-kms``: root keys in a file, encrypted by a key of AWS KMS, which does not leave there.

The encryption context is {"pgkeymgr": "root key"}: CloudTrail shows it, and a policy can ask for it. Credentials
are those that boto3 finds: an instance profile, or the files and variables of the AWS tools.

Settings: ``key_id``, an ARN, an id or an alias; ``region``; ``endpoint_url``, if it is not AWS's own; ``file``.
"""

from collections.abc import Callable
from typing import Any

from ..errors import ProviderError
from .envelope import Envelope, encode, to_base64
from .guard import guarded, import_extra, silence
from .kept import KeptInFile
from .plain import LINE_BYTES
from .settings import Settings

KIND = "aws-kms"
CONTEXT = {"pgkeymgr": "root key"}
PLAINTEXT_BYTES_MAX = 4096
"""What KMS takes at most: https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html"""
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
            # Another key of the account would be taken without the key's name.
            lambda kms: kms.decrypt(KeyId=self._key_id, CiphertextBlob=ciphertext, EncryptionContext=CONTEXT)[
                "Plaintext"
            ]
        )

    def _call(self, work: Callable[[Any], Any]) -> bytes:
        boto3 = import_extra("boto3", KIND)
        config = import_extra("botocore.config", KIND)
        # At DEBUG, it logs requests and answers.
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

        return guarded(call, self._describe)

    def _describe(self, error: Exception) -> ProviderError:
        # Of an error that AWS has answered, its code: AccessDeniedException, InvalidCiphertextException.
        response = getattr(error, "response", None)
        code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
        reason = code if isinstance(code, str) and code.isidentifier() else type(error).__name__
        return ProviderError(
            f"{self._source}: KMS fails: {reason}",
            hint="Check the region, the credentials, the key's policy and state, and that the file is the key's.",
        )


def from_settings(settings: Settings, ask: Callable[[str], bytes] | None) -> KeptInFile:
    """Make the provider; see ``open_provider``."""
    file, key_id = settings.path("file"), settings.text("key_id")
    region, endpoint = settings.optional_text("region"), settings.optional_address("endpoint_url")
    source = f'the file "{file}", under the AWS KMS key "{key_id}"'
    kms = _Kms(key_id, region, None if endpoint is None else endpoint.geturl(), source)
    return KeptInFile(KIND, source, file, lambda: kms, keys_max=PLAINTEXT_BYTES_MAX // LINE_BYTES)
