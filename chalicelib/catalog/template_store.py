"""Templates in DynamoDB. Access: get by id; an account's by ``by_account``, public ones by ``by_public``.

What a listing shows of other accounts is read again by key: an index may still have what was made private.
"""

from dataclasses import asdict
from typing import Any

from chalicelib.catalog.model import Template
from chalicelib.catalog.service import VersionMismatch
from chalicelib.core.errors import DomainError
from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.core.workloads import Port, Volume, Workload
from chalicelib.storage import keys
from chalicelib.storage.tables.templates import TemplateItem
from chalicelib.storage.transaction import dynamo, unexpected

#: What is left of a removed template goes by itself after this time.
TOMBSTONE_SECONDS = 86_400


def _changed(_old: Any) -> DomainError:
    return VersionMismatch("The template was changed at the same time; read it again.")


class DynamoTemplateStore:
    def get_template(self, template_id: str) -> Template | None:
        try:
            item = TemplateItem.get(keys.template(template_id), keys.TEMPLATE, consistent_read=True)
        except TemplateItem.DoesNotExist:
            return None
        return None if item.expires_at is not None else _read(item)

    def list_visible(
        self, account_id: str, limit: int, start: str | None, *, oldest_first: bool = False
    ) -> Page[Template]:
        condition = None
        if start is not None:
            key = TemplateItem.created_key
            condition = key > start if oldest_first else key < start
        indexes = ((TemplateItem.by_account, account_id), (TemplateItem.by_public, keys.PUBLIC))
        found: dict[str, TemplateItem] = {}
        for index, hash_key in indexes:
            rows = index.query(
                hash_key, condition, scan_index_forward=oldest_first, limit=limit + 1, page_size=limit + 1
            )
            found |= {item.created_key: item for item in rows}
        ordered = sorted(found, reverse=not oldest_first)
        visible = self._read_again(account_id, [found[key] for key in ordered[:limit]])
        return Page(visible, ordered[limit - 1] if len(ordered) > limit else None)

    def _read_again(self, account_id: str, items: list[TemplateItem]) -> list[Template]:
        foreign = [(item.pk, item.sk) for item in items if item.account_id != account_id]
        stored = {item.pk: item for item in TemplateItem.batch_get(foreign, consistent_read=True)}
        visible = []
        for listed in items:
            item = listed if listed.account_id == account_id else stored.get(listed.pk)
            if item is not None and (item.public or item.account_id == account_id):
                visible.append(_read(item))
        return visible

    def add_template(self, tx: Transaction, template: Template) -> None:
        dynamo(tx).put(_build(template), TemplateItem.pk.does_not_exist(), unexpected("The template"))

    def replace_template(self, tx: Transaction, old: Template, new: Template) -> None:
        dynamo(tx).put(_build(new), TemplateItem.version == old.version, _changed)

    def remove_template(self, tx: Transaction, template: Template, at_ms: int) -> None:
        # No role may delete an item: what stays has no content, and the table's expiry takes it.
        tombstone = TemplateItem(
            keys.template(template.template_id),
            keys.TEMPLATE,
            account_id=template.account_id,
            version=template.version + 1,
            expires_at=at_ms // 1000 + TOMBSTONE_SECONDS,
        )
        dynamo(tx).put(tombstone, TemplateItem.version == template.version, _changed)


def _build(template: Template) -> TemplateItem:
    return TemplateItem(
        keys.template(template.template_id),
        keys.TEMPLATE,
        account_id=template.account_id,
        created_key=keys.created(template.created_at_ms, template.template_id),
        public=keys.PUBLIC if template.public else None,
        template_id=template.template_id,
        name=template.name,
        workload=asdict(template.workload),
        gpu_type=template.gpu_type,
        gpu_count=template.gpu_count,
        created_at_ms=template.created_at_ms,
        updated_at_ms=template.updated_at_ms,
        version=template.version,
    )


def _read(item: TemplateItem) -> Template:
    stored: dict[str, Any] = dict(item.workload)
    volume = stored["volume"]
    workload = Workload(
        command=tuple(stored["command"]),
        env=stored["env"],
        image=stored["image"],
        ports=tuple(Port(**port) for port in stored["ports"]),
        ssh_public_keys=tuple(stored["ssh_public_keys"]),
        volume=None if volume is None else Volume(**volume),
    )
    return Template(
        template_id=item.template_id,
        account_id=item.account_id,
        name=item.name,
        public=item.public is not None,
        workload=workload,
        gpu_type=item.gpu_type,
        gpu_count=item.gpu_count,
        created_at_ms=item.created_at_ms,
        updated_at_ms=item.updated_at_ms,
        version=item.version,
    )
