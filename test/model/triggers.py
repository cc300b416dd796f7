"""Random triggers of ``t``, which change, suppress, refuse and log what is written to it."""

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from .schema import Schema

_ROW = "FOR EACH ROW"
_LOGGED = "format('%s %s %s | %s %s | %s %s', TG_NAME, TG_WHEN, TG_OP, OLD.n, OLD.note, NEW.n, NEW.note)"
_LOG = f"INSERT INTO {{schema}}.log VALUES (TG_LEVEL, {_LOGGED});"

# The name, the events with their scope, and the statements; {schema} is the example's.
_TRIGGERS = {
    "bump": (f"BEFORE INSERT OR UPDATE ON t {_ROW}", "NEW.n := (NEW.n + 1) % 10;"),
    "fill": (
        f"BEFORE INSERT ON t {_ROW}",
        "NEW.n := coalesce(NEW.n, 1); NEW.note := coalesce(NEW.note, 'filled');",
    ),
    "shout": (f"BEFORE UPDATE ON t {_ROW}", "NEW.note := upper(NEW.note) || NEW.n;"),
    "skip": (
        f"BEFORE INSERT OR UPDATE OR DELETE ON t {_ROW}",
        "IF (CASE TG_OP WHEN 'DELETE' THEN OLD.n ELSE NEW.n END) = 4 THEN RETURN NULL; END IF;",
    ),
    "refuse": (f"BEFORE INSERT OR UPDATE ON t {_ROW}", "IF NEW.n = 6 THEN RAISE EXCEPTION 'six'; END IF;"),
    "log_before": (f"BEFORE INSERT OR UPDATE OR DELETE ON t {_ROW}", _LOG),
    "log_insert": (f"AFTER INSERT OR DELETE ON t {_ROW}", _LOG),
    "log_after": (f"AFTER UPDATE OR INSERT OR DELETE ON t {_ROW}", _LOG),
    "log_when": (f"AFTER UPDATE ON t {_ROW} WHEN (OLD.n IS DISTINCT FROM NEW.n)", _LOG),
    "log_statement": ("AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH STATEMENT", _LOG),
    "of_note": (
        f"BEFORE UPDATE OF note ON t {_ROW} WHEN (OLD.note IS DISTINCT FROM NEW.note)",
        "NEW.note := NEW.note || '!'; " + _LOG,
    ),
    "log_first": ("BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH STATEMENT", _LOG),
}
_NUMBER_ORG = {
    "org": (f"BEFORE INSERT OR UPDATE ON t {_ROW}", "NEW.org := coalesce(NEW.n % 3, NEW.org);"),
    "org_late": (f"BEFORE UPDATE ON t {_ROW}", "NEW.org := NEW.org + 1;"),
}
_TEXT_ORG = {"org": (f"BEFORE INSERT OR UPDATE ON t {_ROW}", "NEW.org := 'o' || coalesce(NEW.n % 3, 0);")}
_NUMBER_KEY = {
    "key": (f"BEFORE INSERT ON t {_ROW}", "NEW.k := coalesce(NEW.k, nextval('{schema}.made'));"),
    "key_always": (f"BEFORE INSERT ON t {_ROW}", "NEW.k := nextval('{schema}.made');"),
    "move": (
        f"BEFORE UPDATE ON t {_ROW}",
        "IF NEW.n = 3 AND OLD.n IS DISTINCT FROM 3 THEN NEW.k := nextval('{schema}.made'); END IF;",
    ),
    "touch": (
        f"AFTER INSERT ON t {_ROW}",
        "UPDATE {schema}.t SET note = 'touched' WHERE k = NEW.k AND note = 'x';",
    ),
}


def triggers(draw: Any, schema: "Schema", *, is_owner: bool) -> list[str]:
    """Draw the triggers of a table, and return the statements that make them.

    Args:
        draw: draws.
        schema: of the table.
        is_owner: leave out those that keep an owner from the procedures who is no superuser.
    """
    candidates = {name: each for name, each in _TRIGGERS.items() if not (is_owner and "AFTER UPDATE" in each[0])}
    org = schema.column("org")
    if org is not None and org is not schema.parent_of:
        candidates |= _NUMBER_ORG if org.kind.type == "integer" else _TEXT_ORG
    key = schema.column("k")
    if key in schema.key and key.kind.type == "integer" and key.takes_values and key is not schema.parent_of:
        candidates |= _NUMBER_KEY
    names = draw(st.lists(st.sampled_from(sorted(candidates)), max_size=3, unique=True))
    if "of_note" in names and ("shout" in names or not schema.key):
        names.remove("of_note")
    if is_owner and {"bump", "refuse"} <= set(names):
        names.remove("refuse")  # it may refuse a stored row in the procedures of an owner, where it fires
    if "touch" in names:
        # Its UPDATE on the view can find no row, and then no statement trigger of the base table fires.
        names = [name for name in names if "FOR EACH STATEMENT" not in candidates[name][0]]
    statements = []
    for name in names:
        events, code = candidates[name]
        statements.append(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {code}"
            f" IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$"
        )
        statements.append(f"CREATE TRIGGER {name} {events} EXECUTE FUNCTION {name}()")
    return statements
