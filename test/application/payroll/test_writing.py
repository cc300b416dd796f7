"""INSERT, UPDATE and DELETE, and what they return."""

import json
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from psycopg.types.json import Json, Jsonb

from application.payroll.base import PayrollTestCase


class InsertTests(PayrollTestCase):
    def test_returning(self) -> None:
        cursor = self.connection.execute(
            "INSERT INTO employee (company_id, name, salary) VALUES (%s, 'Dee', 1234.5) RETURNING *",
            [self.company],
        )
        assert cursor.description is not None
        row = dict(zip([column.name for column in cursor.description], cursor.fetchone() or (), strict=True))
        self.assertEqual((row["id"], row["badge"] % 5), (self.cal + 1, 0))
        for name in ("id", "company_id", "badge"):
            del row[name]
        self.assertEqual((row["name"], row["salary"], row["level"]), ("Dee", Decimal("1234.50"), "junior"))
        self.record(row, list(row))

    def test_returning_expressions(self) -> None:
        rows = self.recorded_rows(
            "INSERT INTO employee AS e (company_id, name, tax_number) VALUES (%s, 'Dee', 'D'), (%s, 'Eli', 'E') "
            "RETURNING upper(e.name), tax_number || '!', salary * 2 AS double, code_upper",
            [self.company, self.company],
        )
        self.assertEqual(rows, [("DEE", "D!", Decimal("2000.00"), "X"), ("ELI", "E!", Decimal("2000.00"), "X")])

    def test_defaults(self) -> None:
        (row,) = self.recorded_rows(
            "INSERT INTO employee (company_id, name) VALUES (%s, 'Dee') RETURNING "
            "salary, level, phones, hired_at, active, points, profile, code, first_day, mail, changed_at, changes",
            [self.company],
        )
        self.assertEqual(row[:3], (Decimal(1000), "junior", []))
        self.assertEqual(row[3:7], (datetime(2020, 1, 1, tzinfo=UTC), True, 0, {}))
        self.assertEqual(row[7:], ("x", date(2020, 1, 1), None, None, 0))

    def test_the_word_default(self) -> None:
        rows = self.rows(
            "INSERT INTO employee (id, company_id, name, salary, level) "
            "VALUES (DEFAULT, %s, 'Dee', DEFAULT, 'senior'), (DEFAULT, %s, 'Eli', 7, DEFAULT) "
            "RETURNING id, salary, level",
            [self.company, self.company],
        )
        self.assertEqual(rows, [(self.cal + 1, 1000, "senior"), (self.cal + 2, 7, "junior")])
        self.run_sql("UPDATE employee SET salary = DEFAULT, level = DEFAULT, mail = DEFAULT WHERE name = 'Ann'")
        self.assertEqual(self.rows("SELECT salary, level FROM employee WHERE name = 'Ann'"), [(1000, "junior")])

    def test_default_values(self) -> None:
        (row,) = self.recorded_rows("INSERT INTO equipment DEFAULT VALUES RETURNING label, price, serial_number")
        self.assertEqual(row, ("thing", None, None))

    def test_identity_by_default(self) -> None:
        self.assertEqual(
            self.value(
                "INSERT INTO employee (id, company_id, name) VALUES (%s, %s, 'Dee') RETURNING id",
                [10**12, self.company],
            ),
            10**12,
        )
        self.assertEqual(
            self.value("INSERT INTO employee (company_id, name) VALUES (%s, 'Eli') RETURNING id", [self.company]),
            self.cal + 1,
        )

    def test_identity_always(self) -> None:
        first = self.value("INSERT INTO equipment (label) VALUES ('desk') RETURNING id")
        second = self.value("INSERT INTO equipment (label) VALUES ('chair') RETURNING id")
        self.assertEqual(second, first + 1)
        with self.refused("428C9"):
            self.run_sql("INSERT INTO equipment (id, label) VALUES (-5, 'lamp')")
        with self.refused("428C9"):
            self.run_sql("UPDATE equipment SET id = -5 WHERE label = 'desk'")

    def test_serial_and_sequences(self) -> None:
        made = self.value(
            "INSERT INTO payslip (employee_id, period) VALUES (%s, '2024-01-01') RETURNING id", [self.ann]
        )
        self.assertEqual(self.value("SELECT currval('payslip_id_seq')"), made)
        self.assertEqual(self.value("SELECT lastval()"), made)
        self.assertEqual(self.value("SELECT nextval('payslip_id_seq')"), made + 1)
        self.assertEqual(
            self.value(
                "INSERT INTO payslip (employee_id, period) VALUES (%s, '2024-01-02') RETURNING id", [self.ann]
            ),
            made + 2,
        )
        badges = self.rows("SELECT badge FROM employee WHERE company_id = %s ORDER BY id", [self.company])
        self.assertEqual([badge - badges[0][0] for (badge,) in badges], [0, 5, 10])

    def test_generated_column(self) -> None:
        self.assertEqual(
            self.run_sql("UPDATE employee SET code = 'abc', name = 'Anna' WHERE id = %s", self.ann), 1
        )
        self.assertEqual(
            self.value("UPDATE employee SET code = code || name WHERE id = %s RETURNING code_upper", [self.ann]),
            "ABCANNA",
        )
        self.run_sql("UPDATE employee SET code_upper = DEFAULT WHERE id = %s", self.ann)
        self.assertEqual(self.value("SELECT code_upper FROM employee WHERE id = %s", [self.ann]), "ABCANNA")
        with self.refused("428C9"):
            self.run_sql("UPDATE employee SET code_upper = 'OTHER' WHERE id = %s", self.ann)
        with self.refused("428C9"):
            self.run_sql("INSERT INTO employee (company_id, name, code_upper) VALUES (%s, 'x', 'X')", self.company)

    def test_many(self) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO employee (company_id, name, points) VALUES (%s, %s, %s)",
                [(self.company, f"Many {number}", number) for number in range(100)],
            )
            self.assertEqual(cursor.rowcount, 100)
            cursor.executemany(
                "UPDATE employee SET points = points * %s WHERE name = %s",
                [(2, "Many 3"), (3, "Many 4"), (4, "Many 1000")],
            )
            self.assertEqual(cursor.rowcount, 2)
        self.assertEqual(self.value("SELECT sum(points) FROM employee WHERE name LIKE 'Many%'"), 4950 + 3 + 8)

    def test_many_returning(self) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO payslip (employee_id, period, note) VALUES (%s, %s, %s) RETURNING note, amount",
                [(self.ann, date(2024, 1, day), f"Day {day}") for day in (1, 2, 3)],
                returning=True,
            )
            rows = [result.fetchone() for result in cursor.results()]
        self.assertEqual(rows, [("Day 1", 0), ("Day 2", 0), ("Day 3", 0)])

    def test_insert_from_select(self) -> None:
        copied = self.run_sql(
            "INSERT INTO employee (company_id, name, salary, level, phones) "
            "SELECT company_id, name || ' II', salary + 1, level, ARRAY[name] FROM employee WHERE company_id = %s",
            self.company,
        )
        self.assertEqual(copied, 3)
        rows = self.recorded_rows(
            "SELECT name, salary, level, phones FROM employee WHERE name LIKE '% II' ORDER BY name"
        )
        self.assertEqual(rows[1], ("Ben II", Decimal("3001.50"), "senior", ["Ben"]))

    def test_insert_with_a_child_in_one_statement(self) -> None:
        rows = self.recorded_rows(
            """
            WITH made AS (
                INSERT INTO employee (company_id, name, salary) VALUES (%s, 'Dee', 77) RETURNING id, name, salary
            )
            INSERT INTO payslip (employee_id, period, amount, note)
            SELECT id, '2024-01-01', salary, 'for ' || name FROM made RETURNING amount, note
            """,
            [self.company],
        )
        self.assertEqual(rows, [(Decimal("77.00"), "for Dee")])

    def test_values_as_a_table(self) -> None:
        self.run_sql(
            "INSERT INTO employee (company_id, name, born, active) "
            "SELECT %s, v.name, v.born::date, v.name <> 'Eli' "
            "FROM (VALUES ('Dee', '1999-01-01'), ('Eli', NULL)) AS v (name, born)",
            self.company,
        )
        self.assertEqual(
            self.rows("SELECT name, born, active FROM employee WHERE name IN ('Dee', 'Eli') ORDER BY name"),
            [("Dee", date(1999, 1, 1), True), ("Eli", None, False)],
        )


