"""Routes against nginx's: generated rules and targets, the same in both. What differs stands in INTENDED, or is a bug.

    python3 tests/real/route_oracle.py --seed any-word --sets 3000

A set is one or more servers of nginx and as many hosts of ours. First each rule answers with its name; then it passes the
request on, and the target that comes to the origin is compared. A failure prints the set, the target, and both answers.
"""

import argparse
import asyncio
import collections
import contextlib
import random
import re
import sys
import typing
import unittest
from urllib.parse import unquote_to_bytes

from _peers import LOCAL, SANITIZED, Folder, Gateway, Loop, Nginx, Test, Wire

TARGETS = 30 # of a set
BATCH = 100 # sets of one nginx

# Text is Latin-1 everywhere: a character is a byte.
UMLAUT = "ü".encode().decode("latin-1")
ACCENT = "é".encode().decode("latin-1")

SEGMENTS = ["a", "b", "ab", "abc", "p", "pq", "A", "aB", "x y", "a+b", "a;v", "a=1", "100%", "~u", "-", "_", "a.b", ".a",
            "index.php", "img.PNG", "...", "a%2Fb", "%0A", "a:b", "@", "a|b", "[1]", "a'b", 'a"b', "a\\b", "{a}", ACCENT, UMLAUT]

PATTERNS = [r"\.php$", r"^/a/(.*)$", r"^/(a|b)/([^/]+)\.php$", r"\.(gif|jpe?g|png)$", r"^/a/?$", r"(?<name>a)b", r"a(?!b)",
            r"^/([a-z]+)/\1", r"^/\w+$", r"(?<=a)b", r"^/[^.]+$", r"^(?!/a)", r"\s", r"^/a\Z", r"^/(?:a|p)+/?(b*)$", r"%2F", r"\x61b",
            r"^/(.+?)/(.+)$", r"[[:upper:]]", r"^/[^/]{2,3}$", r"\bab\b", r"(?i)^/AB", r"^.{40,}$", r"[\x80-\xff]", r"^/(a)?b\1", r"/$",
            r"^/(?>a|ab)c", r"^/a++", r"\d", r"^/$", r"[^\x00-\x7f]+", r"\\", r"\+", r"^/\Qa.b\E", r"(a|ab)(c|bcd)*$", r"^/p|q$", r"=1",
            ACCENT, f"[{ACCENT}]", f"^/{UMLAUT}$"]
# Without lookaheads: where one begins a pattern, PCRE2 10.42 misses what it finds without its start optimizations.
ATOMS = ["a", "b", "p", "A", r"\.", r"\w", r"\d", "[^/]", "[a-c]", "[^a]", "(a|b)", "(?:ab|p)", "(a)", "/", ".", "(?!b)", "%",
         "[[:alnum:]]", r"\b", r"\W", "()", "(b|)", "(?i:a)", "[.+]", r"\/"]
QUANTIFIERS = ["", "", "", "", "*", "+", "?", "{1,2}", "*?", "+?", "??"]
NO_QUANTIFIER = {"(?!b)", r"\b", "()", "(b|)"}

QUERIES = ["?", "?x=1", "?/../%2f", "?a[]=1&b=%zz", "?q?q", "?a+b%20c"] * 5 + ["?x=<", '?"', "?" + ACCENT]

UNRESERVED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
SUB_DELIMS = "!$&'()*+,;=:@"


class Rule(typing.NamedTuple):
    kind: str # as nginx writes it
    text: str
    does: str = "respond" # or "proxy", "as-sent"
    uri: str = "" # what takes the place of the prefix

    def __str__(self):
        return f"{self.kind:2} {self.text!r}" + (f" {self.does} {self.uri}" if self.does != "respond" else "")


class Answer(typing.NamedTuple):
    status: int
    text: str = None # of a 200: the name of a rule, or a target; of a 301 where it leads
    rule: str = "" # of nginx: the name of the rule

    def __str__(self):
        return str(self.status) + (f" {shortened(self.text)!r}" if self.text is not None else "")

    def same(self, other):
        return self[:2] == other[:2]


