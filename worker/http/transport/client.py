"""The httpx client of a worker: what it shares between thousands of requests, and what not.

Requests of one endpoint differ in their bodies alone, so each is made after a
model; httpx reads the URL and merges the headers once.  Prompts share nothing:
no cookies are kept, and redirects are only told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import httpx

from worker.records import NO_CERTIFICATES, Certificates

Fields = Mapping[str, str]

_MOST_MODELS = 256  # endpoints, times the few kinds of requests that each of them gets


class Client(httpx.AsyncClient):
    """Sends requests; the target of a redirect is left in the extension `location` of a response.

    Args:
        transport: for everything.
        fields: headers of every request.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, fields: Fields) -> None:
        self._models: dict[object, httpx.Request] = {}
        super().__init__(
            transport=transport,
            headers=fields,
            event_hooks={"response": [_keep_redirect]},
            trust_env=False,
        )

    def prepare(
        self,
        method: str,
        url: str,
        body: bytes,
        fields: Sequence[Fields],
        connect_seconds: float | None,
        *,
        certificates: Certificates = NO_CERTIFICATES,
    ) -> httpx.Request:
        """A request with these headers, of which a later one replaces its namesake.

        Raises UnicodeEncodeError and httpx.InvalidURL.
        """
        key = (
            method,
            url,
            connect_seconds,
            certificates,
            *(tuple(some.items()) for some in fields),
        )
        model = self._models.get(key)
        if model is None:
            if len(self._models) >= _MOST_MODELS:
                self._models.clear()
            model = self._model(method, url, fields, connect_seconds)
            model.extensions["certificates"] = certificates
            self._models[key] = model
        request = httpx.Request(
            method,
            model.url,
            headers=model.headers,
            stream=httpx.ByteStream(body),
            extensions=model.extensions,
        )
        if body:
            request.headers["Content-Length"] = str(len(body))
        return request

    def _model(
        self, method: str, url: str, fields: Sequence[Fields], connect_seconds: float | None
    ) -> httpx.Request:
        headers = httpx.Headers()
        for some in fields:
            headers.update(some)
        timeout = httpx.Timeout(None, connect=connect_seconds)
        return self.build_request(method, url, headers=headers, timeout=timeout)

    @property
    def cookies(self) -> httpx.Cookies:
        """None; even to refuse them one by one cost a fifteenth of opening a stream."""
        return _NO_COOKIES

    @cookies.setter
    def cookies(self, cookies: object) -> None:
        del cookies
        raise AttributeError("a worker keeps no cookies")


class _NoCookies(httpx.Cookies):
    def extract_cookies(self, response: httpx.Response) -> None:
        """Keep none."""


_NO_COOKIES = _NoCookies()


async def _keep_redirect(response: httpx.Response) -> None:
    """Hide the target of a redirect from httpx, which would build the next request from it."""
    response.extensions["location"] = response.headers.pop("location", None)
