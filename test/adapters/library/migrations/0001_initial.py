"""The tables, as ``makemigrations`` makes them."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """All of it."""

    initial = True
    dependencies: list[tuple[str, str]] = []
    operations = [
        migrations.CreateModel(
            name="Reader",
            fields=[
                ("id", models.BigAutoField(primary_key=True)),
                ("name", models.CharField(db_index=True, max_length=50)),
                ("email", models.CharField(max_length=80, unique=True)),
                ("phone", models.CharField(max_length=20, null=True)),
                ("fines", models.PositiveIntegerField(default=0)),
                ("level", models.CharField(db_default="50%", max_length=10)),
                ("branch", models.CharField(default="main", max_length=20)),
            ],
        ),
        migrations.CreateModel(
            name="Loan",
            fields=[
                ("id", models.BigAutoField(primary_key=True)),
                ("title", models.TextField()),
                (
                    "reader",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="library.reader"),
                ),
            ],
        ),
    ]
