"""COPY, both ways."""

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal

from application.payroll.base import PayrollTestCase


class CopyFromTests(PayrollTestCase):
    def test_text_with_columns(self) -> None:
        with self.connection.cursor() as cursor:
            with cursor.copy(
                "COPY employee (company_id, name, salary, phones, born, profile, photo) FROM STDIN"
            ) as copy:
                copy.write_row(
                    (self.company, "Dee\t\\\n", Decimal("12.3"), ["x", None], None, '{"a": 1}', b"\x00")
                )
                copy.write_row((self.company, "Eli", Decimal(7), [], date(2001, 1, 1), "[]", None))
            self.assertEqual(cursor.rowcount, 2)
        rows = self.recorded_rows(
            "SELECT name, salary, phones, born, profile, photo, level, active, code_upper FROM employee "
            "WHERE salary < 100 AND company_id = %s ORDER BY name",
            [self.company],
        )
        self.assertEqual(rows[0][:3], ("Dee\t\\\n", Decimal("12.30"), ["x", None]))
        self.assertEqual(rows[1][6:], ("junior", True, "X"))

    def test_text_without_columns(self) -> None:
        with self.connection.cursor() as cursor, cursor.copy("COPY payslip FROM STDIN") as copy:
            copy.write(
                f"1000001\t{self.ann}\t2024-01-01\t1.5\tOne\tt\n1000002\t{self.ben}\t2024-01-02\t2\t\\N\tf\n".encode()
            )
        self.assertEqual(
            self.recorded_rows(
                "SELECT id, period, amount, note, paid FROM payslip WHERE id > 1000000 ORDER BY id"
            ),
            [
                (1_000_001, date(2024, 1, 1), Decimal("1.50"), "One", True),
                (1_000_002, date(2024, 1, 2), Decimal("2.00"), None, False),
            ],
        )

    def test_csv(self) -> None:
        with (
            self.connection.cursor() as cursor,
            cursor.copy(
                "COPY payslip (employee_id, period, note, amount) "
                "FROM STDIN (FORMAT csv, HEADER, NULL '-', DELIMITER ';')"
            ) as copy,
        ):
            copy.write(
                f'employee_id;period;note;amount\n{self.ann};2024-01-01;"a ""b""; c";1\n{self.ann};2024-01-02;;2\n'
            )
            copy.write(f"{self.ann};2024-01-03;-;3\n")
        self.assertEqual(
            self.recorded_rows("SELECT note FROM payslip WHERE employee_id = %s ORDER BY amount", [self.ann]),
            [('a "b"; c',), ("",), (None,)],
        )

    def test_binary_with_columns(self) -> None:
        with (
            self.connection.cursor() as cursor,
            cursor.copy(
                "COPY employee (company_id, name, points, hired_at, reference, active, photo, tax_number, "
                "desk, bonus) "
                "FROM STDIN (FORMAT binary)"
            ) as copy,
        ):
            copy.set_types(
                ["int4", "text", "int8", "timestamptz", "uuid", "bool", "bytea", "varchar", "int4", "numeric"]
            )
            moment = datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=UTC)
            copy.write_row(
                (self.company, "Dee", 2**62, moment, uuid.UUID(int=3), False, b"\xff", "D-4", 5, Decimal("1.50"))
            )
            copy.write_row((self.company, "Eli", -1, moment, None, True, None, None, None, None))
        rows = self.recorded_rows(
            "SELECT name, points, hired_at, reference, active, photo, tax_number, desk, bonus, salary "
            "FROM employee "
            "WHERE name IN ('Dee', 'Eli') ORDER BY name"
        )
        self.assertEqual(rows[0][:2], ("Dee", 2**62))
        self.assertEqual(rows[1][3:], (None, True, None, None, None, None, 1000))

    def test_binary_without_columns(self) -> None:
        with self.connection.cursor() as cursor, cursor.copy("COPY payslip FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "int8", "date", "numeric", "text", "bool"])
            copy.write_row((1_000_001, self.ann, date(2024, 1, 1), Decimal("-0.01"), "", True))
        self.assertEqual(
            self.rows("SELECT amount, note, paid FROM payslip WHERE id = 1000001"), [(Decimal("-0.01"), "", True)]
        )

    def test_many_rows(self) -> None:
        with (
            self.connection.cursor() as cursor,
            cursor.copy("COPY employee (company_id, name, points) FROM STDIN") as copy,
        ):
            for number in range(2000):
                copy.write_row((self.company, f"Copy {number}", number))
        self.assertEqual(
            self.rows("SELECT count(*), sum(points), min(salary) FROM employee WHERE name LIKE 'Copy %'"),
            [(2000, 1999000, 1000)],
        )

    def test_to_a_key_that_is_always_generated(self) -> None:
        with (
            self.connection.cursor() as cursor,
            cursor.copy("COPY equipment (employee_id, label, price) FROM STDIN") as copy,
        ):
            copy.write_row((self.ann, "desk", Decimal(5)))
            copy.write_row((None, None, None))
        self.assertEqual(
            self.recorded_rows("SELECT label, price FROM equipment WHERE id > 1 ORDER BY id"),
            [("desk", 5), (None, None)],
        )

    def test_refused_rows(self) -> None:
        for row, sqlstate, constraint in (
            ("Twin\tA-1\t1", "23505", "employee_tax_number_key"),
            ("\tZ-1\t1", "23514", "employee_has_name"),
            ("Zoe\tZ-1\t-1", "23514", "pay_is_positive"),
            ("Zoe\tZ-1\tmuch", "22P02", None),
            ("Zoe\tZ-1\t999999999", "22003", None),
            ("Zoe\tZ-12345678901\t1", "22001", None),
            ("\\N\tZ-1\t1", "23502", None),
            ("Zoe\tZ-1", "22P04", None),
        ):
            with (
                self.subTest(row),
                self.refused(sqlstate, constraint),
                self.connection.cursor() as cursor,
                cursor.copy("COPY employee (company_id, name, tax_number, salary) FROM STDIN") as copy,
            ):
                copy.write(f"{self.company}\tFirst\t\\N\t1\n{self.company}\t{row}\n")
        self.assertEqual(self.value("SELECT count(*) FROM employee WHERE name = 'First'"), 0)


class CopyToTests(PayrollTestCase):
    def copied(self, query: str, options: str = "") -> bytes:
        """Return what COPY gives, and record it."""
        statement = f"COPY ({query.format(company=self.company)}) TO STDOUT {options}".encode()
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            data = b"".join(map(bytes, copy))
        self.record(data)
        return data

    def test_text(self) -> None:
        data = self.copied(
            "SELECT name, salary, born, level, phones, active, profile "
            "FROM employee WHERE company_id = {company} ORDER BY name"
        )
        self.assertEqual(
            data.decode().splitlines(),
            [
                "Ann\t5000.00\t1970-01-01\tchief\t{}\tt\t{}",
                "Ben\t3000.50\t\\N\tsenior\t{}\tt\t{}",
                "Cal\t2000.00\t2000-12-31\ttrainee\t{}\tt\t{}",
            ],
        )

    def test_csv(self) -> None:
        data = self.copied(
            "SELECT name, tax_number FROM employee WHERE company_id = {company} ORDER BY name",
            "(FORMAT csv, HEADER, FORCE_QUOTE *)",
        )
        self.assertEqual(data, b'name,tax_number\n"Ann","A-1"\n"Ben","B-2"\n"Cal",\n')

    def test_binary(self) -> None:
        query = "SELECT name, salary, born, points, photo FROM employee WHERE company_id = {company} ORDER BY name"
        self.copied(query, "(FORMAT binary)")
        statement = f"COPY ({query.format(company=self.company)}) TO STDOUT (FORMAT binary)".encode()
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(["text", "numeric", "date", "int8", "bytea"])
            rows = list(copy.rows())
        self.assertEqual(rows[0], ("Ann", Decimal(5000), date(1970, 1, 1), 1, None))

    def test_from_one_session_to_another(self) -> None:
        columns = "name, tax_number, points, phones, profile, born"
        kept = f"SELECT {columns} FROM employee WHERE name LIKE 'Number 1__'".replace("r, p", "r || '*', p")
        other = self.connect()
        with self.connection.cursor() as source, other.cursor() as target:
            with (
                source.copy(f"COPY ({kept}) TO STDOUT".encode()) as reading,
                target.copy(f"COPY employee (company_id, {columns}) FROM STDIN".encode()) as writing,
            ):
                for data in reading:
                    writing.write(b"1\t" + data)
            self.assertEqual(target.rowcount, 100)
            target.execute("SELECT sum(points), count(DISTINCT name) FROM employee WHERE tax_number LIKE '%*'")
            self.assertEqual(target.fetchone(), (14950, 100))
