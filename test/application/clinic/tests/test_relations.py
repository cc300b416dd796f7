"""Queries and deletions along foreign keys and many-to-many relations."""

from decimal import Decimal

from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models import Prefetch, ProtectedError, RestrictedError

from application.clinic.models import Allergy, Doctor, Document, Invoice, Patient, Prescription, Visit
from application.clinic.tests.base import ClinicTestCase, at


class FollowingTests(ClinicTestCase):
    def test_select_related(self) -> None:
        with self.assertNumQueries(1):
            visit = Visit.objects.select_related("patient__doctor__department", "doctor").get(pk=self.check_up.pk)
            self.assertEqual(visit.patient.name, "Alma Adler")
            self.assertEqual(visit.patient.doctor.department.name, "Cardiology")
            self.assertEqual(visit.doctor.name, "Bela Rossi")

    def test_select_related_over_a_missing_row(self) -> None:
        with self.assertNumQueries(1):
            emile, david = (
                Patient.objects.select_related("doctor", "guardian").filter(ssn__gt="4").order_by("-ssn")
            )
            self.assertEqual((emile.guardian.name, emile.doctor.name), ("Carla Costa", "Bela Rossi"))
            self.assertEqual((david.guardian, david.doctor), (None, None))

    def test_prefetch_related(self) -> None:
        with self.assertNumQueries(3):
            patients = list(Patient.objects.prefetch_related("visits", "allergies"))
            self.assertEqual([visit.diagnosis for visit in patients[0].visits.all()], ["Flu", "Check-up"])
            self.assertEqual(sorted(each.name for each in patients[0].allergies.all()), ["nuts", "pollen"])
            self.assertEqual(list(patients[3].visits.all()), [])

    def test_prefetch_with_a_query_of_its_own(self) -> None:
        flu = Prefetch("visits", Visit.objects.filter(diagnosis="Flu"), to_attr="flu")
        doctors = Doctor.objects.prefetch_related(flu, "patients").order_by("name")
        self.assertEqual(
            [[visit.patient.name for visit in doctor.flu] for doctor in doctors], [["Alma Adler"], ["Carla Costa"]]
        )
        self.assertEqual([len(doctor.patients.all()) for doctor in doctors], [2, 2])

    def test_filter_over_relations(self) -> None:
        self.assertEqual(
            self.names(Patient.objects.filter(visits__diagnosis="Flu")), ["Alma Adler", "Carla Costa"]
        )
        self.assertEqual(
            self.names(Patient.objects.filter(doctor__department__name="Surgery", visits__fee=0)), ["Émile Durand"]
        )
        self.assertEqual(self.names(Patient.objects.filter(wards__name__startswith="É")), ["Carla Costa"])
        self.assertEqual(self.names(Patient.objects.filter(visits__isnull=True)), ["David Dorn"])
        self.assertEqual(
            self.names(Patient.objects.exclude(visits__diagnosis="Flu")),
            ["Bruno Berg", "David Dorn", "Émile Durand"],
        )
        self.assertEqual(
            [each.name for each in Doctor.objects.filter(patients__email="carla@example.com")], ["Bela Rossi"]
        )

    def test_related_managers(self) -> None:
        self.assertEqual(self.alma.visits.filter(fee__gt=60).get(), self.flu)
        added = self.alma.visits.create(started_at=at("2022-01-01 08:00"), diagnosis="Cough")
        self.assertEqual(added.patient_id, self.alma.pk)
        self.assertEqual(self.alma.visits.count(), 3)
        self.ada.patients.add(self.david)
        self.assertEqual(self.names(self.ada.patients.all()), ["Alma Adler", "Bruno Berg", "David Dorn"])
        self.ada.patients.remove(self.david)
        self.ada.visits.clear()
        self.assertEqual(Visit.objects.filter(doctor=None).count(), 4)

    def test_self_reference(self) -> None:
        self.assertEqual(list(self.carla.wards.all()), [self.emile])
        self.assertEqual(self.names(Patient.objects.filter(guardian__ssn="333-33-3333")), ["Émile Durand"])

    def test_many_to_many(self) -> None:
        self.assertEqual(self.names(self.pollen.patients.all()), ["Alma Adler", "Carla Costa"])
        self.carla.allergies.add(self.latex, self.pollen)
        self.carla.allergies.remove(self.pollen)
        self.assertEqual([each.name for each in self.carla.allergies.all()], ["latex"])
        self.alma.allergies.clear()
        self.assertEqual(Allergy.objects.filter(patients__isnull=True).count(), 2)
        self.nuts.patients.set([self.bruno, self.emile])
        self.assertEqual(self.names(Patient.objects.filter(allergies=self.nuts)), ["Bruno Berg", "Émile Durand"])
        self.nuts.patients.create(name="New", ssn="666-66-6666")
        self.assertEqual(self.nuts.patients.count(), 3)

    def test_one_to_one(self) -> None:
        invoice = Invoice.objects.create(visit=self.flu, patient=self.alma, number="a-1", price=Decimal(70))
        self.assertEqual(Visit.objects.get(invoice__number="a-1"), self.flu)
        self.assertEqual(Visit.objects.select_related("invoice").get(pk=self.flu.pk).invoice, invoice)
        with self.assertRaises(Visit.invoice.RelatedObjectDoesNotExist):
            _ = self.sprain.invoice

    def test_accounts(self) -> None:
        user = authenticate(username="ada", password="correct horse")
        self.assertEqual((user.first_name, user.doctor), ("Ada", self.ada))
        user.last_name = "Quinn"
        user.save()
        self.assertEqual(User.objects.get(last_name__iexact="quinn").get_full_name(), "Ada Quinn")
        self.assertIsNone(authenticate(username="ada", password="wrong"))


