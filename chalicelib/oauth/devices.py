"""The device flow (RFC 8628): a program asks, a person types a code and decides."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chalicelib.core.errors import DomainError, NotFound, Unavailable
from chalicelib.oauth.granting import SYSTEM_ACTOR, end_grant, store_grant
from chalicelib.oauth.model import (
    DEVICE_SECONDS,
    GRANT_PREFIX,
    GUESS_WINDOW_MS,
    MAX_GUESSES,
    SECOND_MS,
    SLOW_DOWN_SECONDS,
    Consent,
    DeviceAuthorization,
    DeviceState,
    Grant,
    Guesses,
    UserCode,
    compute_digest,
    normalise_user_code,
)
from chalicelib.oauth.ports import add_audit

if TYPE_CHECKING:
    from chalicelib.oauth.ports import OAuthPorts

MAX_ATTEMPTS = 4


class TooManyGuesses(DomainError):
    """Wrong codes came from this address or person; the window says until when."""

    code = "too_many_guesses"


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """``address``: of who asks, as the gateway saw it."""

    device_code: str
    user_code: str
    client_id: str
    scope: str
    address: str


def start_device(ports: "OAuthPorts", request: DeviceRequest) -> None:
    """Keep a device's request until somebody decides or it expires. Raises Unavailable: a code is taken."""
    now_ms, pepper = ports.clock.now_ms(), ports.read_pepper()
    letters = normalise_user_code(request.user_code)
    assert letters is not None
    device = DeviceAuthorization(
        digest=compute_digest(request.device_code, pepper, "device"),
        user_code_digest=compute_digest(letters, pepper, "user-code"),
        client_id=request.client_id,
        scope=request.scope,
        address=request.address,
        created_at_ms=now_ms,
        expires_at_ms=now_ms + DEVICE_SECONDS * SECOND_MS,
        grant_id=ports.ids.new_id(GRANT_PREFIX),
    )
    tx = ports.transactions()
    ports.store.add(tx, device)
    old = ports.store.get(UserCode, device.user_code_digest)
    code = UserCode(device.user_code_digest, device.digest, device.expires_at_ms)
    if old is None:
        ports.store.add(tx, code)
    elif old.expires_at_ms <= now_ms:
        ports.store.replace(tx, replace(code, version=old.version))
    else:
        raise Unavailable("Try again.")
    tx.commit()


def find_device(ports: "OAuthPorts", device_code: str) -> DeviceAuthorization | None:
    """Return a device's request. One that was used ends what it gave."""
    digest = compute_digest(device_code, ports.read_pepper(), "device")
    device = ports.store.get(DeviceAuthorization, digest)
    if device is not None and device.state == "used":
        end_grant(ports, device.grant_id, SYSTEM_ACTOR, "code_reused")
        return None
    return device


def note_poll(ports: "OAuthPorts", device: DeviceAuthorization) -> bool:
    """Write down that a device asked; ``True``: too soon, and from now on it waits longer."""
    now_ms = ports.clock.now_ms()
    last_ms, interval = device.polled_at_ms, device.interval_seconds
    soon = last_ms is not None and now_ms - last_ms < interval * SECOND_MS
    slower = interval + SLOW_DOWN_SECONDS if soon else interval
    tx = ports.transactions()
    ports.store.replace(tx, replace(device, polled_at_ms=now_ms, interval_seconds=slower))
    try:
        tx.commit()
    except Unavailable:
        # Another poll, or the decision, came at the same moment: two at once are too many.
        return True
    return soon


def redeem_device(ports: "OAuthPorts", device: DeviceAuthorization, grant: Grant) -> bool:
    """Use an approved request and store its grant, both or neither. ``False``: it was used meanwhile."""
    tx = ports.transactions()
    ports.store.replace(tx, replace(device, state="used"))
    store_grant(ports, tx, grant)
    try:
        tx.commit()
    except Unavailable:
        again = ports.store.get(DeviceAuthorization, device.digest)
        if again is None or again.state != "used":
            raise
        end_grant(ports, device.grant_id, SYSTEM_ACTOR, "code_reused")
        return False
    return True


def enter_code(ports: "OAuthPorts", text: str, *, user_id: str, address: str) -> DeviceAuthorization:
    """Return the request that a person's code names.

    Each entry counts against the address, the person and the code; what was right is taken back for the
    first two.

    Raises:
        NotFound: no such code, expired, decided, or entered too often.
        TooManyGuesses: from this address, or by this person.
    """
    now_ms = ports.clock.now_ms()
    window = now_ms // GUESS_WINDOW_MS
    counted = [f"{who}#{window}" for who in (f"address:{address}", f"person:{user_id}")]
    for who in counted:
        _count(ports, who, (window + 1) * GUESS_WINDOW_MS, 1)
    device = _find_by_code(ports, text, now_ms)
    if device is None:
        raise NotFound("There is no such code, or it has expired.")
    entered = replace(device, entries=device.entries + 1)
    tx = ports.transactions()
    ports.store.replace(tx, entered)
    tx.commit()
    for who in counted:
        _count(ports, who, (window + 1) * GUESS_WINDOW_MS, -1)
    return replace(entered, version=device.version + 1)


def decide_device(
    ports: "OAuthPorts", device: DeviceAuthorization, consent: Consent, *, approved: bool
) -> None:
    """Write down a person's decision. Raises Unavailable: it changed at the same time."""
    for attempt in range(MAX_ATTEMPTS):
        current = ports.store.get(DeviceAuthorization, device.digest)
        if current is None or current.state != "pending" or current.expires_at_ms <= ports.clock.now_ms():
            raise NotFound("There is no such code, or it has expired.")
        tx = ports.transactions()
        state: DeviceState = "approved" if approved else "denied"
        ports.store.replace(tx, replace(current, state=state, consent=consent if approved else None))
        action = "oauth.consented" if approved else "oauth.denied"
        add_audit(ports, tx, consent.account_id, consent.user_id, action, current.client_id)
        try:
            tx.commit()
        except Unavailable:
            # The device polled.
            if attempt + 1 == MAX_ATTEMPTS:
                raise
        else:
            return


def _find_by_code(ports: "OAuthPorts", text: str, now_ms: int) -> DeviceAuthorization | None:
    letters = normalise_user_code(text)
    if letters is None:
        return None
    code = ports.store.get(UserCode, compute_digest(letters, ports.read_pepper(), "user-code"))
    device = None if code is None else ports.store.get(DeviceAuthorization, code.device_digest)
    if device is None or device.state != "pending" or device.expires_at_ms <= now_ms:
        return None
    return device if device.entries < MAX_GUESSES else None


def _count(ports: "OAuthPorts", who: str, expires_at_ms: int, change: int) -> None:
    for attempt in range(MAX_ATTEMPTS):
        guesses = ports.store.get(Guesses, who) or Guesses(who, expires_at_ms)
        if change > 0 and guesses.count >= MAX_GUESSES:
            raise TooManyGuesses("Too many wrong codes; wait some minutes.")
        tx = ports.transactions()
        counted = replace(guesses, count=max(0, guesses.count + change))
        (ports.store.replace if guesses.version else ports.store.add)(tx, counted)
        try:
            tx.commit()
        except Unavailable:
            if attempt + 1 == MAX_ATTEMPTS:
                raise
        else:
            return
