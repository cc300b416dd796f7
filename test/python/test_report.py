"""Tests of ``pgkeymgr report``: the text, the policy, the structure and the colours of the page, and a browser."""

import base64
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import chromium
import pytest
from cluster import ROOT_KEY
from pgkeymgr.command import files
from pgkeymgr.command.report import charts
from pgkeymgr.command.report.markup import join, tag, text
from pgkeymgr.command.report.page import page
from pgkeymgr.command.report.style import CSS
from pgkeymgr.command.state import (
    AGES,
    STATES,
    ClusterState,
    Column,
    DatabaseState,
    Deadline,
    Finding,
    Grants,
    Key,
    Operation,
    Policy,
    RootKey,
)
from pgkeymgr.errors import ParameterError
from report_database import HOSTILE, MONITOR, OTHER_KEY, ROWS, TABLE, Server, check_secrecy, running

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SHOWN = HOSTILE.replace("\u202e", "\\u202e")
"""How the page shows the hostile name: a character that cannot be printed is an escape."""


def sample() -> ClusterState:
    """Return a state that fills every part of the page, with a hostile name in every text."""
    name = HOSTILE
    database = DatabaseState(name, name)
    database.root_key = RootKey(name, name, (name,), (name, "missing"))
    database.root_key_error = name
    database.counts = {(state, age): 1 + number for number, state in enumerate(STATES) for age, _ in AGES}
    expires = NOW + timedelta(days=3)
    database.keys = [
        Key(number, name, state, False, NOW, expires, name, (name,), (name,))
        for number, state in enumerate(STATES)
    ]
    # The longest names, which have no space in them.
    long, identifier = "n" * 255, "i" * 63
    database.keys.append(
        Key(9, long, "current", False, NOW, None, identifier, (), (f"{identifier}.{identifier}",))
    )
    database.keys_left_out = 5
    database.columns = [
        Column(name, name, name, name, name, name, name, "migrating", 1000, name, True),
        Column("customer", "ssn", "text", None, "randomized", None, None, "encrypted", None),
        Column("customer", "note", "text", "key", "randomized", None, None, "decrypting", 1000),
        Column(
            identifier,
            identifier,
            identifier,
            long,
            "randomized",
            None,
            identifier,
            "encrypted",
            10**12,
            identifier,
        ),
    ]
    day = timedelta(days=1)
    database.deadlines = [
        Deadline(number, name, is_destruction, NOW + number * day)
        for number in (-2, 3)
        for is_destruction in (False, True)
    ]
    database.deadlines.append(Deadline(9, long, True, NOW + 500 * day))
    database.policies = [
        Policy(name, name, NOW - day, 2, name, False, NOW - day, True),
        Policy(long, "90 days", NOW + day, None, "30 days", False, None, False),
        Policy(None, "1 year 2 mons 3 days 04:05:06", NOW, 10**6, "30 days", True, NOW, False),
    ]
    database.operations = [
        Operation(name, name, name, 999, 1000, NOW, timedelta(minutes=3), 1, 2),
        Operation("customer", "note", "decrypt", 250, 1000, NOW, None, 0, 0),
    ]
    database.findings = [
        Finding(name, "error", name, name, name),
        Finding("b", "warning", None, "c", None),
        Finding("d", "ok", None, "nothing found", None),
    ]
    database.events = {(date(2026, 1, day), event): day for day in range(1, 30) for event in ("create", name)}
    database.events_total = 1234
    database.grants = [Grants(name, True, (name,), name, name, (name,), 100)]
    database.grants.append(Grants(identifier, False, ("decrypt",), "membership", identifier, (long,), 1))
    database.problems = {name: name}
    return ClusterState(NOW, True, name, name, [database, replace(database, name="second")], {name: name})


class Reader(HTMLParser):
    """Reads a page, and checks that its elements are nested."""

    def __init__(self, written: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(written)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((name, dict(attributes)))
        assert len(dict(attributes)) == len(attributes)
        if name not in ("meta", "link"):
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        """Check the end of an element."""
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.texts.append(data)

    def all(self, name: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements of a name."""
        return [attributes for each, attributes in self.elements if each == name]


def empty() -> ClusterState:
    """Return the state of a cluster with one database, which has nothing."""
    return ClusterState(NOW, databases=[DatabaseState("empty", "0.1.0", RootKey("f" * 32, "getkey", (), ()))])


STATES_OF_CLUSTERS = {"full": sample(), "empty": empty(), "nothing": ClusterState(NOW)}


@pytest.fixture(params=STATES_OF_CLUSTERS)
def written(request: pytest.FixtureRequest) -> str:
    """The page of a cluster."""
    return page(STATES_OF_CLUSTERS[request.param])


# The page without a browser.


def test_names_are_text() -> None:
    read = Reader(page(sample()))
    assert not read.all("script")
    # In all parts of the page, and it is no element anywhere.
    assert sum(SHOWN in each for each in read.texts) > 40
    assert "\u202e" not in "".join(read.texts)
    assert not [each for each in read.texts if HOSTILE in each]


def test_nothing_is_loaded_and_nothing_runs(written: str) -> None:
    read = Reader(written)
    allowed = {"html", "head", "meta", "link", "title", "style", "body", "header", "main", "footer", "nav",
               "section", "div", "span", "p", "h1", "h2", "h3", "ul", "li", "dl", "dt", "dd", "a", "code", "table",
               "caption", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "details", "summary", "svg",
               "desc", "g", "rect", "line"}  # fmt: skip
    assert {name for name, _ in read.elements} <= allowed
    for _, attributes in read.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src", "srcdoc")]
        target = attributes.get("href")
        assert target is None or target == "data:," or re.fullmatch(r"#[a-z0-9-]+", target)
    assert not re.search(r"url\(|@import|@font-face|expression", CSS)


def test_the_policy_allows_only_the_style_sheet(written: str) -> None:
    read = Reader(written)
    (policy,) = [
        each["content"] for each in read.all("meta") if each.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    directives = dict(each.split(" ", 1) for each in policy.split("; "))
    assert {name: directives[name] for name in directives if name != "style-src"} == {
        "default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"
    }  # fmt: skip
    (sheet,) = re.findall(r"<style>(.*?)</style>", written, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    assert directives["style-src"] == f"'sha256-{digest}'"
    # The policy comes before all that it is for.
    assert [name for name, _ in read.elements][:4] == ["html", "head", "meta", "meta"]


def test_the_structure_is_accessible(written: str) -> None:
    read = Reader(written)
    assert read.all("html") == [{"lang": "en"}]
    levels = [int(name[1]) for name, _ in read.elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(each.get("scope") in ("col", "row") for each in read.all("th"))
    identifiers = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)
    references = [each["href"] for each in read.all("a")]
    assert {reference.removeprefix("#") for reference in references if reference} <= set(identifiers)
    for drawn in re.findall(r"<svg.*?</svg>", written, re.DOTALL):
        assert 'aria-hidden="true"' in drawn or re.match(r"<svg[^>]* role=\"img\"[^>]*><title", drawn), drawn


def test_the_parts_that_could_not_be_read_are_shown() -> None:
    cluster = empty()
    cluster.problems["broken"] = "it is broken"
    cluster.databases[0].problems = {
        part: f"no {part} for you" for part in ("keys", "columns", "events", "grants", "policies", "dates of keys")
    }
    read = "".join(Reader(page(cluster)).texts)
    for expected in ("Not examined", "broken: it is broken", "empty: keys: no keys for you", "no grants for you",
                     "no policies for you", "no dates of keys for you"):  # fmt: skip
        assert expected in read
    for nothing in ("There is no key.", "No column has a mask.", "No key has"):
        assert nothing not in read


def shown_rows(heading: str) -> list[str]:
    """Return the texts of the rows of the first part with a heading."""
    (part,) = re.findall(f"<h3>{heading}</h3>(.*?)</table>", page(sample()), re.DOTALL)[:1]
    return [" ".join(Reader(row).texts) for row in re.findall(r"<tr role=\"row\"><th scope=\"row\".*?</tr>", part)]


def test_masks_policies_and_dates() -> None:
    masks = shown_rows("Masks")
    assert [SHOWN in masks[0], "without any grant" in masks[0], "without any grant" in masks[1]] == [
        True,
        True,
        False,
    ]
    stopped, due, stops, destroyed, late = shown_rows("Dates of keys")
    assert "stopped encrypting 2026-05-30 2 d ago" in stopped
    assert "destruction is due 2026-05-30 2 d ago" in due
    assert "stops encrypting 2026-06-04 3 d" in stops
    assert "is destroyed 2026-06-04 3 d" in destroyed
    assert "500 d" in late
    failed, never, rotating = shown_rows("Policies of keys")
    assert re.search(r"2026-05-31\s+due 2 .*1 d ago\s+failed", failed)
    assert "90 days 2026-06-02 all" in " ".join(never.split())
    assert never.endswith("never")
    assert "rotating 1,000,000 30 days" in rotating


def test_the_coverage_of_columns() -> None:
    rows = re.findall(r"<tr role=\"row\"><th scope=\"row\".*?</tr>", page(sample()))
    shown = ["".join(Reader(row).texts) for row in rows]
    assert any("migrating" in each and "99.9 %" in each and "1,000" in each for each in shown)
    assert any("customer.note" in each and "decrypting" in each and "75 %" in each for each in shown)
    assert any("customer.ssn" in each and "encrypted" in each and "100 %" in each for each in shown)


def test_the_markup_escapes() -> None:
    assert (
        tag("a", "<b>", None, 1, href='"x"&', class_="y")
        == '<a href="&quot;x&quot;&amp;" class="y">&lt;b&gt;1</a>'
    )
    assert join(tag("br"), "\x1b[2J\0\n") == "<br>\\x1b[2J\\x00\\n"
    # The text of an element is not HTML any more once something is added to it.
    assert tag("p", tag("b", "x") + "<i>") == "<p>&lt;b&gt;x&lt;/b&gt;&lt;i&gt;</p>"
    assert text(None) == ""


def test_charts() -> None:
    drawn = charts.bar({"a": 1, "b": 0, "c": 3}, 8, "Bars")
    assert [each["width"] for each in Reader(drawn).all("rect")] == ["12.500", "37.500"]
    assert "Bars: 1 a, 3 c" in drawn
    for done, total, shown in ((0, 0, "100"), (999_999, 1_000_000, "99.9"), (0, 5, "0"), (7, 5, "100")):
        assert f">{shown} %<" in charts.meter(done, total, "Meter")


@pytest.mark.parametrize(("days", "columns"), [(0, 14), (20, 21), (44, 45), (45, 14), (365, 53), (367, 53)])
def test_the_chart_over_time_has_all_events(days: int, columns: int) -> None:
    today = date(2026, 6, 1)
    values = {(today - timedelta(days=each), "made"): each + 1 for each in range(days + 1)}
    # The clock of the server is ahead.
    values[today + timedelta(days=1), "other"] = 5
    drawn = Reader(charts.over_time(values, ["made", "other"], today, "chart", "Events"))
    (plot,) = [each for each in drawn.all("svg") if each.get("aria-labelledby")]
    assert plot["viewbox"] == f"0 0 {columns} 100"
    shown = [int(number) for text in drawn.texts for number in re.findall(r"(\d+) (?:made|other)\b", text)]
    assert sum(shown) == sum(values.values())
    for each in drawn.all("rect"):
        if "y" in each:
            assert 0 <= float(each["y"] or "") < 100


def test_the_axis_ends_at_a_round_number() -> None:
    for value, top in ((1, 2), (2, 2), (3, 4), (9, 10), (10, 10), (11, 20), (99, 100), (101, 200), (5000, 5000)):
        assert charts._round_up(value) == top


def colours(scheme: str) -> dict[str, tuple[float, float, float]]:
    """Return the colours of a scheme by their names."""
    light, dark = CSS.split("@media screen and (prefers-color-scheme: dark)")
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", light))
    if scheme == "dark":
        found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", dark.split("* {")[0]))
    full = {
        name: value if len(value) == 7 else "#" + "".join(c * 2 for c in value[1:])
        for name, value in found.items()
    }
    return {name: tuple(int(value[at : at + 2], 16) / 255 for at in (1, 3, 5)) for name, value in full.items()}  # type: ignore[misc]


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """Return the contrast of two colours, as WCAG 2.2 defines it."""

    def luminance(colour: tuple[float, float, float]) -> float:
        linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_contrast(scheme: str) -> None:
    """WCAG's level AA: 4.5 for text, and 3 for graphics."""
    found = colours(scheme)
    pairs = [(ink, back) for ink in ("ink", "soft", "accent") for back in ("page", "card")]
    pairs += [(each, f"{each}-back") for each in ("error", "warning", "notice", "ok")] + [("soft", "track")]
    for ink, back in pairs:
        assert contrast(found[ink], found[back]) >= 4.5, (ink, back)
    for number in range(5):
        assert contrast(found[f"s{number}"], found["card"]) >= 3, number


# The file.


def test_a_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    file.chmod(0o666)
    held = file.open()
    files.replace(file, b"new", 0o600)
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # A reader of the old file keeps all of it.
    with held:
        assert held.read() == "old"
    assert os.listdir(tmp_path) == [file.name]


def test_only_a_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(os.listdir(tmp_path))
    for name in ("link", "directory", "pipe"):
        with pytest.raises(ParameterError, match="is not a regular file"):
            files.replace(tmp_path / name, b"new", 0o600)
    with pytest.raises(ParameterError, match="is not a regular file"):
        files.replace(Path("/dev/null"), b"new", 0o600)
    with pytest.raises(FileNotFoundError):
        files.replace(tmp_path / "nowhere" / "report.html", b"new", 0o600)
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "target").read_text() == "kept"


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "report.html").write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        files.replace(tmp_path / "report.html", b"new", 0o600)
    assert os.listdir(tmp_path) == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


