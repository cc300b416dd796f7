"""Encrypt the rows from before."""

from django.db import migrations
from pgkeymgr.django.migration import AddBlindIndex, MigrateColumn


class Migration(migrations.Migration):
    """It commits."""

    atomic = False
    dependencies = [("library", "0002_encrypt")]
    operations = [
        *(MigrateColumn("reader", name, batch_size=2) for name in ["name", "email", "phone", "fines", "level"]),
        MigrateColumn("loan", "title"),
        AddBlindIndex("reader", "name", "casefold"),
        AddBlindIndex("reader", "phone"),
    ]
