"""Delete a model with an encrypted column."""

from django.db import migrations


class Migration(migrations.Migration):
    """One operation."""

    dependencies = [("library", "0004_alter")]
    operations = [migrations.DeleteModel("loan")]
