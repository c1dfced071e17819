"""Names of a syntax tree, replaced by the order in which they are met.

- Variables, parameters, functions, classes and imported names count by scope, as the language resolves them:
  a name is local to the function that binds it, class bodies are not seen from the functions inside, and
  ``global`` and ``nonlocal`` lead out.
- Members (attributes that the code stores, and what class bodies define) are one namespace for the whole
  file, for nobody knows an object's type from its text.
- Names of arguments in calls are dropped: they repeat parameters. Dunder names and what comes from elsewhere
  stay as they are.

The tree must be of bounded depth: the walk recurses.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_KEYWORD = "·"


class _Scope:
    """The names bound in one function, class, comprehension or module."""

    def __init__(
        self, parent: _Scope | None, *, is_class: bool = False, is_comprehension: bool = False
    ) -> None:
        self.parent = parent
        self.is_class = is_class
        self.is_comprehension = is_comprehension
        self.bound: set[str] = set()
        self.outer: dict[str, str] = {}
        """Names declared ``global`` or ``nonlocal``, with which."""
        self.numbers: dict[str, int] = {}

    def root(self) -> _Scope:
        return self if self.parent is None else self.parent.root()

    def owner(self, name: str) -> _Scope | None:
        """The scope whose name this is; ``None`` for a built-in or unknown one."""
        if self.outer.get(name) == "global":
            root = self.root()
            return root if name in root.bound else None
        if name in self.bound and name not in self.outer:
            return self
        scope = self.parent
        while scope is not None:
            if name in scope.bound and not scope.is_class and name not in scope.outer:
                return scope
            scope = scope.parent
        return None


class Naming:
    """Says for every string of a tree what stands for it."""

    def __init__(self, tree: ast.Module) -> None:
        self._scopes: dict[ast.AST, _Scope] = {}
        self._members: set[str] = set()
        self._member_numbers: dict[str, int] = {}
        self._ids: dict[int, int] = {}
        self._walrus: set[ast.AST] = set()
        self._collect(tree, _Scope(None))

    def renamed(self, node: ast.AST, field: str, value: str | list[object]) -> object:
        """What stands for a field's string, or for a list of strings; anything else is returned as it is."""
        if isinstance(value, list):
            if isinstance(node, ast.Global | ast.Nonlocal):
                return []  # where each name lives shows at its uses
            return value
        if isinstance(node, ast.Attribute) and field == "attr":
            return self._member(value)
        if isinstance(node, ast.keyword) and field == "arg":
            return _KEYWORD
        if isinstance(node, ast.alias):
            return self._variable(node, value) if field == "asname" else value
        if isinstance(node, ast.ImportFrom):
            return value
        if field in ("id", "arg", "name", "rest"):
            return self._variable(node, value)
        return value

    # --- who binds what --------------------------------------------------------------------------------

    def _collect(self, node: ast.AST, scope: _Scope) -> None:
        self._scopes[node] = scope
        if isinstance(node, ast.NamedExpr):
            self._walrus.add(node.target)
        for name in _bindings(node):
            self._bind(node, name, scope)
        if isinstance(node, ast.Global | ast.Nonlocal):
            scope.outer |= dict.fromkeys(node.names, "global" if isinstance(node, ast.Global) else "nonlocal")
            if isinstance(node, ast.Global):
                scope.root().bound.update(node.names)
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            self._members.add(node.attr)
        inner = self._inner(node, scope)
        for field, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.arguments):
                    self._collect_arguments(child, inner, scope)
                elif isinstance(child, ast.comprehension):
                    self._collect_loop(child, inner, scope, is_first=child is node.generators[0])  # type: ignore[attr-defined]
                elif isinstance(child, ast.AST):
                    self._collect(child, inner if _is_inside(node, field) else scope)

    def _collect_arguments(self, node: ast.arguments, inner: _Scope, outer: _Scope) -> None:
        """Parameters are the function's own; defaults and annotations are read outside of it."""
        self._scopes[node] = outer
        every = [*node.posonlyargs, *node.args, *node.kwonlyargs, node.vararg, node.kwarg]
        for parameter in (found for found in every if found is not None):
            self._scopes[parameter] = inner
            inner.bound.add(parameter.arg)
            if parameter.annotation is not None:
                self._collect(parameter.annotation, outer)
        for default in (*node.defaults, *(found for found in node.kw_defaults if found is not None)):
            self._collect(default, outer)

    def _collect_loop(self, node: ast.comprehension, inner: _Scope, outer: _Scope, *, is_first: bool) -> None:
        """The first thing a comprehension goes through is read outside of it."""
        self._scopes[node] = inner
        self._collect(node.iter, outer if is_first else inner)
        for child in (node.target, *node.ifs):
            self._collect(child, inner)

    def _bind(self, node: ast.AST, name: str, scope: _Scope) -> None:
        target = scope
        if node in self._walrus:  # it binds outside of every comprehension it stands in
            while target.is_comprehension and target.parent is not None:
                target = target.parent
        target.bound.add(name)
        if target.is_class:
            self._members.add(name)

    def _inner(self, node: ast.AST, scope: _Scope) -> _Scope:
        if isinstance(node, ast.ClassDef):
            return _Scope(scope, is_class=True)
        if isinstance(node, _Comprehension):
            return _Scope(scope, is_comprehension=True)
        if isinstance(node, _Function):
            return _Scope(scope)
        return scope

    # --- what stands for it ----------------------------------------------------------------------------

    def _variable(self, node: ast.AST, name: str) -> str:
        owner = self._scopes[node].owner(name)
        if owner is None:
            return name
        if owner.is_class:
            return self._member(name)
        if _is_dunder(name):
            return name
        number = owner.numbers.setdefault(name, len(owner.numbers))
        return f"\0{self._ids.setdefault(id(owner), len(self._ids))}.{number}"

    def _member(self, name: str) -> str:
        if name not in self._members or _is_dunder(name):
            return name
        return f"\0.{self._member_numbers.setdefault(name, len(self._member_numbers))}"


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _is_inside(node: ast.AST, field: str) -> bool:
    """Whether a field of a node belongs to the scope that the node opens."""
    if isinstance(node, _Function | ast.ClassDef):
        return field == "body"
    return isinstance(node, _Comprehension)


def _bindings(node: ast.AST) -> Iterator[str]:
    """The names that a node binds in the scope it stands in."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.alias) and node.name != "*":
        yield node.asname or node.name.split(".")[0]
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest
