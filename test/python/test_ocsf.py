"""``pgkeymgr audit export --format ocsf`` against the attributes that OCSF requires, for each kind of event.

The tables are from OCSF 1.3.0, https://github.com/ocsf/ocsf-schema at its tag 1.3.0. Each names its file there.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pgkeymgr
import pytest
from pgkeymgr.command import audit_export
from pgkeymgr.command.report import page

PACKAGE = Path(pgkeymgr.__file__).parent

# events/iam/entity_management.json, events/base_event.json, includes/classification.json, includes/occurrence.json
REQUIRED = {
    "activity_id": int,
    "category_uid": int,
    "class_uid": int,
    "type_uid": int,
    "time": int,
    "severity_id": int,
    "metadata": dict,
    "entity": dict,
}
# The same files, and events/iam/iam.json.
OTHERS = {
    "activity_name": str,
    "actor": dict,
    "message": str,
    "severity": str,
    "src_endpoint": dict,
    "status": str,
    "status_id": int,
    "unmapped": dict,
}
# events/iam/entity_management.json
ACTIVITIES = {
    **{1: "Create", 2: "Read", 3: "Update", 4: "Delete", 5: "Move", 6: "Enroll", 7: "Unenroll", 8: "Enable"},
    **{9: "Disable", 10: "Activate", 11: "Deactivate", 12: "Suspend", 13: "Resume"},
}
OTHER = 99
# dictionary.json
SEVERITIES = {1: "Informational", 2: "Low", 3: "Medium", 4: "High", 5: "Critical", 6: "Fatal"}
STATUSES = {1: "Success", 2: "Failure"}
# objects/metadata.json, objects/product.json, objects/managed_entity.json, objects/user.json,
# objects/network_endpoint.json: the required attributes, and those of which one must be there.
OBJECTS: dict[str, tuple[set[str], set[str]]] = {
    "metadata": ({"product", "version"}, set()),
    "metadata.product": ({"vendor_name"}, {"name", "uid"}),
    "entity": (set(), {"name", "uid", "device", "group", "org", "policy", "user"}),
    "actor": (set(), {"process", "user", "invoked_by", "session", "app_name", "app_uid"}),
    "actor.user": (set(), {"account", "name", "uid"}),
    "src_endpoint": (
        set(),
        {"ip", "uid", "name", "hostname", "svc_name", "instance_uid", "interface_uid", "interface_name"},
    ),
}
METADATA = {
    "version": str,
    "product": dict,
    "log_name": str,
    "log_provider": str,
    "event_code": str,
    "uid": str,
    "sequence": int,
    "original_time": str,
}

AT = "2026-01-02T03:04:05.123999"
WHENCE = {"system": "7000000000000000000", "database": "shop"}
KEYS = ((3, "card"), (3, None), (None, None))
CLIENTS = ("[local]", "10.0.0.1:5000", "2001:db8::1:5000")


def constants(node: ast.expr) -> Iterator[str]:
    """Yield the names of events that an argument can have; a part that is computed is ``*``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(each.value) if isinstance(each, ast.Constant) else "*" for each in node.values)


def recorded() -> set[str]:
    """Return the names of the events that the package records, as its source has them."""
    found: set[str] = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                if re.search(r"audit\.(record|reveal|record_failure)$", called) and node.args:
                    found |= set(constants(node.args[0]))
                if called.endswith("._table.maker.create"):
                    found |= {
                        name for word in node.keywords if word.arg == "event" for name in constants(word.value)
                    }
                if re.search(r"\._(open_all|opened)$", called) and node.args:
                    found |= set(constants(node.args[0]))
    return found


def test_every_event_that_is_recorded_has_an_activity() -> None:
    names = recorded()
    assert {"create", "import", "grant", "destroy", "unlock", "derive", "set_mask", "failed_unlock"} <= names
    known = [*audit_export._ACTIVITIES, *(f"failed_{name}" for name in audit_export._ACTIVITIES)]
    for name in names:
        pattern = re.escape(name).replace(r"\*", "[a-z_]+")
        assert any(re.fullmatch(pattern, each) for each in known), name
    # The chart of the report groups events by the same names.
    shown = {name for group in page._EVENTS.values() for name in group}
    assert shown - set(audit_export._ACTIVITIES) <= {"reveal"}


@pytest.mark.parametrize("failed", ["", "failed_"])
def test_every_event_has_the_required_attributes(failed: str) -> None:
    for name in [*audit_export._ACTIVITIES, "something_new"]:
        for key_id, key_name in KEYS:
            for client in CLIENTS:
                check(document(failed + name, key_id, key_name, client), failed + name)


def document(name: str, key_id: int | None, key_name: str | None, client: str) -> dict[str, Any]:
    """Return an event in OCSF."""
    event = {
        "link": 12,
        "id": "11111111-2222-3333-4444-555555555555",
        "at": AT,
        "event": name,
        "key_id": key_id,
        "key_name": key_name,
        "role": "ann",
        "session_role": "app",
        "client": client,
        "detail": None if key_name is None else "a detail",
        "hash": "00" * 32,
    }
    return audit_export._ocsf(event, WHENCE)


def check(event: dict[str, Any], name: str) -> None:
    """Check an event of OCSF's class Entity Management."""
    assert REQUIRED.keys() <= event.keys() <= REQUIRED.keys() | OTHERS.keys()
    for attribute, value in event.items():
        assert type(value) is (REQUIRED | OTHERS)[attribute], attribute
        # OCSF has no way to say that an attribute is not known but its absence.
        assert value not in ("", {}, None), attribute
    # categories.json: Identity & Access Management is 3, and events/iam/entity_management.json is its class 4.
    assert event["category_uid"] == 3
    assert event["class_uid"] == 3004
    assert event["type_uid"] == 3004 * 100 + event["activity_id"]
    if event["activity_id"] == OTHER:
        assert event["activity_name"] == name
    else:
        assert event["activity_name"] == ACTIVITIES[event["activity_id"]]
    assert event["severity"] == SEVERITIES[event["severity_id"]]
    assert event["status"] == STATUSES[event["status_id"]]
    assert (event["status"] == "Failure") == name.startswith("failed_")
    assert event["time"] == 1767323045123
    metadata = event["metadata"]
    assert metadata["version"] == "1.3.0"
    assert {attribute: type(value) for attribute, value in metadata.items()} == METADATA
    assert metadata["event_code"] == name
    assert metadata["original_time"] == f"{AT}Z"
    for path, (required, one_of) in OBJECTS.items():
        found: Any = event
        for part in path.split("."):
            found = found.get(part)
            if found is None:
                break
        if found is None:
            assert path == "src_endpoint"
            continue
        assert required <= found.keys(), path
        assert not one_of or one_of & found.keys(), path
        assert None not in found.values(), path
        assert "" not in found.values(), path
    assert event["entity"]["type_id"] == OTHER


def test_the_parts_of_an_event() -> None:
    event = document("grant", 3, "card", "2001:db8::1:5000")
    assert event["src_endpoint"] == {"ip": "2001:db8::1", "port": 5000}
    assert event["entity"] == {"type_id": 99, "type": "Key", "uid": "3", "name": "card"}
    assert event["actor"] == {"user": {"name": "ann"}}
    assert event["message"] == "a detail"
    event = document("rotate_root_key", None, None, "[local]")
    assert "src_endpoint" not in event
    assert event["entity"]["uid"] == f"{WHENCE['system']}/{WHENCE['database']}"
