"""Queries that only read."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.contrib.postgres.aggregates import ArrayAgg, StringAgg
from django.db.models import (
    Avg,
    Case,
    CharField,
    Count,
    DecimalField,
    Exists,
    ExpressionWrapper,
    F,
    IntegerField,
    Max,
    Min,
    OuterRef,
    Q,
    StdDev,
    Subquery,
    Sum,
    Value,
    When,
    Window,
)
from django.db.models.functions import (
    Cast,
    Coalesce,
    Concat,
    ExtractYear,
    Left,
    Length,
    Lower,
    Rank,
    RowNumber,
    TruncMonth,
    Upper,
)

from application.clinic.models import Department, Doctor, Patient, Visit
from application.clinic.tests.base import PHOTO, ClinicTestCase, at


class LookupTests(ClinicTestCase):
    def test_get_gives_every_value_in_its_type(self) -> None:
        emile = Patient.objects.get(pk=self.emile.pk)
        self.assertEqual(emile.name, "Émile Durand")
        self.assertEqual(emile.ssn, "555-55-5555")
        self.assertEqual(emile.email, "emile@example.fr")
        self.assertEqual(emile.birth_date, date(2015, 5, 5))
        self.assertEqual((emile.blood_type, emile.get_blood_type_display()), ("B", "Type B"))
        self.assertEqual((emile.balance, str(emile.balance)), (Decimal(20), "20.00"))
        self.assertEqual((emile.height, emile.insurance_number), (110, 9_000_000_005))
        self.assertEqual(emile.registered_at, at("2021-06-30 23:59:59.999999"))
        self.assertIs(emile.is_active, True)
        self.assertEqual(emile.notes, "Child\nsecond line")
        self.assertEqual(emile.history, {"smoker": None})
        self.assertEqual(emile.phones, ["+33 1 5", "+33 1 6", "+33 1 7"])
        self.assertEqual(emile.card, UUID(int=0x555555555))
        self.assertEqual(bytes(emile.photo), PHOTO)
        self.assertEqual((emile.city, emile.source), ("Berlin", "web"))

    def test_get_gives_null_as_none_and_empty_as_empty(self) -> None:
        david = Patient.objects.get(ssn="444-44-4444")
        self.assertEqual(
            [david.email, david.birth_date, david.blood_type, david.height, david.registered_at, david.photo],
            [None] * 6,
        )
        bruno = Patient.objects.get(name="Bruno Berg")
        self.assertEqual((bruno.notes, bruno.phones, david.history), ("", [], {}))

    def test_get_finds_none_or_many(self) -> None:
        with self.assertRaises(Patient.DoesNotExist):
            Patient.objects.get(ssn="999-99-9999")
        with self.assertRaises(Patient.MultipleObjectsReturned):
            Patient.objects.get(registered_at__year=2020)

    def test_filter_by_equality_of_each_type(self) -> None:
        for condition in (
            {"name": "Alma Adler"},
            {"ssn": "111-11-1111"},
            {"email": "alma@example.org"},
            {"birth_date": date(1950, 3, 1)},
            {"blood_type": Patient.BloodType.A},
            {"balance": Decimal("100.5")},
            {"height": 165},
            {"insurance_number": 9_000_000_001},
            {"registered_at": at("2020-01-01 08:00")},
            {"notes": "Fear of needles"},
            {"history": {"packs": 2, "smoker": True, "surgeries": ["knee"]}},
            {"phones": ["+49 30 1", "+49 30 2"]},
            {"card": UUID(int=0x111111111)},
        ):
            with self.subTest(condition):
                self.assertEqual(list(Patient.objects.filter(**condition)), [self.alma])

    def test_filter_by_bytes_and_boolean(self) -> None:
        self.assertEqual(self.names(Patient.objects.filter(photo=PHOTO)), ["Émile Durand"])
        self.assertEqual(self.names(Patient.objects.filter(is_active=False)), ["David Dorn"])

    def test_exclude(self) -> None:
        self.assertEqual(
            self.names(Patient.objects.exclude(blood_type="A")),
            ["Bruno Berg", "Carla Costa", "David Dorn", "Émile Durand"],
        )
        self.assertEqual(
            self.names(Patient.objects.exclude(email__endswith=".org").exclude(height__gt=175)),
            ["Carla Costa", "David Dorn", "Émile Durand"],
        )

    def test_comparison_and_range(self) -> None:
        self.assertEqual(self.names(Patient.objects.filter(balance__lt=0)), ["Bruno Berg"])
        self.assertEqual(
            self.names(Patient.objects.filter(birth_date__range=(date(1960, 1, 1), date(1960, 12, 31)))),
            ["Bruno Berg", "Carla Costa"],
        )
        self.assertEqual(
            self.names(Patient.objects.filter(registered_at__gte=at("2020-02-01 08:00:00.123457"))),
            ["Carla Costa", "Émile Durand"],
        )

    def test_in_and_isnull(self) -> None:
        self.assertEqual(
            self.names(Patient.objects.filter(ssn__in=["111-11-1111", "555-55-5555", "no"])),
            ["Alma Adler", "Émile Durand"],
        )
        self.assertEqual(self.names(Patient.objects.filter(email__isnull=True)), ["Bruno Berg", "David Dorn"])
        self.assertEqual(self.names(Patient.objects.none()), [])

    def test_text_lookups(self) -> None:
        for lookup, expected in {
            "name__iexact": ("aLMA aDLER", ["Alma Adler"]),
            "name__contains": ("Do", ["David Dorn"]),
            "name__icontains": ("d", ["Alma Adler", "David Dorn", "Émile Durand"]),
            "name__startswith": ("É", ["Émile Durand"]),
            "email__istartswith": ("CARLA@", ["Carla Costa"]),
            "email__iendswith": (".FR", ["Émile Durand"]),
            "ssn__regex": (r"^[45]{3}-", ["David Dorn", "Émile Durand"]),
            "notes__iregex": (r"MÜLLER|needles$", ["Alma Adler", "David Dorn"]),
        }.items():
            with self.subTest(lookup):
                self.assertEqual(self.names(Patient.objects.filter(**{lookup: expected[0]})), expected[1])

    def test_wildcards_and_backslashes_are_plain_characters(self) -> None:
        self.assertEqual(self.names(Patient.objects.filter(notes__contains="0% a")), ["Carla Costa"])
        self.assertEqual(self.names(Patient.objects.filter(notes__contains="c_t")), ["Carla Costa"])
        self.assertEqual(self.names(Patient.objects.filter(notes__contains="\\")), ["David Dorn"])

    def test_date_lookups(self) -> None:
        self.assertEqual(
            self.names(Patient.objects.filter(birth_date__year=1960, birth_date__month=7)), ["Bruno Berg"]
        )
        self.assertEqual(
            self.names(Patient.objects.filter(registered_at__date=date(2020, 2, 1))), ["Bruno Berg", "Carla Costa"]
        )
        self.assertEqual(self.names(Patient.objects.filter(registered_at__hour=23)), ["Émile Durand"])

    def test_json_lookups(self) -> None:
        self.assertEqual(self.names(Patient.objects.filter(history__smoker=True)), ["Alma Adler"])
        self.assertEqual(self.names(Patient.objects.filter(history__smoker=None)), ["Émile Durand"])
        self.assertEqual(
            self.names(Patient.objects.filter(history__has_key="surgeries")), ["Alma Adler", "Carla Costa"]
        )
        self.assertEqual(
            self.names(Patient.objects.filter(history__contains={"surgeries": ["hip"]})), ["Carla Costa"]
        )
        self.assertEqual(self.names(Patient.objects.filter(history__address__zip="10115")), ["Carla Costa"])
        self.assertEqual(self.names(Patient.objects.filter(history__surgeries__0="hip")), ["Carla Costa"])
        self.assertEqual(self.names(Patient.objects.filter(history__packs__gt=1)), ["Alma Adler"])

    def test_array_lookups(self) -> None:
        self.assertEqual(self.names(Patient.objects.filter(phones__contains=["+49 30 2"])), ["Alma Adler"])
        self.assertEqual(
            self.names(Patient.objects.filter(phones__overlap=["+39 6 3", "+33 1 7"])),
            ["Carla Costa", "Émile Durand"],
        )
        self.assertEqual(self.names(Patient.objects.filter(phones__len=3)), ["Émile Durand"])
        self.assertEqual(self.names(Patient.objects.filter(phones__0="+49 30 1")), ["Alma Adler"])
        self.assertEqual(self.names(Patient.objects.filter(phones=[])), ["Bruno Berg", "David Dorn"])

    def test_q_expressions(self) -> None:
        self.assertEqual(
            self.names(Patient.objects.filter(Q(balance__gt=50) | Q(birth_date__year__gte=2000))),
            ["Alma Adler", "David Dorn", "Émile Durand"],
        )
        self.assertEqual(
            self.names(Patient.objects.filter(~Q(city="Berlin") & ~Q(is_active=False))), ["Bruno Berg"]
        )
        self.assertEqual(
            self.names(Patient.objects.filter(Q(blood_type="A") ^ Q(city="Berlin"))),
            ["Carla Costa", "Émile Durand"],
        )

    def test_f_expressions(self) -> None:
        self.assertEqual(self.names(Patient.objects.filter(balance__gt=F("height"))), [])
        self.assertEqual(
            self.names(Patient.objects.filter(height__gt=F("balance") + 150)), ["Bruno Berg", "Carla Costa"]
        )
        self.assertEqual(
            list(Visit.objects.filter(fee__gt=F("discount") + 75).values_list("diagnosis", flat=True)),
            ["Sprain", "Flu"],
        )


class ShapeTests(ClinicTestCase):
    def test_ordering(self) -> None:
        self.assertEqual(
            self.names(Patient.objects.all()),
            ["Alma Adler", "Bruno Berg", "Carla Costa", "David Dorn", "Émile Durand"],
        )
        self.assertEqual(
            self.names(Patient.objects.order_by("-balance")),
            ["David Dorn", "Alma Adler", "Émile Durand", "Carla Costa", "Bruno Berg"],
        )
        self.assertEqual(
            self.names(Patient.objects.order_by(F("birth_date").desc(nulls_last=True), "name")),
            ["Émile Durand", "Carla Costa", "Bruno Berg", "Alma Adler", "David Dorn"],
        )
        self.assertEqual(self.names(Patient.objects.reverse())[0], "Émile Durand")
        self.assertEqual(
            self.names(Patient.objects.order_by(Length("notes"), "ssn"))[:2], ["Bruno Berg", "Alma Adler"]
        )

    def test_slicing(self) -> None:
        self.assertEqual(self.names(Patient.objects.all()[1:3]), ["Bruno Berg", "Carla Costa"])
        self.assertEqual(Patient.objects.all()[4].name, "Émile Durand")
        self.assertEqual(self.names(Patient.objects.order_by("-height")[:2]), ["David Dorn", "Bruno Berg"])
        self.assertEqual(self.names(Patient.objects.all()[::2]), ["Alma Adler", "Carla Costa", "Émile Durand"])

    def test_first_last_earliest_latest(self) -> None:
        self.assertEqual(Patient.objects.first(), self.alma)
        self.assertEqual(Patient.objects.order_by("ssn").last(), self.emile)
        registered = Patient.objects.filter(registered_at__isnull=False)
        self.assertEqual(registered.latest(), self.emile)
        self.assertEqual(registered.earliest("birth_date"), self.alma)
        self.assertIsNone(Patient.objects.filter(name="Nobody").first())

    def test_count_exists_contains(self) -> None:
        self.assertEqual(Patient.objects.count(), 5)
        self.assertEqual(Patient.objects.filter(notes="").count(), 1)
        self.assertTrue(Patient.objects.filter(email="alma@example.org").exists())
        self.assertFalse(Patient.objects.filter(email="ALMA@example.org").exists())
        self.assertTrue(Patient.active.all().contains(self.alma))
        self.assertFalse(Patient.active.contains(self.david))

    def test_values_and_values_list(self) -> None:
        values = list(Patient.objects.values("name", "balance", "doctor__name").order_by("ssn")[:2])
        self.assertEqual(
            values,
            [
                {"name": "Alma Adler", "balance": Decimal("100.50"), "doctor__name": "Ada Quinn"},
                {"name": "Bruno Berg", "balance": Decimal("-50.25"), "doctor__name": "Ada Quinn"},
            ],
        )
        self.record(values)
        self.assertEqual(
            list(Patient.objects.values_list("ssn", flat=True)),
            ["111-11-1111", "222-22-2222", "333-33-3333", "444-44-4444", "555-55-5555"],
        )
        row = Patient.objects.values_list("name", "history", named=True).get(ssn="333-33-3333")
        self.assertEqual(row.history["address"], {"zip": "10115"})

    def test_values_of_json_keys(self) -> None:
        rows = Patient.objects.filter(history__has_key="packs").values_list("history__packs", "history__surgeries")
        self.assertEqual(list(rows), [(2, ["knee"])])

    def test_distinct(self) -> None:
        self.assertEqual(
            list(Visit.objects.order_by("diagnosis").values_list("diagnosis", flat=True).distinct()),
            ["Check-up", "Flu", "Sprain", "Vaccination"],
        )
        last = Visit.objects.order_by("diagnosis", "-started_at").distinct("diagnosis")
        self.assertEqual([visit.patient_id for visit in last if visit.diagnosis == "Flu"], [self.carla.pk])

    def test_dates_and_datetimes(self) -> None:
        self.assertEqual(
            list(Patient.objects.dates("birth_date", "year")),
            [date(1950, 1, 1), date(1960, 1, 1), date(2015, 1, 1)],
        )
        months = list(Patient.objects.datetimes("registered_at", "month", order="DESC"))
        self.assertEqual(months, [at("2021-06-01"), at("2020-02-01"), at("2020-01-01")])
        self.record(months)

    def test_defer_and_only(self) -> None:
        alma = Patient.objects.defer("notes", "history").get(ssn="111-11-1111")
        self.assertEqual(alma.get_deferred_fields(), {"notes", "history"})
        with self.assertNumQueries(1):
            self.assertEqual(alma.notes, "Fear of needles")
        bruno = Patient.objects.only("name").get(ssn="222-22-2222")
        with self.assertNumQueries(1):
            self.assertEqual(bruno.balance, Decimal("-50.25"))

    def test_in_bulk(self) -> None:
        self.assertEqual(
            Patient.objects.in_bulk([self.alma.pk, self.emile.pk, 0]),
            {self.alma.pk: self.alma, self.emile.pk: self.emile},
        )
        self.assertEqual(Patient.objects.in_bulk(["222-22-2222"], field_name="ssn"), {"222-22-2222": self.bruno})

    def test_iterator_with_a_server_side_cursor(self) -> None:
        self.assertEqual(
            [patient.ssn[0] for patient in Patient.objects.order_by("ssn").iterator(chunk_size=2)], list("12345")
        )
        fetched = list(Patient.objects.prefetch_related("visits").order_by("ssn").iterator(chunk_size=3))
        self.assertEqual([len(patient.visits.all()) for patient in fetched], [2, 1, 1, 0, 1])

    def test_union_intersection_difference(self) -> None:
        berlin = Patient.objects.filter(city="Berlin").order_by()
        born_1960 = Patient.objects.filter(birth_date__year=1960).order_by()
        fields = ("name", "balance")
        self.assertEqual(
            list(berlin.values_list(*fields).intersection(born_1960.values_list(*fields))),
            [("Carla Costa", Decimal("0.00"))],
        )
        self.assertEqual(
            sorted(name for name, _ in berlin.values_list(*fields).union(born_1960.values_list(*fields))),
            ["Alma Adler", "Bruno Berg", "Carla Costa", "Émile Durand"],
        )
        self.assertEqual(
            list(born_1960.values_list(*fields).difference(berlin.values_list(*fields))),
            [("Bruno Berg", Decimal("-50.25"))],
        )

    def test_raw_queries(self) -> None:
        query = "SELECT *, upper(name) AS loud FROM clinic_patient WHERE balance > %s ORDER BY balance"
        found = list(Patient.objects.raw(query, [50]))
        self.assertEqual([each.loud for each in found], ["ALMA ADLER", "DAVID DORN"])
        self.assertEqual(found[0].history, self.alma.history)


class AggregateTests(ClinicTestCase):
    def test_aggregates_over_all_rows(self) -> None:
        totals = Patient.objects.aggregate(
            Count("email"),
            Sum("balance"),
            Min("birth_date"),
            Max("registered_at"),
            tallest=Max("height"),
            mean=Avg("height"),
            spread=StdDev("height"),
        )
        self.record(totals)
        self.assertEqual(totals["email__count"], 3)
        self.assertEqual(totals["balance__sum"], Decimal("1070.24"))
        self.assertEqual(totals["birth_date__min"], date(1950, 3, 1))
        self.assertEqual((totals["tallest"], totals["mean"]), (180, 156.75))

    def test_aggregates_of_none(self) -> None:
        nobody = Patient.objects.filter(name="Nobody")
        self.assertEqual(
            nobody.aggregate(sum=Sum("balance"), some=Sum("balance", default=0), count=Count("*")),
            {"sum": None, "some": 0, "count": 0},
        )

    def test_group_by_a_secret_column(self) -> None:
        grouped = list(
            Visit.objects.order_by()
            .values("diagnosis")
            .annotate(count=Count("*"), fees=Sum("fee"))
            .order_by("-count", "diagnosis")
        )
        self.record(grouped)
        self.assertEqual(grouped[0], {"diagnosis": "Flu", "count": 2, "fees": Decimal("160.00")})
        self.assertEqual(len(grouped), 4)

    def test_group_by_a_plain_column_with_having(self) -> None:
        cities = Patient.objects.order_by().values("city").annotate(count=Count("id"), owed=Sum("balance"))
        self.assertEqual(
            list(cities.filter(owed__gt=0).order_by("city").values_list("city", "count", "owed")),
            [("Berlin", 3, Decimal("120.50")), ("Köln", 1, Decimal("999.99"))],
        )

    def test_group_by_the_key_of_another_table(self) -> None:
        doctors = Doctor.objects.annotate(
            patients_seen=Count("visits__patient", distinct=True), earned=Sum("visits__fee")
        ).order_by("name")
        self.assertEqual(
            [(doctor.name, doctor.patients_seen, doctor.earned) for doctor in doctors],
            [("Ada Quinn", 2, Decimal("200.75")), ("Bela Rossi", 2, Decimal("130.00"))],
        )
        departments = Department.objects.annotate(
            active=Count("doctors__patients", filter=Q(doctors__patients__balance__gt=0))
        ).order_by("name")
        self.assertEqual([each.active for each in departments], [1, 1])

    def test_array_and_string_aggregates(self) -> None:
        found = Patient.objects.order_by().aggregate(
            names=ArrayAgg("name", order_by="-name"),
            types=StringAgg("blood_type", delimiter="/", order_by="blood_type"),
        )
        self.assertEqual(found["names"][0], "Émile Durand")
        self.assertEqual(found["types"], "0/A/AB/B")

    def test_conditional_aggregate(self) -> None:
        found = Patient.objects.aggregate(
            debtors=Count("pk", filter=Q(balance__lt=0)),
            weight=Sum(Case(When(history__smoker=True, then=10), default=1, output_field=IntegerField())),
        )
        self.assertEqual(found, {"debtors": 1, "weight": 14})


class AnnotationTests(ClinicTestCase):
    def rows(self, queryset: Any, *names: str) -> list[tuple[Any, ...]]:
        """Return values, and record them."""
        rows = list(queryset.values_list(*names))
        self.record(rows)
        return rows

    def test_functions_over_secret_columns(self) -> None:
        annotated = Patient.objects.annotate(
            loud=Upper("name"), quiet=Lower("email"), length=Length("notes"), initial=Left("name", 1)
        )
        rows = self.rows(annotated.filter(length__gt=0), "loud", "quiet", "length", "initial")
        self.assertEqual(rows[0], ("ALMA ADLER", "alma@example.org", 15, "A"))
        self.assertEqual(len(rows), 4)

    def test_arithmetic_concat_coalesce_cast(self) -> None:
        rows = self.rows(
            Patient.objects.annotate(
                after=F("balance") * 2 + 1,
                label=Concat(
                    "name", Value(" <"), Coalesce("email", Value("none")), Value(">"), output_field=CharField()
                ),
                number=Cast("height", CharField()),
                born=ExtractYear("birth_date"),
            ),
            "after",
            "label",
            "number",
            "born",
        )
        self.assertEqual(rows[1], (Decimal("-99.50"), "Bruno Berg <none>", "180", 1960))

    def test_case_when(self) -> None:
        rows = self.rows(
            Patient.objects.annotate(
                state=Case(
                    When(balance__lt=0, then=Value("owes")),
                    When(balance__gt=100, then=Value("rich")),
                    default=Value("fine"),
                )
            ),
            "state",
        )
        self.assertEqual([state for (state,) in rows], ["rich", "owes", "fine", "rich", "fine"])

    def test_subquery_and_exists(self) -> None:
        visits = Visit.objects.filter(patient=OuterRef("pk")).order_by("-started_at")
        rows = self.rows(
            Patient.objects.annotate(
                last=Subquery(visits.values("diagnosis")[:1]), ill=Exists(visits.filter(diagnosis="Flu"))
            ),
            "name",
            "last",
            "ill",
        )
        self.assertEqual(rows[0], ("Alma Adler", "Check-up", True))
        self.assertEqual(rows[3], ("David Dorn", None, False))
        ill = Patient.objects.filter(pk__in=Visit.objects.filter(diagnosis="Flu").values("patient"))
        self.assertEqual(self.names(ill), ["Alma Adler", "Carla Costa"])

    def test_window_functions(self) -> None:
        rows = self.rows(
            Patient.objects.annotate(
                rank=Window(Rank(), order_by=F("balance").desc()),
                row=Window(RowNumber(), partition_by="city", order_by="ssn"),
                running=Window(Sum("balance"), order_by="ssn"),
            ).order_by("ssn"),
            "rank",
            "row",
            "running",
        )
        self.assertEqual(rows[2], (4, 2, Decimal("50.25")))

    def test_truncated_dates_as_groups(self) -> None:
        rows = self.rows(
            Patient.objects.filter(registered_at__isnull=False)
            .annotate(month=TruncMonth("registered_at"))
            .order_by("month")
            .values("month")
            .annotate(count=Count("*")),
            "month",
            "count",
        )
        self.assertEqual([count for _, count in rows], [1, 2, 1])
        self.assertIsInstance(rows[0][0], datetime)

    def test_expression_over_two_tables(self) -> None:
        share = ExpressionWrapper(F("fee") - F("discount") - F("patient__balance"), output_field=DecimalField())
        rows = self.rows(Visit.objects.annotate(share=share), "diagnosis", "share")
        self.assertEqual(rows[0], ("Flu", Decimal("-30.50")))
