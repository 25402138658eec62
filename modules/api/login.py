"""The login page and its two routes. Plain HTML without scripts, so that it works where nothing else is allowed yet."""

from __future__ import annotations

import html
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from modules.api.gate import LOGIN_COOKIE, Gate, cookies_named, login_cookie

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif; }}
body {{ display: grid; place-items: center; min-height: 90vh; margin: 0; }}
form {{ display: grid; gap: .75rem; width: min(20rem, 90vw); }}
input, button {{ font: inherit; padding: .6rem .7rem; border-radius: .4rem; border: 1px solid #8888; }}
button {{ background: #4f46e5; color: white; border: 0; cursor: pointer; }}
[role=alert] {{ color: #dc2626; margin: 0; }}
</style></head><body><form method="post" action="{action}">
<h1>Log in</h1>{problem}
<label for="username">User name</label>
<input id="username" name="username" autocomplete="username" autofocus required>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button>Log in</button></form></body></html>"""


def routes(gate: Gate) -> APIRouter:
    """GET and POST /login, POST /logout."""
    router = APIRouter(include_in_schema=False)
    home = f"{gate.rules.subpath}/"

    def page(problem: str = "", status: int = 200) -> HTMLResponse:
        shown = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
        return HTMLResponse(_PAGE.format(action=f"{home}login", problem=shown), status_code=status)

    @router.get("/login")
    def show_login() -> Response:
        return page() if gate.rules.logins else RedirectResponse(home, status_code=303)

    @router.post("/login")
    async def log_in(request: Request) -> Response:
        fields = parse_qs((await request.body()).decode("utf-8", "replace"))  # the gate bounds it
        name, password = (fields.get(key, [""])[0] for key in ("username", "password"))
        who = (request.client.host if request.client else "", name)
        wait = await gate.try_password(*who, lambda: gate.rules.logins.check(name, password))
        if wait == 0:
            return page("This user name and password do not belong together.", 401)
        if wait is not None:
            answer = page(f"Too many wrong passwords; try again in {wait:.0f} seconds.", 429)
            answer.headers["retry-after"] = str(max(1, round(wait)))
            return answer
        answer = RedirectResponse(home, status_code=303)
        is_secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
        answer.headers.append(
            "set-cookie", login_cookie(gate.sessions.open(name), secure=is_secure, path=gate.rules.cookie_path)
        )
        return answer

    @router.post("/logout")
    def log_out(request: Request) -> Response:
        for token in cookies_named(LOGIN_COOKIE, request.headers.get("cookie", "")):
            gate.sessions.close(token)
        answer = RedirectResponse(f"{home}login" if gate.rules.logins else home, status_code=303)
        answer.delete_cookie(LOGIN_COOKIE, path=gate.rules.cookie_path, httponly=True, samesite="lax")
        return answer

    return router
