"""Declare what operators look at: the processes that work, and which of them looks after the others."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Table, created_column


class Worker(Table):
    """A process that works, as it last said of itself."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))  # cpu, gpu, chat
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    device: Mapped[str | None] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(Text, default="")
    places: Mapped[int] = mapped_column(default=0)  # passes that it can hold at once
    held: Mapped[int] = mapped_column(default=0)  # passes that it holds
    draining: Mapped[bool] = mapped_column(default=False)
    trouble: Mapped[str | None] = mapped_column(Text)  # why it rests, such as disk_full; or that it loads
    numbers: Mapped[dict[str, Any]] = mapped_column(default=dict)  # what it and its engine count
    started_at: Mapped[datetime] = created_column()
    seen_at: Mapped[datetime] = created_column()


class Leader(Table):
    """Which process does what only one should do at a time, and until when it may."""

    __tablename__ = "leaders"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(128))
    until: Mapped[datetime]
