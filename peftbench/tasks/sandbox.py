"""The sandbox that templates run in: they see data and nothing behind it, and each rendering has a budget.

Everything runs in this process: a count of steps, unlike a clock or a second process, ends at the same place on every
machine. A parsed template is rewritten before it is compiled, so that what loops is counted, what makes a text or a
list is weighed, and what could be large is refused before it begins. To render 10,000 rows
with shipped templates takes 4 % longer than without a budget: 0.386 s for 0.372 s over four tasks.
"""

import datetime
import decimal
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.filters import FILTERS
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError
from jinja2.utils import Cycler

from peftbench.spec import limits
from peftbench.tasks.growth import BudgetError, refuse_format, refuse_power, refuse_work, size, times
from peftbench.tasks.rewriting import COUNTED, JOINED, WEIGHED, Guard

PLAIN = (str, int, float, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)
"""What a prompt shows as it is; lists of it as well."""
TEXT_METHODS = """
capitalize casefold center count endswith find format index isalnum isalpha isascii isdecimal isdigit isidentifier
islower isnumeric isspace istitle isupper join ljust lower lstrip partition removeprefix removesuffix replace rfind
rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title upper zfill
"""
METHODS: dict[type, frozenset[str]] = {
    str: frozenset(TEXT_METHODS.split()),
    Mapping: frozenset(("get", "items", "keys", "values")),
    list: frozenset(("count", "index")),
    tuple: frozenset(("count", "index")),
    float: frozenset(("is_integer",)),
    datetime.date: frozenset(("isoformat", "isoweekday", "strftime", "weekday")),
    LoopContext: frozenset(("changed", "cycle")),
    Cycler: frozenset(("next", "reset")),
}
"""All that templates may call: whatever else a type has is not known to be quick and small."""
OF_SEVERAL = """
attr batch count d default dictsort first groupby items join last length list map max min reject rejectattr reverse
select selectattr slice sort sum tojson unique
"""
"""Filters that take lists and tables; the others show a text or a number."""
NOT_FILTERS = ("pprint", "random", "urlize", "xmlattr")
"""Of Jinja's: what shows Python's objects, is drawn by chance, or searches with patterns."""


class MissingValueError(Exception):
    """A value is there, but null, NaN or infinite."""


class NotTextError(Exception):
    """A value that is no text, and would be shown as Python shows it."""


class Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with a budget: one rendering at a time, in one thread.

    Args:
        undefined: What stands for a name that is not there.
        options: Further options of Jinja's environment.

    Attributes:
        unit: What the budget is for.
        left: Steps that the rendering has left.
        cost: Steps of one loop round or call; it may write the whole of the template.
    """

    intercepted_binops = frozenset(("+", "*", "%", "**"))
    unit = "row"

    def __init__(self, *, undefined: type[Undefined] = jinja2.StrictUndefined, **options: Any) -> None:
        super().__init__(undefined=undefined, finalize=self.shown, **options)
        self.left, self.cost = limits.MAX_STEPS, 1
        # Rendering is pure: nothing random.
        del self.globals["lipsum"]
        self.filters = {name: self._bounded(name, do) for name, do in FILTERS.items() if name not in NOT_FILTERS}
        self.filters |= {COUNTED: self.counted, JOINED: self.joined, WEIGHED: self.weighed}

    def start(self, num_chars: int, num_units: int = 1) -> None:
        """Begin a rendering of a template of so many characters with the whole budget, for one row or several units."""
        self.left, self.cost = limits.MAX_STEPS * num_units, 1 + num_chars // limits.CHARS_PER_STEP

    def spend(self, steps: int) -> None:
        """Take steps from the budget.

        Raises:
            BudgetError: There are not so many left.
        """
        self.left -= steps
        if self.left < 0:
            raise BudgetError(f"it takes more than {limits.MAX_STEPS:,} steps for a {self.unit}")

    def shown(self, value: Any) -> Any:
        """Let through what a prompt may show: texts, numbers and dates, and lists of them.

        Raises:
            MissingValueError: It is null, NaN or infinite: Jinja would print the word, and a model would read it.
            NotTextError: It is anything else.
        """
        if value.__class__ is str:
            self.left -= 1 + len(value) // limits.CHARS_PER_STEP
            if self.left < 0:
                self.spend(0)
        elif value is None or (isinstance(value, float) and not math.isfinite(value)):
            raise MissingValueError("null" if value is None else str(value))
        else:
            self._show(value)
        return value

    def _show(self, value: Any) -> None:
        if isinstance(value, list | tuple):
            self.spend(1)
            for item in value:
                self._show(item)
        elif isinstance(value, PLAIN):
            self.weighed(value)
        elif not isinstance(value, Undefined | None):  # which says what is missing, when it is printed
            raise NotTextError(_kind(value))

    def weighed(self, value: Any) -> Any:
        """Spend as many steps as a value is large.

        Raises:
            NotTextError: A tool (a function, a macro, a loop) is in it, which text could only show by its address.
        """
        if isinstance(value, str):
            self.spend(1 + len(value) // limits.CHARS_PER_STEP)
        elif isinstance(value, Mapping):
            self.weighed([*value.keys(), *value.values()])
        elif isinstance(value, list | tuple | set | frozenset):
            self.spend(1)
            for item in value:
                self.weighed(item)
        elif isinstance(value, range):
            self.spend(1 + len(value))
        elif isinstance(value, (*PLAIN, Undefined, type(None))):
            self.spend(1 + (value.bit_length() // limits.CHARS_PER_STEP if isinstance(value, int) else 0))
        else:
            raise NotTextError(_kind(value))
        return value

    def counted(self, iterable: Iterable[Any]) -> Iterator[Any]:
        """Count the rounds of a loop."""
        for item in iterable:
            self.spend(self.cost)
            yield item

    def joined(self, values: list[Any]) -> str:
        """Join with `~`: texts, without turning other objects into some."""
        return self.weighed("".join(str(self.shown(value)) for value in values))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Apply `+`, `*`, `%` or `**`, unless the outcome is large."""
        if operator == "**":
            refuse_power(left, right)
        if operator == "*":
            refuse_work(size(left) * times(right), size(right) * times(left))
        if operator == "%" and isinstance(left, str):
            self._show(list(right.values()) if isinstance(right, Mapping) and "%(" in left else right)
            refuse_format(left, right)
        return self._weighed_data(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a function, a macro, or a method that was asked for by `method`."""
        __self.spend(__self.cost)
        if isinstance(__obj, LoopContext):  # of a recursive loop
            args = tuple(map(__self.counted, args))
            kwargs |= {"iterable": __self.counted(kwargs["iterable"])} if "iterable" in kwargs else {}
        return __self._weighed_data(super().call(__context, __obj, *args, **kwargs))

    def _weighed_data(self, value: Any) -> Any:
        return self.weighed(value) if isinstance(value, str | int | list | tuple | Mapping) else value

    def method(self, owner: Any, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of a value, if it is one of `METHODS`, or a function that a namespace or a table holds.

        Raises:
            SecurityError: It is another method.
        """
        function = super().getattr(owner, name)
        if isinstance(function, Undefined):
            return function()
        if not any(isinstance(owner, kind) and name in names for kind, names in METHODS.items()):
            raise SecurityError(f"the method '{name}' of {_kind(owner)}")
        if isinstance(owner, str):
            self._refuse_growth(name, owner, [*args, *kwargs.values()])
        elif name == "strftime":
            refuse_format("".join(args), ())
        result = function(*args, **kwargs)
        return list(result) if isinstance(owner, Mapping) and name != "get" else result

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Read an attribute or a field, which must be data."""
        return self._data(super().getattr(obj, attribute), obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Read a field or an item, which must be data."""
        return self._data(super().getitem(obj, argument), obj, argument)

    def _data(self, value: Any, owner: Any, name: Any) -> Any:
        if not callable(value) or isinstance(value, Undefined):
            return value
        if isinstance(owner, Mapping) and name in owner:  # a column called "items" or "values"
            return owner[name]
        raise NotTextError(f"the method '{name}' of {_kind(owner)}, which it does not call")

    def _bounded(self, name: str, do: Callable[..., Any]) -> Callable[..., Any]:
        """Make a filter weigh what it takes and what it gives, and give lists where it gave what can be read once."""
        start, shows = int(hasattr(do, "jinja_pass_arg")), name not in OF_SEVERAL.split()

        @functools.wraps(do)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            value, others = args[start], [*args[start + 1 :], *kwargs.values()]
            if shows:
                self._show(value)
            elif name == "join":
                value = self._weighed_list(value)
                self._show(value)
            self.weighed(value)
            self._refuse_growth(name, value, others)
            result = do(*args[:start], value, *args[start + 1 :], **kwargs)
            return self.weighed(list(self.counted(result)) if isinstance(result, Iterator) else result)

        return bounded

    def _weighed_list(self, value: Any) -> Any:
        return list(value) if isinstance(value, Mapping | range) else value

    def _refuse_growth(self, name: str, value: Any, others: list[Any]) -> None:
        """Refuse what a filter or a method could make too large, by the sizes of what it takes."""
        numbers = [number for number in others if isinstance(number, int)]
        if name not in ("d", "default", "int", "float") or others[1:]:
            for number in numbers:
                if abs(number) > limits.MAX_ARGUMENT:
                    raise BudgetError(f"'{name}' is given {number:,}, and {limits.MAX_ARGUMENT:,} is the most")
        if name == "tojson":  # it may indent each item, once for each level
            refuse_work((1 + size(value)) * (1 + sum(numbers)) * limits.MAX_ROW_DEPTH)
        self.weighed(others)
        if name == "format":
            self._show(others)
            refuse_format(value, others)
        refuse_work((1 + size(value)) * (1 + sum(map(size, others))))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = Guard().visit(super()._parse(source, name, filename))
        tree.set_environment(self)
        return tree


def _kind(value: Any) -> str:
    return f"a value of type '{type(value).__name__}'"


ENVIRONMENT = Environment()
OPENING = frozenset(("for", "if", "macro", "call", "filter", "with", "block", "autoescape"))


def compiled(source: str, environment: Environment = ENVIRONMENT) -> tuple[jinja2.Template, frozenset[str]]:
    """Compile a template part; return it, and the names that it takes from the row.

    Raises:
        jinja2.TemplateSyntaxError: It is no Jinja.
        BudgetError: It is longer, or nested deeper, than a template may be.
    """
    tree = _parsed(source, environment)
    names = meta.find_undeclared_variables(tree) - set(environment.globals)
    try:
        return environment.from_string(tree), frozenset(names)
    except (RecursionError, MemoryError, SyntaxError):  # of Python's compiler
        raise BudgetError("it is nested too deeply") from None


def variables(source: str) -> set[str]:
    """Return the names that a template part takes from the row; raises as `compiled`."""
    return meta.find_undeclared_variables(_parsed(source, ENVIRONMENT)) - set(ENVIRONMENT.globals)


def _parsed(source: str, environment: Environment) -> nodes.Template:
    if len(source) > limits.MAX_TEMPLATE_CHARS:
        raise BudgetError(f"it has {len(source):,} characters, and {limits.MAX_TEMPLATE_CHARS:,} is the most")
    environment.start(len(source))
    _refuse_depth(source, environment)
    try:
        return environment.parse(source)
    except RecursionError:
        raise BudgetError("it is nested too deeply") from None
    except ValueError:  # Python's own limit on digits
        raise BudgetError(f"a whole number beyond {limits.MAX_NUMBER}") from None


def _refuse_depth(source: str, environment: Environment) -> None:
    """Refuse brackets and blocks that are nested deeper than anybody writes them, before they are parsed."""
    brackets = blocks = 0
    previous = ""
    # Without the space Jinja drops a comment that begins at the end.
    for _, kind, text in environment.lex(f"{source} "):
        if kind == "operator":
            brackets += (text in "([{") - (text in ")]}")
        elif kind == "name" and previous == "block_begin":
            blocks += (text in OPENING) - (text.removeprefix("end") in OPENING and text.startswith("end"))
        if brackets > limits.MAX_BRACKETS or blocks > limits.MAX_BLOCKS:
            what = "brackets" if brackets > limits.MAX_BRACKETS else "blocks"
            raise BudgetError(f"its {what} are nested deeper than {max(brackets, blocks) - 1}")
        previous = previous if kind == "whitespace" else kind