class UpdateTests(PayrollTestCase):
    def test_returning(self) -> None:
        rows = self.recorded_rows(
            "UPDATE employee SET salary = salary * 1.1, name = name || '!' "
            "WHERE company_id = %s AND salary < 4000 RETURNING name, salary, changes, changed_at IS NOT NULL",
            [self.company],
        )
        self.assertEqual(
            sorted(rows), [("Ben!", Decimal("3300.55"), 2, True), ("Cal!", Decimal("2200.00"), 2, True)]
        )

    def test_each_type(self) -> None:
        values = {
            "name": "Änne \U0001f600 'quoted' \"double\" \\ \n\t",
            "tax_number": "Ä 45678901",
            "salary": Decimal("99999999.99"),
            "bonus": Decimal("-1234567890123456789012345678901234567890.000000000000000000001230"),
            "level": "chief",
            "mail": "x@y",
            "phones": ["a,b", 'c"d', "", "NULL", None, "{}", "\\"],
            "grid": [[1, None, -(2**31)], [4, 5, 2**31 - 1]],
            "born": date(9999, 12, 31),
            "hired_at": datetime(2024, 2, 29, 12, 34, 56, 789012, tzinfo=UTC),
            "active": False,
            "points": -(2**63),
            "desk": 2**31 - 1,
            "reference": uuid.UUID(int=2**128 - 1),
            "photo": bytes(range(256)),
            "profile": {"ä": [1, 2.50, "3", None, True, {}], "long": 10**30},
            "contract": [{"b": 1}, "\u0001"],
            "last_day": date(2024, 2, 29),
        }
        adapted = {**values, "profile": Jsonb(values["profile"]), "contract": Json(values["contract"])}
        assignments = ", ".join(f"{name} = %s" for name in values)
        self.assertEqual(
            self.run_sql(f"UPDATE employee SET {assignments} WHERE id = %s", *adapted.values(), self.ann), 1
        )
        columns = ", ".join(values).replace("level", "level::text")
        for binary in (False, True):
            with self.subTest(binary=binary), self.connection.cursor(binary=binary) as cursor:
                row = cursor.execute(
                    f"SELECT {columns} FROM employee WHERE id = %s".encode(), [self.ann]
                ).fetchone()
                assert row is not None
                self.assertEqual(dict(zip(values, row, strict=True)), values)
        self.recorded_rows(f"SELECT ({columns})::text FROM employee WHERE id = %s", [self.ann])

    def test_unusual_values(self) -> None:
        for column, values in {
            "bonus": ["NaN", "Infinity", "-Infinity", "1.500", "0.0", "-0", "1e100", "1e-100"],
            "born": ["infinity", "5874897-12-31", "1900-01-02"],
            "hired_at": ["-infinity", "infinity", "4713-01-01 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00"],
            "phones": ["[0:1]={a,b}", "[-1:0][5:6]={{a,b},{c,d}}", "{{a},{NULL}}", '{"  ","\\\\"}'],
            "grid": ["{}", "{{{1}}}", "[3:3]={7}"],
            "profile": ['{"b": 1, "a": 2, "b": 3}', "null", '"text"', "1.000", "[ ]"],
            "contract": ['{"b": 1,  "a":2, "b" : 3}', "null", "[ 1.000 ]"],
            "photo": ["\\x", "\\x00", "\\x5c78"],
            "mail": ["  @  ", "a@b@c"],
            "tax_number": ["", "   ", "x          "],
            "reference": ["{A0EEBC99-9C0B4EF8-BB6D6BB9-BD380A11}"],
            "active": ["yes", "off", "1"],
        }.items():
            for value in values:
                with self.subTest(column=column, value=value):
                    returned = self.value(
                        f"UPDATE employee SET {column} = '{value}' WHERE id = %s RETURNING {column}::text",
                        [self.ann],
                    )
                    stored = self.value(f"SELECT {column}::text FROM employee WHERE id = %s", [self.ann])
                    self.assertEqual(returned, stored)
                    self.record(f"{column} {value}", stored)
        self.assertEqual(
            self.rows("SELECT array_lower(grid, 1), grid[3] FROM employee WHERE id = %s", [self.ann]), [(3, 7)]
        )

    def test_large_values(self) -> None:
        text, data = "Ä" * 1_000_000, bytes(range(256)) * 4000
        many = [str(number) for number in range(20_000)]
        self.run_sql(
            "UPDATE employee SET name = %s, photo = %s, profile = %s, phones = %s WHERE id = %s",
            text,
            data,
            Jsonb({"text": text}),
            many,
            self.ann,
        )
        ((name, photo, profile, phones),) = self.rows(
            "SELECT name, photo, profile, phones FROM employee WHERE id = %s", [self.ann]
        )
        self.assertTrue(name == text and photo == data and profile == {"text": text} and phones == many)
        self.assertEqual(self.value("SELECT length(name) FROM employee WHERE id = %s", [self.ann]), 1_000_000)

    def test_null_and_empty(self) -> None:
        self.run_sql("UPDATE employee SET tax_number = '', photo = '', phones = '{}' WHERE id = %s", self.ann)
        self.run_sql("UPDATE employee SET tax_number = NULL, photo = NULL, born = NULL WHERE id = %s", self.cal)
        rows = self.recorded_rows(
            "SELECT tax_number, tax_number IS NULL, photo, photo IS NULL, coalesce(tax_number, '?'), "
            "born IS NOT DISTINCT FROM NULL, nullif(tax_number, '') "
            "FROM employee WHERE id IN (%s, %s) ORDER BY id",
            [self.ann, self.cal],
        )
        self.assertEqual(
            rows, [("", False, b"", False, "", False, None), (None, True, None, True, "?", True, None)]
        )
        self.assertEqual(self.rows("SELECT name FROM employee WHERE tax_number = ''"), [("Ann",)])

    def test_row_counts(self) -> None:
        self.assertEqual(self.run_sql("UPDATE employee SET points = 9 WHERE company_id = %s", self.company), 3)
        self.assertEqual(self.run_sql("UPDATE employee SET points = 9 WHERE points = -10"), 0)
        self.assertEqual(
            self.run_sql("UPDATE employee SET points = points WHERE points = 9 AND level = 'chief'"), 1
        )
        self.assertEqual(self.run_sql("DELETE FROM employee WHERE name = 'Nobody'"), 0)
        self.assertEqual(self.run_sql("DELETE FROM employee WHERE points = 9 AND manager_id = %s", self.ann), 2)

    def test_several_columns_from_a_subquery(self) -> None:
        self.run_sql(
            "UPDATE employee SET (name, salary, phones) = "
            "(SELECT b.name || '-' || employee.name, b.salary, ARRAY[b.name] FROM employee AS b WHERE b.id = %s) "
            "WHERE id = %s",
            self.ben,
            self.cal,
        )
        self.assertEqual(
            self.rows("SELECT name, salary, phones FROM employee WHERE id = %s", [self.cal]),
            [("Ben-Cal", Decimal("3000.50"), ["Ben"])],
        )

    def test_update_from(self) -> None:
        self.run_sql("UPDATE company SET budget = 50 WHERE id = %s", self.company)
        updated = self.run_sql(
            "UPDATE employee AS e SET bonus = c.budget / 4, name = e.name || ' of ' || c.name "
            "FROM company AS c WHERE c.id = e.company_id AND c.name = 'Acme' AND e.salary < 4000"
        )
        self.assertEqual(updated, 2)
        self.assertEqual(
            self.recorded_rows(
                "SELECT name, bonus FROM employee WHERE bonus < 50 AND company_id = %s ORDER BY name",
                [self.company],
            ),
            [("Ben of Acme", Decimal("12.5000000000000000")), ("Cal of Acme", Decimal("12.5000000000000000"))],
        )
        self.run_sql(
            "UPDATE company SET budget = e.salary FROM employee AS e "
            "WHERE e.name = 'Ann' AND company.id = e.company_id"
        )
        self.assertEqual(self.value("SELECT budget FROM company WHERE id = %s", [self.company]), 5000)

    def test_update_from_itself(self) -> None:
        updated = self.run_sql(
            "UPDATE employee AS e SET mail = lower(e.name) || '@' || lower(m.name) FROM employee AS m "
            "WHERE m.id = e.manager_id AND e.company_id = %s",
            self.company,
        )
        self.assertEqual(updated, 2)
        self.assertEqual(
            self.rows("SELECT mail FROM employee WHERE manager_id = %s ORDER BY mail", [self.ann]),
            [("ben@ann",), ("cal@ann",)],
        )

    def test_parts_of_arrays_and_documents(self) -> None:
        self.run_sql(
            "UPDATE employee SET phones = '{a,b,c}', profile = '{\"a\": {\"b\": 1}}' WHERE id = %s", self.ann
        )
        self.run_sql("UPDATE employee SET phones[2] = 'B', profile['a']['c'] = '2' WHERE id = %s", self.ann)
        self.run_sql(
            "UPDATE employee SET phones = phones || 'd'::text, profile = profile - 'x' || '{\"e\": 5}' "
            "WHERE id = %s",
            self.ann,
        )
        self.assertEqual(
            self.recorded_rows("SELECT phones, profile, phones[2:3] FROM employee WHERE id = %s", [self.ann]),
            [(["a", "B", "c", "d"], {"a": {"b": 1, "c": 2}, "e": 5}, ["B", "c"])],
        )

    def test_update_of_the_key(self) -> None:
        self.run_sql("INSERT INTO payslip (employee_id, period, note) VALUES (%s, '2024-01-01', 'Mine')", self.ben)
        self.assertEqual(self.run_sql("UPDATE employee SET id = id + 1000000 WHERE id = %s", self.ben), 1)
        self.assertEqual(
            self.rows(
                "SELECT e.name, e.salary, p.note, p.employee_id - %s FROM employee AS e "
                "JOIN payslip AS p ON p.employee_id = e.id WHERE e.tax_number = 'B-2'",
                [self.ben],
            ),
            [("Ben", Decimal("3000.50"), "Mine", 1_000_000)],
        )

    def test_session_settings_change_nothing_that_is_stored(self) -> None:
        for setting in (
            "DateStyle = 'SQL, DMY'",
            "TimeZone = 'America/Caracas'",
            "bytea_output = escape",
            "IntervalStyle = sql_standard",
            "standard_conforming_strings = off",
            "extra_float_digits = -15",
            "quote_all_identifiers = on",
            "search_path = public, pg_catalog",
        ):
            self.run_sql(f"SET LOCAL {setting}")
        rows = self.recorded_rows(
            "UPDATE employee SET born = '01/02/2003', hired_at = '01/02/2003 04:05', photo = 'a\\\\000b'::bytea, "
            "profile = '{\"a\": 0.1}' WHERE id = %s "
            "RETURNING born::text, hired_at::text, photo::text, profile::text",
            [self.ann],
        )
        self.assertEqual(rows[0][:2], ("01/02/2003", "01/02/2003 04:05:00 -04"))
        before = self.recorded_rows(
            "SELECT born::text, hired_at::text, photo::text, points FROM employee WHERE name = 'Nora Nye'"
        )
        self.assertEqual(before[0][1], "02/02/2001 22:05:06.789 -04")
        for setting in ("DateStyle", "TimeZone", "bytea_output"):
            self.run_sql(f"RESET {setting}")
        self.run_sql("SET LOCAL TimeZone = 'UTC'")
        self.assertEqual(
            self.recorded_rows("SELECT born::text, hired_at::text, photo FROM employee WHERE id = %s", [self.ann]),
            [("2003-02-01", "2003-02-01 08:05:00+00", b"a\x00b")],
        )


