"""The rights of each role: grants of tables and columns, and policies of rows."""

import psycopg

from application.payroll.base import Connection, PayrollTestCase


class RoleTestCase(PayrollTestCase):
    def allowed(self, connection: Connection, *statements: str) -> None:
        """Run statements, undo them, and record what they returned."""
        for statement in statements:
            with self.subTest(statement), connection.transaction(force_rollback=True):
                cursor = connection.execute(statement.encode())
                rows = sorted(cursor.fetchall(), key=repr) if cursor.description else None
                self.record(statement, cursor.rowcount, rows)
                self.assertGreater(cursor.rowcount, 0)

    def denied(self, connection: Connection, *statements: str) -> None:
        """Expect that each statement is refused for want of a privilege."""
        for statement in statements:
            with self.subTest(statement), self.refused("42501", on=connection):
                connection.execute(statement.encode())


class GrantTests(RoleTestCase):
    def test_reader(self) -> None:
        reader = self.connect("reader")
        self.allowed(
            reader,
            "SELECT name, salary, phones FROM employee WHERE id = 1",
            "SELECT * FROM employee WHERE name = 'Otto Old'",
            "SELECT count(*), sum(points) FROM employee WHERE name LIKE 'Number %'",
        )
        self.denied(
            reader,
            "INSERT INTO employee (company_id, name) VALUES (1, 'x')",
            "UPDATE employee SET name = 'x'",
            "UPDATE employee SET points = 1 WHERE id = 1",
            "DELETE FROM employee",
            "SELECT name FROM employee WHERE id = 1 FOR UPDATE",
            "LOCK TABLE employee IN EXCLUSIVE MODE",
            "SELECT note FROM payslip",
        )

    def test_editor_of_some_columns(self) -> None:
        editor = self.connect("editor")
        self.allowed(
            editor,
            "SELECT id, company_id, name, level, code FROM employee WHERE id = 1",
            "SELECT name FROM employee WHERE level = 'senior' AND name = 'Nora Nye'",
            "SELECT count(*) FROM employee",
            "UPDATE employee SET name = 'Nora New', level = 'junior' WHERE id = 1 RETURNING name, level",
            "UPDATE employee SET code = 'new' WHERE name = 'Nora Nye'",
            "UPDATE employee SET name = name || '!' WHERE id = 1 RETURNING name",
        )
        self.denied(
            editor,
            "SELECT salary FROM employee",
            "SELECT * FROM employee",
            "SELECT name FROM employee WHERE salary > 0",
            "SELECT name FROM employee ORDER BY points",
            "SELECT e FROM employee AS e",
            "UPDATE employee SET salary = 1 WHERE id = 1",
            "UPDATE employee SET company_id = 1 WHERE id = 1",
            "UPDATE employee SET name = 'x' WHERE salary > 0",
            "UPDATE employee SET name = tax_number WHERE id = 1",
            "UPDATE employee SET name = 'x' WHERE id = 1 RETURNING salary",
            "INSERT INTO employee (company_id, name) VALUES (1, 'x')",
            "DELETE FROM employee WHERE id = 1",
        )

    def test_clerk_of_some_columns(self) -> None:
        clerk = self.connect("clerk")
        self.allowed(
            clerk,
            "INSERT INTO employee (company_id, name) VALUES (1, 'New')",
            "INSERT INTO employee (company_id, name, salary) VALUES (1, 'New', 5) RETURNING name",
            "INSERT INTO employee (company_id, name, salary) VALUES (1, 'New', DEFAULT) RETURNING name",
            "SELECT id, name FROM employee WHERE name = 'Nora Nye'",
        )
        self.denied(
            clerk,
            "INSERT INTO employee (company_id, name, level) VALUES (1, 'New', 'chief')",
            "INSERT INTO employee (company_id, name, code) VALUES (1, 'New', 'x')",
            "INSERT INTO employee (company_id, name) VALUES (1, 'New') RETURNING salary",
            "SELECT salary FROM employee",
            "UPDATE employee SET name = 'x' WHERE id = 1",
            "DELETE FROM employee WHERE id = 1",
        )

    def test_intake_that_only_inserts(self) -> None:
        intake = self.connect("intake")
        self.allowed(
            intake,
            "INSERT INTO employee (company_id, name, salary, tax_number) "
            "VALUES (1, 'New', 5, 'NEW'), (1, 'Newer', 6, 'NEWER')",
        )
        self.denied(
            intake,
            "INSERT INTO employee (company_id, name) VALUES (1, 'New') RETURNING id",
            "SELECT name FROM employee",
            "SELECT count(*) FROM employee",
            "UPDATE employee SET name = 'x'",
            "DELETE FROM employee",
        )
        with self.refused("23505", "employee_tax_number_key", on=intake):
            intake.execute("INSERT INTO employee (company_id, name, tax_number) VALUES (1, 'New', 'N-5')")
        with self.refused("23514", "pay_is_positive", on=intake):
            intake.execute("INSERT INTO employee (company_id, name, salary) VALUES (1, 'New', 0)")
        with intake.transaction(force_rollback=True), intake.cursor() as cursor:
            with cursor.copy("COPY employee (company_id, name, points) FROM STDIN") as copy:
                copy.write_row((1, "Copied", 5))
            self.assertEqual(cursor.rowcount, 1)

    def test_nobody(self) -> None:
        self.denied(
            self.connect("nobody"),
            "SELECT name FROM employee",
            "SELECT 1 FROM employee",
            "INSERT INTO employee (company_id, name) VALUES (1, 'New')",
            "UPDATE employee SET name = 'x'",
            "DELETE FROM employee",
            "SELECT note FROM payslip",
        )

    def test_application_owns_nothing(self) -> None:
        for statement in (
            "TRUNCATE employee CASCADE",
            "ALTER TABLE employee ADD COLUMN x integer",
            "DROP TABLE payslip",
            "CREATE INDEX ON payslip (note)",
        ):
            with self.subTest(statement), self.assertRaises(psycopg.Error), self.connection.transaction():
                self.run_sql(statement)

    def test_privileges_in_the_catalog(self) -> None:
        rows = self.recorded_rows(
            "SELECT r, c, p, has_column_privilege(r, 'employee', c, p) "
            "FROM unnest('{reader,editor,clerk,intake,nobody}'::name[]) AS r, "
            "unnest('{id,name,salary,code}'::text[]) AS c, unnest('{SELECT,INSERT,UPDATE}'::text[]) AS p "
            "ORDER BY 1, 2, 3"
        )
        self.assertEqual(len(rows), 60)
        self.assertEqual(len([row for row in rows if row[3]]), 4 + (3 + 2) + (2 + 2) + 4)


