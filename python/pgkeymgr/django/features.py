"""The features of a database with encrypted columns."""

from typing import Any

from django.db.backends.postgresql import features

from .names import encrypted


class DatabaseFeatures(features.DatabaseFeatures):
    """The features of PostgreSQL, except that a view has no primary key."""

    def allows_group_by_selected_pks_on_model(self, model: Any) -> bool:
        """Return whether GROUP BY may name the primary key alone: not on a view."""
        is_allowed: bool = super().allows_group_by_selected_pks_on_model(model)
        return is_allowed and encrypted(self.connection, model._meta.db_table) is None
