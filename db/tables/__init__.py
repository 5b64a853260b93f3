"""Declare the tables that people query. Times are integer samples at 16 kHz and integer milliseconds side by side."""

from __future__ import annotations

from db.tables.base import Table
from db.tables.findings import Annotation, Result, Segment, Summary
from db.tables.jobs import Event, Job, JobRecording, JobRequest, JobSource, SourceError
from db.tables.operations import Leader, Worker
from db.tables.tenants import ApiKey, IdempotencyKey, Tenant
from db.tables.webhooks import Webhook, WebhookAttempt, WebhookDelivery
from db.tables.work import Chunk, Pass, Recording, RecordingRequest, Request

__all__ = [
    "Annotation",
    "ApiKey",
    "Chunk",
    "Event",
    "IdempotencyKey",
    "Job",
    "JobRecording",
    "JobRequest",
    "JobSource",
    "Leader",
    "Pass",
    "Recording",
    "RecordingRequest",
    "Request",
    "Result",
    "Segment",
    "SourceError",
    "Summary",
    "Table",
    "Tenant",
    "Webhook",
    "WebhookAttempt",
    "WebhookDelivery",
    "Worker",
]
