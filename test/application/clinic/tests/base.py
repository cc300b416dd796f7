"""The people that most tests of the clinic start from."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.test import TestCase

from application.clinic.models import Allergy, Department, Doctor, Document, Invoice, Patient, Prescription, Visit
from application.recording import Recording

PHOTO = bytes(range(256))


def at(text: str) -> datetime:
    """Read a date and a time, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def patient(name: str, ssn: str, **more: Any) -> Patient:
    """Make a patient, not saved yet, with a card number from the social security number."""
    return Patient(**{"name": name, "ssn": ssn, "card": UUID(ssn.replace("-", "").zfill(32)), **more})


def empty() -> None:
    """Delete what is there, in an order that the foreign keys allow."""
    Invoice.objects.all().delete()
    for model in (Document, Prescription, Visit, Patient, Doctor, Department, Allergy, User):
        model.objects.all().delete()


class ClinicTestCase(Recording, TestCase):
    """Two departments, two doctors, five patients and their visits; all that was there before is gone."""

    @classmethod
    def setUpTestData(cls) -> None:
        """Make them, in the transaction of the class."""
        empty()
        cls.heart = Department.objects.create(name="Cardiology", floor=2)
        cls.surgery = Department.objects.create(name="Surgery", floor=3)
        cls.user = User.objects.create_user("ada", "ada@clinic.example", "correct horse", first_name="Ada")
        cls.ada = Doctor.objects.create(
            name="Ada Quinn", email="ada@clinic.example", department=cls.heart, account=cls.user
        )
        cls.bela = Doctor.objects.create(name="Bela Rossi", email="bela@clinic.example", department=cls.surgery)
        cls.pollen, cls.nuts, cls.latex = (
            Allergy.objects.create(name=name) for name in ("pollen", "nuts", "latex")
        )
        cls.alma = patient(
            "Alma Adler",
            "111-11-1111",
            email="alma@example.org",
            birth_date=date(1950, 3, 1),
            blood_type="A",
            balance=Decimal("100.50"),
            height=165,
            insurance_number=9_000_000_001,
            registered_at=at("2020-01-01 08:00"),
            notes="Fear of needles",
            history={"smoker": True, "packs": 2, "surgeries": ["knee"]},
            phones=["+49 30 1", "+49 30 2"],
            doctor=cls.ada,
        )
        cls.bruno = patient(
            "Bruno Berg",
            "222-22-2222",
            birth_date=date(1960, 7, 15),
            blood_type="0",
            balance=Decimal("-50.25"),
            height=180,
            registered_at=at("2020-02-01 08:00:00.123456"),
            history={"smoker": False},
            city="Hamburg",
            doctor=cls.ada,
        )
        cls.carla = patient(
            "Carla Costa",
            "333-33-3333",
            email="carla@example.com",
            birth_date=date(1960, 12, 31),
            blood_type="AB",
            height=172,
            insurance_number=9_000_000_003,
            registered_at=at("2020-02-01 09:00"),
            notes="100% allergic_to dust",
            history={"surgeries": ["hip", "knee"], "address": {"zip": "10115"}},
            phones=["+39 6 3"],
            doctor=cls.bela,
        )
        cls.david = patient(
            "David Dorn",
            "444-44-4444",
            balance=Decimal("999.99"),
            insurance_number=2**63 - 1,
            is_active=False,
            notes="Müller's naïve “patient” \\ 100",
            city="Köln",
        )
        cls.emile = patient(
            "Émile Durand",
            "555-55-5555",
            email="emile@example.fr",
            birth_date=date(2015, 5, 5),
            blood_type="B",
            balance=Decimal(20),
            height=110,
            insurance_number=9_000_000_005,
            registered_at=at("2021-06-30 23:59:59.999999"),
            notes="Child\nsecond line",
            history={"smoker": None},
            phones=["+33 1 5", "+33 1 6", "+33 1 7"],
            photo=PHOTO,
            doctor=cls.bela,
            guardian=cls.carla,
        )
        for each in (cls.alma, cls.bruno, cls.carla, cls.david, cls.emile):
            each.save()
        cls.alma.allergies.set([cls.pollen, cls.nuts])
        cls.carla.allergies.set([cls.pollen])
        cls.flu = Visit.objects.create(
            patient=cls.alma,
            doctor=cls.ada,
            started_at=at("2021-01-10 09:00"),
            ended_at=at("2021-01-10 10:00"),
            diagnosis="Flu",
            vitals={"pulse": 72, "pressure": [120, 80]},
            fee=Decimal(80),
            discount=Decimal(10),
        )
        cls.check_up = Visit.objects.create(
            patient=cls.alma, doctor=cls.bela, started_at=at("2021-03-05 14:00"), diagnosis="Check-up", room=2
        )
        cls.sprain = Visit.objects.create(
            patient=cls.bruno,
            doctor=cls.ada,
            started_at=at("2021-03-06 08:00"),
            ended_at=at("2021-03-06 08:30"),
            diagnosis="Sprain",
            fee=Decimal("120.75"),
            room=3,
        )
        cls.second_flu = Visit.objects.create(
            patient=cls.carla,
            doctor=cls.bela,
            started_at=at("2021-03-06 11:00"),
            ended_at=at("2021-03-06 12:00"),
            diagnosis="Flu",
            vitals={"pulse": 80},
            fee=Decimal(80),
        )
        cls.vaccination = Visit.objects.create(
            patient=cls.emile, started_at=at("2021-07-01 10:00"), diagnosis="Vaccination", fee=Decimal(0), room=2
        )

    def names(self, queryset: Any) -> list[str]:
        """Return the names of some patients, and record them."""
        names = [each.name for each in queryset]
        self.record(names)
        return names
