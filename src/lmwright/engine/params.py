"""What a request may ask of the sampler; plain data, so that a process without torch checks it."""

import json
import math
from collections.abc import Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Literal, get_args

from lmwright.core.errors import LmwrightError

ConstraintKind = Literal["json_object", "json_schema", "regex", "grammar"]


@dataclass(frozen=True)
class Constraint:
    """A language that the whole answer must belong to; see `constraints`.

    Args:
        kind: json_object: any JSON object; json_schema: a value that this schema accepts; regex: a
            text that this expression (Rust's `regex` syntax, without anchors) matches as a whole;
            grammar: a text of this context-free grammar (Lark's syntax, as llguidance reads it).
        text: the schema (as JSON), the expression or the grammar; "" for "json_object".

    Raises:
        LmwrightError: if there is no such kind, or the text cannot be one of that kind.
    """

    kind: ConstraintKind
    text: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(ConstraintKind):
            kinds = ", ".join(get_args(ConstraintKind))
            raise LmwrightError(f"constraint kind {self.kind!r}: it must be one of {kinds}")
        if not isinstance(self.text, str):
            raise LmwrightError(f"constraint text {self.text!r}: it must be a string")
        if (self.kind == "json_object") == bool(self.text):
            expected = "takes no text" if self.text else "needs a text"
            raise LmwrightError(f"a constraint of kind {self.kind} {expected}")
        if self.kind == "json_schema":
            _check_schema(self.text)


