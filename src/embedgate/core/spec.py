"""How a candidate is written: `WHERE`, or `WHERE::key=value,key=value`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from embedgate.core.combination import SERVED, Combination
from embedgate.core.errors import GateError

FLAG = "--gate-candidate"
# The last `::` before a key; a URL may hold one of its own, as in http://[::1]:8080.
_FORM = re.compile(r"(?P<where>.+?)(?:::(?P<keys>[a-z_]+(?:=.*)?|,.*))?", re.DOTALL)
_WORD = re.compile(r"[\w.]+")
# Weight precisions that a candidate may promise: the words of embedgate's own combinations, and those of formats that
# store weights in fewer bits.
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
PRECISION = re.compile(r"(mx|nv)?fp(4|8|16|32)(wo)?|bf16|amp|nf4|u?int[1-8](wo|static)?")
# Keys that every kind of candidate takes.
NAME, PROMISE, DEVICE = "name", "promise", "device"
COMMON = (NAME, PROMISE, DEVICE)
DEVICES = ("cpu", "cuda")
# Keys whose value is a file, of any kind of candidate.
FILE_KEYS = ("texts", "ranges", "of")
# What stands before a folder that is a store of Qdrant's, and after it before the collection's name.
QDRANT, COLLECTION = "qdrant:", "#"


@dataclass(frozen=True)
class Spec:
    """A candidate as it was written.

    Attributes:
        text: The whole.
        where: A path, or a URL.
        given: Values by key.
        flag: The option that it was given by, for messages.
    """

    text: str
    where: str
    given: Mapping[str, str]
    flag: str = FLAG

    @classmethod
    def parse(cls, text: str, flag: str = FLAG) -> Spec:
        """Reads `WHERE[::key=value,...]`.

        Raises:
            GateError: If it has another form.
        """
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise GateError(f"{flag} is empty", "give it a file, a folder, or a server's URL")
        given: dict[str, str] = {}
        for part in (found["keys"] or "").split(",") if found["keys"] else ():
            key, equals, value = part.partition("=")
            if not equals or not value or key in given:
                wrong = f"gives {key} twice" if key in given else f"has {part!r}, which is no key=value"
                raise GateError(f"{flag} {text} {wrong}", "write WHERE::key=value,key=value")
            given[key] = value
        return cls(text, found["where"], given, flag)

    def moved(self, path: Callable[[str], str], file: Callable[[str], str]) -> str:
        """It as text, with its paths changed.

        Args:
            path: Changes the path of the candidate itself; not called for a URL.
            file: Changes the file that a key names.
        """
        before, place, after = "", self.where, ""
        if self.where.startswith(QDRANT):
            before, (place, *after_place) = QDRANT, self.where.removeprefix(QDRANT).rsplit(COLLECTION, 1)
            after = "".join(COLLECTION + name for name in after_place)
        where = before + (place if "://" in place else path(place)) + after
        given = {key: file(value) if key in FILE_KEYS else value for key, value in self.given.items()}
        return where + "::" * bool(given) + ",".join(f"{key}={value}" for key, value in given.items())

    def refuse_unknown(self, keys: Iterable[str]) -> None:
        """Refuses keys that mean nothing to the kind of candidate.

        Raises:
            GateError: If there is one.
        """
        known = (*COMMON, *keys)
        if unknown := [key for key in self.given if key not in known]:
            raise GateError(f"{self.flag} {self.where} has no key {unknown[0]!r}", f"its keys are {', '.join(known)}")

    def one_of(self, key: str, values: Collection[str], default: str) -> str:
        """The value of a key that has a few.

        Raises:
            GateError: If it is another.
        """
        found = self.given.get(key, default)
        if found not in values:
            raise GateError(f"{self.flag} {self.where} has {key}={found}", f"{key} is one of {', '.join(values)}")
        return found

    def _refuse_unknown_promise(self, default: str) -> None:
        """Refuses a promise that no tolerance and no evidence knows: it would promise nothing.

        Raises:
            GateError: If it is one.
        """
        promise = self.given.get(PROMISE)
        # What is served elsewhere need not promise anything; a file shows what it is.
        if promise is None or promise == SERVED == default or PRECISION.fullmatch(promise):
            return
        step = f"write a weight precision: {', '.join(PRECISIONS)}, ..."
        if promise == SERVED:
            step = f"leave it out, or {step}"
        raise GateError(f"{self.flag} {self.where} has promise={promise}, which promises nothing", step)

    def combination(self, name: str, weight_precision: str, device: str = "cpu") -> Combination:
        """What it is called: by its keys, where they say so.

        Args:
            name: Its name where no key gives one; what no id can hold becomes an underscore.
            weight_precision: Its weight precision where no key promises one.
            device: Its device where no key names one.

        Raises:
            GateError: If a key gives a name that no id can hold.
        """
        own = re.sub(r"[^\w.]+", "_", name).strip("_.")
        words = {NAME: self.given.get(NAME, own), PROMISE: self.given.get(PROMISE, weight_precision)}
        for key, word in words.items():
            if not _WORD.fullmatch(word):
                raise GateError(
                    f"{self.flag} {self.where} has {key}={word}", "use letters, digits, points and underscores"
                )
        self._refuse_unknown_promise(weight_precision)
        return Combination(words[NAME], words[PROMISE], self.one_of(DEVICE, DEVICES, device))
