"""The application: its routes, its errors, the page."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp

from peclip_fast.analyze.outputs.lanes_svg import colours_css
from peclip_fast.errors import one_line
from peclip_fast.serve.limits import StatusError
from peclip_fast.serve.service import Service, log
from peclip_fast.serve.web.guard import COOKIE, Access, Guard
from peclip_fast.serve.web.jobs_api import router as jobs
from peclip_fast.serve.web.jobs_api import service_of
from peclip_fast.serve.web.schemas import (
    OF_ALL,
    OF_UPLOADS,
    VIDEO_BODY,
    AboutAnswer,
    PredictionAnswer,
    refusals,
)
from peclip_fast.serve.web.uploads import receive_file
from peclip_fast.version import __version__

PAGE = Path(__file__).parents[1] / "page"
_ABOUT = """Who shows what, when, in a video. The numbers are a model's guess at what faces show,
not at what people feel."""


def application(service: Service, access: Access) -> ASGIApp:
    """What answers requests.

    Args:
        service: the server's parts.
        access: who may ask.
    """

    @contextlib.asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(service.sweep())
        yield
        sweeping.cancel()

    app = FastAPI(
        title="peclip-fast serve",
        version=__version__,
        description=" ".join(_ABOUT.split()),
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        lifespan=living,
    )
    app.state.service, app.state.access = service, access
    app.include_router(jobs)
    _add_answers(app)
    _add_page(app, len(service.recipe.classes))
    app.add_exception_handler(StatusError, _refused)
    app.add_exception_handler(OSError, _unable)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _of_starlette)
    return Guard(app, access, service.metrics.request)


def _add_answers(app: FastAPI) -> None:
    @app.post(
        "/v1/predict", tags=["one clip"], openapi_extra=VIDEO_BODY, responses=refusals(*OF_UPLOADS)
    )
    async def predict(request: Request) -> PredictionAnswer:
        """The probabilities of one clip, which shows a face as the model's training clips do."""
        service = service_of(request)
        with service.place() as folder:
            await receive_file(request, folder / "upload", service.limits, service.check_upload)
            found = await service.predict(folder / "upload")
        classes = service.recipe.classes
        best = max(range(len(classes)), key=lambda number: found[number])
        return PredictionAnswer(
            prediction=classes[best], probabilities=dict(zip(classes, found, strict=True))
        )

    @app.get("/api/about", tags=["the server"], responses=refusals(*OF_ALL))
    def about(request: Request) -> AboutAnswer:
        """The model's classes, and what may be sent."""
        service = service_of(request)
        return AboutAnswer(
            title=service.title,
            classes=list(service.recipe.classes),
            window=service.recipe.windows.seconds,
            stride=service.recipe.windows.stride,
            takes_clips=service.one_crop,
            licences=service.licences,
            limits=vars(service.limits),
            version=__version__,
        )

    @app.post("/api/session", tags=["the server"], status_code=204, responses=refusals(*OF_ALL))
    def session(request: Request) -> Response:
        """Give a browser a cookie in place of the token, so that it can show videos."""
        answer, access = Response(status_code=204), request.app.state.access
        if access.token is not None:
            answer.set_cookie(
                COOKIE, access.token, httponly=True, samesite="strict",
                secure=request.url.scheme == "https",
            )  # fmt: skip
        return answer

    @app.get("/healthz", tags=["the server"], responses=refusals(403, 421, 503))
    def health(request: Request) -> dict[str, str]:
        """Whether the server is up."""
        if service_of(request).closing:
            raise StatusError(503, "the server is shutting down")
        return {"status": "ok"}

    @app.get(
        "/metrics",
        tags=["the server"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **refusals(*OF_ALL)},
    )
    def metrics(request: Request) -> Response:
        """For Prometheus."""
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(service_of(request).metrics.text(), media_type=kind)


def _add_page(app: FastAPI, classes: int) -> None:
    styles = colours_css(classes) + (PAGE / "app.css").read_text("utf-8")
    files = {
        "/": ((PAGE / "index.html").read_text("utf-8"), "text/html"),
        "/app.css": (styles, "text/css"),
        "/app.js": ((PAGE / "app.js").read_text("utf-8"), "text/javascript"),
        "/favicon.ico": ((PAGE / "icon.svg").read_text("utf-8"), "image/svg+xml"),
    }
    for path, (text, kind) in files.items():
        app.add_api_route(path, _shown(text, kind), include_in_schema=False)


def _shown(text: str, kind: str) -> Callable[[], Response]:
    return lambda: Response(text, media_type=kind)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StatusError)
    later = {"Retry-After": "10"} if error.status in (429, 503) else None
    return JSONResponse({"detail": error.reason}, error.status, headers=later)


async def _unable(request: Request, error: Exception) -> JSONResponse:
    """The machine has no room for it: no space, no more open files, no more processes."""
    assert isinstance(error, OSError)
    log(error)
    why = one_line(error.strerror or type(error).__name__)
    return await _refused(request, StatusError(503, f"the server can't do this now: {why}"))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1]) if first["loc"] else "the request"
    return JSONResponse({"detail": f"{name}: {json.dumps(first['msg'])[1:-1]}"}, 422)


async def _of_starlette(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
    return JSONResponse({"detail": str(error.detail)}, error.status_code, headers=headers)


def _allowed(request: Request) -> str:
    """The methods of an address, which may be those of several routes."""
    found = {
        verb
        for route in (*request.app.routes, *jobs.routes)
        if route.matches(request.scope)[0] is not Match.NONE
        for verb in getattr(route, "methods", None) or ()
    }
    return ", ".join(sorted(found))
