"""Code of users: names such as `my_file.py:MyNet` and `package.module:MyNet`, with a digest of the file.

The canonical name is `my_file.py@1a2b3c4d5e6f:MyNet`. It contains a digest of the file's content and no
folder. So the run id depends on the content, and the same file has one name in any folder.

A process finds the content of a canonical name by its digest: in files that it has read before, and in the
current folder. Objects of this module take the content along to other processes when they are pickled.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from fedpoison.errors import FedPoisonError, ScenarioError, code_errors

FILES = ".py"
_NAME = re.compile(r"(?P<place>[^\s:@()]+)(?:@(?P<digest>[0-9a-f]{12}))?:(?P<attribute>[A-Za-z_][\w.]*)")
_CANONICAL = re.compile(r"([\w.-]+\.py)@([0-9a-f]{12}):")
_REFERENCE = re.compile(r"[\w.-]@[0-9a-f]{12}:")
_files: dict[str, CodeFile] = {}
"""Files that this process has read, by digest."""
_deferring: ContextVar[bool] = ContextVar("deferring", default=False)


@dataclass(frozen=True)
class CodeFile:
    """Content of one Python file of a user."""

    name: str
    """Name of the file, without its folder."""
    content: bytes
    path: Path | None = None
    """Place of the file on this machine. None: another machine has it."""

    @property
    def digest(self) -> str:
        """Digest of the content, 12 hexadecimal digits."""
        return digest_of(self.content)

    def __reduce__(self) -> tuple[Callable[..., CodeFile], tuple[str, bytes, Path | None]]:
        return remember, (self.name, self.content, self.path)


def digest_of(content: bytes) -> str:
    """Return the digest of a file's content, 12 hexadecimal digits.

    >>> digest_of(b"")
    'ddd9c40767f9'
    """
    return blake2b(content, digest_size=6).hexdigest()


def remember(name: str, content: bytes, path: Path | None = None) -> CodeFile:
    """Return the file, which canonical names in this process can refer to from now on."""
    file = CodeFile(name, content, path)
    return _files.setdefault(file.digest, file)


@dataclass(frozen=True)
class CodeName:
    """Name of an object in the code of a user."""

    place: str
    """Name of the file without its folder, or a dotted module."""
    digest: str
    attribute: str
    """Name of the object in the module, such as `MyNet`, or `MyNet.small`."""
    file: CodeFile | None = None
    """Content of the file. None for a module, and for a file that is not available."""

    def __str__(self) -> str:
        return f"{self.place}@{self.digest}:{self.attribute}"

    @property
    def available(self) -> bool:
        """Whether `load` can find the code. If not, a name from a stored run is still readable."""
        return self.file is not None or not self.place.endswith(FILES)

    def load(self) -> object:
        """Execute the code, once per process, and return the object.

        Raises:
            ScenarioError: the file is not available, its code raises, or it has no such object.
        """
        if not self.available:
            raise ScenarioError(
                f"{self}: the content of {self.place} with this digest is not available; expected this file "
                "in the current folder. Give its path, as in path/to/my_file.py:Name."
            )
        module = _import(self.place) if self.file is None else _execute(self.file)
        found: object = module
        for part in self.attribute.split("."):
            if not hasattr(found, part):
                defined = {name for name, value in vars(module).items() if _is_from(value, module)}
                names = sorted(name for name in defined or vars(module) if not name.startswith("_"))
                known = f"one of {', '.join(names)}" if names else "a class or a function that it defines"
                raise ScenarioError(f"{self.place}: got the name {self.attribute!r}, expected {known}.")
            found = getattr(found, part)
        if self.file is None and (now := _module_digest(module, found)) != self.digest:
            raise ScenarioError(
                f"{self}: the code of {self.place} has changed, its digest is now {now}; use the earlier "
                f"version, or give {self.place}:{self.attribute} for a new run."
            )
        return found


def is_code_name(name: str) -> bool:
    """Return whether a name refers to the code of a user.

    >>> is_code_name("nets/my_file.py:MyNet"), is_code_name("package.module:MyNet"), is_code_name("cnn")
    (True, True, False)
    """
    return _NAME.fullmatch(name) is not None


def read_code_name(name: str) -> CodeName:
    """Return the canonical name. A name without digest refers to the current content of its file.

    Args:
        name: `path/to/file.py:Name` or `package.module:Name`, or the canonical form of it.

    Raises:
        ScenarioError: the file or module does not exist, or its code raises, and the name has no digest. Or
            the name has no digest while code is deferred.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ScenarioError(f"got {name!r}, expected a name such as my_file.py:MyNet.")
    place, digest, attribute = match["place"], match["digest"], match["attribute"]
    if digest is None and is_deferring():
        raise ScenarioError(
            f"{name}: got no digest of the code, expected the name that a run writes, as in "
            "my_file.py@0123456789ab:MyNet."
        )
    if place.endswith(FILES):
        path = Path(place).expanduser()
        file = _find(path, digest) if digest else _read(path)
        return CodeName(path.name, digest or _digest(file), attribute, file)
    if digest is None:
        module = _import(place)
        found = CodeName(place, "", attribute)
        digest = _module_digest(module, getattr(module, attribute.split(".")[0], None))
        return CodeName(found.place, digest, attribute)
    return CodeName(place, digest, attribute)


