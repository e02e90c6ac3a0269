"""What the API answers, for its description."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_PREDICTION: dict[str, Any] = {
    "prediction": "happiness",
    "probabilities": {"happiness": 0.81, "neutral": 0.12, "surprise": 0.07},
}
_JOB: dict[str, Any] = {
    "id": "0f3c2a9be1d24f8a9c6f7d5e4b3a2918",
    "state": "done",
    "step": "drawing",
    "frame": 250,
    "frames": 250,
    "ahead": 0,
    "error": None,
    "expires_in": 3571.2,
    "result": {
        "classes": ["happiness", "neutral", "surprise"],
        "start": 0.0,
        "end": 10.0,
        "tracks": [
            {"track": 1, "start": 0.4, "end": 9.6, "prediction": "happiness", "windows": []}
        ],
    },
}


class PredictionAnswer(BaseModel):
    """The probability of each class, which add up to 1."""

    model_config = ConfigDict(json_schema_extra={"examples": [_PREDICTION]})

    prediction: str = Field(description="the most probable class")
    probabilities: dict[str, float]


class JobAnswer(BaseModel):
    """How far a job is, and what came of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_JOB]})

    id: str
    state: Literal["waiting", "working", "done", "failed"]
    step: str = Field(description="what is done: looking for faces, drawing the video")
    frame: int = Field(description="frames of this step that are done")
    frames: int = Field(description="of so many")
    ahead: int = Field(description="jobs that come first")
    error: str | None = Field(description="why it failed")
    expires_in: float | None = Field(description="seconds until the result is removed")
    result: dict[str, Any] | None = Field(
        description="people (tracks) with their segments and windows; times in seconds"
    )


class AboutAnswer(BaseModel):
    """What this server does."""

    title: str
    classes: list[str]
    window: float
    stride: float
    takes_clips: bool
    licences: dict[str, str]
    limits: dict[str, float]
    version: str


class RefusalAnswer(BaseModel):
    """Why a request wasn't done."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"detail": "at most 256 megabytes are taken"}]}
    )

    detail: str


_REASONS = {
    400: "The connection ended early, or what came is no HTTP.",
    401: "The server's token is missing or wrong.",
    403: "The request comes from another site's page.",
    404: "There is no such thing, or its time is over.",
    408: "The request came too slowly.",
    409: "The job isn't done yet.",
    413: "The file, its frames, their number or its length is too large.",
    415: "This is no video.",
    421: "The server answers to localhost only.",
    422: "The video, or a parameter, can't be used.",
    429: "Too much is waiting already.",
    503: "The server is shutting down, or its disk is full.",
}
OF_ALL = (401, 403, 421)
OF_UPLOADS = (*OF_ALL, 400, 408, 413, 415, 422, 429, 503)


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the description of a route."""
    return {
        status: {"model": RefusalAnswer, "description": _REASONS[status]} for status in statuses
    }


_BYTES = {"schema": {"type": "string", "format": "binary", "minLength": 1}}
VIDEO_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of a video file.",
        "content": {
            "video/*": _BYTES,
            "application/octet-stream": _BYTES,
        },
    }
}