class Case:
    def __init__(self, servers, host, target):
        self.servers, self.host, self.target = servers, host, target
        self.origin, self.path, self.mark, self.query = re.fullmatch(
            r"([A-Za-z]+://[^/?#]*)?([^?]*)(\??)(.*)", target, re.S).groups("")
        self.scheme, _, self.authority = self.origin.partition("://")
        self.rules = servers.get(name_of_server(servers, self.authority or host), [])
        self.read = self # what nginx is asked in its place
        self.rule = None # that wins in nginx
        self.without_exact = None # what nginx says in the place of a redirect where there are no exact rules

    def asking(self, path):
        return Case(self.servers, self.host, self.origin + path + self.mark + self.query) if path != self.path else self

    def whole(self, path):
        return path + self.mark + self.query

    def __str__(self):
        servers = "\n".join(f"    {name!r}" + "".join(f"\n      {n}: {rule}" for n, rule in enumerate(rules))
                            for name, rules in self.servers.items())
        return f"{shortened(self.target)!r} at {self.host!r}\n{servers}"


def shortened(text):
    return re.sub("((?:long-){3,}|a{60,})", lambda m: f"<{len(m[0])} bytes>", text)


def name_of_server(servers, host):
    host = re.sub(r":\d*$", "", host.lower()).removesuffix(".")
    if host in servers:
        return host
    return max((s for s in servers if s[:1] == "*" and host.endswith(s[1:]) and len(host) >= len(s)), key=len, default="")


def has_two_hosts(case):
    port = ":443" if case.scheme.lower() == "https" else ":80"
    return case.origin and case.authority.lower().removesuffix(port) != case.host.lower().removesuffix(port)


def escapes(path, change):
    return re.sub("%([0-9A-Fa-f]{2})", lambda m: change(int(m[1], 16), m[0]), path)


def normalised(path, spelled):
    """Without dot segments and repeated slashes; `spelled(segment)` is how a segment is written."""
    segments, ends_open = [], True
    for segment in map(spelled, path.split("/")[1:]):
        ends_open = segment in ("", ".", "..")
        if segment == ".." and segments:
            segments.pop()
        elif not ends_open:
            segments.append(segment)
    return "/" + "".join(s + "/" for s in segments)[:None if ends_open else -1]


def stays_encoded(code):
    return code == 0x2f or code < 0x20 or code == 0x7f


def matched(path):
    """The form of a path that rules see."""
    return normalised(path, lambda segment: escapes(segment, lambda code, text: text if stays_encoded(code) else chr(code)))


def canonical(path):
    """The form of a path that is sent on."""
    def spelled(segment):
        segment = escapes(segment, lambda code, text: chr(code) if chr(code) in UNRESERVED else text.upper())
        return re.sub(r"[\[\]{}|^`]", lambda m: f"%{ord(m[0]):02X}", segment)
    return normalised(path, spelled)


def decoded(text):
    """As what is meant may be compared: what `Reads` has asked nginx is encoded once more."""
    once = escapes(text, lambda code, _: chr(code))
    return escapes(once, lambda code, _: chr(code))


def has_ambiguous_dots(path):
    for segment in path.split("/"):
        parts = re.split(rb"[/\\]", unquote_to_bytes(segment.encode("latin-1")))
        for part in parts:
            name, semicolon, _ = part.partition(b";")
            if name in (b".", b"..") and (semicolon or len(parts) > 1):
                return True
    return False


class Row:
    """A difference from nginx that is intended: the section of the protocol's rules where it stands, why, and how often it
    was seen in this run. A row without a case is wrong too."""

    def __init__(self, section, why):
        self.section, self.why, self.seen = section, why, 0


class Reads(Row):
    """Ours reads a path as nginx reads `instead(path)`."""

    def __init__(self, section, why, instead):
        super().__init__(section, why)
        self.instead = instead


class Refuses(Row):
    """Ours refuses with `status` where `these(case)` is so, whatever nginx says."""

    def __init__(self, section, why, these, status=400):
        super().__init__(section, why)
        self.these, self.status = these, status


class Answers(Row):
    """Ours answers `instead(case, expected, ours)` where that is not None."""

    def __init__(self, section, why, instead):
        super().__init__(section, why)
        self.instead = instead


