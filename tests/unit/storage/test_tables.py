"""Models and tables agree, numbers stay integers, one client serves all."""

import pkgutil

import pytest
from pynamodb.attributes import NumberAttribute

from chalicelib.storage import connection, keys, tables
from chalicelib.storage.tables.base import IntegerAttribute, Table
from infra.cdk.tables import TABLES

TYPES = {"S": "STRING", "N": "NUMBER"}


def list_models():
    return [model for model in connection.find_models() if model.Meta.table_name]


def read_key_names(schema):
    found = {each["KeyType"]: each["AttributeName"] for each in schema["key_schema"]}
    return found["HASH"], found["RANGE"]


def list_indexes(model):
    return {name: index for name, index in vars(model).items() if hasattr(index, "_hash_key_attribute")}


def test_binding_loads_every_module_of_tables():
    """A model that is loaded later would speak to a table without the stage's prefix."""
    modules = {each.name for each in pkgutil.iter_modules(tables.__path__)} - {"base"}
    assert modules == {each.__name__.rpartition(".")[2] for each in connection.MODULES}


def test_every_model_has_a_table_and_every_table_a_model(bound):
    named = {model.Meta.table_name.removeprefix("prefix-") for model in list_models()}
    assert named == {spec.name for spec in TABLES}


def test_every_index_of_a_model_is_created_with_the_same_keys_and_the_other_way_round(bound):
    wanted, given = set(), set()
    for model in list_models():
        for index in list_indexes(model).values():
            name = index.Meta.index_name
            schema = index._get_schema()
            hash_key, range_key = (vars(type(index))[name] for name in read_key_names(schema))
            table = model.Meta.table_name.removeprefix("prefix-")
            kind = TYPES[range_key.attr_type]
            wanted.add((table, name, hash_key.attr_name, range_key.attr_name, kind))
    for spec in TABLES:
        for index in spec.indexes:
            given.add((spec.name, index.name, index.hash_key, index.range_key, index.range_type.name))
    assert wanted == given
    assert given


def test_tables_that_expire_have_the_attribute_that_says_when(bound):
    for spec in TABLES:
        models = [model for model in list_models() if model.Meta.table_name == f"prefix-{spec.name}"]
        has = any("expires_at" in model.get_attributes() for model in models)
        assert has == spec.expires, spec.name


def test_all_models_share_one_client(bound):
    clients = {id(model._get_connection().connection.client) for model in connection.find_models()}
    assert clients == {id(bound.client)}


def test_binding_again_names_the_tables_anew(bound):
    for prefix in ("other", "prefix", "prefix"):
        connection.bind.cache_clear()
        connection.bind(prefix, "us-east-1").client.close()
        assert {model.Meta.table_name.partition("-")[0] for model in list_models()} == {prefix}
        named = {model.Meta.table_name.removeprefix(f"{prefix}-") for model in list_models()}
        assert named == {spec.name for spec in TABLES}


def test_calls_give_up_long_before_the_gateway_does(bound):
    for model in list_models():
        meta = model.Meta
        worst = (meta.connect_timeout_seconds + meta.read_timeout_seconds) * (meta.max_retry_attempts + 1)
        assert worst < 29


@pytest.mark.parametrize("value", [1.0, True, "1", None])
def test_a_number_that_is_no_int_is_refused(value):
    with pytest.raises(TypeError, match="integer"):
        IntegerAttribute().serialize(value)


def test_every_number_is_of_the_strict_kind_and_keeps_every_digit(bound):
    for model in list_models():
        for attribute in model.get_attributes().values():
            assert not isinstance(attribute, NumberAttribute), (model, attribute.attr_name)
    big = 2**70
    assert IntegerAttribute().deserialize(IntegerAttribute().serialize(big)) == big


def test_keys_sort_as_what_they_stand_for():
    assert keys.sequence(9) < keys.sequence(10) < keys.sequence(2**53)
    assert keys.leg_version(9) < keys.leg_version(10)
    assert keys.price_point(5) < keys.price_point(5, 9) < keys.price_point(5, 10) < keys.price_point(6)
    assert keys.created(999_999_999_999, "z") < keys.created(1_000_000_000_000, "a")


def test_keys_of_different_things_differ():
    built = {
        keys.account("x"),
        keys.api_key("x"),
        keys.enrolment("x"),
        keys.host("x"),
        keys.gpu("x"),
        keys.command("x"),
        keys.rental("x"),
        keys.hold("x"),
        keys.legs("x"),
        keys.gpu_type("x"),
        keys.price("x", "y", "spot"),
        keys.price("x", "y", "on_demand"),
        keys.price_history("x", "y", "spot"),
        keys.template("x"),
    }
    assert len(built) == 14
    assert issubclass(next(iter(connection.find_models())), Table)