# The command.


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server with three databases."""
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def file(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the server, which a monitor has written."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    done = server.call("report", "--output", path)
    assert done.stdout == ""
    return path


def test_report(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    written = file.read_text()
    check_secrecy(written)
    read = Reader(written)
    shown = "".join(read.texts)
    for expected in (
        *(
            "Database empty",
            "Database shop",
            "There is no key.",
            "public.customer.ssn",
            "ssn_bidx",
            MONITOR,
            "app",
        ),
        *(
            SHOWN,
            TABLE,
            f"{ROWS - 100:,}",
            "33.3 %",
            "Events per day",
            "superuser",
            "key_expiry",
            "short",
            "disabled",
        ),
        *(
            "stops encrypting",
            "is destroyed",
            "9 years",
            "last4",
        ),
    ):
        assert expected in shown or expected == MONITOR, expected
    assert "Database without" not in shown
    # A monitor sees what it may see of all roles, and everything could be examined.
    assert "Not examined" not in shown
    assert "permission denied" not in shown
    assert not read.all("script")


def test_report_on_stdout_with_a_locked_agent(server: Server) -> None:
    server.agent.control().lock()
    try:
        shown = "".join(Reader(server.call("report", "--database", "shop").stdout).texts)
        assert re.search("Problem.*the agent at .* is locked", shown)
        assert "public.customer.ssn" in shown
        server.agent.set_keys([OTHER_KEY])
        server.agent.control().unlock(lambda _: b"")
        shown = "".join(Reader(server.call("report", "--database", "shop").stdout).texts)
        assert re.search("Problem.*the server does not have the root key [0-9a-f]{32}, which this database", shown)
    finally:
        server.agent.control().lock()
        server.agent.set_keys([ROOT_KEY])
        server.agent.control().unlock(lambda _: b"")


def test_report_of_a_database_without_the_extension(server: Server, tmp_path: Path) -> None:
    done = server.call("report", "--database", "without", "--output", tmp_path / "report.html", status=1)
    assert "without: the database does not have the extension pgkeymgr" in done.stderr
    assert "the database does not have the extension" in (tmp_path / "report.html").read_text()


def test_no_page_without_a_server(server: Server, tmp_path: Path) -> None:
    for dsn in ("host=/nowhere password=hunter2", "hunter2 hunter2"):
        done = server.call("report", "--dsn", dsn, "--output", tmp_path / "report.html", status=1)
        assert "hunter2" not in done.stderr
        assert not os.listdir(tmp_path)
    done = server.call("report", "--database", "empty", "--output", "/dev/null", status=1)
    assert '"/dev/null" is not a regular file' in done.stderr


# In a browser.


@pytest.mark.skipif(
    chromium.find() is None,
    reason=f"Chromium is not on this machine (apt-get install chromium), and ${chromium.ENVIRONMENT} names none",
)
@pytest.mark.parametrize("kind", ["full", "empty", "server"])
def test_in_chromium(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if kind == "server":
        shown = request.getfixturevalue("file")
    else:
        shown = tmp_path / "report.html"
        shown.write_text(page(STATES_OF_CLUSTERS[kind]))
    pictures = Path(__file__).parents[2] / "build" / "report"
    pictures.mkdir(parents=True, exist_ok=True)
    address = shown.as_uri()
    with chromium.Chromium(chromium.find() or "") as browser:
        seen = set()
        for width in (400, 1280):
            for scheme in ("light", "dark"):
                browser.show(width, scheme)
                browser.open(address)
                assert browser.evaluate("document.documentElement.scrollWidth") <= width
                wide = browser.evaluate(
                    "[...document.querySelectorAll('body *')].filter(each => each.getBoundingClientRect().right"
                    " > document.documentElement.clientWidth + 1 && !each.closest('svg, thead')).map(each =>"
                    " each.outerHTML.slice(0, 100))"
                )
                assert wide == []
                seen.add(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
                assert browser.screenshot(pictures / f"{kind}-{width}-{scheme}.png").startswith(b"\x89PNG")
                check_events(browser, address)
        assert len(seen) == 2, "light and dark have another background"
        assert browser.evaluate("document.scripts.length") == 0
        printed = browser.print_page()
        assert printed.startswith(b"%PDF-")
        (pictures / f"{kind}.pdf").write_bytes(printed)
        check_events(browser, address)


def check_events(browser: chromium.Chromium, address: str) -> None:
    """Check that the page has requested only itself, and that the console is empty."""
    requests = [each["request"]["url"] for name, each in browser.events if name == "Network.requestWillBeSent"]
    assert {url for url in requests if url != "data:,"} == {address}
    complaints = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Audits.issueAdded")
    assert not [each for name, each in browser.events if name in complaints]
