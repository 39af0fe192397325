"""Hone over HTTP, as a program uses it: sign in by link, import, invite, launch, watch, judge.

Knows endpoints and their JSON. Knows nothing of what is behind them.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx2

from app.simulation.errors import Refused


@dataclass
class Client:
    """One account's connection. `token` is a bearer token once there is one; before that, the session cookie counts."""

    http: httpx2.Client

    @classmethod
    def by_link(cls, address: str, link: str) -> Self:
        """Come in by a one-time link, setting a random password, and go on with an API token. Raises Refused."""
        http = httpx2.Client(base_url=address, timeout=60, headers={"accept": "application/json"})
        client = cls(http)
        client._send("POST", link.removeprefix(address), data={"password": secrets.token_urlsafe(24)})
        token = client.post("/api/tokens", {"name": "simulation"})["token"]
        http.headers["authorization"] = f"Bearer {token}"
        http.cookies.clear()
        return client

    @classmethod
    def by_token(cls, address: str, token: str) -> Self:
        """Come in with an API token."""
        headers = {"accept": "application/json", "authorization": f"Bearer {token}"}
        return cls(httpx2.Client(base_url=address, timeout=60, headers=headers))

    def _send(self, method: str, path: str, **what: Any) -> httpx2.Response:
        response = self.http.request(method, path, **what)
        if response.status_code >= 400:
            raise Refused(method, path, response.status_code, response.text[:500])
        return response

    def get(self, path: str) -> Any:
        """The JSON at a path. Raises Refused."""
        return self._send("GET", path).json()

    def post(self, path: str, values: dict[str, Any]) -> Any:
        """Send JSON, get JSON. Raises Refused."""
        return self._send("POST", path, json=values).json()

    def upload(self, path: Path) -> int:
        """Import a file of documents: the id of the run that does it. Raises Refused."""
        with path.open("rb") as source:
            answer = self._send(
                "POST",
                "/documents/import",
                data={"form": "documents"},
                files={"file": (path.name, source, "application/jsonl")},
            )
        run: int = answer.json()["run"]
        return run

    def close(self) -> None:
        """Hang up."""
        self.http.close()
