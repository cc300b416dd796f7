"""SELECT in its many forms."""

from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import dict_row, namedtuple_row

from application.payroll.base import PayrollTestCase


class QueryTestCase(PayrollTestCase):
    """The three employees with values in more of their columns, and payslips."""

    def setUp(self) -> None:
        """Add the values."""
        super().setUp()
        self.run_sql(
            'UPDATE employee SET phones = \'{a,b}\', profile = \'{"k": "v", "n": [1, 2]}\', bonus = 10.5, '
            "desk = 7, "
            "mail = 'ann@acme', reference = '00000000-0000-0000-0000-000000000001', photo = '\\x01', "
            "hired_at = '2010-05-05 10:00+00', contract = '{\"days\": 30}' WHERE id = %s",
            self.ann,
        )
        self.run_sql(
            "UPDATE employee SET phones = '{b}', active = false, bonus = 9, desk = 12 WHERE id = %s", self.cal
        )
        self.connection.execute(
            "INSERT INTO payslip (employee_id, period, amount, note, paid) VALUES "
            "(%(ann)s, '2024-01-01', 100, 'Ann', true), (%(ann)s, '2024-02-01', 200.5, 'Ann again', false), "
            "(%(ben)s, '2024-01-01', 100, 'Ann', true), (%(ben)s, '2024-02-01', 50, NULL, true)",
            {"ann": self.ann, "ben": self.ben},
        )

    def mine(self, columns: str, more: str = "", order: str = "name") -> list[tuple[Any, ...]]:
        """Select of the employees of this test, and record the rows."""
        condition = f"e.company_id = {self.company} {more}"
        return self.recorded_rows(f"SELECT {columns} FROM employee AS e WHERE {condition} ORDER BY {order}")


class ConditionTests(QueryTestCase):
    def test_equality_of_each_type(self) -> None:
        for condition in (
            "name = 'Ann'",
            "tax_number = 'A-1'",
            "salary = 5000",
            "bonus = 10.50",
            "level = 'chief'",
            "mail = 'ann@acme'",
            "phones = '{a,b}'",
            "born = '1970-01-01'",
            "hired_at = '2010-05-05 12:00+02'",
            "points = 1",
            "desk = 7",
            "reference = '00000000000000000000000000000001'",
            "photo = '\\x01'",
            'profile = \'{"n": [1, 2], "k": "v"}\'',
            "active AND manager_id IS NULL",
            "name IN ('Ann', 'Anna')",
            "name = ANY ('{Ann,Anna}')",
            "(name, points) = ('Ann', 1)",
            "name IS NOT DISTINCT FROM 'Ann' AND NOT name <> 'Ann'",
        ):
            with self.subTest(condition):
                self.assertEqual(self.mine("name", f"AND {condition}"), [("Ann",)])

    def test_parameters_of_each_type(self) -> None:
        for condition, value in {
            "name = %s": "Ann",
            "salary = %s": Decimal(5000),
            "born = %s": date(1970, 1, 1),
            "points = %s": 1,
            "photo = %s": b"\x01",
            "phones = %s": ["a", "b"],
            "desk < %s": 8,
            "level::text = %s": "chief",
        }.items():
            with self.subTest(condition), self.connection.cursor(binary=True) as cursor:
                query = f"SELECT name FROM employee WHERE company_id = %s AND {condition}"
                self.assertEqual(cursor.execute(query.encode(), [self.company, value]).fetchall(), [("Ann",)])

    def test_comparison(self) -> None:
        self.assertEqual(self.mine("name", "AND salary > 2000"), [("Ann",), ("Ben",)])
        self.assertEqual(self.mine("name", "AND salary BETWEEN 2000 AND 3000.50"), [("Ben",), ("Cal",)])
        self.assertEqual(self.mine("name", "AND level >= 'senior'"), [("Ann",), ("Ben",)])
        self.assertEqual(self.mine("name", "AND born > '1999-12-31'"), [("Cal",)])
        self.assertEqual(self.mine("name", "AND (level, name) > ('trainee', 'Cal')"), [("Ann",), ("Ben",)])
        self.assertEqual(self.mine("name", "AND hired_at < now() - interval '10 years'"), [("Ann",)])
        self.assertEqual(self.mine("name", "AND NOT active OR false"), [("Cal",)])

    def test_patterns(self) -> None:
        self.assertEqual(self.mine("name", "AND name LIKE '_n%'"), [("Ann",)])
        self.assertEqual(self.mine("name", "AND name ILIKE '%B%'"), [("Ben",)])
        self.assertEqual(self.mine("name", "AND name ~* '^[ac]'"), [("Ann",), ("Cal",)])
        self.assertEqual(self.mine("name", "AND name SIMILAR TO '(A|B)%'"), [("Ann",), ("Ben",)])
        self.assertEqual(self.mine("name", "AND starts_with(tax_number, 'B-')"), [("Ben",)])
        self.assertEqual(
            self.mine("name", "AND to_tsvector('simple', name) @@ to_tsquery('simple', 'cal')"), [("Cal",)]
        )

    def test_null(self) -> None:
        self.assertEqual(self.mine("name", "AND tax_number IS NULL"), [("Cal",)])
        self.assertEqual(self.mine("name", "AND mail IS NOT NULL"), [("Ann",)])
        self.assertEqual(self.mine("name", "AND tax_number <> 'A-1'"), [("Ben",)])
        self.assertEqual(self.mine("name", "AND tax_number IS DISTINCT FROM 'A-1'"), [("Ben",), ("Cal",)])
        self.assertEqual(self.mine("num_nulls(tax_number, born, bonus)"), [(0,), (2,), (1,)])

    def test_documents_and_arrays(self) -> None:
        self.assertEqual(self.mine("name", "AND profile @> '{\"n\": [2]}'"), [("Ann",)])
        self.assertEqual(self.mine("name", "AND profile ? 'k'"), [("Ann",)])
        self.assertEqual(self.mine("name", "AND jsonb_path_exists(profile, '$.n[*] ? (@ > 1)')"), [("Ann",)])
        self.assertEqual(self.mine("profile #>> '{n,1}', profile->'k', contract->>'days'")[0], ("2", "v", "30"))
        self.assertEqual(self.mine("name", "AND 'b' = ANY (phones)"), [("Ann",), ("Cal",)])
        self.assertEqual(self.mine("name", "AND phones && '{a,z}'"), [("Ann",)])
        self.assertEqual(self.mine("phones[1], cardinality(phones)")[0], ("a", 2))
        self.assertEqual(
            self.recorded_rows(
                "SELECT e.name, t.phone, t.n FROM employee AS e, unnest(e.phones) WITH ORDINALITY AS t (phone, n) "
                "WHERE e.company_id = %s ORDER BY 1, 3",
                [self.company],
            ),
            [("Ann", "a", 1), ("Ann", "b", 2), ("Cal", "b", 1)],
        )


