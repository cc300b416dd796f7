"""The clinic's tables: patients, who looks after them, their visits, and what comes of those."""

import uuid
from decimal import Decimal

from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Now, Upper


class Stamped(models.Model):
    """When a row was made and last saved."""

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True


class Department(models.Model):
    """A department; nothing of it is secret."""

    name = models.CharField(max_length=50, unique=True)
    floor = models.IntegerField(default=0)


class Doctor(models.Model):
    """A doctor, with an address of which Django makes a unique constraint and an index for patterns."""

    name = models.CharField(max_length=100)
    email = models.EmailField(unique=True)
    department = models.ForeignKey(Department, on_delete=models.PROTECT, related_name="doctors")
    account = models.OneToOneField(User, on_delete=models.SET_NULL, null=True, related_name="doctor")


class Allergy(models.Model):
    """A substance that patients may be allergic to."""

    name = models.CharField(max_length=50, unique=True)


class ActivePatients(models.Manager):
    """The patients that were not struck off."""

    def get_queryset(self) -> models.QuerySet:
        """Leave out the others."""
        return super().get_queryset().filter(is_active=True)


class Patient(Stamped):
    """A patient: most columns are personal data."""

    class BloodType(models.TextChoices):
        """Blood types, as they are stored and shown."""

        A = "A", "Type A"
        B = "B", "Type B"
        AB = "AB", "Type AB"
        ZERO = "0", "Type zero"

    name = models.CharField(max_length=100)
    ssn = models.CharField(max_length=11, validators=[RegexValidator(r"^\d{3}-\d{2}-\d{4}$")])
    email = models.EmailField(null=True)
    birth_date = models.DateField(null=True)
    blood_type = models.CharField(max_length=2, choices=BloodType, null=True, blank=True)
    balance = models.DecimalField(max_digits=10, decimal_places=2, default=Decimal(0))
    height = models.PositiveIntegerField(null=True)
    insurance_number = models.BigIntegerField(null=True)
    registered_at = models.DateTimeField(null=True)
    is_active = models.BooleanField(default=True)
    notes = models.TextField(default="", blank=True)
    history = models.JSONField(default=dict)
    phones = ArrayField(models.CharField(max_length=30), default=list)
    card = models.UUIDField(default=uuid.uuid4)
    photo = models.BinaryField(null=True)
    # These stay as they are.
    city = models.CharField(max_length=50, default="Berlin", db_index=True)
    source = models.CharField(max_length=20, db_default="web")
    doctor = models.ForeignKey(Doctor, on_delete=models.PROTECT, related_name="patients", null=True)
    guardian = models.ForeignKey("self", on_delete=models.SET_NULL, related_name="wards", null=True)
    allergies = models.ManyToManyField(Allergy, related_name="patients")

    objects = models.Manager()
    active = ActivePatients()

    class Meta:
        ordering = ("name", "id")
        get_latest_by = "registered_at"
        constraints = (
            models.UniqueConstraint(fields=["ssn"], name="patient_ssn_unique"),
            models.UniqueConstraint(fields=["email"], name="patient_email_unique"),
            models.CheckConstraint(condition=Q(balance__gte=-1000), name="patient_balance_floor"),
            models.CheckConstraint(condition=Q(blood_type__in=["A", "B", "AB", "0"]), name="patient_blood_type"),
        )


class Visit(models.Model):
    """A visit, with constraints over columns that are secret and columns that are not."""

    patient = models.ForeignKey(Patient, on_delete=models.CASCADE, related_name="visits")
    doctor = models.ForeignKey(Doctor, on_delete=models.SET_NULL, related_name="visits", null=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    diagnosis = models.TextField(default="")
    vitals = models.JSONField(null=True)
    fee = models.DecimalField(max_digits=8, decimal_places=2, default=Decimal("50.00"))
    discount = models.DecimalField(max_digits=8, decimal_places=2, default=Decimal(0))
    room = models.IntegerField(default=1)
    booked_at = models.DateTimeField(db_default=Now())
    label = models.GeneratedField(
        expression=F("room") * Value(10), output_field=models.IntegerField(), db_persist=True
    )

    class Meta:
        ordering = ("started_at", "id")
        constraints = (
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True) | Q(ended_at__gte=F("started_at")),
                name="visit_ends_after_start",
            ),
            models.CheckConstraint(condition=Q(fee__gte=F("discount")), name="visit_discount"),
        )


class Prescription(models.Model):
    """A drug that was prescribed at a visit; each drug at most once."""

    visit = models.ForeignKey(Visit, on_delete=models.CASCADE, related_name="prescriptions")
    drug = models.CharField(max_length=60)
    doses = models.IntegerField(default=1)
    repeats = models.BooleanField(default=False)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["visit", "drug"], name="prescription_once"),)


class Invoice(models.Model):
    """The bill for a visit; a visit that has one cannot be deleted by itself."""

    visit = models.OneToOneField(Visit, on_delete=models.RESTRICT, related_name="invoice")
    patient = models.ForeignKey(Patient, on_delete=models.CASCADE, related_name="invoices")
    number = models.CharField(max_length=20, unique=True)
    quantity = models.IntegerField(default=1)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    total = models.GeneratedField(
        expression=F("quantity") * F("price"),
        output_field=models.DecimalField(max_digits=10, decimal_places=2),
        db_persist=True,
    )
    series = models.GeneratedField(
        expression=Upper("number"), output_field=models.CharField(max_length=20), db_persist=True
    )


class Document(models.Model):
    """A document of a patient, with a key that Python makes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    patient = models.ForeignKey(Patient, on_delete=models.CASCADE, related_name="documents")
    author = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="documents")
    title = models.CharField(max_length=80)
    slug = models.SlugField()
    body = models.TextField()
    content = models.BinaryField(default=b"")
    signed_on = models.DateField(null=True)
