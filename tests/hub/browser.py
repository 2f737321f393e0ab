"""As much of a browser as signing in needs: keeps `__Host-` cookies, says where its requests come from, reads forms."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import aiohttp
import yarl

from tre_orchestrator.settings import Settings

_XSRF = re.compile(r'name="_xsrf" value="([^"]*)"')
_ACTION = re.compile(r'<form[^>]* action="([^"]*)"')
_ERROR = re.compile(r'<div class="error"[^>]*>.*?<p>(.*?)</p>', re.S)
_HOPS = 12


@dataclass
class Page:
    """What is shown, and the way there."""

    status: int
    path: str
    text: str
    headers: list[tuple[str, str]]
    hops: list[str]

    @property
    def error(self) -> str:
        """The sentence of the page's error box."""
        found = _ERROR.search(self.text)
        return html.unescape(found[1]) if found else ""


@dataclass
class HttpBrowser:
    """One browser at the people's host."""

    settings: Settings
    client: aiohttp.ClientSession
    cookies: dict[str, str] = field(default_factory=dict)

    async def go(self, path: str) -> Page:
        """Navigate and follow redirects."""
        return await self._follow("GET", path, None, "none")

    async def submit(self, page: Page, fields: dict[str, str]) -> Page:
        """Send the page's form with these fields and its token."""
        token, action = _XSRF.search(page.text), _ACTION.search(page.text)
        assert token is not None, page.text
        assert action is not None
        given = {"_xsrf": html.unescape(token[1]), **fields}
        return await self._follow("POST", html.unescape(action[1]), given, "same-origin")

    async def sign_in(self, fields: dict[str, str]) -> Page:
        """Open the sign-in page and submit its form."""
        return await self.submit(await self.go("/hub/login"), fields)

    async def _follow(self, method: str, path: str, form: dict[str, str] | None, site: str) -> Page:
        hops: list[str] = []
        for _ in range(_HOPS):
            assert path.startswith("/"), f"left the site for {path}"
            status, headers, text = await self._once(method, path, form, site)
            hops.append(path.split("?")[0])
            location = dict(headers).get("Location")
            if status not in (301, 302, 303, 307) or location is None:
                return Page(status, path, text, headers, hops)
            target = urlsplit(urljoin(self.settings.people_origin + path, location))
            assert f"{target.scheme}://{target.netloc}" == self.settings.people_origin, location
            path = target.path + (f"?{target.query}" if target.query else "")
            method, form = "GET", None
        raise AssertionError(f"went round in circles: {hops}")

    async def _once(
        self, method: str, path: str, form: dict[str, str] | None, site: str
    ) -> tuple[int, list[tuple[str, str]], str]:
        headers = {
            "Host": self.settings.site + self.settings.port_suffix,
            "Sec-Fetch-Site": site,
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
            "Accept": "text/html",
            "User-Agent": "test browser",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
        }
        if method == "POST":
            headers["Origin"] = self.settings.people_origin
        url = yarl.URL(f"http://127.0.0.1:{self.settings.listen_port}{path}", encoded=True)
        async with self.client.request(method, url, headers=headers, data=form, allow_redirects=False) as answer:
            for line in answer.headers.getall("Set-Cookie", []):
                self._keep(line)
            return answer.status, list(answer.headers.items()), (await answer.read()).decode(errors="replace")

    def _keep(self, line: str) -> None:
        """Take a cookie as a browser takes `__Host-` ones, and refuse any other."""
        first, *attributes = [part.strip() for part in line.split(";")]
        name, _equals, value = first.partition("=")
        low = [attribute.lower() for attribute in attributes]
        assert name.startswith("__Host-"), line
        assert "secure" in low, line
        assert "path=/" in low, line
        assert not any(attribute.startswith("domain") for attribute in low), line
        if "max-age=0" in low or not value or '""' in value or any("1970" in part or "2025" in part for part in low):
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value