class DeleteTests(PayrollTestCase):
    def test_returning(self) -> None:
        rows = self.recorded_rows(
            "DELETE FROM employee WHERE company_id = %s AND points > 1 RETURNING name, salary, born, code_upper",
            [self.company],
        )
        self.assertEqual(sorted(row[0] for row in rows), ["Ben", "Cal"])
        self.assertEqual(self.rows("SELECT name FROM employee WHERE company_id = %s", [self.company]), [("Ann",)])

    def test_rows_that_refer_to_each_other(self) -> None:
        # The foreign key sets manager_id of Ben and Cal to NULL, and they are deleted all the same.
        self.assertEqual(self.run_sql("DELETE FROM employee WHERE company_id = %s", self.company), 3)
        self.assertEqual(self.value("SELECT count(*) FROM employee WHERE company_id = %s", [self.company]), 0)

    def test_delete_using(self) -> None:
        deleted = self.run_sql(
            "DELETE FROM employee USING company "
            "WHERE company.id = employee.company_id AND company.name = 'Acme' AND salary < 4000"
        )
        self.assertEqual(deleted, 2)
        self.run_sql("INSERT INTO payslip (employee_id, period) VALUES (%s, '2024-01-01')", self.ann)
        self.assertEqual(
            self.run_sql(
                "DELETE FROM payslip AS p USING employee AS e WHERE e.id = p.employee_id AND e.name = 'Ann'"
            ),
            1,
        )

    def test_moved_to_another_table(self) -> None:
        self.run_sql(
            "INSERT INTO payslip (employee_id, period, amount, note) VALUES (%s, '2024-01-01', 5, 'Move me')",
            self.ann,
        )
        rows = self.recorded_rows(
            "WITH gone AS (DELETE FROM payslip WHERE note = 'Move me' RETURNING *) "
            "INSERT INTO equipment (employee_id, label, price) SELECT employee_id, note, amount FROM gone "
            "RETURNING label, price"
        )
        self.assertEqual(rows, [("Move me", Decimal("5.00"))])
        self.assertEqual(self.value("SELECT count(*) FROM payslip WHERE note = 'Move me'"), 0)

    def test_statements_with_several_changes(self) -> None:
        rows = self.recorded_rows(
            """
            WITH raised AS (UPDATE employee SET salary = salary + 1 WHERE id = %s RETURNING name, salary),
                gone AS (DELETE FROM employee WHERE id = %s RETURNING name, salary),
                made AS (INSERT INTO employee (company_id, name) VALUES (%s, 'Dee') RETURNING name, salary)
            SELECT * FROM raised UNION ALL SELECT * FROM gone UNION ALL SELECT * FROM made ORDER BY name
            """,
            [self.ben, self.cal, self.company],
        )
        self.assertEqual([row[0] for row in rows], ["Ben", "Cal", "Dee"])
        self.assertEqual(
            self.rows("SELECT name, salary FROM employee WHERE company_id = %s ORDER BY name", [self.company]),
            [("Ann", 5000), ("Ben", Decimal("3001.50")), ("Dee", 1000)],
        )