class DeletingTests(ClinicTestCase):
    def test_delete_cascades(self) -> None:
        Prescription.objects.create(visit=self.flu, drug="Aspirin")
        Document.objects.create(patient=self.alma, title="Report", slug="report", body="All is well")
        deleted, each = self.alma.delete()
        self.assertEqual(deleted, 7)
        self.assertEqual(
            each,
            {
                "clinic.Patient": 1,
                "clinic.Visit": 2,
                "clinic.Prescription": 1,
                "clinic.Document": 1,
                "clinic.Patient_allergies": 2,
            },
        )
        self.assertEqual(Visit.objects.filter(diagnosis="Flu").count(), 1)
        self.assertIsNone(self.alma.pk)

    def test_delete_sets_null(self) -> None:
        self.carla.delete()
        self.emile.refresh_from_db()
        self.assertIsNone(self.emile.guardian)
        Document.objects.create(patient=self.emile, author=self.user, title="T", slug="t", body="B")
        self.user.delete()
        self.assertIsNone(Document.objects.get().author)
        self.ada.refresh_from_db()
        self.assertIsNone(self.ada.account)

    def test_delete_is_protected(self) -> None:
        with self.assertRaises(ProtectedError) as raised:
            self.ada.delete()
        self.assertEqual({each.name for each in raised.exception.protected_objects}, {"Alma Adler", "Bruno Berg"})
        self.ada.patients.update(doctor=self.bela)
        self.assertEqual(self.ada.delete()[0], 1)
        self.assertEqual(Visit.objects.filter(doctor=None).count(), 3)

    def test_delete_is_restricted(self) -> None:
        invoice = Invoice.objects.create(visit=self.flu, patient=self.alma, number="a-1", price=Decimal(70))
        with self.assertRaises(RestrictedError) as raised:
            self.flu.delete()
        self.assertEqual(raised.exception.restricted_objects, {invoice})
        # Not if what restricts it goes too.
        self.alma.delete()
        self.assertFalse(Invoice.objects.exists())

    def test_delete_of_a_queryset(self) -> None:
        self.assertEqual(Visit.objects.filter(patient__name="Alma Adler").delete(), (2, {"clinic.Visit": 2}))
        self.assertEqual(Visit.objects.filter(diagnosis="Nothing").delete(), (0, {}))
        self.assertEqual(Patient.objects.filter(balance__gt=900).delete(), (1, {"clinic.Patient": 1}))
        self.assertEqual(Patient.objects.count(), 4)

    def test_raw_delete_of_a_referenced_row_fails(self) -> None:
        with self.assertRaises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM clinic_patient WHERE ssn = '111-11-1111'")
            self.assertEqual(cursor.rowcount, 1)
            connection.check_constraints()
        self.assertTrue(Patient.objects.filter(pk=self.alma.pk).exists())
