"""The forms of a page, read and sent as a browser does."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

import requests


@dataclass
class Form:
    """A form: where it goes, how, and what its fields hold."""

    action: str
    method: str = "get"
    fields: dict[str, str] = field(default_factory=dict)

    def send(self, session: requests.Session, **fields: str) -> requests.Response:
        """Send it with these fields filled in; redirects are followed."""
        filled = {**self.fields, **fields}
        if self.method == "post":
            return session.post(self.action, data=filled, timeout=30)
        return session.get(self.action, params=filled, timeout=30)


def forms(html: str, url: str) -> list[Form]:
    """All forms of the page that `url` answered."""
    reader = _Reader(url)
    reader.feed(html)
    return reader.found


def form(page: requests.Response, having: str = "") -> Form:
    """The first form of a page, or the first that has the field `having`."""
    found = [f for f in forms(page.text, page.url) if not having or having in f.fields]
    assert found, f"no form with {having!r} at {page.url} ({page.status_code}):\n{page.text[:3000]}"
    return found[0]


class _Reader(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._select = ""
        self.found: list[Form] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attributes}
        name = said.get("name", "")
        if tag == "form":
            action = urljoin(self._url, said.get("action") or self._url)
            self.found.append(Form(action, said.get("method", "get").lower()))
        elif tag == "select":
            self._select = name
        elif tag == "option" and self.found and self._select:
            if "selected" in said or self._select not in self.found[-1].fields:
                self.found[-1].fields[self._select] = said.get("value", "")
        elif tag in {"input", "textarea"} and self.found and name:
            kind = said.get("type", "text").lower()
            if kind in {"checkbox", "radio"} and "checked" not in said:
                return
            if kind not in {"submit", "button", "image", "reset", "file"}:
                self.found[-1].fields[name] = said.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""
