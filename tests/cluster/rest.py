"""The API over plain HTTPS, independent of the code under test."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CALL_S = 60.0


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body[:500]}")
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """One server and one identity: a token, or a certificate and its key. No authority: the machine's own."""

    host: str
    authority: Path | None
    token: str = ""
    certificate: tuple[str, str] | None = None

    def call(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Any:
        """The JSON answer, or its text where it is none. Raises Refused, OSError."""
        request = urllib.request.Request(  # noqa: S310 - our own https server
            f"{self.host}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": content} | ({"Authorization": f"Bearer {self.token}"} if self.token else {}),
        )
        try:
            with direct(self.authority, self.certificate).open(request, timeout=CALL_S) as answer:
                said = answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, error.read().decode(errors="replace")) from error
        try:
            return json.loads(said)
        except ValueError:
            return said

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def lines(self, path: str) -> Iterator[bytes]:
        """Each line as it comes, of an answer that goes on for a while. Raises Refused, OSError."""
        request = urllib.request.Request(  # noqa: S310 - our own https server
            f"{self.host}{path}", headers={"Authorization": f"Bearer {self.token}"} if self.token else {}
        )
        try:
            with direct(self.authority, self.certificate).open(request, timeout=CALL_S) as answer:
                yield from answer
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, error.read().decode(errors="replace")) from error

    def items(self, path: str) -> list[Any]:
        return self.get(path)["items"]

    def post(self, path: str, body: Any) -> Any:
        return self.call("POST", path, body)

    def patch(self, path: str, body: Any) -> Any:
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def delete(self, path: str, **options: Any) -> None:
        """Gone or on its way; missing is no error."""
        try:
            self.call("DELETE", path, options)
        except Refused as refused:
            if refused.status != 404:
                raise


def exists(admin: Rest, path: str) -> bool:
    """Raises Refused, OSError."""
    try:
        admin.get(path)
    except Refused as refused:
        if refused.status != 404:
            raise
        return False
    return True


@cache
def direct(authority: Path | None, certificate: tuple[str, str] | None) -> urllib.request.OpenerDirector:
    """Through no proxy; made once, for reading the authority's file costs more than a call."""
    context = ssl.create_default_context(cafile=str(authority) if authority else None)
    if certificate:
        context.load_cert_chain(*certificate)
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