def slash_of_an_exact_rule(case, nginx, ours):
    return case.without_exact if nginx.status == 301 else None


def limit_of_patterns(case, nginx, ours):
    if len(matched(case.path)) <= 2048 or not any(rule.kind.startswith("~") for rule in case.rules):
        return None
    asked = nginx.status in (404, 500) or nginx.status == 200 and case.rule.kind in ("", "~", "~*")
    return Answer(414) if asked else None


def steps_of_patterns(case, nginx, ours):
    """What takes the square of a length is done for the tokens that paths hold; what takes its cube is not."""
    if ours.status != 400:
        return None
    if nginx.status == 500:
        return ours # nginx has given up too
    size = len(matched(case.path))
    loops = max((len(re.findall(r"[*+}]", rule.text)) for rule in case.rules if rule.kind.startswith("~")), default=0)
    return ours if size > 900 and loops or size > 60 and loops > 1 else None


def redirect_in_the_clients_form(case, nginx, ours):
    if nginx.status != 301:
        return None
    where = case.whole(canonical(case.path) + "/")
    means = decoded(nginx.text).removesuffix("?") == decoded(where).removesuffix("?")
    return Answer(301, where) if means and nginx.text != where else None


def sent(nginx, rule_has_uri, case):
    """What nginx has sent on, as path and query, if it has, by a rule with or without a replacement."""
    if nginx.status != 200 or case.rule.does == "respond" or bool(case.rule.uri) != rule_has_uri:
        return None
    path, _, query = nginx.text.partition("?")
    return path, query


def canonical_target(case, nginx, ours):
    if not sent(nginx, False, case) or nginx.text != case.read.whole(case.read.path or "/"):
        return None
    form = canonical(case.path) if case.rule.does == "proxy" else case.path or "/"
    return Answer(200, case.whole(form)) if nginx.text != case.whole(form) else None


def slashes_that_meet(case, nginx, ours):
    if not (parts := sent(nginx, True, case)):
        return None
    twice = case.rule.uri + "/"
    if not (case.rule.uri.endswith("/") and parts[0].startswith(twice)):
        return None
    return nginx._replace(text=nginx.text[len(case.rule.uri):] if case.rule.uri == "/" else case.rule.uri + nginx.text[len(twice):])


def question_mark(case, nginx, ours):
    if sent(nginx, True, case) and case.mark and not case.query:
        return nginx._replace(text=nginx.text + "?")
    return None


def replaced_in_the_clients_form(case, nginx, ours):
    if not (parts := sent(nginx, True, case)):
        return None
    path = canonical(case.path)
    means = decoded(parts[0])
    fit = [case.whole(case.rule.uri + path[k:]) for k in range(len(path) + 1) if decoded(case.rule.uri + path[k:]) == means]
    if not fit or nginx.text in fit:
        return None
    return Answer(200, ours.text if ours.text in fit else fit[0])


def escape_that_is_cut(case, nginx, ours):
    if not sent(nginx, True, case) or case.rule.kind == "=":
        return None
    form, taken = canonical(case.path), 0
    for unit in re.finditer("%(..)|.", form):
        if taken >= len(case.rule.text):
            return None
        wide = 3 if unit[1] and stays_encoded(int(unit[1], 16)) else 1
        if taken + wide > len(case.rule.text):
            return Answer(200, case.whole(case.rule.uri + form[unit.start():]))
        taken += wide
    return None


def dots_that_arise(case, expected, ours):
    parts = sent(expected, True, case)
    return Answer(400) if parts and (re.search(r"/\.\.?(?=/|$)", parts[0]) or has_ambiguous_dots(parts[0])) else None


