"""What every part of the simulator shares: the clock, ids, the objects, and what is due."""

import copy
import heapq
import random
import threading
from collections.abc import Callable, Iterable
from itertools import count

from infra.local.stripe.errors import Object, refuse_missing, refuse_parameter

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_MAX_PAGE = 100
_DEFAULT_PAGE = 10
API_VERSION = "2026-10-28.endive"


class World:
    """All state behind one lock. ``now`` gives seconds; ``advance`` moves ahead of it without any waiting."""

    def __init__(self, seed: int, now: Callable[[], float]) -> None:
        self.lock = threading.RLock()
        self.random = random.Random(seed)  # noqa: S311 - the same ids from the same seed are what it is for
        self._base = now
        self._skipped = 0.0
        self._order = count()
        self._objects: dict[str, Object] = {}
        self._due: list[tuple[float, float, int, Callable[[], None]]] = []
        self.on_event: Callable[[Object], None] = lambda _event: None
        self.idempotency_key: str | None = None

    def now(self) -> int:
        return int(self._base() + self._skipped)

    def advance(self, seconds: float) -> None:
        """Let time pass and do what falls due in it, in its order. Acts run outside the lock and take it."""
        with self.lock:
            end = self._base() + self._skipped + seconds
        while (act := self._take_due(end)) is not None:
            act()
        with self.lock:
            self._skipped = max(self._skipped, end - self._base())

    def _take_due(self, end: float) -> Callable[[], None] | None:
        with self.lock:
            if not self._due or self._due[0][0] > end:
                return None
            due, _, _, act = heapq.heappop(self._due)
            self._skipped = max(self._skipped, due - self._base())
            return act

    def schedule(self, delay_seconds: float, act: Callable[[], None], tie: float = 0.0) -> None:
        """Do ``act`` when time has passed; of those due together, the lowest ``tie``, then the first."""
        with self.lock:
            due = self._base() + self._skipped + delay_seconds
            heapq.heappush(self._due, (due, tie, next(self._order), act))

    def issue(self, prefix: str, length: int = 24) -> str:
        return f"{prefix}_{''.join(self.random.choices(_ALPHABET, k=length))}"

    def add(self, prefix: str, kind: str, **fields: object) -> Object:
        made: Object = {
            "id": self.issue(prefix),
            "object": kind,
            "created": self.now(),
            "livemode": False,
            **fields,
        }
        self._objects[made["id"]] = made
        return made

    def find(self, object_id: str) -> Object | None:
        return self._objects.get(object_id)

    def get(self, kind: str, object_id: str) -> Object:
        """Return the object.

        Raises:
            Refused: there is none of this kind.
        """
        found = self._objects.get(object_id)
        if found is None or found["object"] != kind:
            raise refuse_missing(kind, object_id)
        return found

    def select(self, kind: str, **equal: object) -> list[Object]:
        """Return the objects of a kind, newest first, whose fields are equal; None asks for nothing."""
        wanted = {name: value for name, value in equal.items() if value is not None}
        return [
            found
            for found in reversed(self._objects.values())
            if found["object"] == kind and all(found.get(name) == value for name, value in wanted.items())
        ]

    def emit(self, kind: str, subject: Object) -> Object:
        """Record an event with the object as it is now, and have it delivered."""
        event = self.add(
            "evt",
            "event",
            api_version=API_VERSION,
            type=kind,
            data={"object": copy.deepcopy(subject)},
            pending_webhooks=0,
            request={"id": self.issue("req", 14), "idempotency_key": self.idempotency_key},
        )
        self.on_event(event)
        return event


def paginate(found: Iterable[Object], url: str, params: Object) -> Object:
    """Return one page of a newest-first list.

    Raises:
        Refused: the limit is not 1 to 100, or the cursor is not in the list.
    """
    limit = params.get("limit", _DEFAULT_PAGE)
    if not 1 <= limit <= _MAX_PAGE:
        raise refuse_parameter(f"Invalid limit: {limit}", "parameter_invalid_integer", "limit")
    items = [item for item in found if _is_within(item["created"], params.get("created"))]
    ids = [item["id"] for item in items]
    for name in ("starting_after", "ending_before"):
        if name in params and params[name] not in ids:
            raise refuse_parameter(f"No such object: '{params[name]}'", "resource_missing", name)
    if "ending_before" in params:
        before = items[: ids.index(params["ending_before"])]
        page, more = before[-limit:], len(before) > limit
    else:
        after = items[ids.index(params["starting_after"]) + 1 :] if "starting_after" in params else items
        page, more = after[:limit], len(after) > limit
    return {"object": "list", "url": url, "data": page, "has_more": more}


def _is_within(created: int, bounds: dict[str, int] | int | None) -> bool:
    if bounds is None or isinstance(bounds, int):
        return bounds is None or created == bounds
    return (
        created > bounds.get("gt", created - 1)
        and created >= bounds.get("gte", created)
        and created < bounds.get("lt", created + 1)
        and created <= bounds.get("lte", created)
    )


def expand(world: World, answer: Object, paths: Iterable[str]) -> Object:
    """Return a copy whose ids at the dotted ``paths`` are the objects they name."""
    expanded = copy.deepcopy(answer)
    for path in sorted(paths):
        _expand_path(world, expanded, path.split("."), path)
    return expanded


def _expand_path(world: World, node: Object, parts: list[str], path: str) -> None:
    name, rest = parts[0], parts[1:]
    if name not in node:
        message = f"This property cannot be expanded ({path})."
        raise refuse_parameter(message, "parameter_invalid", "expand")
    if isinstance(node[name], str) and (found := world.find(node[name])) is not None:
        node[name] = copy.deepcopy(found)
    if rest:
        inner = node[name] if isinstance(node[name], list) else [node[name]]
        for child in inner:
            if isinstance(child, dict):
                _expand_path(world, child, rest, path)
