"""Moves records to the queues and commands from them. The only part that waits for the network."""

import threading
from collections.abc import Callable

from chalicelib.wire.v1 import InvalidMessage, decode_command, encode_record
from host_agent import logs
from host_agent.agent import Agent
from host_agent.backoff import Backoff
from host_agent.clock import Clock
from host_agent.outbox import HeartbeatSlot, Pending, TelemetryOutbox
from host_agent.status import Sent
from host_agent.transport import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, Queue, TransportError

_IDLE_SECONDS = 0.5
#: A host that comes back after an outage must not drown the others: 20 messages a second.
_BACKFILL_PAUSE_SECONDS = MAX_BATCH_MESSAGES / 20


class HeartbeatSender:
    """Sends the newest heartbeat; one that could not be sent makes room for a newer one."""

    def __init__(
        self, slot: HeartbeatSlot, queue: Queue, *, host_id: str, boot_id: str, signing_key: bytes
    ) -> None:
        self._slot, self._queue = slot, queue
        self._host_id, self._boot_id, self._key = host_id, boot_id, signing_key

    def send_next(self) -> bool:
        """Return whether one was sent. Raises TransportError; the heartbeat is kept unless newer came."""
        taken = self._slot.take()
        if taken is None:
            return False
        seq, heartbeat = taken
        body = encode_record(
            heartbeat, host_id=self._host_id, boot_id=self._boot_id, seq=seq, signing_key=self._key
        )
        try:
            self._queue.send(body)
        except TransportError:
            self._slot.put_back(heartbeat)
            raise
        return True


class TelemetrySender:
    """Sends spooled records in batches; forgets only what SQS confirmed."""

    def __init__(self, outbox: TelemetryOutbox, queue: Queue, *, host_id: str, signing_key: bytes) -> None:
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
        return encode_record(
            pending.record,
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


def keep_sending(
    heartbeats: HeartbeatSender,
    telemetry: TelemetrySender,
    counters: Sent,
    clock: Clock,
    backoff: Backoff,
    wake: threading.Event,
    stopped: threading.Event,
) -> None:
    """Send until ``stopped``: the newest heartbeat before any backlog."""
    while not stopped.is_set():
        try:
            sent = heartbeats.send_next()
            counters.heartbeats += sent
            confirmed = telemetry.send_next()
            counters.telemetry += confirmed
            if sent or confirmed:
                counters.last_ack_at_ms = clock.now_ms()
        except TransportError as error:
            delay = backoff.next_delay()
            logs.warn("send_failed", reason=str(error), retry_seconds=round(delay, 1))
            stopped.wait(delay)
            continue
        except Exception:
            logs.crash("sender_failed")
            stopped.wait(backoff.next_delay())
            continue
        backoff.reset()
        if confirmed == MAX_BATCH_MESSAGES:
            stopped.wait(_BACKFILL_PAUSE_SECONDS)
        elif not sent and not confirmed:
            wake.wait(_IDLE_SECONDS)
            wake.clear()


def keep_receiving(
    receiver: CommandReceiver,
    counters: Sent,
    backoff: Backoff,
    on_command: Callable[[], None],
    stopped: threading.Event,
) -> None:
    """Poll for commands until ``stopped``."""
    while not stopped.is_set():
        try:
            accepted = receiver.receive_next()
        except (TransportError, OSError) as error:
            delay = backoff.next_delay()
            logs.warn("receive_failed", reason=str(error), retry_seconds=round(delay, 1))
            stopped.wait(delay)
            continue
        except Exception:
            logs.crash("receiver_failed")
            stopped.wait(backoff.next_delay())
            continue
        backoff.reset()
        counters.commands += accepted
        if accepted:
            on_command()
