"""DDL for models with encrypted columns: it alters the base table, and the view follows."""

from typing import Any

from django.db import transaction
from django.db.backends.postgresql import schema

from ..adapter.ddl import finder, on_base, without_view


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    """Writes DDL for the names that models have, and sends it to the tables that have the columns."""

    def execute(self, sql: Any, params: Any = ()) -> None:
        """Run a statement, on the base table if it is about a table with encrypted columns."""
        # The text is taken before Django puts parameters into it.
        text = str(sql)
        find = finder(self.connection.encrypted_tables)
        around = without_view(text, find)
        if around is None:
            super().execute(on_base(text, find), params)
        else:
            with transaction.atomic(self.connection.alias):
                with self.connection.cursor() as cursor:
                    cursor.execute(around.comments_query)
                    comments = dict(cursor.fetchall())
                super().execute(around.before, None)
                super().execute(on_base(text, find), params)
                for statement in around.after(comments):
                    super().execute(statement, None)
        self.connection.forget_encrypted_tables()
