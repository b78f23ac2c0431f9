"""Wrapped data keys in DynamoDB. Access: get by person, consistently."""

from pynamodb.exceptions import PutError, UpdateError

from chalicelib.core.errors import Unavailable
from chalicelib.privacy.model import PersonKey
from chalicelib.storage import privacy_keys
from chalicelib.storage.failures import is_condition_failure
from chalicelib.storage.tables.privacy import PersonKeyItem


class DynamoPersonKeys:
    def get_key(self, user_id: str) -> PersonKey | None:
        try:
            item = PersonKeyItem.get(
                privacy_keys.person(user_id), privacy_keys.PERSON_KEY, consistent_read=True
            )
        except PersonKeyItem.DoesNotExist:
            return None
        return PersonKey(user_id, item.wrapped, item.created_at_ms, item.destroyed_at_ms)

    def add_key(self, key: PersonKey) -> bool:
        item = PersonKeyItem(
            privacy_keys.person(key.user_id),
            privacy_keys.PERSON_KEY,
            wrapped=key.wrapped,
            created_at_ms=key.created_at_ms,
        )
        try:
            item.save(PersonKeyItem.pk.does_not_exist())
        except PutError as error:
            if is_condition_failure(error):
                return False
            raise Unavailable("A person's key could not be kept; try again.") from error
        return True

    def destroy_key(self, user_id: str, at_ms: int) -> None:
        destroyed, created = PersonKeyItem.destroyed_at_ms, PersonKeyItem.created_at_ms
        try:
            PersonKeyItem(privacy_keys.person(user_id), privacy_keys.PERSON_KEY).update(
                [
                    PersonKeyItem.wrapped.remove(),
                    destroyed.set(destroyed | at_ms),
                    created.set(created | at_ms),
                ]
            )
        except UpdateError as error:
            raise Unavailable("A person's key could not be destroyed; try again.") from error
