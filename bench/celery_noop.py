"""Measure raw Celery: tasks that do nothing, on a Redis of its own, with the worker settings that ours have.

This is the peer of our drain: what a queue costs that keeps no state, no lease and no result.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

import redis
from celery import Celery
from kombu import Queue
from support.servers import ROOT, RedisServer, wait_until

from workers.celery_app import make_app

NOOP = "bench.noop"
QUEUE = "bench.noop"
COUNTER = "bench:done"


def noop_app(broker_url: str) -> Celery:
    """Return our own Celery app with one task more, which counts itself in Redis."""
    app = make_app(broker_url)
    client = redis.Redis.from_url(broker_url)

    @app.task(name=NOOP, ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
    def noop() -> None:
        client.incr(COUNTER)

    return app


def measure(tasks: int = 3_000, concurrency: int = 4) -> dict[str, float]:
    """Publish tasks, let one worker process take them all, and return both rates per second."""
    server = RedisServer()
    try:
        app = noop_app(server.url)
        began = time.perf_counter()
        with app.connection_for_write() as connection:
            producer: Any = app.amqp.Producer(connection)
            for _ in range(tasks):
                app.send_task(NOOP, queue=Queue(QUEUE), producer=producer, retry=False)
        published = time.perf_counter() - began
        return {
            "celery_publish_per_s": tasks / published,
            "celery_noop_per_s": tasks / _drain(server, tasks, concurrency),
        }
    finally:
        server.close()


def _drain(server: RedisServer, tasks: int, concurrency: int) -> float:
    """Return the seconds from the first finished task to the last."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [
        sys.executable,
        "-m",
        "bench.celery_noop",
        "--work-at",
        server.url,
        "--concurrency",
        str(concurrency),
    ]
    worker = subprocess.Popen(  # noqa: S603  # ourselves
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with redis.Redis.from_url(server.url) as client:
            wait_until(lambda: int(client.get(COUNTER) or 0) > 0, 60, "the worker takes tasks")
            already, began = int(client.get(COUNTER) or 0), time.perf_counter()
            wait_until(lambda: int(client.get(COUNTER) or 0) >= tasks, 300, "all tasks are done")
            seconds = time.perf_counter() - began
        return seconds * tasks / (tasks - already)
    finally:
        worker.terminate()
        worker.wait(30)


def _work(broker_url: str, concurrency: int) -> None:
    app = noop_app(broker_url)
    app.conf.task_queues = [Queue(QUEUE)]
    app.worker_main(
        ["worker", "--pool=threads", f"--concurrency={concurrency}", f"--queues={QUEUE}", "--loglevel=WARNING",
         "--without-gossip", "--without-mingle", "--without-heartbeat"]
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=3_000)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--work-at", metavar="REDIS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work_at is not None:
        _work(options.work_at, options.concurrency)
        return
    print(
        json.dumps({name: round(one, 1) for name, one in measure(options.tasks, options.concurrency).items()})
    )


if __name__ == "__main__":
    main()
