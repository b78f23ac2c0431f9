"""Who may send to which queue, in the production template, against who does so in the code."""

import ast
from functools import cache

from infra.local.paths import ROOT
from tests.unit.infra.test_template import as_list, list_statements, select

API = "APIHandler"
#: What is sent elsewhere than by `ChargeQueue` and `dead_letters`: queue -> function -> where in the code.
OTHERS = {
    "payments": {API: "payments.service hands on an event of Stripe"},
    "watches": {"ScheduleWatches": "fleet.functions.send_ticks"},
    "commands-dlq": {"OnCommandRecorded": "Lambda puts aside what the stream could not deliver"},
    "webhooks-dlq": {"OnEventRecorded": "as above"},
    "audit-dlq": {"OnAuditRecorded": "as above"},
}


@cache
def list_definitions():
    """Return (path, name, names that its body uses, function of the template) of all that is defined."""
    found = []
    for path in sorted((ROOT / "chalicelib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                used = {name for each in ast.walk(node) if (name := read_name(each)) is not None}
                where = path.relative_to(ROOT).as_posix()
                found.append((where, node.name, used, find_function(where, node)))
    return found


def read_name(node):
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    # ``import x as y``
    return node.name if isinstance(node, ast.alias) else None


def find_function(where, node):
    if where.endswith("/api.py"):
        return API
    for decorator in node.decorator_list:
        for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
            if keyword.arg == "name":
                return "".join(part.capitalize() for part in keyword.value.value.split("_"))
    return None


def find_functions_that_reach(target):
    """Return the functions of the template from which names lead to ``target``, rather too many of them."""
    functions, seen, asked = set(), set(), [(target, None)]
    while asked:
        name, only_in = asked.pop()
        for where, caller, used, function in list_definitions():
            if name not in used or (where, caller) in seen or (only_in is not None and where != only_in):
                continue
            seen.add((where, caller))
            if function is None:
                # A private name is known in its module alone.
                asked.append((caller, where if caller.startswith("_") else None))
            else:
                functions.add(function)
    return functions


def find_dead_letters():
    """Return queue -> functions, of those that put aside what no retry can mend."""
    found = {}
    for path in (ROOT / "chalicelib").rglob("functions.py"):
        for node in ast.parse(path.read_text()).body:
            for each in ast.walk(node):
                if isinstance(each, ast.Call) and getattr(each.func, "attr", "") == "dead_letters":
                    name = find_function(path.relative_to(ROOT).as_posix(), node)
                    found.setdefault(f"{each.args[0].value}-dlq", set()).add(name)
    return found


def list_senders(template):
    """Return queue -> functions whose roles may send to it."""
    queues = {
        name: each["Properties"]["QueueName"].removeprefix("provocative-prod-").removesuffix(".fifo")
        for name, each in select(template, "AWS::SQS::Queue").items()
    }
    functions = {
        each["Properties"]["Role"]["Fn::GetAtt"][0]: name
        for name, each in select(template, "AWS::Serverless::Function").items()
    }
    senders = {}
    for role, statement in list_statements(template):
        if "sqs:SendMessage" in as_list(statement["Action"]) and role in functions:
            for each in as_list(statement["Resource"]):
                if "Fn::GetAtt" in each:
                    senders.setdefault(queues[each["Fn::GetAtt"][0]], set()).add(functions[role])
    return senders


def test_who_can_ask_for_a_charge_is_found_in_the_code():
    asking = find_functions_that_reach("request_charges")
    # Each by a way of its own: a forced release, a minute's charge of a host that has gone, late credits.
    assert {API, "OnCharge", "OnTelemetry", "DispatchCharges"} <= asking
    assert "IssueStatements" not in asking


def test_every_function_may_send_to_the_queues_that_it_sends_to_and_to_no_other(template):
    expected = {queue: set(functions) for queue, functions in OTHERS.items()}
    expected["charges"] = find_functions_that_reach("request_charges")
    expected |= find_dead_letters()
    assert list_senders(template) == expected