def with_paths(text: str) -> str:
    """Return a spec for another process of this machine: canonical names of files become absolute paths.

    Raises:
        ScenarioError: a file is not available, or has changed since this process read it.
    """

    def replaced(match: re.Match[str]) -> str:
        file = _files.get(match[2])
        if file is None or file.path is None:
            raise ScenarioError(f"{match[0]} the content of {match[1]} with this digest is not available.")
        if not file.path.is_file() or digest_of(file.path.read_bytes()) != match[2]:
            raise ScenarioError(f"{file.path}: has changed since it was read; start again.")
        return f"{file.path}:"

    return _CANONICAL.sub(replaced, text)


@contextmanager
def defer_code() -> Iterator[None]:
    """Read names within the context without running the code of users. The code runs on first use."""
    token = _deferring.set(True)
    try:
        yield
    finally:
        _deferring.reset(token)


def is_deferring() -> bool:
    """Return whether names are read within `defer_code`."""
    return _deferring.get()


def files_in(text: str) -> list[CodeFile]:
    """Return the known files to which canonical names in `text` refer, without duplicates."""
    digests = dict.fromkeys(digest for _, digest in _CANONICAL.findall(text))
    return [_files[digest] for digest in digests if digest in _files]


def refers_to_code(text: str) -> bool:
    """Return whether a canonical spec names the code of a user.

    >>> refers_to_code("nnm | my_file.py@1a2b3c4d5e6f:MyRule(k=2)"), refers_to_code("flwr:FedAvg")
    (True, False)
    """
    return _REFERENCE.search(text) is not None


def code_name_of(defined: type | types.FunctionType) -> str | None:
    """Return the name of a class or function of a user, or None if other processes cannot find it by a name.

    They can find what a module defines at its top level, unless the module is a script or a notebook.
    """
    module = sys.modules.get(defined.__module__)
    if module is None or defined.__module__ == "__main__" or not hasattr(module, defined.__qualname__):
        return None
    file = next((file for file in _files.values() if _module_name(file) == module.__name__), None)
    place = module.__name__ if file is None else f"{file.name}@{file.digest}"
    return f"{place}:{defined.__qualname__}"


def _digest(file: CodeFile | None) -> str:
    return "" if file is None else file.digest


def _read(path: Path) -> CodeFile:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ScenarioError(
            f"{path}: cannot be read ({error.strerror}); give a Python file, as in path/to/my_file.py:Name."
        ) from None
    return remember(path.name, content, path.absolute())


def _find(path: Path, digest: str) -> CodeFile | None:
    """Return the file with this digest, or None if this process cannot find its content."""
    if digest not in _files and path.is_file() and digest_of(path.read_bytes()) == digest:
        _read(path)
    return _files.get(digest)


def _execute(file: CodeFile) -> types.ModuleType:
    """Return the module of a file. The modules next to the file can be imported by it."""
    name = _module_name(file)
    if name in sys.modules:
        return sys.modules[name]
    module = types.ModuleType(name)
    module.__file__ = str(file.path or file.name)
    folder = [] if file.path is None else [str(file.path.parent)]
    sys.modules[name] = module  # dataclasses find their module there
    sys.path[:0] = folder
    try:
        with code_errors(module.__file__, ScenarioError):
            exec(compile(file.content, module.__file__, "exec"), vars(module))  # noqa: S102
    except FedPoisonError:
        del sys.modules[name]
        raise
    finally:
        for added in folder:
            sys.path.remove(added)
    return module


def _is_from(value: object, module: types.ModuleType) -> bool:
    return getattr(value, "__module__", None) == module.__name__


def _module_name(file: CodeFile) -> str:
    return f"{Path(file.name).stem}_{file.digest}"


def _import(name: str) -> types.ModuleType:
    """Import a module of an installed package, or of the current folder."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # as `python -m` does; the processes of Ray and Flower get this path
    with code_errors(name, ScenarioError):
        return importlib.import_module(name)


def _module_digest(module: types.ModuleType, found: object) -> str:
    """Return the digest of the file that defines the object. Without a file, that of the module's name."""
    defined = found if isinstance(found, type) or inspect.isfunction(found) else module
    try:
        path = inspect.getsourcefile(defined)
    except TypeError:
        path = None
    return digest_of(module.__name__.encode() if path is None else Path(path).read_bytes())
