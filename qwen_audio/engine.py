"""Answer prompts about audio: one encode and one prefill per prefix, and all branches of all prefixes in one step.

A prefix's keys and values exist once; its branches see them and themselves. Between two steps new prefixes are
encoded and computed, so that a place is filled again as soon as its chunk has ended.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from typing import Any

import torch

from qwen_audio.answers import FinishReason
from qwen_audio.attending import Group
from qwen_audio.branch import Branch
from qwen_audio.decoding import go_on
from qwen_audio.errors import AnswerNotFinite, EngineClosed, EngineOutOfMemory, InvalidPrompt
from qwen_audio.faults import Halver
from qwen_audio.features import Samples
from qwen_audio.forward import Forward
from qwen_audio.front import Front
from qwen_audio.intake import Intake
from qwen_audio.kernels import gpu_kernels
from qwen_audio.metrics import Metrics, Tally
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.prefix import Prefix
from qwen_audio.rooms import Shelf
from qwen_audio.scheduling import Kept, Plan, Schedule
from qwen_audio.static_step import make_steps
from qwen_audio.store import Store
from qwen_audio.strand import Strand
from qwen_audio.tags import Prompt
from qwen_audio.tokenizer import QwenAudioTokenizer
from qwen_audio.tuning import Tuning, tuning_of


@dataclass
class Outcome:
    """What a step computed for one strand: its next token, or all its scores."""

    strand: Strand
    id: int = 0
    logprob: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)


class Engine(Front):
    """The engine of the product; ``PlainEngine`` is what it is tested against."""

    def __init__(
        self,
        model: QwenAudioForConditionalGeneration,
        tokenizer: QwenAudioTokenizer,
        *,
        places: int = 8,
        name: str = "unnamed",
        revision: str = "unknown",
        tuning: Tuning | None = None,
        cuda_graphs: bool = False,
    ) -> None:
        super().__init__(model, tokenizer, places=places, name=name, revision=revision)
        tuning = tuning_of(model.device.type, places) if tuning is None else tuning
        tuning = replace(tuning, decode="graph") if cuda_graphs else tuning
        config = model.config
        cells = min(tuning.cells, config.max_position_embeddings)
        shelves = [Shelf(places, cells, tuning.first_rooms)]
        if config.max_position_embeddings > cells:
            shelves.append(Shelf(tuning.long_rooms, config.max_position_embeddings, tuning.first_rooms))
        trained = config.seq_length if config.use_dynamic_ntk else None
        store = Store(config, model.dtype, model.device, tuning.spare_bytes)
        self._schedule = Schedule(shelves, tuning.step_positions, trained, store)
        self._forward = Forward(model, store, together=tuning.together)
        self._static = make_steps(tuning, self._forward, store, model.device)
        self._hears_on_device = tuning.device_features
        on_gpu = model.device.type == "cuda"
        self._kernels: AbstractContextManager[None] = (
            gpu_kernels(cudnn_attention=tuning.cudnn_attention) if on_gpu else nullcontext()
        )
        self._feeding = Halver()
        self._live: list[Strand] = []  # only the engine's thread reads it
        self._tally = Tally(Metrics(places=places))
        self._intake = Intake(model, self._forward, tuning, self._tally)
        self._start()

    def metrics(self) -> Metrics:
        """Return a snapshot of what the engine holds and has done."""
        with self._changed:
            now: dict[str, Any] = {"places_taken": len(self._open), "waiting_branches": len(self._waiting)}
            return replace(self._tally.metrics, **now)

    def open_parts(self, parts: Sequence[Prompt | Samples]) -> Prefix:
        """Take a place as ``Front.open_parts`` says, and count it."""
        prefix = super().open_parts(parts)
        self._tally.add(prefixes_opened=1)
        return prefix

    def _submit(self, branch: Branch) -> None:
        branch.future.add_done_callback(self._tally.end)
        super()._submit(branch)

    def _check_branch(self, branch: Branch) -> None:
        super()._check_branch(branch)
        if not self._schedule.fits(branch):
            raise InvalidPrompt(f"the candidates need {branch.ask.cells} positions: ask for fewer at once")

    def _run(self) -> None:
        try:
            with torch.inference_mode(), self._kernels:
                while (plan := self._next_plan()) is not None:
                    self._step(plan)
        except EngineOutOfMemory as error:
            self._stop(error)
        except BaseException as error:
            self._stop(EngineClosed(f"engine {self.name} has failed: {error!r}"))  # nobody may wait for ever
            raise
        finally:
            # The kept prefixes know the engine: its cache would live until somebody looks for circles.
            self._live.clear()
            self._schedule.forget()

    def _next_plan(self) -> Plan[Branch] | None:
        """Wait for something to do and plan it; None when the engine has ended."""
        with self._changed:
            self._running = [strand.branch for strand in self._live]
            self._changed.wait_for(lambda: self._waiting or self._live or self._end)
            if self._end is not None:
                return None
            waiting = list(self._waiting)
        self._live = [
            strand for strand in self._live if self._is_wanted(strand.branch) or self._end_strand(strand)
        ]
        gone = {branch for branch in waiting if not self._is_wanted(branch)}
        with self._changed:
            self._schedule.sweep()
            plan = self._schedule.plan(branch for branch in self._waiting if branch not in gone)
            taken = gone.union(branch for branch, _ in [*plan.starts, *plan.refused])
            self._waiting = deque(branch for branch in self._waiting if branch not in taken)
            self._running += [branch for branch, _ in plan.starts]
        for branch, error in plan.refused:
            branch.fail(error)
        return plan

    def _is_wanted(self, branch: Branch) -> bool:
        """Say whether a branch should go on; when not, it has been resolved."""
        if branch.is_gone():
            return False
        reason = branch.interruption()
        if reason is not None:
            self._finish(branch, reason)
        return reason is None

    def _step(self, plan: Plan[Branch]) -> None:
        """Compute new prefixes, let every live branch grow by one token, and hand the tokens out."""
        if not plan.starts and not self._live:
            return
        began = time.monotonic()
        failed = self._intake.fill(plan.fill)
        for branch, kept in plan.starts:
            branch.start()
            if kept in failed:
                branch.fail(failed[kept])
            else:
                self._live.append(Strand(branch, kept))
        for kept in failed:
            self._schedule.drop(kept)
        self._count_starts(plan, failed)
        live = self._live
        outcomes = self._feed(live)
        self._count_step(live, time.monotonic() - began)
        self._live = [outcome.strand for outcome in outcomes if self._hand_out(outcome, 1 / len(live))]
        self._count_what_is_left()

    def _feed(self, strands: Sequence[Strand]) -> list[Outcome]:
        """Feed what every strand has; those that fail are resolved and left out."""
        outcomes: list[Outcome] = []

        def work(together: Sequence[Strand]) -> None:
            outcomes.extend(self._feed_together(together))

        def fail(strand: Strand, error: Exception) -> None:
            strand.branch.fail(error)
            self._end_strand(strand)

        self._feeding.run(strands, work, fail)
        return outcomes

    def _feed_together(self, strands: Sequence[Strand]) -> list[Outcome]:
        ordered = sorted(strands, key=_room_order)
        by_room = [list(strands) for _, strands in groupby(ordered, key=_room_order)]
        groups = [
            Group(strands[0].kept, [row for strand in strands for row in strand.rows]) for strands in by_room
        ]
        if self._static is not None and all(strand.wants_one for strand in strands):
            shapes = self._static.shapes(groups)
            if shapes is not None:
                found = zip(ordered, *self._static.run(groups, shapes), strict=True)
                return [Outcome(strand, id_, best) for strand, best, id_ in found]
        logprobs = self._forward.feed(groups)  # (asked rows, vocabulary)
        return _outcomes(ordered, logprobs)

    def _hand_out(self, outcome: Outcome, share: float) -> bool:
        """Give a branch what was computed, and say whether it goes on."""
        strand, branch = outcome.strand, outcome.strand.branch
        branch.shares.append(share)
        if branch.ask.candidates is not None:
            self._hand_out_scores(branch, outcome.scores)
        elif go_on(branch, outcome.id, outcome.logprob, self._finish):
            strand.push(outcome.id)
            return True
        return self._end_strand(strand)

    def _hand_out_scores(self, branch: Branch, scores: dict[str, float]) -> None:
        if any(map(math.isnan, scores.values())):
            branch.fail(AnswerNotFinite("the scores of the candidates are not finite"))
        elif self._is_wanted(branch):
            self._finish(branch, FinishReason.SCORED, scores)

    def _end_strand(self, strand: Strand) -> bool:
        """Give a strand's cells back; False, because it does not go on."""
        self._schedule.end(strand.kept, strand.taken, strand.branch.ask.cells)
        return False

    def _count_starts(self, plan: Plan[Branch], failed: dict[Kept, Exception]) -> None:
        begun = [kept for _, kept in plan.starts if kept not in failed]
        new = [kept for kept in plan.fill if kept not in failed]
        reused = sum(kept.prefix.positions for kept in begun) - sum(kept.prefix.positions for kept in new)
        self._tally.add(branches=len(begun), prefixes_reused=len(begun) - len(new), reused_positions=reused)

    def _count_step(self, live: Sequence[Strand], seconds: float) -> None:
        chunks = len({strand.kept.prefix for strand in live})
        self._tally.add(
            steps=1,
            busy_seconds=seconds,
            chunk_seconds=seconds * chunks,
            branch_seconds=seconds * len(live),
            fed_positions=sum(len(strand.rows) for strand in live),
            read_positions=sum(kept.room.length for kept in {strand.kept for strand in live}),
            tokens=sum(strand.branch.ask.candidates is None for strand in live),
        )

    def _count_what_is_left(self) -> None:
        self._tally.set(
            live_chunks=len({strand.kept.prefix for strand in self._live}),
            live_branches=len(self._live),
            cache_rooms=self._schedule.rooms,
            cache_positions=self._schedule.cells,
            cache_positions_used=self._schedule.used_cells,
            evictions=self._schedule.evictions,
            halvings=self._feeding.halvings + self._intake.halvings,
        )


