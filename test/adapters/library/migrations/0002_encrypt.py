"""Encrypt, in the transaction of the migration. A column gets its index in the same migration."""

from django.db import migrations, models
from pgkeymgr.django.migration import EncryptColumn

COLUMNS = ["name", "email", "phone", "fines", "level"]


class Migration(migrations.Migration):
    """Five columns."""

    dependencies = [("library", "0001_initial")]
    operations = [
        *(EncryptColumn("reader", name) for name in COLUMNS),
        migrations.AlterField("loan", "title", models.TextField(db_index=True)),
        EncryptColumn("loan", "title"),
    ]