INTENDED = {
    "an encoded slash": Reads(
        5, "it is a part of a name, and not what separates names: %2F stays and matches no slash",
        lambda path: escapes(path, lambda code, text: "%252F" if code == 0x2f else text)),
    "an encoded control byte": Reads(
        5, "it stays encoded, so that no pattern stops at a line's end and no log breaks",
        lambda path: escapes(path, lambda code, text: f"%25{code:02X}" if 0 < code < 0x20 or code == 0x7f else text)),
    "a long target": Refuses(
        1, "a target has 8 KiB at most; nginx's limit is its buffers'", lambda case: len(case.target) > 8192, 414),
    "a byte that has to be encoded": Refuses(
        1, "RFC 3986 has no place for it, and servers behind differ in what they make of it",
        lambda case: re.search(r'[\\"<>\x80-\xff]', case.path) or re.search(r'["<>\x80-\xff]', case.query)),
    "two hosts": Refuses(
        1, "the host of an absolute target and Host have to be the same; nginx and others behind take one of them",
        has_two_hosts),
    "a scheme that is another one": Refuses(
        1, "what is to be had by http is asked for by http; nginx takes any scheme",
        lambda case: case.scheme and case.scheme.lower() not in ("http", "https")),
    "a space behind the target": Refuses(
        1, "a request line has two spaces; nginx skips more of them before the version", lambda case: case.target.endswith(" ")),
    "an address that is none": Refuses(
        1, "RFC 3986 has a bracket or a port behind an IPv6 address; nginx takes a dot too", lambda case: case.host.endswith("].")),
    "a fragment": Refuses(
        1, "no client sends one: nginx cuts it off, others take it for a part of the path",
        lambda case: "#" in case.target),
    "a dot segment that servers read in different ways": Refuses(
        1, "beside an encoded slash or backslash, or with parameters: /..;/ climbs in Tomcat, and a rule would not see it",
        lambda case: has_ambiguous_dots(case.path)),
    "the slash of an exact rule": Answers(
        5, 'at(exact("/p/")) is for that path alone; nginx sends /p there where the location is proxied', slash_of_an_exact_rule),
    "a long path and a pattern": Answers(
        5, "patterns see 2 KiB at most, so that a path cannot stall a worker: 414", limit_of_patterns),
    "a pattern that takes too long": Answers(
        5, "a pattern has a number of steps for a path, so that a path cannot stall a worker: 400, where nginx goes on",
        steps_of_patterns),
    "how a redirect is written": Answers(
        5, "with the client's escapes in their canonical form, and with a question mark that nothing follows; nginx writes the "
        "decoded path anew", redirect_in_the_clients_form),
    "the form of what is sent on": Answers(
        5, "one canonical form that cannot normalise differently upstream; with path_form::as_sent it is sent as nginx does",
        canonical_target),
    "slashes that meet": Answers(
        5, 'where "/b/" replaces "/a", "/a/x" becomes "/b/x": routes upstream see one slash, as they do here', slashes_that_meet),
    "a question mark that nothing follows": Answers(
        5, "the query is sent as it came; nginx drops an empty one where it replaces a prefix", question_mark),
    "the form behind a replacement": Answers(
        5, "as without one: the client's escapes in their canonical form; nginx sends decoded what it need not encode",
        replaced_in_the_clients_form),
    "an escape that is cut": Answers(
        5, 'where "/%0" takes a part of "/%0A", the whole escape is behind the replacement: half of one would be another text',
        escape_that_is_cut),
    "dots that arise": Answers(
        5, 'where "/b/" replaces "/a", "/a../x" and "/a..;x" would climb out of /b/ upstream, as known of nginx: 400', dots_that_arise),
}

