"""Run the payroll's tests."""

import sys

from application.recording import main

if __name__ == "__main__":
    sys.exit(
        main(
            "application.payroll.test_writing",
            "application.payroll.test_reading",
            "application.payroll.test_copying",
            "application.payroll.test_refusals",
            "application.payroll.test_sessions",
            "application.payroll.test_roles",
        )
    )
