"""Load a model and make the lane that hears with it. It, the evaluation and the bench are all that reach torch here."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from transformers.utils.logging import disable_progress_bar

from db.states import PassKind
from qwen_audio.engine import Engine
from settings import Settings
from workers.checkpoints import find_source, load_options
from workers.context import WorkerContext
from workers.numbers import engine_numbers
from workers.runner import Lane
from workers.understand import Ear
from workers.watchdog import Watchdog

logger = logging.getLogger(__name__)

WINDOWS = 2  # as many places again for windows of chunks, which some tasks hear by themselves


def load_engine(settings: Settings, model: str) -> Engine:
    """Load a model by the name that settings give it."""
    options = load_options(settings)
    return Engine.load(find_source(settings, model), places=settings.places, times=WINDOWS, **options)


def open_lane(context: WorkerContext, model: str) -> Sequence[Lane]:
    """Load a model and return the one lane of its worker: a worker serves one model."""
    settings = context.settings
    disable_progress_bar()  # a log is no terminal
    logger.info("loading the model %s", model)
    engine = load_engine(settings, model)
    Watchdog(engine.metrics, settings.watchdog_seconds).start()
    ear = Ear(engine, model)
    return [
        Lane(
            PassKind.UNDERSTAND,
            engine.places // WINDOWS,
            ear.understand,
            model=model,
            device=settings.device,
            numbers=lambda: engine_numbers(engine.metrics().flat()),
        )
    ]
