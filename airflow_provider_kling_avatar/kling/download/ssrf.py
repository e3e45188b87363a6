"""
Which addresses a worker may ask for a file: a link is a stranger's word on where it connects to.

That holds for the vendor's links to clips, and for the URL of an audio that has to be measured.

The address that is judged is the one that is really connected to, before a byte is sent: a name that is looked up
twice may answer differently the second time (DNS rebinding).

Behind an HTTP proxy the peer is the proxy, which the machine's owner chose, and which looks names up itself: there
only addresses that stand in the URL as numbers, and ``localhost``, can be judged.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from airflow_provider_kling_avatar.kling.errors import DownloadError, ForbiddenAddressError
from airflow_provider_kling_avatar.kling.redact import hidden_links, public_source

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping


REDIRECTS = 5

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_CLOSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # the host of an Azure machine: https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
        "192.0.0.0/24",  # protocol assignments (RFC 6890); Oracle's metadata service is in it
        "64:ff9b:1::/48",  # NAT64 inside a network (RFC 8215)
        "fec0::/10",  # site-local (RFC 3879)
        "::/96",  # IPv4-compatible (RFC 4291)
        "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765)
    )
)
"""Not of the open internet, although `ipaddress` calls them global, in some versions of Python or in all."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class AddressRules:
    """
    What may be connected to.

    :param base_url: of the connection. Its very host and port may be private: a gateway inside the network serves its
        clips itself. Another port of the same host is another service.
    :param private: private addresses may be asked, whoever names them.
    """

    base_url: str
    private: bool = False
    _own: tuple[str, int] | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_own", _host_and_port(self.base_url))

    def allows(self, host: str, port: int | None, address: str) -> bool:
        """
        Tell whether an address may be connected to.

        :param host: the name that the URL has for it.
        :param port: TCP port.
        :param address: what is connected to.
        """
        return self.private or (host.strip("[]").lower(), port) == self._own or is_public(address)

    def check_url(self, url: str, before: str | None = None) -> None:
        """
        Judge a URL before it is asked.

        :param before: the URL that redirected to it.
        :raises ForbiddenAddressError: another scheme than http(s), or from https back to http, or no host at all.
        """
        how = "the link" if before is None else f"{public_source(before)} redirects to what"
        if _scheme(url) not in _DEFAULT_PORTS:
            raise ForbiddenAddressError(
                f"{how} is not an http(s) URL ({public_source(url)[:60]}): it is not followed"
            )
        if before is not None and _scheme(before) == "https" and _scheme(url) != "https":
            raise ForbiddenAddressError(f"{how} is not https any more: it is not followed")
        place = _host_and_port(url)
        if place is None:
            raise ForbiddenAddressError(f"{how} names no host ({public_source(url)})")
        host, port = place
        literal = "127.0.0.1" if host == "localhost" or host.endswith(".localhost") else host
        if _address(literal) is not None and not self.allows(host, port, literal):
            raise forbidden(host, literal)


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the open internet; those hidden inside IPv6 ones are looked at too."""
    ip = _address(address)
    if ip is None:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _CLOSED)


def forbidden(host: str, address: str) -> ForbiddenAddressError:
    """Return the error about an address that is not public."""
    where = host if host == address else f"{host} ({address})"
    return ForbiddenAddressError(
        f"the link leads to {where}, an address inside a private network: it is not asked. If its files are meant to "
        "come from there, set allow_private_addresses in the connection's extra to true"
    )


class GuardedSession(requests.Session):
    """
    Connects only to what may be reached, and sends nobody's credentials along.

    :param address_rules: which addresses those are.
    """

    def __init__(self, address_rules: AddressRules) -> None:
        super().__init__()
        self._address_rules = address_rules
        self.trust_env = False  # else requests takes a login for the host out of ~/.netrc
        self.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        adapter = _GuardedAdapter(address_rules)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Keep requests from reading where a redirect leads by itself, and the whole page with it."""

    def fetch(self, url: str, headers: Mapping[str, str], timeout: tuple[float, float]) -> requests.Response:
        """
        Return the answer to a GET, without its body and uncompressed; redirects are followed and judged one by one.

        :param timeout: seconds to connect, and between two pieces of the answer.
        :raises ForbiddenAddressError: the link, or what it redirects to, may not be asked.
        :raises DownloadError: it redirects for ever.
        :raises OSError: its host cannot be reached, or the file of authorities not be read.
        :raises ValueError: it is no URL.
        """
        here, before = url, None
        for _ in range(REDIRECTS + 1):
            self._address_rules.check_url(here, before)
            answer = self.get(
                here,
                headers={"Accept-Encoding": "identity", **headers},
                stream=True,
                allow_redirects=False,
                timeout=timeout,
                proxies=_proxies_for(here),
            )
            if not answer.is_redirect:
                return answer
            answer.close()
            before, here = here, urljoin(here, answer.headers["location"])
        raise DownloadError(f"{public_source(url)} redirects more than {REDIRECTS} times")


def announced_bytes(answer: requests.Response) -> int | None:
    """Return how many bytes an answer announces; ``None`` if none, or in more digits than a number has."""
    length = answer.headers.get("content-length", "")
    return int(length) if length.isdecimal() and length.isascii() and len(length) < 20 else None


def _proxies_for(url: str) -> dict[str, str]:
    """Return the proxy that this machine's environment names for a URL, as requests wants it; empty if none."""
    proxies = get_environ_proxies(url)
    proxy = select_proxy(url, proxies)
    return {_scheme(url): proxy} if proxy else {}


class _GuardedAdapter(HTTPAdapter):
    """Connections without a proxy are judged by `AddressRules` as soon as they are made; no link gets into the log."""

    def __init__(self, address_rules: AddressRules) -> None:
        self._address_rules = address_rules
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _pools(self._address_rules)

    def send(self, *request: Any, **options: Any) -> requests.Response:
        with hidden_links():
            return super().send(*request, **options)


def _pools(address_rules: AddressRules) -> dict[str, type[HTTPConnectionPool]]:
    """Make pools whose connections ask the rules about their peer before they send anything, TLS included."""

    def judge(connection: HTTPConnection, sock: socket.socket) -> socket.socket:
        peer = str(sock.getpeername()[0])
        if not address_rules.allows(connection.host, connection.port, peer):
            sock.close()
            raise forbidden(connection.host, peer)
        return sock

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return judge(self, super()._new_conn())

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return judge(self, super()._new_conn())

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def _host_and_port(url: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme.lower())
    except ValueError:
        return None
    return (parts.hostname.lower(), port) if parts.hostname and port else None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
