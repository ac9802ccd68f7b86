"""Keyword router: sends messages to webhook endpoints by the words in them.

Configuration: {"routes": [{"words": ["invoice", "credit note"], "endpoints": ["billing"]}], "otherwise": ["support"]}.
The first route of which a word occurs decides: the message goes to those endpoints only, and the label `route` names
them. Words are whole words, in any case, and may be phrases. Where no route fits, it goes to `otherwise`, or, when that
is not set, to all endpoints. It needs no grant.

A template: copy this folder out of the tree. `componentize-py … bindings .` writes the contract in wit/ as Python, for
editors. An error is raised as Err(…); any other exception is a bare trap, which says nothing.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.lifecycle import PluginInfo
from wit_world.exports.message_filter import Verdict, Verdict_Modify, Verdict_Pass
from wit_world.imports import config
from wit_world.imports.types import (
    CallContext,
    Content,
    Content_Media,
    Content_Other,
    Content_Text,
    Direction,
    Message,
    MessagePatch,
    Pair,
    PluginError_Config,
)


class Lifecycle(exports.Lifecycle):
    def describe(self) -> PluginInfo:
        description = "Routes messages to endpoints by the words in them"
        return PluginInfo(name="keyword-router", version="1.0.0", description=description, wants=[])

    def init(self) -> None:
        Router.current = Router(json.loads(config.get_json()))


class MessageFilter(exports.MessageFilter):
    def on_message(self, context: CallContext, message: Message) -> Verdict:
        incoming = message.direction == Direction.INCOMING
        endpoints = Router.current.route(text_of(message.content)) if incoming else None
        if endpoints is None:
            return Verdict_Pass()
        labels = [Pair("route", ",".join(endpoints))]
        return Verdict_Modify(MessagePatch(None, None, set_labels=labels, remove_labels=[], route_to=endpoints))


class Router:
    """Where a text goes."""

    current: "Router"

    def __init__(self, settings: dict) -> None:
        """Checks the configuration; the error names the member and what it must be."""
        members(settings, "configuration", ("routes", "otherwise"))
        routes = settings.get("routes")
        if not isinstance(routes, list):
            raise refused("routes", "must be a list of routes")
        self.routes = [read_route(route, f"routes[{at}]") for at, route in enumerate(routes)]
        self.otherwise = settings.get("otherwise")
        if self.otherwise is not None:
            texts(self.otherwise, "otherwise")

    def route(self, text: str) -> list[str] | None:
        """The endpoints a text goes to; None when it is left to go to all."""
        said = words_of(text)
        for words, endpoints in self.routes:
            if any(word in said for word in words):
                return endpoints
        return self.otherwise


def read_route(route: object, where: str) -> tuple[list[str], list[str]]:
    route = members(route, where, ("words", "endpoints"))
    words = [words_of(word) for word in texts(route.get("words"), f"{where}.words")]
    for nth, word in enumerate(words):
        if not word.strip():
            raise refused(f"{where}.words[{nth}]", "must have a letter or a digit")
    return words, texts(route.get("endpoints"), f"{where}.endpoints")


def words_of(text: str) -> str:
    """The words of a text in lower case, each with a blank before and after it: " credit note "."""
    words = "".join(char if char.isalnum() else " " for char in text.lower()).split()
    return f" {' '.join(words)} "


def text_of(content: Content) -> str:
    """What a message says in words; nothing for a picture without a caption."""
    match content:
        case Content_Text(text):
            return text.body
        case Content_Media(media):
            return media.caption or ""
        case Content_Other(other):
            return other.text or ""
    return ""


def members(value: object, where: str, known: tuple[str, ...]) -> dict:
    if not isinstance(value, dict):
        raise refused(where, "must be an object")
    for name in value:
        if name not in known:
            raise refused(where, f"has no member '{name}', only {' and '.join(known)}")
    return value


def texts(value: object, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise refused(where, "must be a list of texts")
    return value


def refused(where: str, what: str) -> Err:
    return Err(PluginError_Config(f"{where}: {what}"))
