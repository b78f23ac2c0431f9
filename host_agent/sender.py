"""Moves records to the queues and commands from them. The only part that waits for the network."""

import threading
from collections.abc import Callable
from typing import Protocol

from chalicelib.wire.telemetry import seal_telemetry
from chalicelib.wire.v1 import InvalidMessage, decode_command, encode_record
from host_agent import logs
from host_agent.agent import Agent
from host_agent.backoff import Backoff
from host_agent.outbox import HeartbeatSlot, Pending
from host_agent.status import Sent
from host_agent.transport import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, Queue, TransportError

#: What is put up ends the wait at once; this bounds it when nothing is.
_IDLE_SECONDS = 5.0
#: A host that comes back after an outage must not drown the others.
BACKFILL_MESSAGES_PER_SECOND = 20


class Outbox(Protocol):
    """Records that wait: the agent's own (`outbox.TelemetryOutbox`) or a saved copy (`replay.SpoolCopy`)."""

    def take(self, limit: int) -> list[Pending]: ...
    def confirm(self, sent: list[Pending], refused: list[Pending]) -> None: ...


class HeartbeatSender:
    """Sends the newest heartbeat; one that could not be sent makes room for a newer one."""

    def __init__(
        self,
        agent: Agent,
        slot: HeartbeatSlot,
        queue: Queue,
        *,
        host_id: str,
        boot_id: str,
        signing_key: bytes,
    ) -> None:
        self._agent, self._slot, self._queue = agent, slot, queue
        self._host_id, self._boot_id, self._key = host_id, boot_id, signing_key

    def send_next(self) -> int:
        """Return how many were sent, 0 or 1.

        Raises TransportError; it is kept unless a newer one came.
        """
        taken = self._slot.take()
        if taken is None:
            return 0
        seq, heartbeat = taken
        body = encode_record(
            heartbeat, host_id=self._host_id, boot_id=self._boot_id, seq=seq, signing_key=self._key
        )
        try:
            self._queue.send(body)
        except TransportError:
            self._slot.put_back(heartbeat)
            raise
        try:
            self._agent.confirm(heartbeat)
        except OSError as error:
            logs.warn("telling_not_noted", reason=str(error))
        return 1


class TelemetrySender:
    """Sends spooled records in batches; forgets only what SQS confirmed."""

    def __init__(self, outbox: Outbox, queue: Queue, *, host_id: str, signing_key: bytes) -> None:
        self._outbox, self._queue = outbox, queue
        self._host_id, self._key = host_id, signing_key

    def send_next(self) -> int:
        """Return how many were confirmed. Raises TransportError; all are kept then."""
        batch: list[Pending] = []
        bodies: list[bytes] = []
        refused: list[Pending] = []
        for pending in self._outbox.take(MAX_BATCH_MESSAGES):
            try:
                body = self._encode(pending)
            except InvalidMessage as error:
                logs.warn("record_refused", reason=error.reason)
                refused.append(pending)
                continue
            if sum(map(len, bodies)) + len(body) > MAX_BATCH_BYTES:
                break
            batch.append(pending)
            bodies.append(body)
        sent: list[Pending] = []
        if bodies:
            outcome = self._queue.send_batch(bodies)
            sent = [batch[index] for index in sorted(outcome.sent)]
            refused += [batch[index] for index in sorted(outcome.refused)]
        if sent or refused:
            self._outbox.confirm(sent, refused)
        return len(sent)

    def _encode(self, pending: Pending) -> bytes:
        return seal_telemetry(
            pending.packed,
            host_id=self._host_id,
            boot_id=pending.boot_id,
            seq=pending.seq,
            signing_key=self._key,
        )


class CommandReceiver:
    """Takes commands off the host's queue, once they are durable."""

    def __init__(self, agent: Agent, queue: Queue, *, signing_key: bytes, wait_seconds: int) -> None:
        self._agent, self._queue = agent, queue
        self._key, self._wait_seconds = signing_key, wait_seconds

    def receive_next(self) -> int:
        """Return how many commands were accepted. Raises TransportError or OSError; they come again."""
        accepted = 0
        for message in self._queue.receive(self._wait_seconds):
            try:
                command = decode_command(message.body, self._key)
            except InvalidMessage as error:
                # Forged or of an unknown version: nothing that asking again would mend.
                logs.warn("command_refused", reason=error.reason)
            else:
                changed = self._agent.accept(command)
                logs.info("command", kind=command.kind, rental_id=command.rental_id, changed=changed)
                accepted += 1
            self._queue.delete(message.receipt_handle)
        return accepted


class Sender(Protocol):
    def send_next(self) -> int: ...


class Uplink:
    """Sends what one sender has. Heartbeats have their own: no backlog and no hung batch delays them."""

    def __init__(
        self,
        sender: Sender,
        count: Callable[[int], None],
        waiting: threading.Event,
        pace: Callable[[int], float] = lambda _: 0.0,
    ) -> None:
        """``waiting`` is set by whoever puts something up; ``pace`` says how long to pause after a batch."""
        self._sender, self._count, self._waiting, self._pace = sender, count, waiting, pace

    def step(self) -> float:
        """Send once, or wait for something to send; return how many seconds to pause.

        Raises TransportError.
        """
        # Cleared first: what is put up while we send makes the next step start at once.
        self._waiting.clear()
        sent = self._sender.send_next()
        if not sent:
            self._waiting.wait(_IDLE_SECONDS)
            return 0.0
        self._count(sent)
        return self._pace(sent)


class Pace:
    """At most ``BACKFILL_MESSAGES_PER_SECOND``, three quarters of it in the mean, never in step with others.

    ``draw`` returns a number in [0, 1).
    """

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw

    def __call__(self, sent: int) -> float:
        """Return the seconds to pause after ``sent`` messages: between one and two times their share."""
        return sent / BACKFILL_MESSAGES_PER_SECOND * (1 + self._draw())


class Downlink:
    """Fetches commands; the queue holds each poll open until there is one."""

    def __init__(self, receiver: CommandReceiver, sent: Sent) -> None:
        self._receiver, self._sent = receiver, sent

    def step(self) -> float:
        """Poll once. Raises TransportError or OSError."""
        self._sent.commands += self._receiver.receive_next()
        return 0.0


def keep_trying(name: str, step: Callable[[], float], backoff: Backoff, stopped: threading.Event) -> None:
    """Call ``step`` until ``stopped``, with the pauses that it asks for and longer ones while it fails."""
    while not stopped.is_set():
        try:
            pause = step()
        except (TransportError, OSError) as error:
            pause = backoff.next_delay()
            logs.warn(f"{name}_failed", reason=str(error), retry_seconds=round(pause, 1))
        except Exception:
            pause = backoff.next_delay()
            logs.crash(f"{name}_crashed")
        else:
            backoff.reset()
        if pause:
            stopped.wait(pause)