class RowSecurityTests(RoleTestCase):
    def setUp(self) -> None:
        """Connect as the two tenants."""
        super().setUp()
        self.north, self.south = self.connect("north"), self.connect("south")

    def test_each_tenant_sees_its_own_and_what_is_shared(self) -> None:
        query = b"SELECT tenant, subject, body FROM case_file ORDER BY tenant, subject"
        north, south = self.north.execute(query).fetchall(), self.south.execute(query).fetchall()
        self.record(north, south)
        self.assertEqual([row[:2] for row in north], [("north", "A private matter"), ("north", "A shared matter")])
        self.assertEqual([row[:2] for row in south], [("north", "A shared matter"), ("south", "A private matter")])
        self.assertEqual(self.rows("SELECT subject FROM case_file"), [("A shared matter",)])

    def test_each_tenant_writes_its_own(self) -> None:
        self.allowed(
            self.north,
            "INSERT INTO case_file (subject, body) VALUES ('New', 'text') RETURNING tenant, subject, body, shared",
            "INSERT INTO case_file (tenant, subject) VALUES ('north', 'New') RETURNING tenant",
            "UPDATE case_file SET body = 'changed' RETURNING subject, body",
            "DELETE FROM case_file WHERE body = 'of the north' RETURNING subject",
        )
        self.denied(
            self.north,
            "INSERT INTO case_file (tenant, subject) VALUES ('south', 'New')",
            "UPDATE case_file SET tenant = 'south' WHERE subject = 'A private matter'",
        )

    def test_what_is_not_its_own_is_left_alone(self) -> None:
        for statement in (
            "UPDATE case_file SET body = 'mine' WHERE tenant = 'north'",
            "UPDATE case_file SET body = 'mine' WHERE subject = 'A shared matter'",
            "DELETE FROM case_file WHERE body = 'of the north'",
        ):
            with self.subTest(statement):
                self.assertEqual(self.south.execute(statement.encode()).rowcount, 0)
        self.assertEqual(self.south.execute("UPDATE case_file SET body = 'mine'").rowcount, 1)
        self.south.rollback()
        self.assertEqual(self.north.execute("SELECT DISTINCT body FROM case_file").fetchall(), [("of the north",)])

    def test_a_function_that_tells_sees_no_other_row(self) -> None:
        self.south.execute(
            "CREATE FUNCTION pg_temp.tell(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS "
            "$$ BEGIN RAISE NOTICE 'told: %', t; RETURN true; END $$"
        )
        told: list[str] = []
        self.south.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        self.south.execute("SELECT subject FROM case_file WHERE pg_temp.tell(body)")
        self.record(sorted(told))
        self.assertEqual(sorted(told), ["told: of the north", "told: of the south"])

    def test_constraints_count_rows_that_are_not_seen(self) -> None:
        with self.refused("23505", "case_file_subject_key", on=self.north):
            self.north.execute("INSERT INTO case_file (subject) VALUES ('A private matter')")
        with self.refused("23505", "case_file_subject_key", on=self.north):
            self.north.execute("UPDATE case_file SET subject = 'A private matter'")
        self.allowed(self.south, "INSERT INTO case_file (subject) VALUES ('A shared matter') RETURNING subject")

    def test_row_security_that_is_off(self) -> None:
        self.south.execute("SET row_security = off")
        self.denied(self.south, "SELECT subject FROM case_file")
