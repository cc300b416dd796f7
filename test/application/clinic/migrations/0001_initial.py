"""Make the tables: what ``makemigrations`` made of the models."""

import uuid
from decimal import Decimal

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.datetime
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Allergy",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("name", models.CharField(max_length=50, unique=True)),
            ],
        ),
        migrations.CreateModel(
            name="Department",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("name", models.CharField(max_length=50, unique=True)),
                ("floor", models.IntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="Doctor",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("name", models.CharField(max_length=100)),
                ("email", models.EmailField(max_length=254, unique=True)),
                (
                    "account",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="doctor",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "department",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="doctors", to="clinic.department"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Patient",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("name", models.CharField(max_length=100)),
                (
                    "ssn",
                    models.CharField(
                        max_length=11, validators=[django.core.validators.RegexValidator("^\\d{3}-\\d{2}-\\d{4}$")]
                    ),
                ),
                ("email", models.EmailField(max_length=254, null=True)),
                ("birth_date", models.DateField(null=True)),
                (
                    "blood_type",
                    models.CharField(
                        blank=True,
                        choices=[("A", "Type A"), ("B", "Type B"), ("AB", "Type AB"), ("0", "Type zero")],
                        max_length=2,
                        null=True,
                    ),
                ),
                ("balance", models.DecimalField(decimal_places=2, default=Decimal("0"), max_digits=10)),
                ("height", models.PositiveIntegerField(null=True)),
                ("insurance_number", models.BigIntegerField(null=True)),
                ("registered_at", models.DateTimeField(null=True)),
                ("is_active", models.BooleanField(default=True)),
                ("notes", models.TextField(blank=True, default="")),
                ("history", models.JSONField(default=dict)),
                (
                    "phones",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=30), default=list, size=None
                    ),
                ),
                ("card", models.UUIDField(default=uuid.uuid4)),
                ("photo", models.BinaryField(null=True)),
                ("city", models.CharField(db_index=True, default="Berlin", max_length=50)),
                ("source", models.CharField(db_default="web", max_length=20)),
                ("allergies", models.ManyToManyField(related_name="patients", to="clinic.allergy")),
                (
                    "doctor",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="patients",
                        to="clinic.doctor",
                    ),
                ),
                (
                    "guardian",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="wards",
                        to="clinic.patient",
                    ),
                ),
            ],
            options={
                "ordering": ("name", "id"),
                "get_latest_by": "registered_at",
            },
        ),
        migrations.CreateModel(
            name="Document",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("title", models.CharField(max_length=80)),
                ("slug", models.SlugField()),
                ("body", models.TextField()),
                ("content", models.BinaryField(default=b"")),
                ("signed_on", models.DateField(null=True)),
                (
                    "author",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="documents",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "patient",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="documents", to="clinic.patient"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Visit",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("started_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("diagnosis", models.TextField(default="")),
                ("vitals", models.JSONField(null=True)),
                ("fee", models.DecimalField(decimal_places=2, default=Decimal("50.00"), max_digits=8)),
                ("discount", models.DecimalField(decimal_places=2, default=Decimal("0"), max_digits=8)),
                ("room", models.IntegerField(default=1)),
                ("booked_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "label",
                    models.GeneratedField(
                        db_persist=True,
                        expression=django.db.models.expressions.CombinedExpression(
                            models.F("room"), "*", models.Value(10)
                        ),
                        output_field=models.IntegerField(),
                    ),
                ),
                (
                    "doctor",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="visits",
                        to="clinic.doctor",
                    ),
                ),
                (
                    "patient",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="visits", to="clinic.patient"
                    ),
                ),
            ],
            options={
                "ordering": ("started_at", "id"),
            },
        ),
        migrations.CreateModel(
            name="Prescription",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("drug", models.CharField(max_length=60)),
                ("doses", models.IntegerField(default=1)),
                ("repeats", models.BooleanField(default=False)),
                (
                    "visit",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="prescriptions",
                        to="clinic.visit",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Invoice",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("number", models.CharField(max_length=20, unique=True)),
                ("quantity", models.IntegerField(default=1)),
                ("price", models.DecimalField(decimal_places=2, max_digits=8)),
                (
                    "total",
                    models.GeneratedField(
                        db_persist=True,
                        expression=django.db.models.expressions.CombinedExpression(
                            models.F("quantity"), "*", models.F("price")
                        ),
                        output_field=models.DecimalField(decimal_places=2, max_digits=10),
                    ),
                ),
                (
                    "series",
                    models.GeneratedField(
                        db_persist=True,
                        expression=django.db.models.functions.text.Upper("number"),
                        output_field=models.CharField(max_length=20),
                    ),
                ),
                (
                    "patient",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="invoices", to="clinic.patient"
                    ),
                ),
                (
                    "visit",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.RESTRICT, related_name="invoice", to="clinic.visit"
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="patient",
            constraint=models.UniqueConstraint(fields=("ssn",), name="patient_ssn_unique"),
        ),
        migrations.AddConstraint(
            model_name="patient",
            constraint=models.UniqueConstraint(fields=("email",), name="patient_email_unique"),
        ),
        migrations.AddConstraint(
            model_name="patient",
            constraint=models.CheckConstraint(
                condition=models.Q(("balance__gte", -1000)), name="patient_balance_floor"
            ),
        ),
        migrations.AddConstraint(
            model_name="patient",
            constraint=models.CheckConstraint(
                condition=models.Q(("blood_type__in", ["A", "B", "AB", "0"])), name="patient_blood_type"
            ),
        ),
        migrations.AddConstraint(
            model_name="visit",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("ended_at__isnull", True), ("ended_at__gte", models.F("started_at")), _connector="OR"
                ),
                name="visit_ends_after_start",
            ),
        ),
        migrations.AddConstraint(
            model_name="visit",
            constraint=models.CheckConstraint(
                condition=models.Q(("fee__gte", models.F("discount"))), name="visit_discount"
            ),
        ),
        migrations.AddConstraint(
            model_name="prescription",
            constraint=models.UniqueConstraint(fields=("visit", "drug"), name="prescription_once"),
        ),
    ]