class ShapeTests(QueryTestCase):
    def test_order_by_each_column(self) -> None:
        for column in (
            "name", "tax_number", "salary", "bonus", "level", "mail", "phones", "born", "hired_at", "active",
            "points", "desk", "reference", "photo", "profile",
        ):  # fmt: skip
            with self.subTest(column):
                self.mine("name", order=f"e.{column}, name")
                self.mine("name", order=f"e.{column} DESC NULLS LAST, name DESC")
        self.assertEqual(self.mine("name", order="salary"), [("Cal",), ("Ben",), ("Ann",)])
        self.assertEqual(self.mine("name", order="level DESC"), [("Ann",), ("Ben",), ("Cal",)])
        self.assertEqual(self.mine("name", order="tax_number DESC NULLS FIRST"), [("Cal",), ("Ben",), ("Ann",)])

    def test_limit_and_offset(self) -> None:
        self.assertEqual(self.mine("name", order="points DESC LIMIT 1 OFFSET 1"), [("Ben",)])
        self.assertEqual(self.mine("name", order="active FETCH FIRST 1 ROWS ONLY"), [("Cal",)])
        self.assertEqual(len(self.mine("name", order="active DESC FETCH FIRST 1 ROWS WITH TIES")), 2)

    def test_distinct(self) -> None:
        query = "SELECT DISTINCT note FROM payslip WHERE employee_id >= %s ORDER BY note NULLS FIRST"
        self.assertEqual(self.recorded_rows(query, [self.ann]), [(None,), ("Ann",), ("Ann again",)])
        query = query.replace("DISTINCT note", "DISTINCT ON (note) note, amount").replace(
            " NULLS FIRST", ", amount DESC"
        )
        self.assertEqual(
            self.recorded_rows(query, [self.ann]), [("Ann", 100), ("Ann again", Decimal("200.50")), (None, 50)]
        )
        self.assertEqual(
            self.value("SELECT count(DISTINCT (note, paid)) FROM payslip WHERE employee_id >= %s", [self.ann]), 3
        )

    def test_grouping(self) -> None:
        rows = self.recorded_rows(
            "SELECT note, paid, count(*), sum(amount) FROM payslip WHERE employee_id >= %s "
            "GROUP BY note, paid HAVING sum(amount) > 60 ORDER BY note",
            [self.ann],
        )
        self.assertEqual(rows, [("Ann", True, 2, 200), ("Ann again", False, 1, Decimal("200.50"))])
        rows = self.recorded_rows(
            "SELECT note, paid, sum(amount), grouping(note, paid) FROM payslip WHERE employee_id >= %s "
            "GROUP BY ROLLUP (paid, note) ORDER BY paid, note, 4",
            [self.ann],
        )
        self.assertEqual(len(rows), 6)

    def test_aggregates(self) -> None:
        rows = self.mine(
            "min(name), max(born), avg(salary), sum(points), count(tax_number), bool_and(active), "
            "array_agg(name ORDER BY salary), string_agg(name, '+' ORDER BY name DESC), "
            "jsonb_object_agg(name, level), percentile_disc(0.5) WITHIN GROUP (ORDER BY salary), "
            "mode() WITHIN GROUP (ORDER BY active), stddev(points), max(level), count(*) FILTER (WHERE active), "
            "min(hired_at), json_agg(phones ORDER BY name)",
            order="1",
        )
        self.assertEqual(rows[0][:2], ("Ann", date(2000, 12, 31)))
        self.assertEqual(rows[0][6:8], (["Cal", "Ben", "Ann"], "Cal+Ben+Ann"))

    def test_windows(self) -> None:
        rows = self.recorded_rows(
            "SELECT name, rank() OVER (ORDER BY salary DESC), lag(name) OVER w, sum(salary) OVER w, "
            "first_value(name) OVER (PARTITION BY active ORDER BY points), ntile(2) OVER w "
            "FROM employee WHERE company_id = %s WINDOW w AS (ORDER BY name) ORDER BY name",
            [self.company],
        )
        self.assertEqual(rows[2], ("Cal", 3, "Ben", Decimal("10000.50"), "Cal", 2))

    def test_joins(self) -> None:
        rows = self.recorded_rows(
            "SELECT e.name, p.note, m.name "
            "FROM employee AS e LEFT JOIN payslip AS p ON p.note = e.name AND p.employee_id >= %s "
            "LEFT JOIN employee AS m ON m.id = e.manager_id WHERE e.company_id = %s ORDER BY 1, 2",
            [self.ann, self.company],
        )
        self.assertEqual(
            rows, [("Ann", "Ann", None), ("Ann", "Ann", None), ("Ben", None, "Ann"), ("Cal", None, "Ann")]
        )
        rows = self.recorded_rows(
            "SELECT a.name, b.name FROM employee AS a FULL "
            "JOIN employee AS b ON a.salary < b.salary AND b.company_id = %s "
            "WHERE a.company_id = %s ORDER BY 1, 2",
            [self.company, self.company],
        )
        self.assertEqual(len(rows), 4)
        self.assertEqual(
            self.recorded_rows(
                "SELECT name, amount FROM company JOIN employee USING (name) FULL "
                "JOIN payslip ON false WHERE amount = 50"
            ),
            [(None, 50)],
        )

    def test_lateral(self) -> None:
        rows = self.recorded_rows(
            "SELECT e.name, p.amount, p.note FROM employee AS e LEFT JOIN LATERAL ("
            "SELECT amount, note FROM payslip WHERE employee_id = e.id ORDER BY amount DESC LIMIT 1) AS p ON true "
            "WHERE e.company_id = %s ORDER BY e.name",
            [self.company],
        )
        self.assertEqual(rows, [("Ann", Decimal("200.50"), "Ann again"), ("Ben", 100, "Ann"), ("Cal", None, None)])

    def test_subqueries(self) -> None:
        self.assertEqual(
            self.mine("name", "AND EXISTS (SELECT FROM payslip WHERE employee_id = e.id AND note = e.name)"),
            [("Ann",)],
        )
        self.assertEqual(
            self.mine("name", "AND name NOT IN (SELECT note FROM payslip WHERE note IS NOT NULL)"),
            [("Ben",), ("Cal",)],
        )
        self.assertEqual(
            self.mine(
                "name",
                f"AND salary > ALL (SELECT amount * 25 FROM payslip WHERE paid AND employee_id = {self.ann})",
            ),
            [("Ann",), ("Ben",)],
        )
        self.assertEqual(
            self.mine(
                "name, (SELECT sum(amount) FROM payslip WHERE employee_id = e.id), ARRAY(SELECT note "
                "FROM payslip WHERE employee_id = e.id ORDER BY 1)"
            ),
            [("Ann", Decimal("300.50"), ["Ann", "Ann again"]), ("Ben", 150, ["Ann", None]), ("Cal", None, [])],
        )

    def test_common_table_expressions(self) -> None:
        rows = self.recorded_rows(
            """
            WITH RECURSIVE tree AS (
                SELECT id, name, name AS path FROM employee WHERE name = 'Ann'
                UNION ALL
                SELECT e.id, e.name, tree.path || '/' || e.name
                FROM employee AS e JOIN tree ON e.manager_id = tree.id
            ), rich AS MATERIALIZED (SELECT id FROM employee WHERE salary > 2500)
            SELECT path, id IN (SELECT id FROM rich) FROM tree ORDER BY path
            """
        )
        self.assertEqual(rows, [("Ann", True), ("Ann/Ben", True), ("Ann/Cal", False)])

    def test_sets(self) -> None:
        mine = f"FROM employee WHERE company_id = {self.company}"
        self.assertEqual(
            self.recorded_rows(f"SELECT name {mine} UNION SELECT note FROM payslip WHERE paid ORDER BY 1"),
            [("Ann",), ("Ben",), ("Cal",), ("January",), (None,)],
        )
        self.assertEqual(self.recorded_rows(f"SELECT name {mine} INTERSECT SELECT note FROM payslip"), [("Ann",)])
        self.assertEqual(
            self.recorded_rows(f"SELECT name, salary {mine} EXCEPT SELECT 'Ann', 5000 ORDER BY 1"),
            [("Ben", Decimal("3000.50")), ("Cal", 2000)],
        )

    def test_whole_rows(self) -> None:
        query = "SELECT p FROM payslip AS p WHERE amount = 50"
        row = self.value(query.replace("p FROM", "row_to_json(p) FROM"))
        self.record(list(row), row["note"], row["amount"], row["paid"], row["period"])
        self.assertEqual(list(row), ["id", "employee_id", "period", "amount", "note", "paid"])
        self.assertEqual(self.rows(f"SELECT (p).amount, (p).note FROM ({query}) AS s"), [(50, None)])
        self.assertEqual(
            self.rows(
                "SELECT count(*) FROM payslip AS a JOIN payslip AS b ON a IS NOT DISTINCT "
                "FROM b WHERE a.amount = 50"
            ),
            [(1,)],
        )
        self.assertEqual(
            self.value("SELECT to_jsonb(e) ->> 'salary' FROM employee AS e WHERE id = %s", [self.ann]), "5000.00"
        )

    def test_functions_and_casts(self) -> None:
        rows = self.mine(
            "upper(name), length(tax_number), salary::integer, born + 1, date_trunc('year', hired_at), "
            "extract(year FROM born), points << 4, name || ' ' || level, coalesce(mail::text, 'none'), "
            "md5(photo), "
            "to_char(salary, 'FM99G999D00'), CASE WHEN active THEN 'in' ELSE 'out' END, age(born, "
            "'2024-01-01'::date)::text, "
            "pg_typeof(salary)::text, pg_typeof(level)::text, reference::text"
        )
        self.assertEqual(rows[0][:4], ("ANN", 3, 5000, date(1970, 1, 2)))
        self.assertEqual(rows[0][13:15], ("pay", "level"))

    def test_temporary_tables_and_views(self) -> None:
        self.run_sql(
            f"CREATE TEMPORARY TABLE kept AS SELECT name, salary, level, phones "
            f"FROM employee WHERE company_id = {self.company}"
        )
        self.run_sql(
            "CREATE TEMPORARY VIEW paid AS SELECT name, sum(amount) AS amount "
            "FROM employee JOIN payslip ON employee.id = employee_id WHERE paid GROUP BY name"
        )
        self.assertEqual(
            self.recorded_rows(
                "SELECT k.name, k.salary, k.phones, p.amount FROM kept AS k JOIN paid AS p USING (name) ORDER BY 1"
            ),
            [("Ann", 5000, ["a", "b"], 100), ("Ben", Decimal("3000.50"), [], 150)],
        )
        self.run_sql("CREATE TEMPORARY TABLE shaped (LIKE employee)")
        self.assertEqual(self.run_sql("INSERT INTO shaped SELECT * FROM employee WHERE id = %s", self.ann), 1)

    def test_columns_in_the_catalog(self) -> None:
        for table in ("employee", "payslip", "equipment", "appraisal"):
            rows = self.recorded_rows(
                "SELECT column_name, ordinal_position, data_type, udt_name, domain_name, "
                "character_maximum_length, "
                "numeric_precision, numeric_scale "
                "FROM information_schema.columns WHERE table_name = %s ORDER BY 2",
                [table],
            )
            self.assertGreater(len(rows), 3)
        self.recorded_rows(
            "SELECT p, has_table_privilege('employee', p) "
            "FROM unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) AS p"
        )

    def test_columns_of_a_result(self) -> None:
        cursor = self.connection.execute("SELECT * FROM employee LIMIT 0")
        assert cursor.description is not None
        description = [
            (column.name, column.type_display, column.internal_size, column.precision, column.scale)
            for column in cursor.description
        ]
        # Oids of types that were made here differ.
        self.record([each for each in description if not each[1].isdigit()])
        self.assertEqual(len(description), 27)


