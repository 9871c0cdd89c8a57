"""Functions that compile themselves when they are called."""

from __future__ import annotations

import functools
import re
import sys
import types
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self, get_args

from graphjit.errors import RecompileWarning, TraceError
from graphjit.forks import Lock, unforked
from graphjit.garbage import uncollected
from graphjit.ir.builder import Builder
from graphjit.ir.dispatch import builder_of, lift
from graphjit.ir.graph import Graph
from graphjit.ir.symbol import Symbol
from graphjit.launch.vectorcall import native_class, python_class
from graphjit.tracing.origin import inlined, user_line
from graphjit.tracing.static import Statics
from graphjit.tracing.trace import active
from graphjit.tracing.trees import Arguments
from graphjit.transforms.derive import PLAIN, Derivation, Derived
from graphjit.transforms.explain import CompileReport, report
from graphjit.transforms.methods import Bound, Method, check_callable, found_by_name
from graphjit.transforms.native import NativeCalls, worn
from graphjit.transforms.quick import MISS
from graphjit.transforms.specialise import Specialisation, optimised
from graphjit.transforms.stats import Stats, changing_integer, reason_between
from graphjit.transforms.threads import checked_threads, compiled_for

PATIENCE = 8  # programs for one changing int before a warning
Stage = Literal["traced", "adjoint", "fused"]


