"""How the clinic's tests are run: in the database that is there, made by ``migrate`` before."""

from django.test.runner import DiscoverRunner

from application.recording import RecordingResult


class ExistingDatabaseRunner(DiscoverRunner):
    """Makes no test database: the role of the application may not, and the tables are to be those it has."""

    def setup_databases(self, **kwargs: object) -> list[object]:
        """Make nothing."""
        return []

    def teardown_databases(self, old_config: list[object], **kwargs: object) -> None:
        """Drop nothing."""

    def get_resultclass(self) -> type[RecordingResult]:
        """Record what comes out."""
        return RecordingResult
