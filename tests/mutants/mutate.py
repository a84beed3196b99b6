"""Mutants of a module: its source with one thing changed, made on its syntax tree."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

# An order is changed at its boundary and turned around.
_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
_OPERATORS = ast.BoolOp | ast.BinOp | ast.UnaryOp | ast.Compare | ast.IfExp | ast.Await | ast.Attribute | ast.Starred
# What these say is text, a type, or there for the type checker.
_LEFT_ALONE = ast.JoinedStr | ast.Assert | ast.arg | ast.Import | ast.ImportFrom
_LEFT_ALONE_FIELDS = {"decorator_list", "annotation", "returns", "slice"}
_SHOWN = 160


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed module. `before` and `after` are the changed lines; `where` is the function or class around them."""

    module: str
    line: int
    where: str
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.where or 'module'}\n    - {self.before}\n    + {self.after}"


def mutants_of(module: str, source: str) -> list[Mutant]:
    """Return every mutant of a module's source that compiles, each once, from top to bottom."""
    text = _Text(source)
    found: dict[str, Mutant] = {}
    for node, where, replacement in _edits(ast.parse(source), "", None):
        mutated = text.with_replaced(node, replacement)
        if mutated in found or not _compiles(mutated):
            continue
        end_line = node.end_lineno or node.lineno
        grown = mutated.count("\n") - source.count("\n")
        before = text.lines(node.lineno, end_line)
        after = _Text(mutated).lines(node.lineno, end_line + grown)
        found[mutated] = Mutant(module, node.lineno, where, before, after, mutated)
    return sorted(found.values(), key=lambda mutant: mutant.line)


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


class _Text:
    def __init__(self, source: str) -> None:
        # The columns of a syntax tree count bytes.
        self._lines = source.encode().splitlines(keepends=True)

    def with_replaced(self, node: ast.stmt | ast.expr, replacement: str) -> str:
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
        head = [*self._lines[: node.lineno - 1], self._lines[node.lineno - 1][: node.col_offset]]
        tail = [self._lines[end_line - 1][end_column:], *self._lines[end_line:]]
        return b"".join([*head, replacement.encode(), *tail]).decode()

    def lines(self, first: int, last: int) -> str:
        text = " ".join(b"".join(self._lines[first - 1 : last]).decode().split())
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _edits(node: ast.AST, where: str, parent: ast.AST | None) -> Iterator[tuple[ast.stmt | ast.expr, str, str]]:
    """Go through the tree; yield what to replace, the name of what it stands in, and with what."""
    if isinstance(node, _LEFT_ALONE) or (isinstance(node, ast.ClassDef) and _is_protocol(node)):
        return
    if isinstance(node, ast.ClassDef | _FUNCTIONS):
        where = f"{where}.{node.name}".lstrip(".")
    if isinstance(node, _FUNCTIONS):
        yield from ((first, where, "return") for first in _to_return_at(node))
    if isinstance(node, ast.stmt):
        in_function = bool(where) and not where.endswith("__init__")
        yield from ((node, where, replacement) for replacement in _of_statement(node, in_function=in_function))
    if isinstance(node, ast.expr):
        for expression in _of_expression(node, parent):
            needs_brackets = isinstance(parent, _OPERATORS) and isinstance(expression, _OPERATORS)
            text = ast.unparse(expression)
            yield node, where, f"({text})" if needs_brackets else text
    for condition in _conditions(node):
        yield condition, where, f"not ({ast.unparse(condition)})"
    for name, value in ast.iter_fields(node):
        if name not in _LEFT_ALONE_FIELDS:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _edits(child, where, node)


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)


def _to_return_at(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    """Return the first statement, if a return in its place is no mutant that there is anyway."""
    body = [each for each in function.body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))]
    alone = len(body) == 1 and isinstance(body[0], ast.Expr | ast.Assign)
    if function.name == "__init__" or not body or alone or isinstance(body[0], ast.Return):
        return []
    return body[:1]


def _of_statement(node: ast.stmt, *, in_function: bool) -> Iterator[str]:
    match node:
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise() | ast.Delete():
            yield "pass"
        case ast.Continue():
            yield "break"
        case ast.Break():
            yield "continue"
        case ast.AugAssign(op=ast.Add() | ast.Sub()):
            sign = "-" if isinstance(node.op, ast.Add) else "+"
            yield f"{ast.unparse(node.target)} {sign}= {ast.unparse(node.value)}"
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield "return None"
        # What a constructor leaves out is missed by whoever looks first.
        case ast.Assign() if in_function:
            for target in node.targets:
                if isinstance(target, ast.Attribute | ast.Subscript):
                    others = [ast.unparse(other) for other in node.targets if other is not target]
                    yield " = ".join([*others, ast.unparse(node.value)]) if others else "pass"


def _of_expression(node: ast.expr, parent: ast.AST | None) -> Iterator[ast.expr]:
    match node:
        case ast.Compare():
            for number, operator in enumerate(node.ops):
                others = _COMPARISONS[type(operator)]
                # Whether an operand of `and` and `or` matters at all is seen without it; its boundary is not.
                for other in others[:-1] if isinstance(parent, ast.BoolOp) else others:
                    operators = [*node.ops[:number], other(), *node.ops[number + 1 :]]
                    yield ast.Compare(node.left, operators, node.comparators)
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
            for number, value in enumerate(node.values):
                if not _is_none_check(value):
                    rest = [*node.values[:number], *node.values[number + 1 :]]
                    yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        case ast.UnaryOp(op=ast.Not()) if not isinstance(parent, ast.BoolOp):
            yield node.operand
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            yield ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right)
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float() as number):
            yield ast.Constant(number + 1)
        case ast.Name(id=name) if name in _NAMES:
            yield ast.Name(_NAMES[name])


def _is_none_check(node: ast.expr) -> bool:
    """Whether a comparison with None is most likely there for the type checker, and what depends on it would raise."""
    return isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Is | ast.IsNot) and _is_none(node.comparators)


def _is_none(comparators: list[ast.expr]) -> bool:
    return all(isinstance(each, ast.Constant) and each.value is None for each in comparators)


def _conditions(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the conditions that a node depends on, as far as they are not turned around as expressions."""
    conditions: list[ast.expr] = []
    match node:
        case ast.If() | ast.While() | ast.IfExp():
            conditions = [node.test]
        case ast.comprehension():
            conditions = node.ifs
    yield from (each for each in conditions if isinstance(each, ast.Name | ast.Attribute | ast.Call | ast.NamedExpr))
