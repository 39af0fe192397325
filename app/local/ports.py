"""Whether an address is free to listen on.

Knows sockets and the names of the two settings that move the web process. Knows nothing of who will listen.
"""

import errno
import socket

from app.local.errors import CannotStart


def require_free(host: str, port: int) -> None:
    """Raise `CannotStart`, naming the setting to change, unless a server could listen on `host` and `port` now."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise CannotStart(f"{host} is not an address of this machine ({error.strerror}). Change HONE_HOST.") from error
    with socket.socket(family, kind, protocol) as probe:
        # As a server does: connections of a web process that just ended linger, and do not stand in the way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            raise CannotStart(_sentence(host, port, error)) from error


def _sentence(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is taken by another program, or by another Hone. "
            f"Stop that one, or choose another port: HONE_PORT={port + 1 if port < 65535 else 8700}."
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine. Change HONE_HOST."
    if error.errno == errno.EACCES:
        return f"Port {port} is kept for the system. Choose one above 1023: HONE_PORT=8700."
    return f"Nothing can listen on port {port} of {host}: {error.strerror}. Change HONE_HOST or HONE_PORT."