# A case for each difference, whatever the seed is: rules, and targets, with a host where it is another one.
EXAMPLES = [
    ([Rule("", "/"), Rule("~", r"[^/]+\.php$"), Rule("", "/p/"), Rule("=", "/e/"), Rule("", "/a%2Fb/"), Rule("~", "%0A")],
     ["/a%2Fb/", "/%00", "/%0a", '/"', "/p/?<", "http://another.test/", "/#", "/p/..;/", "/" + "a" * 2048, "/" + "a" * 1500 + "/", "/e", "/%70%3b/..?",
      "/%70?"]),
    ([Rule("", "/a")], ["/" + "a" * 8191, "/" + "a" * 8192, "/?" + "a" * 8190, "/?" + "a" * 8191, ("/", "[::1].")]),
    ([Rule("", "/"), Rule("", "/p/")],
     ["*", "a", "e2.test:80", "//p/", "http:/x", "http://", "http:///x", "http://u@e2.test/", "http://e2.test", "http://e2.test?x",
      "http://E2.test:80/p", "https://e2.test/p/..", "ftp://e2.test/", "1://e2.test/", "/%", "/%4", "/%zz", "/%u0041", "/..", "/p/%2e%2E/../",
      "/p/\x01", "/p/ x", "/p/\x7f", "/?\x7f", "/? ", "/http://x/p/"]),
]
SENT_EXAMPLES = [
    ([Rule("", "/", "proxy"), Rule("", "/s/", "as-sent"), Rule("", "/a", "proxy", "/b/"), Rule("", "/p/", "proxy", "/"),
      Rule("", "/%0", "proxy", "/c/")],
     ["/%3b%41//./", "/s/%41%3b?%41", "/a/x", "/a../x", "/p/?", "/p/a%2fb%3b%41", "/a.", "/p/%0a", "/p/..%3bx", "/%0a"]),
]

# What serves names that no server has.
OTHERS = [Rule("", "/"), Rule("=", "/e"), Rule("~", r"\.php$"), Rule("^~", "/a/")]


def random_escape(rng, code):
    return f"%{code:02X}" if rng.random() < 0.5 else f"%{code:02x}"


def encode(rng, text):
    """A path as a client may write it: what has to be encoded is, and some more."""
    out, at = "", 0
    while at < len(text):
        c = text[at]
        if text.startswith(("%2F", "%0A"), at):
            out += random_escape(rng, int(text[at + 1:at + 3], 16))
            at += 3
            continue
        if c == "/" or c in UNRESERVED and rng.random() > 0.06 or c in SUB_DELIMS and rng.random() > 0.2:
            out += c
        elif c in "[]|{}" and rng.random() < 0.3:
            out += c
        else:
            out += random_escape(rng, ord(c))
        at += 1
    return out


def random_text(rng, known):
    """The text of a prefix or of an exact rule; often one that begins as another does."""
    text = rng.choice(known) if known and rng.random() < 0.5 else ""
    for _ in range(rng.randint(0 if text else 1, 3)):
        text = text.removesuffix("/") + "/" + rng.choice(SEGMENTS[:6] if rng.random() < 0.5 else SEGMENTS)
    if known and rng.random() < 0.1: # what comes between "/a" and "/a/" in the order of bytes
        text = (rng.choice(known).removesuffix("/") or "/a") + rng.choice(" !%&+-.") + rng.choice("ab")
    if rng.random() < 0.4 and not text.endswith("/"):
        text += "/"
    if rng.random() < 0.1:
        text = text[:rng.randint(1, len(text))]
    # What ours refuses at start is another test's.
    text = re.sub(r"/\.{1,2}(?=/|$)", "/a", text) or "/"
    return "/" if rng.random() < 0.05 else text


def random_pattern(rng):
    if rng.random() < 0.6:
        return rng.choice(PATTERNS)
    made = "^/" if rng.random() < 0.5 else ""
    for _ in range(rng.randint(1, 4)):
        atom = rng.choice(ATOMS)
        # A third loop would keep nginx busy for minutes.
        loops = is_slow(made)
        made += atom + ("" if atom in NO_QUANTIFIER else rng.choice([q for q in QUANTIFIERS if not (loops and is_loop(q))]))
    return made + ("$" if rng.random() < 0.3 else "")


def is_loop(quantifier):
    return quantifier[:1] in ("*", "+")


def is_slow(pattern):
    return len(re.findall(r"[*+]", pattern)) > 1


def random_rules(rng, sends):
    rules, taken = [], set()
    for n in range(rng.randint(2, 9)):
        kind = rng.choice(["", "", "", "=", "^~", "~", "~*"])
        if kind.startswith("~"):
            place = (kind, random_pattern(rng))
        else:
            place = ("=" if kind == "=" else "", random_text(rng, [r.text for r in rules if not r.kind.startswith("~")]))
        if place in taken:
            continue
        taken.add(place)
        does, uri = "respond", ""
        if sends:
            does = rng.choice(["proxy", "as-sent"])
            if not kind.startswith("~") and rng.random() < 0.6:
                does, uri = "proxy", rng.choice(["/", "/r", "/r/", f"/r{n}", f"/r{n}/", "/a/b", "/r%20%3B/", "/."+"r", "/r."])
        rules.append(Rule(kind, place[1], does, uri))
    return rules