class Compiled:
    """A function that is traced and compiled when it is called.

    There is one program for each combination of dtypes, shapes, structure and static values. A
    program is built again when something that the function read while it was traced has
    changed: a global or closure variable, a helper function, an attribute of ``self``. Captured
    arrays are inputs of the program, so what they hold may change; only where Python code could
    have read their contents while tracing (small arrays) does a change build the program again.

    Called inside another traced function, it becomes part of that function's graph.

    Attributes:
        stats: Counts, times, and why it was compiled again; prints as a table.
    """

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """An object that has room for a native way to call it, where there can be one."""
        return object.__new__(native_class(cls))

    def __init__(
        self,
        function: Callable[..., Any],
        derivation: Derivation = PLAIN,
        static_argnames: str | Sequence[str] = (),
        static_argnums: int | Sequence[int] = (),
        threads: int | None = None,
    ) -> None:
        check_callable(function)
        self.__name__ = self.__qualname__ = "function"
        functools.update_wrapper(self, function, updated=())
        self._function, self._derivation = function, derivation
        self._options = (derivation, static_argnames, static_argnums, checked_threads(threads))
        self._statics = Statics.of(function, static_argnames, static_argnums)
        self.stats = Stats()
        self._native = NativeCalls(self, self.stats)
        self._lock = Lock()
        self._programs: dict[Any, Specialisation] = {}
        self._last: Specialisation | None = None
        self._newest: Arguments | None = None
        self._integers: Counter[str] = Counter()
        self._bound: dict[int, tuple[Callable[[], Any], Compiled]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns, or what is derived from it."""
        last = self._last
        if last is not None and not kwargs and active() is None and not last.stale():
            result = last.quick(args)
            if result is not MISS:
                self._ran(last)
                return result
        if "out" in kwargs and not self._takes_out:
            return self._into(args, kwargs)
        return self._call(self._arguments(args, kwargs))

    @functools.cached_property
    def _takes_out(self) -> bool:
        """Whether ``out`` is an argument of the function's own."""
        from graphjit.transforms.out import takes_out  # only for those who use it

        return takes_out(self._function)

    def _into(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call whose result goes into arrays of the caller's."""
        out = kwargs.pop("out")
        if out is None:
            return self(*args, **kwargs)
        last = self._last
        if last is not None and not kwargs and active() is None and not last.stale():
            result = last.quick_into((*args, out))
            if result is not MISS:
                self.stats.slow_calls += 1
                return result
        arguments = self._arguments(args, kwargs)
        if active() is not None or any(isinstance(leaf, Symbol) for leaf in arguments.leaves):
            from graphjit.transforms.out import traced_out

            raise traced_out()
        self._last = program = self._program(arguments)
        result = program.run_into(program.conformed(arguments.leaves), out)
        self.stats.slow_calls += 1
        return result

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        return Arguments(self._function, args, kwargs, self._statics)

    def _call(self, arguments: Arguments) -> Any:
        symbols = [leaf for leaf in arguments.leaves if isinstance(leaf, Symbol)]
        outer = active() or (builder_of(*symbols) if symbols else None)
        if outer is not None:
            return self._inline(arguments, outer)
        program = self._program(arguments)
        self._last = program
        result = program.run(program.conformed(arguments.leaves))
        self._ran(program)
        return result

    def _ran(self, program: Specialisation) -> None:
        """Count a call; what is called again and again is called natively."""
        self.stats.slow_calls += 1
        program.runs += 1
        if not program.settled and worn(program) and not program.pending:
            self._settle(program)

    def _settle(self, program: Specialisation) -> None:
        """Call a program natively from now on, if it can be and no subclass has its own way."""
        with self._lock:
            if not program.settled and type(self).__call__ is Compiled.__call__:
                self._native.installed(self, program)
            program.settled = True

    def _inline(self, arguments: Arguments, outer: Builder) -> Any:
        """Become part of the graph that an outer trace is building."""
        derived = self._derive(arguments)
        leaves = [arguments.leaves[i] for i in arguments.traced]
        inputs = [lift(outer, value).id for value in (*leaves, *derived.traced.captured)]
        place = inlined(outer, derived.graph, inputs)
        outputs = zip(derived.graph.outputs, derived.weak, strict=True)
        return derived.result([Symbol(outer, place[i], weak=weak) for i, weak in outputs])

    def _derive(self, arguments: Arguments) -> Derived:
        return self._derivation.derive(arguments)

    # -- specialisations ----------------------------------------------------------------------

    def _program(self, arguments: Arguments) -> Specialisation:
        """The program for these arguments, built if need be: once, whatever the threads."""
        key = arguments.key
        known = self._programs.get(key)
        if known is not None and not known.stale():
            return known
        with self._lock:
            known = self._programs.get(key)
            reason = known.stale() if known is not None else ""
            if known is not None and reason:
                self._native.discard(known)
            if known is None or reason:
                known = self._programs[key] = self._build(arguments, reason)
            return known

    def _build(self, arguments: Arguments, reason: str) -> Specialisation:
        # The name is written into the generated text, so only letters and digits are let through.
        text_name = re.sub(r"\W+", "_", self.__name__, flags=re.ASCII)
        full_name = f"{self.__module__}.{self.__qualname__}"
        with uncollected(), unforked(), compiled_for(self._options[-1]):
            from graphjit.transforms.kept import Making, obtained  # loads what compiles

            made = obtained(
                Making(self._function, self._derivation, arguments, full_name, text_name)
            )
        if self._newest is not None:
            self._warn_of_integers(self._newest, arguments)
            reason = reason or reason_between(self._newest, arguments)
        self._newest = arguments
        self.stats.note(reason, made.cost.seconds, made.answer.mode)
        self.stats.cache = made.cache
        result = Specialisation(made.answer, made.program, statics=self._statics is not None)
        result.cost = made.cost
        return result

    def _warn_of_integers(self, old: Arguments, new: Arguments) -> None:
        name = changing_integer(old, new)
        self._integers[name] += 1
        if name and self._integers[name] == PATIENCE - 1:
            warnings.warn(
                f"{self.__name__} was compiled {PATIENCE} times for the changing int {name}: pass "
                f"it as a float or an array if it is a number to compute with",
                RecompileWarning,
                stacklevel=user_depth(),
            )

    # -- looking inside -----------------------------------------------------------------------

    def graph(self, *args: Any, stage: Stage = "fused", **kwargs: Any) -> Graph:
        """The graph for these arguments.

        Args:
            *args: As in a call.
            stage: ``traced`` is what the function wrote; ``adjoint`` has the derivatives
                appended, unsimplified; ``fused`` is what runs, after all passes.
            **kwargs: As in a call.

        Raises:
            TraceError: there is no such stage.
        """
        if stage not in get_args(Stage):
            raise TraceError(
                f"there is no stage {stage!r}",
                origin=user_line(),
                hint=f"The stages are {', '.join(get_args(Stage))}.",
            )
        arguments = self._arguments(args, kwargs)
        known = self._programs.get(arguments.key)
        fresh = known if known is not None and not known.stale() else None
        derived = fresh.derived if fresh else self._derive(arguments)
        if stage == "traced":
            return derived.traced.graph
        if stage == "adjoint":
            return derived.graph
        return fresh.program.graph if fresh else optimised(derived.graph)

    def source(self, *args: Any, **kwargs: Any) -> str:
        """The generated program for these arguments."""
        return self._program(self._arguments(args, kwargs)).program.source

    def explain_compile(self, *args: Any, **kwargs: Any) -> CompileReport:
        """What compiling for these arguments cost: milliseconds by phase and pass, and counts.

        Compiles if that has not been done yet. Prints as a table.

        Args:
            *args: As in a call.
            **kwargs: As in a call.
        """
        program = self._program(self._arguments(args, kwargs))
        return report(self.__name__, program)

    def __repr__(self) -> str:
        return f"<compiled {self.__qualname__}>"

    # -- as an object of Python ---------------------------------------------------------------

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else Bound(instance, self._for(instance))

    def _for(self, instance: Any) -> Compiled:
        """The same for one instance, as long as that lives."""
        key = id(instance)
        known = self._bound.get(key)
        if known is not None and known[0]() is instance:
            return known[1]
        bound = self._bound
        reference: Callable[[], Any]
        try:
            reference = weakref.ref(instance, lambda _: bound.pop(key, None))
        except TypeError:  # an instance with __slots__ is kept
            reference = lambda: instance  # noqa: E731
        compiled = type(self)(Method(self._function, reference), *self._options)
        self._bound[key] = (reference, compiled)
        return compiled

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        return type(self)(self._function, *self._options)

    __copy__ = functools.partialmethod(__deepcopy__, {})

    def __reduce__(self) -> Any:
        if found_by_name(self):
            return self.__qualname__
        return python_class(type(self)), (self._function, *self._options)


def user_depth() -> int:
    """The ``stacklevel`` for a warning that points at the user's line."""
    line, depth = user_line(), 1
    frame: types.FrameType | None = sys._getframe(1)  # noqa: SLF001 - as warnings itself does
    while frame is not None and line is not None and frame.f_code.co_filename != line.file:
        frame, depth = frame.f_back, depth + 1
    return depth
