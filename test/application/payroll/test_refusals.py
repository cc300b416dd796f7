"""Values that the constraints and the types refuse."""

from application.payroll.base import PayrollTestCase


class ConstraintTests(PayrollTestCase):
    def test_not_null(self) -> None:
        for column in (
            "name",
            "salary",
            "level",
            "phones",
            "hired_at",
            "active",
            "points",
            "profile",
            "company_id",
            "code",
        ):
            with self.subTest(column), self.refused("23502"):
                self.run_sql(f"UPDATE employee SET {column} = NULL WHERE id = %s", self.ann)
        with self.refused("23502"):
            self.run_sql("INSERT INTO employee (company_id) VALUES (%s)", self.company)
        with self.refused("23502"):
            self.run_sql("INSERT INTO employee (company_id, name, salary) VALUES (%s, 'Dee', NULL)", self.company)
        with self.refused("23502"):
            self.run_sql(
                "INSERT INTO payslip (employee_id, period, amount) VALUES (%s, '2024-01-01', NULL)", self.ann
            )

    def test_check(self) -> None:
        for assignment, constraint in {
            "name = ''": "employee_has_name",
            "born = '1900-01-01'": "employee_born_check",
            "last_day = '2019-12-31'": "employee_days_check",
            "first_day = '2030-01-01', last_day = '2029-01-01'": "employee_days_check",
            "level = 'chief'": "employee_chief_check",
        }.items():
            with self.subTest(assignment), self.refused("23514", constraint):
                self.run_sql(f"UPDATE employee SET {assignment} WHERE id = %s", self.cal)
        with self.refused("23514", "employee_chief_check"):
            self.run_sql("UPDATE employee SET salary = 4999.99 WHERE id = %s", self.ann)
        self.run_sql("UPDATE employee SET last_day = '2025-01-01' WHERE id = %s", self.cal)
        with self.refused("23514", "employee_days_check"):
            self.run_sql("UPDATE employee SET first_day = '2025-01-02' WHERE id = %s", self.cal)
        for score in (0, 6):
            with self.refused("23514", "appraisal_score_check"):
                self.run_sql(
                    "INSERT INTO appraisal (employee_id, words, score) VALUES (%s, 'x', %s)", self.ann, score
                )
        self.run_sql(
            "INSERT INTO appraisal (employee_id, words, score) VALUES (%s, 'x', NULL), (%s, 'x', 1)",
            self.ann,
            self.ann,
        )

    def test_domains(self) -> None:
        for assignment, constraint in {
            "mail = 'nobody'": "mail_address_has_at",
            "mail = ''": "mail_address_has_at",
            "salary = 0": "pay_is_positive",
            "salary = 0.004": "pay_is_positive",
        }.items():
            with self.subTest(assignment), self.refused("23514", constraint):
                self.run_sql(f"UPDATE employee SET {assignment} WHERE id = %s", self.cal)
        with self.refused("23514", "mail_address_has_at"):
            self.run_sql("INSERT INTO employee (company_id, name, mail) VALUES (%s, 'Dee', 'dee')", self.company)
        self.run_sql("UPDATE employee SET mail = NULL, salary = 0.005 WHERE id = %s", self.cal)
        self.assertEqual(str(self.value("SELECT salary FROM employee WHERE id = %s", [self.cal])), "0.01")

    def test_unique(self) -> None:
        with self.refused("23505", "employee_tax_number_key"):
            self.run_sql(
                "INSERT INTO employee (company_id, name, tax_number) VALUES (%s, 'Dee', 'A-1')", self.company
            )
        with self.refused("23505", "employee_tax_number_key"):
            self.run_sql("UPDATE employee SET tax_number = 'A-1' WHERE id = %s", self.ben)
        with self.refused("23505", "employee_tax_number_key"):
            self.run_sql("UPDATE employee SET tax_number = 'one' WHERE company_id = %s", self.company)
        with self.refused("23505", "employee_badge_key"):
            self.run_sql("UPDATE employee SET badge = 100 WHERE id = %s", self.ben)
        with self.refused("23505", "employee_pkey"):
            self.run_sql(
                "INSERT INTO employee (id, company_id, name) VALUES (%s, %s, 'Dee')", self.ann, self.company
            )
        # NULL equals nothing, case and spaces count, and a value can be used again.
        self.run_sql(
            "INSERT INTO employee (company_id, name, tax_number) "
            "VALUES (%s, 'a', NULL), (%s, 'b', 'a-1'), (%s, 'c', 'A-1 ')",
            *[self.company] * 3,
        )
        self.run_sql("UPDATE employee SET tax_number = 'A-1' WHERE id = %s", self.ann)
        self.run_sql("DELETE FROM employee WHERE id = %s", self.ben)
        self.run_sql("UPDATE employee SET tax_number = 'B-2' WHERE id = %s", self.cal)
        self.assertEqual(self.value("SELECT count(*) FROM employee WHERE upper(trim(tax_number)) = 'A-1'"), 3)

    def test_unique_with_a_plain_column(self) -> None:
        insert = "INSERT INTO payslip (employee_id, period, note) VALUES (%s, '2024-01-01', %s)"
        self.run_sql(insert, self.ann, "May")
        self.run_sql(insert, self.ben, "May")
        self.run_sql(insert, self.ben, None)
        self.run_sql(insert, self.ben, None)
        with self.refused("23505", "payslip_note_key"):
            self.run_sql(insert, self.ann, "May")
        with self.refused("23505", "payslip_note_key"):
            self.run_sql("UPDATE payslip SET employee_id = %s WHERE note = 'May'", self.ann)
        with self.refused("23505", "payslip_note_key"):
            self.run_sql("UPDATE payslip SET note = 'May' WHERE employee_id = %s", self.ben)

    def test_values_that_are_of_no_type(self) -> None:
        for assignment, sqlstate in {
            "level = 'boss'": "22P02",
            "tax_number = '123456789012'": "22001",
            "salary = 100000000": "22003",
            "points = 9223372036854775808": "22003",
            "desk = 2147483648": "22003",
            "born = '2023-02-29'": "22008",
            "hired_at = 'soon'": "22007",
            "reference = 'x'": "22P02",
            "profile = '{'": "22P02",
            "contract = '{a}'": "22P02",
            "phones = '{'": "22P02",
            "active = 'perhaps'": "22P02",
            "photo = '\\xf'": "22023",
            "active = 1": "42804",
            "born = 5": "42804",
            "nothing = 5": "42703",
            "salary = 1 / 0": "22012",
        }.items():
            with self.subTest(assignment), self.refused(sqlstate):
                self.run_sql(f"UPDATE employee SET {assignment} WHERE id = %s", self.ann)
        self.run_sql("UPDATE employee SET tax_number = '12345678901   ' WHERE id = %s", self.ann)
        self.assertEqual(self.value("SELECT tax_number FROM employee WHERE id = %s", [self.ann]), "12345678901")

    def test_an_error_undoes_the_whole_statement(self) -> None:
        with self.refused("23514", "pay_is_positive"):
            self.run_sql(
                "UPDATE employee SET level = 'junior', salary = salary - 2000.5 WHERE company_id = %s",
                self.company,
            )
        self.assertEqual(
            [
                int(row[0])
                for row in self.rows(
                    "SELECT salary FROM employee WHERE company_id = %s ORDER BY id", [self.company]
                )
            ],
            [5000, 3000, 2000],
        )


