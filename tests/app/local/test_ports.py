"""A port is free, or one sentence says why not and which setting changes it."""

import socket

import pytest

from app.local import ports
from app.local.errors import CannotStart


def test_a_free_port_passes_and_stays_free() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ports.require_free("127.0.0.1", port)
    ports.require_free("127.0.0.1", port)


def test_a_taken_port_is_named_with_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"Port {port} on 127\.0\.0\.1 is taken.*HONE_PORT={port + 1}"):
            ports.require_free("127.0.0.1", port)


def test_a_port_whose_last_connection_lingers_counts_as_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address):
            served, _ = server.accept()
            served.close()
    ports.require_free(*address)


@pytest.mark.parametrize("host", ["192.0.2.7", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_named_with_the_setting(host: str) -> None:
    with pytest.raises(CannotStart, match=r"is not an address of this machine.*HONE_HOST"):
        ports.require_free(host, 8700)
