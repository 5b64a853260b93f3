"""Show operators the service as a whole: the queue, the workers, the metrics."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from api.metrics import ServiceMetrics, read_metrics, without_database
from api.operators import Operator
from api.problems import Problem
from api.services import Wired
from db.queue_depth import Depth, list_depths
from db.tables import Worker
from db.workers import list_workers

METRICS_SECONDS = 8.0  # less than the ten that Prometheus waits

router = APIRouter(
    tags=["operations"],
    dependencies=[Operator],
    responses={403: {"model": Problem, "description": "The request is not an operator's."}},
)


class WorkerView(BaseModel):
    """A worker process, as it last said of itself."""

    name: str = Field(
        description="Host, process and kind; stands in `passes.worker`.", examples=["gpu-1:714:gpu"]
    )
    kind: str = Field(description="cpu, gpu or chat.", examples=["gpu"])
    host: str = Field(description="The machine.")
    pid: int = Field(description="The process.")
    alive: bool = Field(description="Whether it looked for work, or loaded its model, within a minute.")
    draining: bool = Field(description="Whether it takes no more work, because it is to end.")
    trouble: str | None = Field(
        description="Why it rests and looks only now and then: a code, and what its machine or the storage said. "
        "`loading: ...` while its model is being loaded.",
        examples=["disk_full: [Errno 28] No space left on device"],
    )
    device: str | None = Field(description="Where its model runs.", examples=["cuda"])
    model: str = Field(
        description="The model that it serves or loads; empty for CPU work.", examples=["mini"]
    )
    places: int = Field(description="Passes that it can hold.", examples=[8])
    held: int = Field(description="Passes that it holds.", examples=[3])
    per_minute: dict[str, float] = Field(
        description="Passes a minute by kind, over the last five minutes.", examples=[{"understand": 42.0}]
    )
    numbers: dict[str, float] = Field(description="All that it and its engine count.")
    started_at: datetime = Field(description="When it began.")
    seen_at: datetime = Field(description="When it last said so.")


class DepthView(BaseModel):
    """The open work of one kind and model."""

    kind: str = Field(
        description="plan, understand, finish, expand, deliver or retire.", examples=["understand"]
    )
    model: str = Field(description="The model that has to do it; empty for CPU work.", examples=["mini"])
    ready: int = Field(description="Passes that wait.", examples=[1200])
    leased: int = Field(description="Passes that a worker holds.", examples=[8])
    expired: int = Field(description="Held ones whose worker fell silent; they go back by themselves.")
    oldest_seconds: float | None = Field(description="Age of the oldest that waits.")
    waiting: int = Field(
        description="Of the ready ones, those that wait for another try, mostly after an error.", examples=[3]
    )
    next_try_seconds: float | None = Field(
        description="How long the first of them still waits; null where none waits."
    )
    workers: int = Field(
        description="Live workers that take such work, for this model; 0: nobody works on it.", examples=[2]
    )
    per_minute: float = Field(description="How many of them those workers complete in a minute.")
    eta_seconds: float | None = Field(
        description="How long what is open takes at this rate, without what waits for another try; null where nothing "
        "else is open, or nothing was completed in the last five minutes."
    )


class Workers(BaseModel):
    """All worker processes."""

    items: list[WorkerView] = Field(description="By kind and name.")


class Queue(BaseModel):
    """All open work."""

    items: list[DepthView] = Field(description="By kind and model; kinds without open work are absent.")


@router.get("/v1/workers", summary="List the workers")
def show_workers(services: Wired) -> Workers:
    """List the worker processes with what they hold and how fast they are; one that ended well is absent."""
    with services.database.read() as session:
        return Workers(items=[_worker_view(worker, alive) for worker, alive in list_workers(session)])


@router.get("/v1/queue", summary="Show the queue")
def show_queue(services: Wired) -> Queue:
    """Count the open work of all tenants, and say how long it will take at the present rate."""
    with services.database.read() as session:
        depths = list_depths(session)
        workers = [worker for worker, alive in list_workers(session) if alive]
    return Queue(items=[_depth_view(depth, workers) for depth in depths])


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def show_metrics(request: Request, services: Wired) -> Response:
    """Return all metrics in Prometheus' text format; docs/operations.md lists them."""
    metrics: ServiceMetrics = request.app.state.metrics
    try:
        found = await services.looking.ask(
            "metrics", partial(read_metrics, services.database), METRICS_SECONDS
        )
    except TimeoutError:
        found = without_database(f"it hangs for {METRICS_SECONDS:.1f} s")
    return Response(metrics.render(found), media_type=CONTENT_TYPE_LATEST)


def _worker_view(worker: Worker, alive: bool) -> WorkerView:
    return WorkerView(
        **{
            name: getattr(worker, name)
            for name in WorkerView.model_fields
            if name not in ("alive", "per_minute")
        },
        alive=alive,
        per_minute={
            name.removeprefix("rate_"): rate
            for name, rate in worker.numbers.items()
            if name.startswith("rate_")
        },
    )


def _depth_view(depth: Depth, workers: list[Worker]) -> DepthView:
    able = [worker for worker in workers if worker.model == depth.model and not worker.draining]
    rate = sum(float(worker.numbers.get(f"rate_{depth.kind}", 0.0)) for worker in able)
    still = depth.ready - depth.waiting + depth.leased
    return DepthView(
        **vars(depth),
        workers=len(able),
        per_minute=round(rate, 3),
        eta_seconds=round(60.0 * still / rate, 1) if rate and still else None,
    )
