"""The rows of ``loaddata clinic``, which no test changes, and rows that are committed."""

from datetime import date
from decimal import Decimal
from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError, connection
from django.test import SimpleTestCase, TestCase

from application.clinic.models import Document, Patient, Prescription, Visit
from application.clinic.tests.base import at
from application.recording import Recording


class FixtureTests(Recording, TestCase):
    def test_patients(self) -> None:
        greta, henk = Patient.objects.filter(pk__lt=100).order_by("pk")
        self.assertEqual((greta.pk, greta.name, greta.ssn), (1, "Greta Grün", "900-00-0001"))
        self.assertEqual((greta.email, greta.birth_date), ("greta@example.org", date(1941, 12, 7)))
        self.assertEqual((greta.blood_type, greta.balance, greta.height), ("AB", Decimal("-12.30"), 158))
        self.assertEqual(greta.insurance_number, 8_000_000_001)
        self.assertEqual(greta.registered_at, at("2019-05-06 07:08:09.1"))
        self.assertEqual((greta.is_active, greta.notes), (True, "Came before all others"))
        self.assertEqual((greta.history, greta.phones), ({"smoker": False, "pets": ["cat"]}, ["+49 40 9"]))
        self.assertEqual(greta.card, UUID("00000000-0000-4000-8000-000000000001"))
        self.assertEqual(bytes(greta.photo), b"\x00\x01\x02\xff")
        self.assertEqual((henk.email, henk.photo, henk.notes, henk.phones), (None, None, "", []))
        self.assertEqual((henk.guardian, list(greta.wards.all())), (greta, [henk]))
        self.record(Patient.objects.filter(pk__lt=100).order_by("pk").values_list())

    def test_what_belongs_to_them(self) -> None:
        visit = Visit.objects.get(pk=1)
        self.assertEqual((visit.diagnosis, visit.fee, visit.vitals), ("Lumbago", Decimal("75.50"), {"pulse": 66}))
        self.assertEqual([each.drug for each in Prescription.objects.filter(visit=visit)], ["Ibuprofen"])
        document = Document.objects.get(patient__ssn="900-00-0001", pk="00000000-0000-4000-8000-00000000000d")
        self.assertEqual((document.title, bytes(document.content)), ("Letter", b"PDF"))
        self.assertEqual(document.author, User.objects.get(last_name="Initial"))

    def test_they_can_be_changed(self) -> None:
        greta = Patient.objects.get(ssn="900-00-0001")
        greta.balance += 1
        greta.history["pets"].append("dog")
        greta.save()
        self.assertEqual(Patient.objects.get(history__pets__1="dog").balance, Decimal("-11.30"))
        with self.assertRaises(IntegrityError):
            Patient.objects.filter(name="Henk Haas").update(ssn="900-00-0001")

    def test_new_keys_are_free(self) -> None:
        self.assertGreater(Patient.objects.create(name="New", ssn="900-00-0009").pk, 2)


class CommittedTests(Recording, SimpleTestCase):
    """Outside the transaction that Django makes for a test."""

    databases = frozenset(["default"])

    def test_a_row_stays(self) -> None:
        kept = Patient.objects.create(
            name="Left-Behind", ssn="800-00-0001", notes="Left-Behind", email="left-behind@example.org"
        )
        connection.close()
        self.assertEqual(Patient.objects.get(email="left-behind@example.org").pk, kept.pk)

    def test_a_row_that_is_deleted_is_gone(self) -> None:
        gone = Patient.objects.create(name="Gone", ssn="800-00-0002")
        connection.close()
        self.assertEqual(Patient.objects.filter(ssn="800-00-0002").delete()[0], 1)
        self.assertFalse(Patient.objects.filter(pk=gone.pk).exists())

    def test_iterator_outside_a_transaction(self) -> None:
        found = list(Patient.objects.filter(ssn__startswith="900").iterator(chunk_size=1))
        self.assertEqual([each.name for each in found], ["Greta Grün", "Henk Haas"])