class TriggerTests(PayrollTestCase):
    def setUp(self) -> None:
        """Forget what happened so far."""
        super().setUp()
        self.run_sql("DELETE FROM audit")

    def audit(self) -> list[tuple[str, int]]:
        """Return what was kept since the last time, and record the operations."""
        rows = sorted(self.rows("DELETE FROM audit RETURNING id, what, operation, row_id"))
        self.record([row[1:3] for row in rows])
        return [(operation, row_id) for _, _, operation, row_id in rows]

    def test_a_trigger_before_sets_columns(self) -> None:
        rows = self.rows(
            "UPDATE employee SET name = 'Anne' WHERE id = %s RETURNING changes, now() - changed_at", [self.ann]
        )
        self.assertEqual(rows[0][0], 1)
        self.assertLess(abs(rows[0][1]), timedelta(minutes=5))
        self.run_sql("UPDATE employee SET changes = 100, code = 'y' WHERE id = %s", self.ann)
        self.assertEqual(self.rows("SELECT changes, name FROM employee WHERE id = %s", [self.ann]), [(2, "Anne")])

    def test_a_trigger_after_sees_each_row_once(self) -> None:
        self.run_sql("UPDATE employee SET salary = salary + 1 WHERE company_id = %s", self.company)
        self.assertEqual(sorted(self.audit()), [("UPDATE", each) for each in (self.ann, self.ben, self.cal)])
        made = self.value(
            "INSERT INTO employee (company_id, name) VALUES (%s, 'Dee') RETURNING id", [self.company]
        )
        self.assertEqual(self.audit(), [("INSERT", made)])
        self.run_sql("DELETE FROM employee WHERE id IN (%s, %s)", self.ben, made)
        self.assertEqual(sorted(self.audit()), [("DELETE", self.ben), ("DELETE", made)])
        self.run_sql("UPDATE employee SET name = name WHERE name = 'Nobody'")
        self.assertEqual(self.audit(), [])

    def test_triggers_of_foreign_keys_call_them_too(self) -> None:
        self.run_sql("DELETE FROM employee WHERE id = %s", self.ann)
        # Two managers are set to NULL.
        self.assertEqual(sorted(self.audit()), [("DELETE", self.ann), ("UPDATE", self.ben), ("UPDATE", self.cal)])
        self.run_sql("DELETE FROM company WHERE id = %s", self.company)
        self.assertEqual(sorted(self.audit()), [("DELETE", self.ben), ("DELETE", self.cal)])

    def test_a_failed_statement_leaves_no_trace(self) -> None:
        with self.refused("23514", "employee_has_name"):
            self.run_sql(
                "INSERT INTO employee (company_id, name) VALUES (%s, 'Dee'), (%s, '')", self.company, self.company
            )
        self.assertEqual(self.audit(), [])
        made = self.value(
            "INSERT INTO appraisal (employee_id, words) VALUES (%s, 'Good') RETURNING id", [self.ann]
        )
        self.assertEqual(self.audit(), [("INSERT", made)])