def _check_schema(text: str) -> None:
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise LmwrightError(f"the JSON schema is not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise LmwrightError("the JSON schema must be a JSON object")


@dataclass(frozen=True)
class SamplingParams:
    """How one request wants its tokens chosen, and when it wants to stop.

    The scores pass through these in order: logit bias; repetition, frequency and presence
    penalties; end tokens banned before `min_tokens`; the constraint; temperature; top-k; top-p;
    min-p.

    Args:
        max_tokens: most tokens to generate; fewer where the model's context ends first. 0 only
            scores the prompt, with `prompt_logprobs`.
        temperature: 0 takes the likeliest token (the lowest id of equals); t > 0 samples from
            softmax(logits / t).
        top_k: sample among the k likeliest tokens; 0 means all of them.
        top_p: then among the smallest set of likeliest tokens whose probabilities, renormalised
            after top-k, reach p (Holtzman et al. 2020, section 3.1).
        stop: strings that end the answer; the text stops before the first of them.
        seed: the same seed gives the same tokens, alone or in a batch; None takes a fresh one.
        logprobs: report the log-probability of each chosen token.
        ignore_eos: do not stop at the model's end tokens (benchmarks, fixed-length rollouts).
        min_p: then among the tokens at least this fraction as likely as the likeliest (Nguyen et
            al. 2024, section 4).
        repetition_penalty: positive scores of tokens in the prompt or the answer are divided by
            it, negative ones multiplied (Keskar et al. 2019, section 4.1); 1 is off.
        presence_penalty: taken once from the scores of tokens that the answer has, -2 to 2.
        frequency_penalty: taken as often as the answer has the token, -2 to 2.
        logit_bias: added to the scores of these token ids, -100 to 100 each.
        top_logprobs: report so many of the likeliest tokens beside each; needs `logprobs` or
            `prompt_logprobs`.
        prompt_logprobs: report the log-probability of the prompt's tokens from the second on.
        min_tokens: do not end with an end token before so many tokens, unless the constraint
            leaves nothing else.
        stop_token_ids: further tokens that end the answer.
        priority: whoever has the lower number goes first.
        adapter: name of the adapter to generate with; None: the model alone.
        constraint: what the answer must be.

    Raises:
        LmwrightError: if a value is out of its range.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    stop: Items[str] = ()
    seed: int | None = None
    logprobs: bool = False
    ignore_eos: bool = False
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)
    top_logprobs: int = 0
    prompt_logprobs: bool = False
    min_tokens: int = 0
    stop_token_ids: Items[int] = ()
    priority: int = 0
    adapter: str | None = None
    constraint: Constraint | None = None

    def __post_init__(self) -> None:
        # One string is a sequence of strings too: "###" must not mean three stops of "#".
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        object.__setattr__(self, "stop", stop)
        object.__setattr__(self, "stop_token_ids", tuple(self.stop_token_ids))
        object.__setattr__(self, "logit_bias", dict(self.logit_bias))
        for name, (valid, expected) in {**self._ranges(), **self._types()}.items():
            if not valid:
                raise LmwrightError(f"{name}={getattr(self, name)!r}: it must be {expected}")
        self._check_together()

    def _ranges(self) -> dict[str, tuple[bool, str]]:
        least = 0 if self.prompt_logprobs else 1
        return {
            "max_tokens": (_integer(self.max_tokens, least), f"at least {least}"),
            "temperature": (_number(self.temperature, 0.0), "0 or a finite number above"),
            "top_k": (_integer(self.top_k, 0), "0 (off) or more"),
            "top_p": (_number(self.top_p, 0.0, 1.0) and self.top_p > 0, "above 0 and at most 1"),
            "min_p": (_number(self.min_p, 0.0, 1.0), "from 0 (off) to 1"),
            "repetition_penalty": (
                _number(self.repetition_penalty, 0.0) and self.repetition_penalty > 0,
                "a finite number above 0; 1 is off",
            ),
            "presence_penalty": (_number(self.presence_penalty, -2.0, 2.0), "from -2 to 2"),
            "frequency_penalty": (_number(self.frequency_penalty, -2.0, 2.0), "from -2 to 2"),
            "top_logprobs": (_integer(self.top_logprobs, 0), "0 (off) or more"),
            "min_tokens": (_integer(self.min_tokens, 0), "0 (off) or more"),
            "priority": (_integer(self.priority, None), "an integer"),
        }

    def _types(self) -> dict[str, tuple[bool, str]]:
        biases = self.logit_bias.items()
        return {
            "stop": (
                all(isinstance(s, str) and s for s in self.stop),
                "strings that are not empty",
            ),
            "stop_token_ids": (all(_integer(t, 0) for t in self.stop_token_ids), "token ids"),
            "seed": (self.seed is None or _integer(self.seed, None), "an integer or None"),
            "logit_bias": (
                all(_integer(t, 0) and _number(b, -100.0, 100.0) for t, b in biases),
                "token ids with numbers from -100 to 100",
            ),
            "adapter": (
                self.adapter is None or (isinstance(self.adapter, str) and self.adapter != ""),
                "a name or None",
            ),
            "constraint": (
                self.constraint is None or isinstance(self.constraint, Constraint),
                "a Constraint or None",
            ),
        }

    def _check_together(self) -> None:
        if self.min_tokens > self.max_tokens:
            raise LmwrightError(
                f"min_tokens={self.min_tokens}: it must be at most max_tokens={self.max_tokens}"
            )
        if self.top_logprobs and not (self.logprobs or self.prompt_logprobs):
            raise LmwrightError(
                f"top_logprobs={self.top_logprobs} without log-probabilities",
                hint="set logprobs=True as well",
            )
        if self.constraint is not None and self.ignore_eos:
            raise LmwrightError(
                "ignore_eos with a constraint: when the grammar is complete, nothing may follow",
                hint="leave one of the two out",
            )

    @property
    def greedy(self) -> bool:
        """True if the likeliest token is taken and nothing random happens."""
        return self.temperature == 0.0

    @property
    def changes_scores(self) -> bool:
        """True if a bias, a penalty or a ban may change the model's scores."""
        return bool(
            self.logit_bias
            or self.repetition_penalty != 1.0
            or self.presence_penalty
            or self.frequency_penalty
            or self.min_tokens
        )

    def check_vocabulary(self, vocab_size: int) -> None:
        """Raise LmwrightError if a token id is named that a model of this size does not have."""
        for name in ("logit_bias", "stop_token_ids"):
            largest = max(getattr(self, name), default=0)
            if largest >= vocab_size:
                raise LmwrightError(
                    f"{name} names token {largest}; this model's are 0 .. {vocab_size - 1}"
                )

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults, as values that JSON has; see `from_json`."""
        default = SamplingParams.__dataclass_fields__
        plain: dict[str, Any] = {}
        for name in (item.name for item in fields(self)):
            value = getattr(self, name)
            if value == default[name].default or value == {}:
                continue
            if isinstance(value, tuple):
                value = list(value)
            elif isinstance(value, dict):
                value = {str(token): bias for token, bias in value.items()}
            elif isinstance(value, Constraint):
                value = {"kind": value.kind, "text": value.text}
            plain[name] = value
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "SamplingParams":
        """The parameters that `to_json` wrote.

        Raises:
            LmwrightError: if a name is unknown, or a value out of its range.
        """
        values = dict(plain)
        unknown = values.keys() - {item.name for item in fields(cls)}
        if unknown:
            raise LmwrightError(f"{min(unknown)} is not a sampling parameter")
        if values.get("constraint") is not None:
            values["constraint"] = Constraint(**values["constraint"])
        if "logit_bias" in values:
            biases = values["logit_bias"]
            values["logit_bias"] = {int(token): bias for token, bias in biases.items()}
        return cls(**values)


def _number(value: object, low: float, high: float = math.inf) -> bool:
    """Whether it is a finite number in the closed range; NaN is in none, True is no number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all floats
        return False
    return low <= number <= high and math.isfinite(number)


def _integer(value: object, low: int | None) -> bool:
    if not isinstance(value, Integral) or isinstance(value, bool):
        return False
    return low is None or int(value) >= low
