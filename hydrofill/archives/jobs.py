"""Fill the blocks of an archive: in this process, in several processes, or on a Dask cluster."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import TYPE_CHECKING, Literal

from hydrofill.archives.inputs import Input
from hydrofill.archives.opening import open_input
from hydrofill.archives.parts import DoneBlock, Parts
from hydrofill.archives.reading import DatasetSource
from hydrofill.archives.views import views_of_archive
from hydrofill.blocks import Block
from hydrofill.bundle import Bundle
from hydrofill.cf.experiments import merge_experiments
from hydrofill.errors import WorkersLostError
from hydrofill.filling import FillOptions, as_declared, refuser_for
from hydrofill.paths import exit_on_signals
from hydrofill.survey import Survey

if TYPE_CHECKING:
    from distributed import Client

    from hydrofill.inference.model import Model, Prepared

AHEAD = 3  # blocks that wait for each worker
PARENT_POLL_S = 2.0
LOCAL_CLUSTER = "dask://local"


@dataclass(frozen=True, eq=False)
class Job:
    """Everything that a worker needs to fill any block of an archive.

    key: is another for another job. view: number of the view of the archive.
    provider, threads: what runs the graphs. skip_bad, ahead_values: see DatasetSource.
    found, prepared: the survey of the archive and what was measured on the archive.
    """

    key: str
    given: Input
    view: int
    bundle: Bundle
    provider: Literal["cpu", "cuda"]
    threads: int
    names: Sequence[str]
    options: FillOptions
    skip_bad: bool
    ahead_values: int
    parts: Parts
    blocks: Sequence[Block]
    found: Survey
    prepared: Prepared


class _Worker:
    """The archive and the model of one job, opened in this process."""

    def __init__(self, job: Job, model: Model | None = None) -> None:
        from hydrofill.inference.graphs import Runtime
        from hydrofill.inference.model import load_model

        self.job, self._lock = job, threading.Lock()
        self._opened = ExitStack()
        dataset = self._opened.enter_context(open_input(job.given))
        self.model = model or load_model(job.bundle, Runtime(job.provider, job.threads))
        dataset = as_declared(dataset, self.model.layout, job.options, lazily=True)
        dataset = merge_experiments(dataset, check=False)
        view = views_of_archive(dataset, self.model.layout)[job.view]
        self.source = DatasetSource.of(
            view.dataset, job.given.name, self.model.layout, skip_bad=job.skip_bad, ahead_values=job.ahead_values
        )
        first, control = self.source.first, job.options.control
        targets = {name: view.targets[first.source[name]][0] for name in job.names}
        made = refuser_for(job.names, first, self.source.dataset, targets, dataset, control)
        self.refuser = made if control.active else None

    def fill(self, number: int) -> DoneBlock:
        job, block = self.job, self.job.blocks[number]
        with self._lock:  # a worker of a cluster may have several threads
            pieces, _ = self.model.fill_block(job.prepared, self.source, job.found, block, job.names, self.refuser)
            return job.parts.save_block(block, pieces, self.source.axes)

    def close(self) -> None:
        self._opened.close()


_workers: dict[str, _Worker] = {}  # of this process, the one of the present job


def fill_block(job: Job, number: int) -> DoneBlock:
    """Fill one block of a job, and keep the block in the folder of parts; the archive and the model stay open."""
    if job.key not in _workers:
        for other in _workers.values():
            other.close()
        _workers.clear()
        _workers[job.key] = _Worker(job)
    return _workers[job.key].fill(number)


def fill_here(job: Job, numbers: Sequence[int], model: Model) -> Iterator[DoneBlock]:
    """Fill blocks one after the other in this process, and yield each."""
    with closing(_Worker(job, model)) as worker:
        for number in numbers:
            yield worker.fill(number)


def fill_in_processes(job: Job, numbers: Sequence[int], workers: int) -> Iterator[DoneBlock]:
    """Fill blocks in so many processes, and yield each as it is complete.

    Raises:
        WorkersLostError: a process was ended from outside.
    """
    context = get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start, (job, os.getpid()))
    try:
        yield from _in_turn(lambda number: _submit(pool, number), numbers, workers * AHEAD)
    except BrokenProcessPool as error:
        raise WorkersLostError("a worker process ended; the complete blocks are kept, go on with --resume") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, number: int) -> Future[DoneBlock]:
    """Hand a block to a process, perhaps a new one, which does not run the script that called.

    A new process runs the main module again unless the module has no file: a script without the usual guard would then
    start a fill in each process.
    """
    main = sys.modules["__main__"]
    kept = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    try:
        for name in kept:
            setattr(main, name, None)
        return pool.submit(_fill_started, number)
    finally:
        for name, value in kept.items():
            setattr(main, name, value)


def _start(job: Job, parent: int) -> None:
    """Make this process ready for a job, and end it soon after its parent."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    exit_on_signals()
    _workers[""] = _Worker(job)


def _fill_started(number: int) -> DoneBlock:
    try:
        return _workers[""].fill(number)
    except SystemExit as ended:  # by a signal: the pool would hand this on as the result
        os._exit(int(ended.code or 1))


def _in_turn(submit: Callable[[int], Future[DoneBlock]], numbers: Sequence[int], at_once: int) -> Iterator[DoneBlock]:
    """Yield blocks as they are complete, with so many waiting or at work, so that memory does not grow."""
    left = iter(numbers)
    waiting = {submit(number) for number in islice(left, at_once)}
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()
        waiting |= {submit(number) for number in islice(left, len(done))}


def fill_on_cluster(job: Job, numbers: Sequence[int], scheduler: str, workers: int) -> Iterator[DoneBlock]:
    """Fill blocks on a Dask cluster, and yield each as it is complete; a lost worker's blocks are filled by others.

    Args:
        job: the job, which is sent to each worker once.
        numbers: of the blocks.
        scheduler: the address of a scheduler, or LOCAL_CLUSTER for one of this machine that ends with the fill.
        workers: number of workers of a local cluster.
    """
    from distributed import Client, LocalCluster

    with ExitStack() as opened:
        if scheduler == LOCAL_CLUSTER:
            cluster = opened.enter_context(
                LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None)
            )
            client = opened.enter_context(Client(cluster))
        else:
            client = opened.enter_context(Client(scheduler))
        yield from _on_client(job, numbers, client)


def _on_client(job: Job, numbers: Sequence[int], client: Client) -> Iterator[DoneBlock]:
    from distributed import as_completed

    shared = client.scatter(job, broadcast=True, hash=False)
    left, at_once = iter(numbers), AHEAD * max(1, len(client.nthreads()))
    started = [client.submit(fill_block, shared, number, pure=False) for number in islice(left, at_once)]
    running = as_completed(started)
    for future in running:
        yield future.result()
        for number in islice(left, 1):
            running.add(client.submit(fill_block, shared, number, pure=False))
