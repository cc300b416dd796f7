"""Checks whether clients must use TLS."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from ..sealed.exchange import PLAIN_SETTING, allows_plain
from .finding import WARNING, Context, Finding

_OLD = ("", "TLSv1", "TLSv1.1")


def check_tls(context: Context) -> Iterator[Finding]:
    """Find the settings that allow connections over a network without TLS."""
    listens = any(not is_local(name) for name in context.setting("listen_addresses").split(",") if name.strip())
    has_tls = context.setting("ssl") == "on"
    if listens and not has_tls:
        yield Finding(
            WARNING,
            "ssl",
            "the server listens beyond this machine without TLS: the values of encrypted columns cross the "
            "network in the clear, and sealed secrets are refused",
            "Install a certificate and ALTER SYSTEM SET ssl = on; or "
            "ALTER SYSTEM SET listen_addresses = localhost;",
        )
    if has_tls and context.setting("ssl_min_protocol_version") in _OLD:
        yield Finding(
            WARNING,
            "ssl_min_protocol_version",
            "the server accepts versions of TLS before 1.2",
            "ALTER SYSTEM SET ssl_min_protocol_version = 'TLSv1.2';",
        )
    if context.database.as_owner(lambda: allows_plain(context.database)):
        (row,) = context.rows("SELECT quote_ident(current_database()) AS name")
        yield Finding(
            WARNING,
            PLAIN_SETTING,
            "this database accepts sealed secrets over connections without TLS",
            f"ALTER DATABASE {row['name']} RESET {PLAIN_SETTING};",
        )
    if listens:
        yield from _check_rules(context)


def _check_rules(context: Context) -> Iterator[Finding]:
    for row in context.rows(
        """
        SELECT line_number, type, address, netmask
        FROM pg_hba_file_rules
        WHERE error IS NULL AND type = ANY ('{host,hostnossl}'::text[]) AND auth_method <> 'reject'
        ORDER BY line_number
        """
    ):
        network = f"{row['address']} {row['netmask'] or ''}".rstrip()
        if not is_local(row["address"] or "", row["netmask"]):
            yield Finding(
                WARNING,
                f"pg_hba.conf line {row['line_number']}",
                f"{row['type']} allows clients from {network} to connect without TLS",
                "Write hostssl instead, and SELECT pg_reload_conf();",
            )


def is_local(address: str, netmask: str | None = None) -> bool:
    """Return whether an address, or every address of a network, is a loopback address of this machine.

    Args:
        address: an address or a name from listen_addresses or pg_hba.conf.
        netmask: the netmask of the network, or None for a single address.
    """
    address = address.strip()
    if address in ("localhost", "samehost"):
        return True
    try:
        if netmask is None:
            return ip_address(address).is_loopback
        prefix = int(ip_address(netmask)).bit_count()
        return ip_network(f"{address}/{prefix}", strict=False).is_loopback
    except ValueError:
        return False
