"""Finds the settings that write statements with secrets in them to the log, or keep them in the server.

Most statements of pgkeymgr have no secret in them: keys have names or numbers, and passphrases travel sealed. But
INSERT and UPDATE have values of encrypted columns, unless the values are parameters, and the arguments of some
functions are a raw key or a password.
"""

from collections.abc import Iterator

from .finding import NOTICE, WARNING, Context, Finding

_NEVER = -1
_LINE = "the line that failed, with its values of encrypted columns"
_SECRETS = "including values of encrypted columns, raw keys and passwords in them"


def check_logging(context: Context) -> Iterator[Finding]:
    """Find the settings that write statements or parameters to the log, or keep them in the server."""
    statements = [*_check_statements(context)]
    yield from statements
    if statements and context.setting("log_parameter_max_length") not in ("0", ""):
        yield Finding(
            NOTICE,
            "log_parameter_max_length",
            "the parameters of logged statements are also logged",
            "ALTER SYSTEM SET log_parameter_max_length = 0;",
        )
    if context.setting("log_parameter_max_length_on_error") not in ("0", ""):
        yield Finding(
            WARNING,
            "log_parameter_max_length_on_error",
            "the parameters of failed statements are logged",
            "ALTER SYSTEM RESET log_parameter_max_length_on_error;",
        )
    yield from _check_failures(context)
    for name in ("debug_print_parse", "debug_print_rewritten", "debug_print_plan"):
        if context.setting(name) == "on":
            yield Finding(
                WARNING,
                name,
                f"the parse or plan trees of statements are logged, {_SECRETS}",
                f"ALTER SYSTEM RESET {name};",
            )
    yield from _check_modules(context)


def _check_statements(context: Context) -> Iterator[Finding]:
    which = context.setting("log_statement")
    if which in ("mod", "all"):
        what = "all statements" if which == "all" else "statements that write"
        yield Finding(
            WARNING,
            "log_statement",
            f"{what} are logged, {_SECRETS}",
            "ALTER SYSTEM SET log_statement = ddl; or, to keep the setting, pass values as parameters, and "
            "ALTER SYSTEM SET log_parameter_max_length = 0;",
        )
    duration = _number(context, "log_min_duration_statement")
    if duration != _NEVER:
        how = "all statements" if duration == 0 else f"statements that take {duration} ms or longer"
        yield Finding(
            NOTICE if duration else WARNING,
            "log_min_duration_statement",
            f"{how} are logged with their text, {_SECRETS}",
            "ALTER SYSTEM RESET log_min_duration_statement; or pass values as parameters, and "
            "ALTER SYSTEM SET log_parameter_max_length = 0;",
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
                f"a sample of all statements is logged with their text, {_SECRETS}",
                f"ALTER SYSTEM RESET {name};",
            )


def _check_failures(context: Context) -> Iterator[Finding]:
    if context.setting("log_min_messages") in ("log", "fatal", "panic"):
        return  # The server does not log errors.
    if context.setting("log_min_error_statement") not in ("fatal", "panic"):
        yield Finding(
            NOTICE,
            "log_min_error_statement",
            f"failed statements are logged with their text, {_SECRETS}",
            "Pass values as parameters, or ALTER SYSTEM SET log_min_error_statement = fatal;",
        )
    # The CONTEXT of an error has the line that a COPY failed at. csvlog and jsonlog contain the CONTEXT whatever
    # log_error_verbosity is.
    destinations = {name.strip() for name in context.setting("log_destination").split(",") if name.strip()}
    structured = destinations & {"csvlog", "jsonlog"}
    if destinations - structured and context.setting("log_error_verbosity") != "terse":
        yield Finding(
            NOTICE,
            "log_error_verbosity",
            f"when a COPY fails, the server logs {_LINE}",
            "ALTER SYSTEM SET log_error_verbosity = terse; or use COPY in the binary format.",
        )
    if structured:
        yield Finding(
            NOTICE,
            "log_destination",
            f"when a COPY fails, {' and '.join(sorted(structured))} contain {_LINE}, whatever "
            "log_error_verbosity is",
            "Use COPY in the binary format, or ALTER SYSTEM SET log_destination = stderr;",
        )


def _check_modules(context: Context) -> Iterator[Finding]:
    duration = _number(context, "auto_explain.log_min_duration")
    if duration != _NEVER:
        yield Finding(
            NOTICE if duration else WARNING,
            "auto_explain.log_min_duration",
            f"auto_explain logs statements that take {duration} ms or longer, and their plans, {_SECRETS}",
            "ALTER SYSTEM SET auto_explain.log_min_duration = -1; and "
            "ALTER SYSTEM SET auto_explain.log_parameter_max_length = 0;",
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
            "pg_stat_statements keeps SET, DO, ALTER ROLE and other utility commands with their constants",
            "ALTER SYSTEM SET pg_stat_statements.track_utility = off;",
        )


def _number(context: Context, name: str) -> int:
    value = context.setting(name)
    return int(value) if value else _NEVER
