"""Definitions in the source of modules, each module read once."""

import ast
import functools
import inspect
import sys


@functools.cache
def read_lines(module: str) -> list[str]:
    return inspect.getsource(sys.modules[module]).splitlines()


@functools.cache
def _list_definitions(module: str) -> dict[str, ast.stmt]:
    tree = ast.parse("\n".join(read_lines(module)))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def find_function(module: str, name: str) -> ast.FunctionDef:
    found = _list_definitions(module)[name]
    assert isinstance(found, ast.FunctionDef)
    return found


def find_class(module: str, name: str) -> ast.ClassDef:
    found = _list_definitions(module)[name]
    assert isinstance(found, ast.ClassDef)
    return found