class ProtocolTests(QueryTestCase):
    def test_row_factories(self) -> None:
        query = b"SELECT name, salary FROM employee WHERE id = %s"
        with self.connection.cursor(row_factory=dict_row) as dicts:
            self.assertEqual(
                dicts.execute(query, [self.ann]).fetchone(), {"name": "Ann", "salary": Decimal("5000.00")}
            )
        with self.connection.cursor(row_factory=namedtuple_row) as tuples:
            row = tuples.execute(query, [self.ann]).fetchone()
            assert row is not None
            self.assertEqual(row._asdict(), {"name": "Ann", "salary": Decimal("5000.00")})

    def test_client_cursor(self) -> None:
        with psycopg.ClientCursor(self.connection) as cursor:
            cursor.execute(
                "UPDATE employee SET name = %s, photo = %s WHERE id = %s RETURNING photo",
                ["O'Ann", b"'\\\x00", self.ann],
            )
            self.assertEqual(cursor.fetchone(), (b"'\\\x00",))
            self.assertEqual(
                cursor.execute("SELECT name FROM employee WHERE name = %s", ["O'Ann"]).fetchone(), ("O'Ann",)
            )

    def test_prepared_statements(self) -> None:
        for number in range(12):
            found = self.connection.execute(
                "SELECT name, points FROM employee "
                "WHERE company_id = %s AND salary > %s AND name <> %s ORDER BY name",
                [self.company, 1000 + number, "Ben"],
                prepare=True,
            ).fetchall()
            self.assertEqual(found, [("Ann", 1 + number), ("Cal", 3 + number)])
            changed = self.connection.execute(
                "UPDATE employee SET points = points + %s WHERE company_id = %s", [1, self.company], prepare=True
            )
            self.assertEqual(changed.rowcount, 3)

    def test_sql_prepare(self) -> None:
        self.run_sql("PREPARE by_name (text) AS SELECT salary FROM employee WHERE name = $1")
        self.run_sql(
            "PREPARE raise (numeric, bigint) AS UPDATE employee SET salary = salary + $1 "
            "WHERE id = $2 RETURNING salary"
        )
        for number in range(7):
            self.assertEqual(self.value(f"EXECUTE raise (1, {self.ben})"), Decimal("3001.50") + number)
        self.assertEqual(self.value("EXECUTE by_name ('Ben')"), Decimal("3007.50"))
        self.run_sql("DEALLOCATE ALL")

    def test_server_side_cursor(self) -> None:
        with self.connection.cursor("numbers") as cursor:
            cursor.itersize = 50
            cursor.execute("SELECT name, points FROM employee WHERE name LIKE 'Number%' ORDER BY points")
            rows = list(cursor)
        self.assertEqual((len(rows), rows[298]), (300, ("Number 299", 299)))
        with self.connection.cursor("scrolled", scrollable=True) as cursor:
            cursor.execute("SELECT name FROM employee WHERE name LIKE 'Number%' ORDER BY points")
            cursor.scroll(100)
            self.assertEqual(cursor.fetchone(), ("Number 101",))
            cursor.scroll(-2)
            self.assertEqual(cursor.fetchone(), ("Number 100",))

    def test_cursor_that_outlives_a_transaction(self) -> None:
        other = self.connect()
        cursor = other.cursor("held", withhold=True)
        cursor.execute("SELECT name, salary FROM employee WHERE name LIKE 'Number 1_' ORDER BY name")
        other.commit()
        self.assertEqual(cursor.fetchmany(2), [("Number 10", 1000), ("Number 11", 1000)])
        self.assertEqual(len(cursor.fetchall()), 8)
        cursor.close()

    def test_sql_cursor_and_insensitivity(self) -> None:
        self.run_sql(
            "DECLARE c CURSOR FOR SELECT name, points FROM employee WHERE company_id = "
            + str(self.company)
            + " ORDER BY name"
        )
        self.assertEqual(self.rows("FETCH 1 FROM c"), [("Ann", 1)])
        self.run_sql("UPDATE employee SET points = 100 WHERE company_id = %s", self.company)
        self.assertEqual(self.rows("FETCH ALL FROM c"), [("Ben", 2), ("Cal", 3)])
        self.run_sql("CLOSE c")

    def test_pipeline(self) -> None:
        with self.connection.pipeline(), self.connection.cursor() as cursor:
            made = self.connection.execute(
                "INSERT INTO employee (company_id, name) VALUES (%s, 'Dee') RETURNING name, salary", [self.company]
            )
            updated = self.connection.execute("UPDATE employee SET points = 50 WHERE name = 'Dee'")
            cursor.executemany(
                "INSERT INTO payslip (employee_id, period, note) SELECT id, '2024-01-01', %s "
                "FROM employee WHERE name = 'Dee'",
                [("one",), ("two",)],
            )
            found = self.connection.execute(
                "SELECT note, points FROM payslip JOIN employee ON employee.id = employee_id "
                "WHERE name = 'Dee' ORDER BY note"
            )
            self.assertEqual(made.fetchone(), ("Dee", Decimal("1000.00")))
            self.assertEqual(updated.rowcount, 1)
            self.assertEqual(found.fetchall(), [("one", 50), ("two", 50)])

    def test_error_in_a_pipeline(self) -> None:
        with self.refused("23514", "employee_has_name"), self.connection.pipeline() as pipeline:
            self.connection.execute("UPDATE employee SET points = 50 WHERE id = %s", [self.ann])
            self.connection.execute("UPDATE employee SET name = '' WHERE id = %s", [self.ann])
            pipeline.sync()
        self.assertEqual(self.value("SELECT points FROM employee WHERE id = %s", [self.ann]), 1)

    def test_code_blocks(self) -> None:
        self.run_sql(
            f"""
            DO $$
            DECLARE
                one employee%ROWTYPE;
                total employee.salary%TYPE := 0.01;
                n bigint;
            BEGIN
                FOR one IN SELECT * FROM employee WHERE company_id = {self.company} ORDER BY name LOOP
                    total := total + one.salary;
                    one.name := one.name || '-' || one.level;
                    UPDATE employee SET name = one.name WHERE id = one.id;
                END LOOP;
                UPDATE employee SET bonus = total WHERE company_id = {self.company};
                GET DIAGNOSTICS n = ROW_COUNT;
                UPDATE employee SET desk = n WHERE name = 'Ann-chief';
                IF NOT FOUND THEN
                    RAISE 'not found';
                END IF;
                BEGIN
                    INSERT INTO employee (company_id, name, tax_number) VALUES ({self.company}, 'Twin', 'A-1');
                EXCEPTION WHEN unique_violation THEN
                    UPDATE employee SET mail = 'caught@here' WHERE tax_number = 'A-1';
                END;
            END
            $$
            """
        )
        self.assertEqual(
            self.mine("name, bonus, desk, mail"),
            [
                ("Ann-chief", Decimal("10000.51"), 3, "caught@here"),
                ("Ben-senior", Decimal("10000.51"), None, None),
                ("Cal-trainee", Decimal("10000.51"), 12, None),
            ],
        )
