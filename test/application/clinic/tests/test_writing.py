"""Rows made, changed and saved."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID, uuid4

from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from django.db.models import Case, F, JSONField, Value, When
from django.db.models.functions import Concat, Upper

from application.clinic.models import Document, Invoice, Patient, Prescription, Visit
from application.clinic.tests.base import PHOTO, ClinicTestCase, at, patient


class CreatingTests(ClinicTestCase):
    def test_create_returns_the_row_with_its_key(self) -> None:
        made = Patient.objects.create(name="Fay Fox", ssn="666-66-6666")
        self.assertGreater(made.pk, self.emile.pk)
        self.assertEqual(made.source, "web")
        self.assertEqual(Patient.objects.get(ssn="666-66-6666"), made)

    def test_create_with_defaults(self) -> None:
        Patient.objects.create(name="Fay Fox", ssn="666-66-6666")
        made = Patient.objects.get(ssn="666-66-6666")
        self.assertEqual((made.balance, made.is_active, made.notes), (Decimal(0), True, ""))
        self.assertEqual((made.history, made.phones, made.city), ({}, [], "Berlin"))
        self.assertIsInstance(made.card, UUID)
        self.assertAlmostEqual(made.created_at, datetime.now(UTC), delta=timedelta(minutes=5))

    def test_generated_columns(self) -> None:
        self.assertEqual((self.flu.label, self.sprain.label), (10, 30))
        visit = Visit.objects.create(patient=self.alma, started_at=at("2022-01-01 08:00"), room=7)
        self.assertEqual(visit.label, 70)
        Visit.objects.filter(pk=visit.pk).update(room=8, diagnosis="Moved")
        visit.refresh_from_db()
        self.assertEqual((visit.label, visit.diagnosis), (80, "Moved"))
        invoice = Invoice.objects.create(
            visit=visit, patient=self.alma, number="b-2", quantity=3, price=Decimal("9.99")
        )
        self.assertEqual((invoice.total, invoice.series), (Decimal("29.97"), "B-2"))

    def test_database_defaults(self) -> None:
        self.assertAlmostEqual(self.flu.booked_at, datetime.now(UTC), delta=timedelta(minutes=5))
        made = Patient.objects.create(name="Fay Fox", ssn="666-66-6666", source="desk")
        made.refresh_from_db()
        self.assertEqual(made.source, "desk")

    def test_create_with_a_key_of_our_own(self) -> None:
        key = uuid4()
        Document.objects.create(
            pk=key,
            patient=self.alma,
            title="Report",
            slug="report",
            body="é" * 5000,
            content=PHOTO * 40,
            signed_on=date(2021, 1, 11),
        )
        document = Document.objects.get(pk=key)
        self.assertEqual((document.title, document.body), ("Report", "é" * 5000))
        self.assertEqual(bytes(document.content), PHOTO * 40)
        self.assertEqual(document.signed_on, date(2021, 1, 11))
        Patient.objects.create(pk=1_000_000, name="Fay Fox", ssn="666-66-6666")
        self.assertEqual(Patient.objects.get(pk=1_000_000).name, "Fay Fox")

    def test_bulk_create(self) -> None:
        made = Patient.objects.bulk_create(
            [patient(f"Clone {number:03}", f"700-00-0{number:03}", balance=number) for number in range(200)],
            batch_size=64,
        )
        keys = [each.pk for each in made]
        self.assertEqual(keys, list(range(keys[0], keys[0] + 200)))
        clones = Patient.objects.filter(name__startswith="Clone").order_by("pk")
        self.assertEqual([each.balance for each in clones], list(range(200)))
        self.record(clones.values_list("name", "ssn", "card")[198:])

    def test_bulk_create_with_mixed_values(self) -> None:
        Visit.objects.bulk_create(
            [
                Visit(patient=self.alma, started_at=at("2022-01-01 08:00"), vitals={"pulse": 1}),
                Visit(patient=self.bruno, started_at=at("2022-01-02 08:00"), vitals=None, fee=Decimal(5)),
                Visit(patient=self.carla, started_at=at("2022-01-03 08:00"), vitals=[], diagnosis="It's"),
            ]
        )
        rows = Visit.objects.filter(started_at__year=2022).values_list("vitals", "fee", "diagnosis", "label")
        self.assertEqual(
            list(rows),
            [
                ({"pulse": 1}, Decimal("50.00"), "", 10),
                (None, Decimal("5.00"), "", 10),
                ([], Decimal("50.00"), "It's", 10),
            ],
        )

    def test_get_or_create(self) -> None:
        found, created = Patient.objects.get_or_create(ssn="111-11-1111", defaults={"name": "Nobody"})
        self.assertEqual((found, created), (self.alma, False))
        made, created = Patient.objects.get_or_create(ssn="666-66-6666", defaults={"name": "Fay Fox"})
        self.assertEqual((made.name, created), ("Fay Fox", True))
        self.assertEqual(Patient.objects.get_or_create(ssn="666-66-6666"), (made, False))

    def test_update_or_create(self) -> None:
        changed, created = Patient.objects.update_or_create(
            email="alma@example.org", defaults={"notes": "Braver now", "height": 164}
        )
        self.assertEqual((changed.pk, created), (self.alma.pk, False))
        self.alma.refresh_from_db()
        self.assertEqual((self.alma.notes, self.alma.height), ("Braver now", 164))
        made, created = Patient.objects.update_or_create(
            email="fay@example.org",
            defaults={"notes": "changed"},
            create_defaults={"name": "Fay Fox", "ssn": "666-66-6666"},
        )
        self.assertEqual((made.name, made.notes, created), ("Fay Fox", "", True))

    def test_validation_looks_at_the_table(self) -> None:
        twin = patient("Twin", "111-11-1111", email="carla@example.com", balance=Decimal(-2000))
        with self.assertRaisesMessage(ValidationError, "patient_balance_floor") as raised:
            optional = {field.name for field in Patient._meta.fields if field.null} | {"history", "phones"}
            twin.full_clean(exclude=optional - {"email"})
        self.record(sorted(raised.exception.message_dict))
        self.assertEqual(sorted(raised.exception.message_dict), ["__all__", "email", "ssn"])


class UpdatingTests(ClinicTestCase):
    def test_save_updates_the_row(self) -> None:
        alma = Patient.objects.get(pk=self.alma.pk)
        alma.name = "Alma Adler-Berg"
        alma.birth_date = None
        alma.phones.append("+49 30 3")
        alma.history["packs"] = 3
        alma.photo = b"\x00"
        alma.blood_type = Patient.BloodType.ZERO
        alma.save()
        self.alma.refresh_from_db()
        self.assertEqual((self.alma.name, self.alma.birth_date), ("Alma Adler-Berg", None))
        self.assertEqual(self.alma.phones, ["+49 30 1", "+49 30 2", "+49 30 3"])
        self.assertEqual((self.alma.history["packs"], bytes(self.alma.photo)), (3, b"\x00"))
        self.assertEqual(self.alma.get_blood_type_display(), "Type zero")
        self.assertEqual((self.alma.ssn, self.alma.balance), ("111-11-1111", Decimal("100.50")))
        self.assertGreater(self.alma.updated_at, self.alma.created_at)

    def test_save_of_some_fields(self) -> None:
        other = Patient.objects.get(pk=self.alma.pk)
        other.notes = "Other notes"
        other.save()
        self.alma.name = "New name"
        self.alma.notes = "Stale notes"
        self.alma.save(update_fields=["name"])
        self.alma.refresh_from_db()
        self.assertEqual((self.alma.name, self.alma.notes), ("New name", "Other notes"))

    def test_save_of_a_row_that_is_gone(self) -> None:
        Patient.objects.filter(pk=self.david.pk).delete()
        with self.assertRaisesMessage(DatabaseError, "did not affect any rows"), transaction.atomic():
            self.david.save(update_fields=["name"])
        self.david.save()
        self.assertEqual(Patient.objects.get(ssn="444-44-4444").pk, self.david.pk)

    def test_refresh_from_db(self) -> None:
        Patient.objects.filter(pk=self.alma.pk).update(balance=Decimal("1.25"), notes="x")
        self.assertEqual(self.alma.balance, Decimal("100.50"))
        self.alma.refresh_from_db(fields=["balance"])
        self.assertEqual((self.alma.balance, self.alma.notes), (Decimal("1.25"), "Fear of needles"))

    def test_update_counts_rows(self) -> None:
        self.assertEqual(Patient.objects.filter(city="Berlin").update(notes="From Berlin"), 3)
        self.assertEqual(Patient.objects.filter(city="Nowhere").update(notes="From nowhere"), 0)
        self.assertEqual(Patient.objects.filter(notes="From Berlin").count(), 3)
        self.assertEqual(Visit.objects.filter(patient__name="Alma Adler").update(fee=20, room=9), 2)

    def test_update_with_expressions(self) -> None:
        Patient.objects.update(balance=F("balance") + 10, notes=Concat(Upper("name"), Value("!")))
        self.assertEqual(
            list(Patient.objects.order_by("ssn").values_list("balance", "notes"))[:2],
            [(Decimal("110.50"), "ALMA ADLER!"), (Decimal("-40.25"), "BRUNO BERG!")],
        )
        Patient.objects.update(
            is_active=Case(When(balance__lt=0, then=False), default=True), height=F("height") % 100, email=None
        )
        self.record(Patient.objects.order_by("ssn").values_list("is_active", "height", "email"))
        self.assertEqual(self.names(Patient.objects.filter(is_active=False)), ["Bruno Berg"])

    def test_save_with_an_expression(self) -> None:
        self.alma.insurance_number = F("insurance_number") * 10 + 1
        self.alma.save()
        self.alma.refresh_from_db()
        self.assertEqual(self.alma.insurance_number, 90_000_000_011)

    def test_bulk_update(self) -> None:
        patients = list(Patient.objects.order_by("ssn"))
        for number, each in enumerate(patients):
            each.balance = Decimal(number)
            each.notes = f"Number {number}" if number % 2 else ""
            each.birth_date = None if number == 2 else date(2000, 1, 1 + number)
            each.history = {"number": number}
        self.assertEqual(
            Patient.objects.bulk_update(patients, ["balance", "notes", "birth_date", "history"], batch_size=2), 5
        )
        rows = list(Patient.objects.order_by("ssn").values_list("balance", "notes", "birth_date", "history"))
        self.record(rows)
        self.assertEqual(rows[2], (Decimal(2), "", None, {"number": 2}))
        self.assertEqual(rows[3], (Decimal(3), "Number 3", date(2000, 1, 4), {"number": 3}))

    def test_null_json_null_and_empty(self) -> None:
        self.flu.vitals = Value(None, JSONField())
        self.flu.save()
        self.check_up.vitals = None
        self.check_up.save()
        self.sprain.vitals = ""
        self.sprain.save()
        self.assertEqual(list(Visit.objects.filter(vitals__isnull=True)), [self.check_up, self.vaccination])
        self.assertEqual(list(Visit.objects.filter(vitals=None)), [self.flu])
        self.assertEqual(list(Visit.objects.filter(vitals="")), [self.sprain])
        Patient.objects.filter(pk=self.alma.pk).update(photo=b"", notes="", email="")
        self.alma.refresh_from_db()
        self.assertEqual((bytes(self.alma.photo), self.alma.notes, self.alma.email), (b"", "", ""))

    def test_numbers_are_rounded_to_the_column(self) -> None:
        Patient.objects.filter(pk=self.alma.pk).update(balance=Decimal("1.005"))
        Patient.objects.filter(pk=self.bruno.pk).update(balance=F("balance") / 3)
        self.alma.refresh_from_db()
        self.bruno.refresh_from_db()
        self.assertEqual((self.alma.balance, self.bruno.balance), (Decimal("1.01"), Decimal("-16.75")))

    def test_times_of_other_zones(self) -> None:
        zone = timezone(timedelta(hours=5, minutes=45))
        self.alma.registered_at = datetime(2022, 1, 1, 3, 0, tzinfo=zone)
        self.alma.save()
        self.alma.refresh_from_db()
        self.assertEqual(self.alma.registered_at, at("2021-12-31 21:15"))
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL TimeZone = 'Asia/Kathmandu'")
            cursor.execute(
                "SELECT registered_at::text FROM clinic_patient WHERE registered_at = '2022-01-01 03:00'"
            )
            self.assertEqual(cursor.fetchone(), ("2022-01-01 03:00:00+05:45",))

    def test_unique_with_a_plain_column(self) -> None:
        Prescription.objects.create(visit=self.flu, drug="Aspirin", doses=3, repeats=True)
        Prescription.objects.create(visit=self.sprain, drug="Aspirin")
        changed, created = Prescription.objects.update_or_create(
            visit=self.flu, drug="Aspirin", defaults={"doses": F("doses") + 1}
        )
        changed.refresh_from_db()
        self.assertEqual((changed.doses, changed.repeats, created), (4, True, False))
        self.assertEqual(Prescription.objects.filter(repeats=False).get().visit, self.sprain)
