"""Transactions, locks, and what the database refuses."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from django.db import DatabaseError, DataError, IntegrityError, connection, transaction
from django.db.models import F

from application.clinic.models import Doctor, Patient, Prescription, Visit
from application.clinic.tests.base import ClinicTestCase, at


class TransactionTests(ClinicTestCase):
    def test_atomic_commits_and_rolls_back(self) -> None:
        with transaction.atomic():
            Patient.objects.filter(pk=self.alma.pk).update(notes="kept")
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            Patient.objects.filter(pk=self.alma.pk).update(notes="lost")
            self.assertEqual(Patient.objects.get(pk=self.alma.pk).notes, "lost")
            _ = 1 / 0
        self.assertEqual(Patient.objects.get(pk=self.alma.pk).notes, "kept")

    def test_nested_atomic(self) -> None:
        with transaction.atomic():
            Patient.objects.create(name="Outer", ssn="666-66-6666")
            with self.assertRaises(IntegrityError), transaction.atomic():
                Patient.objects.create(name="Inner", ssn="777-77-7777")
                Patient.objects.create(name="Twin", ssn="111-11-1111")
            Patient.objects.create(name="After", ssn="888-88-8888")
        self.assertEqual(self.names(Patient.objects.filter(ssn__gte="6")), ["After", "Outer"])

    def test_savepoints(self) -> None:
        first = transaction.savepoint()
        self.alma.delete()
        second = transaction.savepoint()
        Patient.objects.all().update(name="Everyone")
        transaction.savepoint_rollback(second)
        self.assertEqual(Patient.objects.first().name, "Bruno Berg")
        transaction.savepoint_rollback(first)
        self.assertEqual(Patient.objects.first().name, "Alma Adler")

    def test_on_commit(self) -> None:
        called = []
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            self.bruno.balance = Decimal(1)
            self.bruno.save()
            transaction.on_commit(lambda: called.append(Patient.objects.get(pk=self.bruno.pk).balance))
            self.assertEqual(called, [])
        self.assertEqual(called, [Decimal(1)])

    def test_select_for_update(self) -> None:
        with transaction.atomic():
            alma = Patient.objects.select_for_update().get(ssn="111-11-1111")
            alma.balance -= 100
            alma.save()
            some = Patient.objects.select_for_update(skip_locked=True).filter(is_active=True)
            self.assertEqual(len(some), 4)
            of = Visit.objects.select_for_update(of=("self", "patient"), no_key=True).select_related(
                "patient", "doctor"
            )
            self.assertEqual(len(of.filter(doctor__isnull=True)), 1)
        self.alma.refresh_from_db()
        self.assertEqual(self.alma.balance, Decimal("0.50"))

    def test_select_for_update_nowait(self) -> None:
        self.assertEqual(Patient.objects.select_for_update(nowait=True).count(), 5)
        self.assertEqual(len(Patient.objects.select_for_update(nowait=True)), 5)

    def test_a_failed_statement_spoils_the_block(self) -> None:
        with self.assertRaises(transaction.TransactionManagementError), transaction.atomic():
            with self.assertRaises(IntegrityError):
                Patient.objects.create(name="Twin", ssn="111-11-1111")
            Patient.objects.count()
        self.assertEqual(Patient.objects.count(), 5)


class ViolationTests(ClinicTestCase):
    @contextmanager
    def refused(self, kind: type[DatabaseError], constraint: str | None = None) -> Iterator[None]:
        """Expect an error of a class, and record its SQLSTATE and its constraint."""
        with self.assertRaises(kind) as raised, transaction.atomic():
            yield
        self.assertIs(type(raised.exception), kind)
        cause: Any = raised.exception.__cause__
        self.assertEqual(cause.diag.constraint_name, constraint)
        self.record(type(cause).__name__, cause.sqlstate, cause.diag.constraint_name)

    def test_unique(self) -> None:
        with self.refused(IntegrityError, "patient_ssn_unique"):
            Patient.objects.create(name="Twin", ssn="111-11-1111")
        with self.refused(IntegrityError, "patient_email_unique"):
            Patient.objects.create(name="Twin", ssn="999-99-9999", email="alma@example.org")
        with self.refused(IntegrityError, "patient_email_unique"):
            Patient.objects.filter(pk=self.bruno.pk).update(email="carla@example.com")
        # NULLs are all different, and a row does not conflict with itself.
        Patient.objects.filter(pk=self.carla.pk).update(email=None)
        self.alma.save()
        self.assertEqual(Patient.objects.filter(email=None).count(), 3)

    def test_unique_in_bulk(self) -> None:
        with self.refused(IntegrityError, "patient_ssn_unique"):
            Patient.objects.bulk_create([Patient(name=name, ssn="666-66-6666") for name in ("One", "Two")])
        with self.refused(IntegrityError, "patient_ssn_unique"):
            Patient.objects.update(ssn="666-66-6666")
        self.assertFalse(Patient.objects.filter(ssn="666-66-6666").exists())

    def test_unique_together(self) -> None:
        Prescription.objects.create(visit=self.flu, drug="Aspirin")
        Prescription.objects.create(visit=self.flu, drug="aspirin")
        with self.refused(IntegrityError, "prescription_once"):
            Prescription.objects.create(visit=self.flu, drug="Aspirin")
        other = Prescription.objects.create(visit=self.sprain, drug="Aspirin")
        other.visit = self.flu
        with self.refused(IntegrityError, "prescription_once"):
            other.save()

    def test_primary_key(self) -> None:
        with self.assertRaises(IntegrityError), transaction.atomic():
            Patient(pk=self.alma.pk, name="Twin", ssn="999-99-9999").save(force_insert=True)
        self.assertEqual(Patient.objects.get(pk=self.alma.pk).name, "Alma Adler")

    def test_not_null(self) -> None:
        with self.refused(IntegrityError):
            Patient.objects.create(name=None, ssn="999-99-9999")
        with self.refused(IntegrityError):
            Patient.objects.filter(pk=self.alma.pk).update(balance=None)
        with self.refused(IntegrityError):
            Visit.objects.create(patient=self.alma, started_at=at("2022-01-01"), diagnosis=None)
        with self.refused(IntegrityError):
            Patient.objects.filter(pk=self.alma.pk).update(city=None)

    def test_check(self) -> None:
        with self.refused(IntegrityError, "patient_balance_floor"):
            Patient.objects.create(name="Poor", ssn="999-99-9999", balance=Decimal("-1000.01"))
        with self.refused(IntegrityError, "patient_blood_type"):
            Patient.objects.filter(pk=self.alma.pk).update(blood_type="X")
        with self.refused(IntegrityError, "clinic_patient_height_check"):
            Patient.objects.filter(pk=self.alma.pk).update(height=-1)
        Patient.objects.filter(pk=self.alma.pk).update(balance=Decimal(-1000), blood_type=None, height=0)

    def test_check_over_several_columns(self) -> None:
        with self.refused(IntegrityError, "visit_ends_after_start"):
            Visit.objects.filter(pk=self.flu.pk).update(ended_at=at("2021-01-10 08:59"))
        with self.refused(IntegrityError, "visit_ends_after_start"):
            Visit.objects.filter(pk=self.flu.pk).update(started_at=at("2021-01-10 10:01"))
        with self.refused(IntegrityError, "visit_discount"):
            Visit.objects.filter(pk=self.check_up.pk).update(discount=Decimal("50.01"))
        Visit.objects.filter(pk=self.flu.pk).update(ended_at=None, discount=80)

    def test_foreign_keys(self) -> None:
        with self.assertRaises(IntegrityError), transaction.atomic():
            Visit.objects.create(patient_id=0, started_at=at("2022-01-01"))
            connection.check_constraints()
        with self.assertRaises(IntegrityError), transaction.atomic():
            Patient.objects.filter(pk=self.alma.pk).update(doctor_id=0)
            connection.check_constraints()
        with self.assertRaises(IntegrityError), transaction.atomic():
            Patient.objects.filter(pk=self.alma.pk).update(guardian_id=0)
            connection.check_constraints()
        connection.check_constraints()

    def test_values_that_do_not_fit(self) -> None:
        with self.refused(DataError):
            Patient.objects.filter(pk=self.alma.pk).update(name="x" * 101)
        with self.refused(DataError):
            Patient.objects.filter(pk=self.alma.pk).update(balance=Decimal("123456789.00"))
        with self.refused(DataError):
            Patient.objects.filter(pk=self.alma.pk).update(height=F("height") + 2**31 - 1)
        with self.refused(DataError):
            Doctor.objects.create(name="x" * 101, email="x@clinic.example", department=self.heart)
        Patient.objects.filter(pk=self.alma.pk).update(name="é" * 100)
