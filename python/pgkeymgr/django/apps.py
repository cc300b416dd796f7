"""The application, which registers the lookup ``blind`` for all fields, and the lookups that use search terms."""

from django.apps import AppConfig


class PgkeymgrConfig(AppConfig):
    """Encrypted columns."""

    name = "pgkeymgr.django"
    label = "pgkeymgr"
    verbose_name = "Encrypted columns"

    def ready(self) -> None:
        """Register the lookups."""
        from django.db.models import Field, IntegerField, JSONField

        from .lookups import OF_FIELDS, OF_INTEGERS, JsonContains

        for lookup in OF_FIELDS:
            Field.register_lookup(lookup)
        for lookup in OF_INTEGERS:
            IntegerField.register_lookup(lookup)
        JSONField.register_lookup(JsonContains)
