"""Later changes of the table: Django alters the base table."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """All kinds of operations."""

    dependencies = [("library", "0003_migrate")]
    operations = [
        migrations.AddField("reader", "note", models.TextField(default="none")),
        migrations.AddField("reader", "sponsor", models.ForeignKey("self", models.SET_NULL, null=True)),
        migrations.AlterField("reader", "note", models.CharField(default="none", max_length=100)),
        migrations.AlterField("reader", "branch", models.CharField(default="main", db_index=True, max_length=90)),
        migrations.AlterField("reader", "branch", models.CharField(default="main", max_length=90)),
        migrations.AddIndex("reader", models.Index(fields=["note"], name="reader_note")),
        migrations.AddConstraint(
            "reader", models.UniqueConstraint(fields=["sponsor", "branch"], name="reader_sponsor_branch")
        ),
        migrations.RemoveConstraint("reader", "reader_sponsor_branch"),
        migrations.AddConstraint(
            "reader", models.CheckConstraint(condition=~models.Q(note=""), name="reader_note_is_there")
        ),
        migrations.RenameField("reader", "note", "remark"),
        migrations.AlterField("reader", "phone", models.CharField(max_length=20, default="")),
        migrations.AlterModelTableComment("reader", "all readers"),
        migrations.CreateModel(
            name="Visit",
            fields=[
                ("id", models.BigAutoField(primary_key=True)),
                (
                    "reader",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="library.reader"),
                ),
            ],
        ),
        migrations.RenameField("reader", "name", "full_name"),
        migrations.AlterModelTable("reader", "people"),
        migrations.RemoveField("reader", "sponsor"),
        migrations.RemoveField("reader", "branch"),
    ]
