"""What would write a statement with a secret in it somewhere.

pgkeymgr's own ways need none: keys are used by name or number, and passphrases travel sealed. But the values of
encrypted columns stand in INSERT and UPDATE statements, unless they are parameters, and some functions take a raw
key or a password.
"""

from collections.abc import Iterator

from .finding import NOTICE, WARNING, Context, Finding

_NEVER = -1
_LINE = "has the line that failed, and the values of encrypted columns in that line"
_SECRETS = "those with a value of an encrypted column, a raw key or a password in them, too"


def check_logging(context: Context) -> Iterator[Finding]:
    """Find the settings that have statements or parameters written to the log, or kept in the server."""
    statements = [*_statements(context)]
    yield from statements
    if statements and context.setting("log_parameter_max_length") not in ("0", ""):
        yield Finding(
            NOTICE,
            "log_parameter_max_length",
            "the parameters of the statements that are logged are logged, too",
            "ALTER SYSTEM SET log_parameter_max_length = 0;",
        )
    if context.setting("log_parameter_max_length_on_error") not in ("0", ""):
        yield Finding(
            WARNING,
            "log_parameter_max_length_on_error",
            "the parameters of statements that fail are logged",
            "ALTER SYSTEM RESET log_parameter_max_length_on_error;",
        )
    yield from _failures(context)
    for name in ("debug_print_parse", "debug_print_rewritten", "debug_print_plan"):
        if context.setting(name) == "on":
            yield Finding(
                WARNING,
                name,
                f"the trees of statements are logged with their constants, {_SECRETS}",
                f"ALTER SYSTEM RESET {name};",
            )
    yield from _modules(context)


def _statements(context: Context) -> Iterator[Finding]:
    which = context.setting("log_statement")
    if which in ("mod", "all"):
        what = "all statements" if which == "all" else "statements that write"
        yield Finding(
            WARNING,
            "log_statement",
            f"{what} are logged, {_SECRETS}",
            "ALTER SYSTEM SET log_statement = none; or ddl. If it has to stay, pass values as parameters, "
            "with log_parameter_max_length at 0.",
        )
    duration = _number(context, "log_min_duration_statement")
    if duration != _NEVER:
        how = "all statements" if duration == 0 else f"statements that take {duration} ms or longer"
        yield Finding(
            NOTICE if duration else WARNING,
            "log_min_duration_statement",
            f"{how} are logged with their text, {_SECRETS}",
            "ALTER SYSTEM RESET log_min_duration_statement; or pass values as parameters, with "
            "log_parameter_max_length at 0.",
        )
    for name, rate in (
        ("log_min_duration_sample", "log_statement_sample_rate"),
        ("log_transaction_sample_rate", "log_transaction_sample_rate"),
    ):
        is_on = _number(context, name) != _NEVER if name != rate else True
        if is_on and float(context.setting(rate) or 0) > 0:
            yield Finding(
                NOTICE,
                name,
                f"a sample of the statements is logged with their text, {_SECRETS}",
                f"ALTER SYSTEM RESET {name};",
            )


def _failures(context: Context) -> Iterator[Finding]:
    if context.setting("log_min_messages") in ("log", "fatal", "panic"):
        return  # errors are not logged at all
    if context.setting("log_min_error_statement") not in ("fatal", "panic"):
        yield Finding(
            NOTICE,
            "log_min_error_statement",
            f"statements that fail are logged with their text, {_SECRETS}",
            "Pass values as parameters, or ALTER SYSTEM SET log_min_error_statement = fatal;",
        )
    # Where a COPY failed stands in the CONTEXT of its error. Two formats have that whatever the verbosity is.
    destinations = {name.strip() for name in context.setting("log_destination").split(",") if name.strip()}
    structured = destinations & {"csvlog", "jsonlog"}
    if destinations - structured and context.setting("log_error_verbosity") != "terse":
        yield Finding(
            NOTICE,
            "log_error_verbosity",
            f"when a COPY fails, the log {_LINE}",
            "ALTER SYSTEM SET log_error_verbosity = terse; or use COPY in the binary format.",
        )
    if structured:
        yield Finding(
            NOTICE,
            "log_destination",
            f"when a COPY fails, {' and '.join(sorted(structured))} {_LINE}, whatever log_error_verbosity is",
            "Use COPY in the binary format, or ALTER SYSTEM SET log_destination = stderr;",
        )


def _modules(context: Context) -> Iterator[Finding]:
    duration = _number(context, "auto_explain.log_min_duration")
    if duration != _NEVER:
        yield Finding(
            NOTICE if duration else WARNING,
            "auto_explain.log_min_duration",
            f"auto_explain logs statements that take {duration} ms or longer, and the plans with their constants, "
            f"{_SECRETS}",
            "ALTER SYSTEM SET auto_explain.log_min_duration = -1; and auto_explain.log_parameter_max_length = 0.",
        )
    if context.setting("pgaudit.log") not in ("", "none"):
        parameters = context.setting("pgaudit.log_parameter") == "on"
        yield Finding(
            WARNING if parameters else NOTICE,
            "pgaudit.log_parameter" if parameters else "pgaudit.log",
            f"pgaudit logs statements{' and their parameters' if parameters else ''}, {_SECRETS}",
            "ALTER SYSTEM SET pgaudit.log_parameter = off;"
            if parameters
            else "Pass values as parameters, or ALTER SYSTEM SET pgaudit.log_statement = off;",
        )
    if context.setting("pg_stat_statements.track") not in ("", "none") and (
        context.setting("pg_stat_statements.track_utility") == "on"
    ):
        yield Finding(
            NOTICE,
            "pg_stat_statements.track_utility",
            "pg_stat_statements keeps SET, DO, ALTER ROLE and other commands with the constants in them",
            "ALTER SYSTEM SET pg_stat_statements.track_utility = off;",
        )


def _number(context: Context, name: str) -> int:
    value = context.setting(name)
    return int(value) if value else _NEVER