def random_servers(rng, base, sends):
    names = [base]
    if rng.random() < 0.25:
        names = rng.sample([base, "*." + base, "a." + base, "*.a." + base], rng.randint(1, 4))
    return {name: random_rules(rng, sends) for name in names}


def random_host(rng, base, servers):
    """(a name, and how Host has it)"""
    name = base
    if list(servers) != [base]:
        name = rng.choice(["", "", "a.", "x.", "x.a.", "y.x.a.", "A.", "xa."]) + base
    elif rng.random() < 0.02:
        name = rng.choice(["x" + base, "x." + base, base + "x", "test", LOCAL, "[::1]"])
    return name, rng.choice([name, name, name, name.upper(), name + ".", name + ":80", name.title()])


def some_place(rng, path):
    return rng.choice([m.start() for m in re.finditer("/", path)] or [0])


def random_target(rng, rules, name):
    texts = [rule.text for rule in rules if not rule.kind.startswith("~")]
    # Where patterns take the square of a length, long ones would keep nginx busy.
    lengths = [7, 60] if any(rule.kind.startswith("~") and is_slow(rule.text) for rule in rules) else [7, 60, 400, 409, 410, 900]
    if texts and rng.random() < 0.75:
        text = rng.choice(texts)
        if rng.random() < 0.4:
            text = rng.choice([text[:-1] or "/", text + rng.choice("abpq/.A"), text + "/" + rng.choice(SEGMENTS), text.swapcase(),
                               text.rstrip("/") or "/", text + "x.php", text + "../x", text + ".."])
    else:
        text = "".join("/" + rng.choice(SEGMENTS) for _ in range(rng.randint(1, 3)))
    path = encode(rng, text)
    while rng.random() < 0.35:
        at = some_place(rng, path)
        path = rng.choice([
            lambda: path[:at] + rng.choice(["//", "///", "/./", "/q/../", "/%2e/", "/q/%2E%2e/", "/q//../", "/.%2e/"]) + path[at + 1:],
            lambda: path[:at] + rng.choice(["%2F", "%2f"]) + path[at + 1:] if at else path,
            lambda: path + rng.choice(["/.", "/..", ".", "..", "...", "/...", "%2e", "/%2e%2E", "/", "//", "%2F", "%20", "+", "?"]),
            lambda: path + rng.choice([";v=1", ";", "%3B", "%3b/x", "/;a/b", ";jsessionid=1/b"]),
            lambda: path + rng.choice(["%00", "%", "%4", "%zz", "%1f", "%7F", "%0a", "%0D", "%C3%A9", "%ff", "%25", "%2541", "%252F"]),
            lambda: path + rng.choice(["\\", '"', "<", "|", "[", "{", "^", "`", ACCENT, "#", "#x", "!", "*"]),
            lambda: path + rng.choice(["/..;/", "/.;x", "%5C..", "/..%2F", "/%2e%2e%2fa", "/%2F..", "/a%5c../b", "/..a", "/..;", "/.%5c"]),
            lambda: path.upper() if rng.random() < 0.5 else path.lower(),
            lambda: path + "/" + "long-" * rng.choice(lengths) + rng.choice(["", ".php", "/b"])
            if "long" not in path.lower() else path,
        ])()
    if not path.startswith("/"):
        path = "/" + path
    if rng.random() < 0.3:
        path += rng.choice(QUERIES)
    if rng.random() < 0.1:
        origin = rng.choice(["http://", "http://", "http://", "HTTP://", "https://", "ftp://"]) + name + rng.choice(["", "", ":80", ":443"])
        path = origin + (path if rng.random() < 0.9 else rng.choice(["", "?x", "/"]))
    return path