class ForeignKeyTests(PayrollTestCase):
    def test_to_what_is_not_there(self) -> None:
        with self.refused("23503", "employee_company_id_fkey"):
            self.run_sql("INSERT INTO employee (company_id, name) VALUES (-1, 'Dee')")
        with self.refused("23503", "employee_manager_id_fkey"):
            self.run_sql("UPDATE employee SET manager_id = -1 WHERE id = %s", self.ben)
        with self.refused("23503", "payslip_employee_id_fkey"):
            self.run_sql("INSERT INTO payslip (employee_id, period) VALUES (-1, '2024-01-01')")
        with self.refused("23503", "equipment_employee_id_fkey"):
            self.run_sql("UPDATE equipment SET employee_id = -1 WHERE id = 1")

    def test_cascade(self) -> None:
        self.run_sql(
            "INSERT INTO payslip (employee_id, period) VALUES (%s, '2024-01-01'), (%s, '2024-01-01')",
            self.ben,
            self.cal,
        )
        self.assertEqual(self.run_sql("DELETE FROM employee WHERE id = %s", self.ben), 1)
        self.assertEqual(
            self.value("SELECT count(*) FROM payslip WHERE employee_id IN (%s, %s)", [self.ben, self.cal]), 1
        )
        self.assertEqual(self.run_sql("DELETE FROM company WHERE id = %s", self.company), 1)
        self.assertEqual(self.value("SELECT count(*) FROM employee WHERE id >= %s", [self.ann]), 0)
        self.assertEqual(self.value("SELECT count(*) FROM payslip WHERE employee_id = %s", [self.cal]), 0)

    def test_set_null(self) -> None:
        self.run_sql("INSERT INTO equipment (employee_id, label) VALUES (%s, 'desk')", self.ann)
        self.run_sql("DELETE FROM employee WHERE id = %s", self.ann)
        self.assertEqual(self.rows("SELECT employee_id FROM equipment WHERE label = 'desk'"), [(None,)])
        self.assertEqual(
            self.rows(
                "SELECT name, salary FROM employee WHERE company_id = %s AND manager_id IS NULL ORDER BY name",
                [self.company],
            )[1],
            ("Cal", 2000),
        )

    def test_restrict(self) -> None:
        self.run_sql("INSERT INTO appraisal (employee_id, words) VALUES (%s, 'Stays')", self.ben)
        with self.refused("23503", "appraisal_employee_id_fkey"):
            self.run_sql("DELETE FROM employee WHERE id = %s", self.ben)
        with self.refused("23503", "appraisal_employee_id_fkey"):
            self.run_sql("UPDATE employee SET id = id + 1000000 WHERE id = %s", self.ben)
        with self.refused("23503", "appraisal_employee_id_fkey"):
            self.run_sql("DELETE FROM company WHERE id = %s", self.company)
        self.run_sql("DELETE FROM appraisal WHERE words = 'Stays'")
        self.assertEqual(self.run_sql("DELETE FROM employee WHERE id = %s", self.ben), 1)

    def test_cascade_of_updates(self) -> None:
        self.run_sql(
            "INSERT INTO payslip (employee_id, period, note) VALUES (%s, '2024-01-01', 'follows')", self.ben
        )
        self.run_sql("INSERT INTO equipment (employee_id, label) VALUES (%s, 'follows')", self.ben)
        self.run_sql("UPDATE employee SET id = 5000000 WHERE id = %s", self.ben)
        self.run_sql("UPDATE company SET id = 6000000 WHERE id = %s", self.company)
        self.assertEqual(
            self.recorded_rows(
                "SELECT e.id, e.company_id, e.name, p.note, q.label "
                "FROM employee AS e JOIN payslip AS p ON p.employee_id = e.id "
                "JOIN equipment AS q ON q.employee_id = e.id WHERE e.company_id = 6000000"
            ),
            [(5_000_000, 6_000_000, "Ben", "follows", "follows")],
        )
