"""Django's command line: ``python -m application.clinic.manage migrate``."""

import os
import sys

from django.core.management import execute_from_command_line


def main() -> None:
    """Run the command of the arguments."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "application.clinic.settings")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