def quoted(text):
    """A word of nginx's configuration."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def answer(response):
    if response.status == 200:
        text = response.body.decode("latin-1")
        return Answer(200, text, response.fields["x-rule"] or text)
    return Answer(response.status, response.fields["location"] if response.status == 301 else None)


def ask(where, cases):
    """The answers to all cases, on as few connections as it takes: after some answers servers close them."""
    answers = []
    most = 64
    while len(answers) < len(cases):
        batch = cases[len(answers):len(answers) + most]
        before = len(answers)
        with Wire.dial(where) as wire:
            try:
                wire.send("".join(f"GET {c.target} HTTP/1.1\r\nHost: {c.host}\r\n\r\n" for c in batch))
                for _ in batch:
                    got = wire.response()
                    answers.append(answer(got))
                    if got.fields["connection"] == "close":
                        break
            except (EOFError, ConnectionError):
                pass
            except TimeoutError:
                raise AssertionError(f"no answer in time from {where}: {cases[len(answers)]}") from None
        if len(answers) == before:
            assert most > 1, f"no answer from {where}: {cases[before]}"
            most = 1
        else:
            most = 64
    return answers


class Origin:
    """Answers each request with the target that came, and with its X-Rule."""

    class Connection(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport, self.came = transport, b""

        def data_received(self, data):
            *heads, self.came = (self.came + data).split(b"\r\n\r\n")
            for head in heads:
                line, *fields = head.split(b"\r\n")
                target = line[line.index(b" ") + 1:line.rindex(b" ")]
                echo = b"".join(field + b"\r\n" for field in fields if field.startswith(b"X-Rule:"))
                self.transport.write(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (echo, len(target), target))

    def __init__(self, loop):
        self._loop = loop
        async def listen():
            return await asyncio.get_running_loop().create_server(self.Connection, LOCAL, 0, backlog=1024)
        self._server = loop.run(listen())
        self.where = f"{LOCAL}:{self._server.sockets[0].getsockname()[1]}"

    def close(self):
        async def end():
            self._server.close()
        self._loop.run(end())


class Oracle(Test):
    """Both groups, and then the table."""

    seed = "relais"
    sets = 60 if SANITIZED else 400

    def test_rules_and_targets(self):
        print(f"--seed {self.seed} --sets {self.sets}", flush=True)
        self.wrong, self.counts = [], collections.Counter()
        origin = self.opened(Origin(self.opened(Loop())))
        self.compare_group("rules", EXAMPLES, None)
        self.compare_group("targets", SENT_EXAMPLES, origin)
        for name, row in INTENDED.items():
            print(f"  {row.seen:5} {name} (section {row.section}): {row.why}")
        self.assertFalse(self.wrong, f"{len(self.wrong)} differences that are not intended, with --seed {self.seed} --sets {self.sets}\n"
                         + "\n".join(self.wrong[:20]))
        self.assertEqual([what for what in (200, 301, 400, 404, 414, "refused by both") if not self.counts[what]], [], "answers unseen")
        self.assertEqual([name for name, row in INTENDED.items() if row.seen == 0], [], "rows of INTENDED that no target shows")

    def compare_group(self, group, examples, origin):
        counts = collections.Counter()
        for first in range(0, max(self.sets, 1), BATCH):
            sets, cases = {}, []
            for number, (rules, targets) in enumerate(examples if first == 0 else []):
                host = f"e{number}.test"
                sets[number] = {host: rules}
                for target in targets:
                    target, asked = target if isinstance(target, tuple) else (target, host)
                    cases.append(Case(sets[number] | {"": OTHERS}, asked, target))
            for number in range(first, min(first + BATCH, self.sets)):
                rng, base = random.Random(f"{self.seed} {group} {number}"), f"s{number}.test"
                servers = sets[base] = random_servers(rng, base, origin is not None)
                for _ in range(TARGETS):
                    name, host = random_host(rng, base, servers)
                    rules = servers.get(name_of_server(servers, name), OTHERS)
                    cases.append(Case(servers | {"": OTHERS}, host, random_target(rng, rules, name)))
            every = {"": OTHERS}
            for servers in sets.values():
                every |= servers
            self.compare(cases, every, origin, counts)
        print(f"  {group}: " + ", ".join(f"{counts[what]} {what}" for what in sorted(counts, key=str)), flush=True)
        self.counts += counts

    def compare(self, cases, servers, origin, counts):
        with contextlib.ExitStack() as opened:
            def start(thing):
                return opened.enter_context(contextlib.closing(thing))

            folder = start(Folder()).path
            inexact = folder / "inexact" # where nginx has no exact rules
            conf = ["server_names_hash_max_size 4096; server_names_hash_bucket_size 128; proxy_http_version 1.1;"]
            if origin:
                conf.append(f"upstream origin {{ server {origin.where}; keepalive 16; }}")
            lines = []
            for name, rules in servers.items():
                named = f'{"" if name else "default_server"}; access_log off; root nothing; server_name {name or "_"};\n'
                blocks = [(rule, self.location(rule, f"{name} {n}")) for n, rule in enumerate(rules)]
                conf.append(f"server {{ listen {LOCAL}:@PORT@ {named}{''.join(b for _, b in blocks)}}}")
                conf.append(f"server {{ listen unix:{inexact} {named}{''.join(b for r, b in blocks if r.kind != '=')}}}")
                lines += ["\t".join((name, r.kind, r.text, r.does,
                                     f"{name} {n}" if r.does == "respond" else f"http://{origin.where}{r.uri}")) + "\n"
                          for n, r in enumerate(rules)]
            (folder / "rules").write_bytes("".join(lines).encode("latin-1"))
            nginx, gateway = start(Nginx(more="\n".join(conf))), start(Gateway(rules=folder / "rules", workers=1))
            ours = ask(gateway.port, cases)
            self.judge(cases, servers, ours, lambda these: ask(nginx.port, these), lambda these: ask(inexact, these), counts)

    @staticmethod
    def location(rule, name):
        # A location that is proxied sends clients to its slash, whatever answers.
        does = f'return 200 "{name}"; proxy_pass http://{LOCAL}:1;' if rule.does == "respond" else \
               f'proxy_pass http://origin{rule.uri}; proxy_set_header Connection ""; proxy_set_header X-Rule "{name}";'
        return f"location {rule.kind} {quoted(rule.text)} {{ {does} }}\n"

    def judge(self, cases, servers, ours, ask_nginx, ask_inexact, counts):
        theirs = ask_nginx(cases)
        reads = [row for row in INTENDED.values() if isinstance(row, Reads)]
        for case in cases:
            path = case.path
            for row in reads:
                path = row.instead(path)
            case.read = case.asking(path)
        other = [i for i, case in enumerate(cases) if case.read is not case]
        meant = list(theirs)
        for i, said in zip(other, ask_nginx([cases[i].read for i in other])):
            meant[i] = said
        redirected = [i for i, said in enumerate(meant) if said.status == 301]
        for i, said in zip(redirected, ask_inexact([cases[i].read for i in redirected])):
            cases[i].without_exact = said if said.status != 301 else None
        for case, plain, expected, got in zip(cases, theirs, meant, ours):
            counts[got.status] += 1
            counts["refused by both"] += got.status == plain.status == 400
            reasons = [row for row in reads if row.instead(case.path) != case.path and not expected.same(plain)]
            case.rule = self.rule_of(servers, expected)
            for row in INTENDED.values():
                if isinstance(row, Refuses) and row.these(case):
                    reasons, expected = [row], Answer(row.status)
                    break
                if isinstance(row, Answers) and (instead := row.instead(case, expected, got)):
                    reasons, expected = reasons + [row], instead
                    case.rule = self.rule_of(servers, expected) or case.rule
            if not got.same(expected):
                self.wrong.append(f"ours {got}, expected {expected}, nginx {plain}: {case}")
            elif not got.same(plain):
                for row in reasons:
                    row.seen += 1

    @staticmethod
    def rule_of(servers, said):
        name, _, number = said.rule.rpartition(" ")
        return servers[name][int(number)] if number else None


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seed", default=Oracle.seed, help="any word")
    options.add_argument("--sets", type=int, default=Oracle.sets, help="of each group")
    given, more = options.parse_known_args()
    Oracle.seed, Oracle.sets = given.seed, given.sets
    unittest.main(argv=sys.argv[:1] + more)