def _room_order(strand: Strand) -> tuple[int, int]:
    return strand.kept.room.slab, strand.kept.room.place


def _outcomes(strands: Sequence[Strand], logprobs: torch.Tensor) -> list[Outcome]:
    """Read what was computed for strands, (asked rows, vocabulary), waiting for the device once."""
    first = 0
    firsts: list[int] = []
    rows: list[int] = []  # with ``columns``, of every id of every candidate, one after the other
    columns: list[int] = []
    for strand in strands:
        firsts.append(first)
        for candidate in (strand.branch.ask.candidates or {}).values():
            rows += [first + strand.heads[candidate[:size]] for size in range(len(candidate))]
            columns += candidate
        first += len(strand.heads)
    asked = logprobs[firsts] if rows else logprobs
    best, ids = asked.max(dim=-1)
    scored = logprobs[rows, columns] if rows else best[:0]
    numbers = iter(torch.cat((best.double(), ids.double(), scored.double())).tolist())
    chosen = list(islice(numbers, len(strands)))
    outcomes = [
        Outcome(strand, int(id_), logprob)
        for strand, id_, logprob in zip(strands, islice(numbers, len(strands)), chosen, strict=True)
    ]
    for outcome in outcomes:
        candidates = outcome.strand.branch.ask.candidates or {}
        outcome.scores = {text: sum(islice(numbers, len(ids))) for text, ids in candidates.items()}
    return outcomes
