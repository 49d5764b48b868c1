"""Who may ask the page of a delivered model, and what its answers allow a browser.

A page on the internet can make a browser ask 127.0.0.1 as well. What keeps it out: a Host that is not ours is refused
(its name may have been pointed here: DNS rebinding), so is a request from another origin, an upload must have a content
type that no plain form can send, and no answer allows another origin to read it (no CORS). Sources: OWASP's cheat
sheets on cross-site request forgery and on file upload, https://cheatsheetseries.owasp.org.
"""

import base64
import hashlib
import re

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def guard(app: ASGIApp, hosts: tuple[str, ...], policy: str) -> ASGIApp:
    """Return the application behind its door: strangers get 403, and every answer the security headers.

    hosts: `name:port` under which it is reached.
    policy: its Content-Security-Policy.
    """
    added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    added.append((b"content-security-policy", policy.encode()))

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
            await send(message)

        problem = find_stranger(scope, hosts) if scope["type"] == "http" else None
        door = JSONResponse({"problem": problem}, 403, {"Connection": "close"}) if problem else app
        await door(scope, receive, send_guarded)

    return guarded


def find_stranger(scope: Scope, hosts: tuple[str, ...]) -> str | None:
    """Return why a request is not from the page itself or the person at this computer, or None.

    Browsers name the origin of every POST, and the modern ones of every request (Sec-Fetch-Site).
    """
    headers = Headers(scope=scope)
    if headers.getlist("host") not in [[host] for host in hosts]:
        return f"this page has the address http://{hosts[0]}/ and no other"
    origin, site = headers.getlist("origin"), headers.get("sec-fetch-site", "same-origin")
    is_visit = scope["method"] == "GET" and scope["path"] == "/"  # by a link from anywhere, or typed
    if not is_visit and site not in ("same-origin", "none"):
        return "another page asks for this"
    if origin != [f"http://{headers['host']}"] and (origin or scope["method"] != "GET"):
        return "another page asks for this, or a program that does not say for whom (Origin)"
    return None


def make_policy(page: str) -> str:
    """Return the Content-Security-Policy that lets a page run its own script and style, by their hashes, and no other.

    Pictures are data, requests go to the page's own address, and no text can become script (Trusted Types).
    """
    sources = {}
    for tag in ("script", "style"):
        contents = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes = (base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents)
        sources[tag] = " ".join(f"'sha256-{each}'" for each in hashes)
    return (
        f"default-src 'none'; script-src {sources['script']}; style-src {sources['style']}; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
