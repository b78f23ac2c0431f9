"""The inventory says of every stored attribute what it is, and of nothing else."""

import pytest

from chalicelib.privacy.fields import Row
from chalicelib.privacy.inventory import ROWS, find_row
from chalicelib.storage import connection

MODELS = {
    model.__name__: model
    for model in connection.find_models()
    if model.Meta.table_name and not model.__subclasses__()
}
KEYS = {"pk", "sk"}


def test_every_model_has_a_name_of_its_own():
    """Rows are by name: of two that share one, only one would be asked about."""
    names = [model.__name__ for model in connection.find_models() if model.Meta.table_name]
    assert sorted(set(names)) == sorted(names)


def list_attributes(model):
    return {each.attr_name for each in model.get_attributes().values()} - KEYS


def name_table(model):
    return model.Meta.logical_name or model.Meta.table_name


def test_every_item_of_every_table_has_one_row_and_every_row_an_item():
    named = [row.item for row in ROWS]
    assert len(set(named)) == len(named)
    missing, gone = set(MODELS) - set(named), set(named) - set(MODELS)
    assert not missing, (
        f"{sorted(missing)} stand in no row: say in privacy/customer_rows.py, people_rows.py or "
        "machine_rows.py what each attribute is of a person, and in privacy/record_store.py how an account's "
        "items are found"
    )
    assert not gone, f"{sorted(gone)} are models no more: take their rows away"


@pytest.mark.parametrize("item", sorted(MODELS))
def test_every_attribute_is_classified_and_nothing_that_is_not_there(item):
    row, stored = find_row(item), list_attributes(MODELS[item])
    assert row.table == name_table(MODELS[item])
    missing, gone = stored - set(row.fields), set(row.fields) - stored
    assert not missing, f"{item}: give {sorted(missing)} a kind in its row (privacy/fields.py says which)"
    assert not gone, f"{item}: {sorted(gone)} are stored no more: take them out of its row"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.item)
def test_what_is_personal_and_plain_is_justified_and_goes_with_an_erasure(row: Row):
    assert row.purpose
    if row.list_plain():
        assert row.because, "say why it is not sealed"
        assert row.on_erasure in {"clear", "delete"}
        assert row.owned or row.of_person, "what is found neither by account nor by person cannot be erased"
    if row.on_erasure == "delete":
        assert "financial" not in row.fields.values(), "books are not deleted"


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.on_erasure == "clear" and row.owned], ids=lambda row: row.item
)
def test_what_is_cleared_can_be_absent_or_is_a_text(row: Row):
    attributes = {each.attr_name: each for each in MODELS[row.item].get_attributes().values()}
    for name in row.list_plain():
        assert attributes[name].null or attributes[name].attr_type == "S"


def test_nothing_secret_is_exported():
    for item, name in (("ApiKeyItem", "digest"), ("PersonKeyItem", "wrapped"), ("EnrolmentItem", "digest")):
        assert find_row(item).fields[name] == "digest"
        assert name not in find_row(item).list_exported()
