"""A payroll in SQL: ``application.payroll.schema`` makes it, ``python -m application.payroll`` tests it."""