class RowsFromBeforeTests(PayrollTestCase):
    def test_they_are_as_they_were(self) -> None:
        rows = self.recorded_rows(
            "SELECT e.*, e::text FROM employee AS e WHERE name IN ('Nora Nye', 'Otto Old') ORDER BY id"
        )
        self.assertEqual(json.dumps(rows[0][19]), '{"a": [1, {"b": null}]}')
        self.recorded_rows("SELECT * FROM payslip WHERE id = 1")
        self.recorded_rows("SELECT * FROM equipment WHERE id = 1")
        self.recorded_rows("SELECT * FROM appraisal WHERE id = 1")
        self.assertEqual(
            self.rows(
                "SELECT count(*), sum(points), count(DISTINCT tax_number) FROM employee WHERE name LIKE 'Number %'"
            ),
            [(300, 45150, 300)],
        )

    def test_they_can_be_changed(self) -> None:
        self.assertEqual(self.run_sql("UPDATE employee SET points = points + 1 WHERE tax_number = 'N-299'"), 1)
        self.assertEqual(
            self.rows("SELECT name FROM employee WHERE points = 300 ORDER BY name"),
            [("Number 299",), ("Number 300",)],
        )
        self.assertEqual(self.run_sql("DELETE FROM employee WHERE name LIKE 'Number 29_'"), 10)
        with self.refused("23505", "employee_tax_number_key"):
            self.run_sql("UPDATE employee SET tax_number = 'N-1' WHERE tax_number = 'N-2'")
