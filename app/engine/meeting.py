"""Small requests at work at the same time: each on a thread of its own, their windows meeting before the graphs."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Condition

from app.engine.batches import Answer, Batches, Window
from app.errors import NotReadyError


class EngineStoppedError(NotReadyError):
    """The engine's thread has ended; nothing is run any more."""


@dataclass(eq=False)
class _Ask:
    window: Window
    answer: Answer | None = None
    error: BaseException | None = None


class Meeting:
    """`members` threads ask; the engine's thread answers whenever each of them has asked or left."""

    def __init__(self, batches: Batches, members: int) -> None:
        self._batches = batches
        self._members = members
        self._asked: list[_Ask] = []
        self._changed = Condition()
        self._over = False

    def ask(self, window: Window) -> Answer:
        """The graphs' answer to a member's window.

        Raises:
            EngineStoppedError: there will be none.
        """
        ask = _Ask(window)
        with self._changed:
            self._asked.append(ask)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._over or ask.answer is not None or ask.error is not None)
        if ask.answer is not None:
            return ask.answer
        raise ask.error or EngineStoppedError("the engine has stopped")

    def leave(self) -> None:
        """Tells that a member asks no more."""
        with self._changed:
            self._members -= 1
            self._changed.notify_all()

    def serve(self) -> None:
        """Answers until every member has left."""
        try:
            while asked := self._gather():
                self._answer(asked)
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _gather(self) -> list[_Ask]:
        with self._changed:
            self._changed.wait_for(lambda: len(self._asked) == self._members)
            asked, self._asked = self._asked, []
            return asked

    def _answer(self, asked: list[_Ask]) -> None:
        try:
            answers = self._batches.run([ask.window for ask in asked])
        except Exception as error:  # noqa: BLE001 (raised again where it is awaited)
            with self._changed:
                for ask in asked:
                    ask.error = error
                self._changed.notify_all()
            return
        with self._changed:
            for ask, answer in zip(asked, answers, strict=True):
                ask.answer = answer
            self._changed.notify_all()
