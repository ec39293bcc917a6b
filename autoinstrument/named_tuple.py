"""Named tuples whose classes take a fifth of the time to make: a training process has 70 of them, and uses a few.

`typing.NamedTuple` compiles the constructor of each class, and the annotation of each of its fields. Here a constructor
is compiled when it is first called, and an annotation when somebody asks for it (`typing.get_type_hints`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    from collections import _tuplegetter  # private; CPython 3.8 to 3.14 have it
    from types import CodeType, FunctionType

    class _Kind(type):
        """Makes the classes. A class derived from one of them is an ordinary one, as with `typing.NamedTuple`."""

        def __new__(cls, name, bases, body):
            if bases[0] is not tuple and bases[0].__base__ is tuple:
                fields = tuple(body.get("__annotations__", ()))
                body |= {
                    "__slots__": (), "_fields": fields, "__match_args__": fields,
                    "_field_defaults": {field: body[field] for field in fields if field in body},
                }  # fmt: skip
                body |= {field: _tuplegetter(index, None) for index, field in enumerate(fields)}
            return super().__new__(cls, name, bases, body)

    class NamedTuple(tuple, metaclass=_Kind):
        """The base of the classes, in modules with `from __future__ import annotations`."""

        __slots__ = ()

        def __new__(cls, /, *values, **named):
            cls.__new__ = _constructor(cls._fields, tuple(cls._field_defaults.values()))
            return cls.__new__(cls, *values, **named)

        def _replace(self, /, **changed):
            return type(self)(**{**self._asdict(), **changed})

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __getnewargs__(self):
            return tuple(self)

        def __repr__(self):
            fields = (f"{name}={value!r}" for name, value in self._asdict().items())
            return f"{type(self).__name__}({', '.join(fields)})"

    def _constructor(fields, defaults):
        """Return what `collections.namedtuple` evaluates to make a constructor, without evaluating any text.

        CPython (3.8 to 3.14) notes that Ctrl-C has ended the script, and forgets it when a text is evaluated: a process
        that made its first tuple of a class in an at-exit handler would end with code 1 instead of SIGINT.
        """
        names = "".join(f", {field}" for field in fields)
        text = f"lambda _cls{names}: _new(_cls, ({names[2:]}{',' if fields else ''}))"
        # In angle brackets: coverage takes any other name for a file of the user's, and warns that it cannot read it.
        compiled = compile(text, f"<{__name__}>", "eval")
        (code,) = (each for each in compiled.co_consts if isinstance(each, CodeType))
        return FunctionType(code, {"_new": tuple.__new__}, "__new__", defaults)
