"""Settings for Django's own tests: ``django_suite.py`` sets the environment."""

import os

_ENCRYPTED = os.environ["PGK_SUITE"] == "encrypted"


def _database(name: str) -> dict[str, object]:
    return {
        "ENGINE": "pgkeymgr.django" if _ENCRYPTED else "django.db.backends.postgresql",
        "NAME": name,
        "USER": "postgres",
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"],
        "TEST": {"TEMPLATE": "with_pgkeymgr"},
    }


DATABASES = {"default": _database("django"), "other": _database("django2")}
SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "adapters.django_runner.Runner"
