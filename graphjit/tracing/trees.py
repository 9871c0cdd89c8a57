"""The arguments of a call as leaves: what is traced, what is static, and what each is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import optree

from graphjit.errors import DTypeError, GraphJITError, TraceError
from graphjit.forks import Lock
from graphjit.ir.aval import Aval, supported
from graphjit.ir.symbol import Symbol, leaked
from graphjit.records import dataclass
from graphjit.tracing.origin import user_line
from graphjit.tracing.static import Static, Statics, parameter_names

NAMESPACE = "graphjit"
ARRAY_HINT = "Convert it with np.asarray(...) before the call."

PLAIN_MODULES = ("builtins", "numpy")  # whose classes are no dataclasses and live for ever

_plain: set[type] = {Symbol}
_registered: set[type] = set()
_lock = Lock()


def flatten(tree: Any) -> tuple[list[Any], optree.PyTreeSpec]:
    """The leaves of nested dicts, lists, tuples, named tuples and dataclasses; None has none."""
    while True:
        leaves, spec = optree.tree_flatten(tree, namespace=NAMESPACE)
        if _plain.issuperset(map(type, leaves)):
            return leaves, spec
        fresh = {type(leaf) for leaf in leaves} - _plain
        classes = [cls for cls in fresh if hasattr(cls, "__dataclass_fields__")]
        _plain.update(cls for cls in fresh if cls.__module__ in PLAIN_MODULES)
        if not classes:
            return leaves, spec
        for cls in classes:
            _register_dataclass(cls)


def _register_dataclass(cls: type) -> None:
    """Teach optree the fields of a dataclass; rebuilding one does not run its ``__init__``."""
    names = tuple(field.name for field in dataclasses.fields(cls))

    def children(value: Any) -> tuple[tuple[Any, ...], None, tuple[str, ...]]:
        return tuple(getattr(value, name) for name in names), None, names

    def rebuilt(_: Any, values: Any) -> Any:
        result: Any = object.__new__(cls)
        for name, value in zip(names, values, strict=True):
            object.__setattr__(result, name, value)  # also where the class is frozen
        return result

    with _lock:
        if cls not in _registered:
            optree.register_pytree_node(
                cls,
                children,
                rebuilt,
                path_entry_type=optree.GetAttrEntry,
                namespace=NAMESPACE,
            )
            _registered.add(cls)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A traced leaf: ``weak`` where it is a Python float."""

    aval: Aval
    weak: bool

    def __str__(self) -> str:
        return "float" if self.weak else str(self.aval)


def leaf_key(leaf: Any) -> Any:
    """What of a leaf chooses the specialisation.

    A traced leaf gives its shape and dtype (or ``float``), a static one a key of its value.
    """
    kind = type(leaf)
    if kind is float:
        return float
    if kind is np.ndarray or isinstance(leaf, np.generic | np.memmap):
        dtype = leaf.dtype
        return (leaf.shape, dtype if dtype.isnative else dtype.newbyteorder("="))
    if isinstance(leaf, Symbol):
        return float if leaf.weak and not leaf.shape else (leaf.shape, leaf.dtype)
    return leaf if kind is Static else Static(leaf)


