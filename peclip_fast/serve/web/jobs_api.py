"""`/api/jobs`: a video is sent, worked on, and its results are taken."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from peclip_fast.analyze.reading import read_results
from peclip_fast.serve.decoding.analysis import OUTCOME, TIMELINE
from peclip_fast.serve.explaining import windows_of
from peclip_fast.serve.jobs import DONE, FAILED, Job
from peclip_fast.serve.limits import StatusError
from peclip_fast.serve.service import Service
from peclip_fast.serve.web.kept_files import GONE, KeptFile
from peclip_fast.serve.web.schemas import (
    OF_ALL,
    OF_UPLOADS,
    VIDEO_BODY,
    JobAnswer,
    refusals,
)
from peclip_fast.serve.web.uploads import receive_file

router = APIRouter(prefix="/api/jobs", tags=["whole videos"])
_OF_RESULTS = refusals(*OF_ALL, 404, 409, 422)


@router.post("", status_code=202, openapi_extra=VIDEO_BODY, responses=refusals(*OF_UPLOADS))
async def new_job(request: Request, response: Response) -> JobAnswer:
    """Have a video analyzed. The body is the file; the answer says where the result will be."""
    service = service_of(request)
    service.check_room()
    with service.place() as folder:
        await receive_file(request, folder / "upload", service.limits, service.check_upload)
        await service.check_file(folder)
        if await request.is_disconnected():  # nobody would ever know the job's name
            raise StatusError(400, "the connection ended before the answer")
        job = service.take(folder)
    response.headers["Location"] = f"/api/jobs/{job.id}"
    return _told(service, job)


@router.get("/{job_id}", responses=refusals(*OF_ALL, 404, 422))
def job_state(request: Request, job_id: str) -> JobAnswer:
    """How far a job is; once it is done, the people in the video and what they show when."""
    service = service_of(request)
    return _told(service, _found(service, job_id))


@router.get(
    "/{job_id}/csv",
    response_class=FileResponse,
    responses={200: {"content": {"text/csv": {}}}, **_OF_RESULTS},
)
def tables(
    request: Request,
    job_id: str,
    table: Annotated[
        Literal["frames", "windows", "tracks"], Query(description="a row for each")
    ] = "frames",
) -> KeptFile:
    """A table, as `peclip-fast analyze` writes it."""
    job = _done(service_of(request), job_id)
    return KeptFile(job.result / f"{table}.csv", media_type="text/csv", filename=f"{table}.csv")


@router.get(
    "/{job_id}/video",
    response_class=FileResponse,
    responses={
        200: {"content": {"video/mp4": {}, "video/x-matroska": {}, "video/quicktime": {}}},
        206: {"description": "A part of it."},
        416: {"description": "There is no such part of it."},
        **refusals(400),
        **_OF_RESULTS,
    },
)
def annotated_video(request: Request, job_id: str) -> KeptFile:
    """The video with boxes, names and probabilities drawn into it."""
    path = _done(service_of(request), job_id).annotated
    if path is None:
        raise StatusError(404, GONE)
    kinds = {".mp4": "video/mp4", ".mov": "video/quicktime"}
    kind = kinds.get(path.suffix, "video/x-matroska")
    return KeptFile(path, media_type=kind, filename=path.name, content_disposition_type="inline")


@router.get(
    "/{job_id}/timeline",
    response_class=FileResponse,
    responses={200: {"content": {"image/svg+xml": {}}}, **_OF_RESULTS},
)
def timeline(request: Request, job_id: str) -> KeptFile:
    """The timeline of each person, as a drawing without colours of its own."""
    job = _done(service_of(request), job_id)
    return KeptFile(job.result / TIMELINE, media_type="image/svg+xml")


@router.get(
    "/{job_id}/explain",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **_OF_RESULTS, **refusals(429)},
)
async def explain(
    request: Request,
    job_id: str,
    track: Annotated[int, Query(ge=0, le=1_000_000)] = 1,
    window: Annotated[int, Query(ge=0, le=1_000_000, description="of the track, from 0")] = 0,
) -> Response:
    """Where the model looks in a window of a person, and what it says frame by frame."""
    service = service_of(request)
    job = _done(service, job_id)
    with _while_there(service, job):
        rows = windows_of(job, read_results(job.result, lazily=True).windows, track)
        strip = await service.explainer.strip(job, rows, window)
    return Response(strip, media_type="image/png")


@router.delete("/{job_id}", status_code=204, responses=refusals(*OF_ALL, 404, 422))
def delete_job(request: Request, job_id: str) -> None:
    """Remove a job and all of its files; work on it ends."""
    service = service_of(request)
    service.store.remove(_found(service, job_id))


def service_of(request: Request) -> Service:
    """The server's parts."""
    service: Service = request.app.state.service
    return service


def _found(service: Service, name: str) -> Job:
    job = service.store.get(name)
    if job is None:
        raise StatusError(404, GONE)
    return job


def _done(service: Service, name: str) -> Job:
    job = _found(service, name)
    if job.state == FAILED:
        raise StatusError(422, f"the job failed: {job.record.error}")
    if job.state != DONE:
        raise StatusError(409, f"the job is {job.state}")
    return job


@contextlib.contextmanager
def _while_there(service: Service, job: Job) -> Iterator[None]:
    """What reads a job's result; whatever that finds, it is 404 if the job is removed meanwhile."""
    try:
        yield
    finally:
        if service.store.gone(job):
            raise StatusError(404, GONE)


def _told(service: Service, job: Job) -> JobAnswer:
    expires = service.store.expires(job)
    result: dict[str, Any] | None = None
    if job.state == DONE:
        with _while_there(service, job):
            result = json.loads((job.result / OUTCOME).read_bytes())
    ahead = [other.id for other in service.store.unfinished()]
    return JobAnswer(
        id=job.id,
        state=job.state,  # type: ignore[arg-type]
        step=job.step,
        frame=job.frame,
        frames=job.frames,
        ahead=ahead.index(job.id) if job.id in ahead else 0,
        error=job.record.error,
        expires_in=None if expires is None else max(0.0, round(expires - time.time(), 1)),
        result=result,
    )