class Arguments:
    """The flattened arguments of one call.

    Attributes:
        leaves: All leaves, traced and static, positional arguments first.
        spec: The structure of ``(args, kwargs)``.
        keys: For each leaf what chooses the specialisation, see ``leaf_key``.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        static: Statics | None = None,
    ) -> None:
        if static is not None:
            args, kwargs = static.mark(args, kwargs)
        self.function, self.args, self.kwargs = function, args, kwargs
        self.leaves, self.spec = flatten((args, dict(kwargs)))
        self.keys = tuple(map(leaf_key, self.leaves))

    @property
    def key(self) -> Any:
        """Equal for two calls that one program can serve.

        Raises:
            TraceError: a static argument that has no hash.
        """
        key = (self.spec, self.keys)
        try:
            hash(key)
        except TypeError:
            raise self.unhashable() from None
        return key

    @cached_property
    def names(self) -> list[str]:
        """What each leaf is called, such as ``params[0]['w']``."""
        roots = [name for name, _ in self.positional]
        names = []
        for accessor in self.spec.accessors():
            place = accessor[1].entry
            root = roots[place] if accessor[0].entry == 0 else str(place)
            names.append(accessor[2:].codify(root))
        return names

    @cached_property
    def positional(self) -> list[tuple[str, Any]]:
        """The positional arguments with the names of their parameters."""
        names = parameter_names(self.function)
        names += [f"args[{i}]" for i in range(len(names), len(self.args))]
        return list(zip(names, self.args, strict=False))

    @cached_property
    def kinds(self) -> list[Leaf | Static]:
        """Each leaf as a traced one or a static one.

        Raises:
            DTypeError: an array that cannot be compiled, named as in ``params[0]['w']``.
        """
        return [self._kind(i, leaf) for i, leaf in enumerate(self.leaves)]

    @cached_property
    def traced(self) -> list[int]:
        """Which leaves are inputs of the graph, in their order."""
        return [i for i, key in enumerate(self.keys) if not isinstance(key, Static)]

    def _kind(self, index: int, leaf: Any) -> Leaf | Static:
        key = self.keys[index]
        if isinstance(leaf, Symbol) and leaf.builder.closed:
            raise leaked(leaf)
        if key is float:
            return Leaf(Aval((), np.dtype(float)), weak=True)
        if isinstance(key, Static):
            fault, hint = unfit(key.value)
            if fault:
                fact = f"argument {self.names[index]} {fault}"
                raise DTypeError(fact, origin=user_line(), hint=hint)
            return key
        try:
            return Leaf(Aval(leaf.shape, supported(leaf.dtype)), weak=False)
        except DTypeError as error:
            fact = f"argument {self.names[index]}: {error.fact}"
            raise DTypeError(fact, origin=user_line(), hint=error.hint) from None

    def unhashable(self) -> GraphJITError:
        """The error for a static argument without a hash, naming it."""
        for key, name in zip(self.keys, self.names, strict=True):
            if isinstance(key, Static):
                try:
                    hash(key)
                except TypeError:
                    return unhashable(name, key.value)
        return TraceError("the structure of the arguments has no hash", origin=user_line())

    def rebuilt(self, traced: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """``(args, kwargs)`` with other values in place of the traced leaves."""
        values = iter(traced)
        leaves = [k.value if isinstance(k, Static) else next(values) for k in self.kinds]
        return optree.tree_unflatten(self.spec, leaves)  # type: ignore[return-value]


def unhashable(name: str, value: Any) -> GraphJITError:
    """The error for a static value that has no hash."""
    fault, hint = unfit(value)
    kind = type(value).__name__
    fact = f"argument {name} {fault}" if fault else f"static argument {name} ({kind}) has no hash"
    hint = hint or "Pass something immutable, such as a tuple or a string."
    return (DTypeError if fault else TraceError)(fact, origin=user_line(), hint=hint)


def unfit(leaf: Any) -> tuple[str, str]:
    """Why something that is no plain array must not be taken as a static value, and the way out."""
    kind = f"{type(leaf).__module__}.{type(leaf).__name__}"
    if isinstance(leaf, np.ma.MaskedArray):
        return f"is a masked array ({kind})", "Pass x.filled(...) and the mask as two arrays."
    if isinstance(leaf, np.ndarray):
        return f"is of the array subclass {kind}, which has rules of its own", ARRAY_HINT
    if isinstance(leaf, complex):
        return "is complex", "Pass the real and the imaginary part as two arguments."
    if not isinstance(leaf, type) and hasattr(leaf, "__array__"):
        return f"is an array of another library ({kind})", ARRAY_HINT
    return "", ""
