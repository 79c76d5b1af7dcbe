"""The README says what is: its code is that of the examples, its options and their defaults are those of the headers, its
packages those of the scripts, and what it shows of nginx's directives and of mistakes compiles, or does not, as it says.

usage: readme.py SOURCE                                     what can be compared as text
       readme.py SOURCE FOLDER COMPILER INCLUDES WORD...    what a compiler has to see; FOLDER is for what is generated,
                                                            INCLUDES are folders with ";" between, the words are
                                                            flags and libraries
"""

import os
import re
import subprocess
import sys
from pathlib import Path

source = Path(sys.argv[1])
readme = (source / "README.md").read_text()
lines = readme.splitlines()
failures = []


def check(right, sentence):
    if not right:
        failures.append(sentence)


def table_rows(heading):
    """(line number, cells) of each row of the first table behind a line."""
    begin = next((n for n, line in enumerate(lines) if re.search(heading, line)), None)
    if begin is None:
        sys.exit(f"README.md has no line like {heading}")
    rows = []
    for n in range(begin + 1, len(lines)):
        if lines[n].startswith("|"):
            cells = re.split(r"(?<!\\)\|", lines[n].strip("|"))
            rows.append((n + 1, [cell.strip().replace("\\|", "|") for cell in cells]))
        elif rows:
            break
    return rows[2:]


def codes(cell):
    return re.findall(r"`([^`]+)`", cell)


class Options:
    """A table of options, and the struct in the header that it links to."""

    def __init__(self, match):
        self.struct, self.header = match[1], match[2]
        self.rows = [(n, codes(cells[0])[0], cells[1])
                     for n, cells in table_rows(rf"\[`{self.struct}`\]\({re.escape(self.header)}\)")]

    def fields(self):
        """The members that the header declares, in its order."""
        body = re.search(rf"^struct {self.struct} \{{\n(.*?)^\}};", (source / self.header).read_text(), re.M | re.S)
        if not body:
            sys.exit(f"README.md: {self.header} has no struct {self.struct}")
        statements = re.sub(r"//.*", "", body[1]).split(";")
        declared = (re.fullmatch(r"\s*[^=({]*?(?:<.*>)?\s(\w+)\s*(?:=.*|\{.*\})?", s, re.S) for s in statements)
        return [d[1] for d in declared if d]

    def literal(self, default):
        """A default as C++ writes it; null: there is nothing to compare with."""
        if default == "none":
            return "none{}"
        if code := codes(default):
            return code[0]
        if time := re.fullmatch(r"(\d+) (ms|s|min)", default):
            return time[1] + time[2]
        if size := re.fullmatch(r"(\d+) KiB", default):
            return size[1] + " * 1024"
        return None if default == "as follows" else default


tables = [Options(match) for match in re.finditer(r"of \[`(\w+)`\]\(([^)]+)\)", readme)]
check(len(tables) > 15, "README.md: the tables of options are not found")


def compare_texts():
    examples = {path: path.read_text() for path in sorted((source / "examples").rglob("*.cpp"))}
    gateway = (source / "examples/1_wss_and_site.cpp").read_text()
    gateway = gateway[gateway.index("#include"):].strip()
    blocks = re.findall(r"^```cpp\n(.*?)^```$", readme, re.M | re.S)
    check(blocks and blocks[0].strip() == gateway, "the README shows another gateway than examples/1_wss_and_site.cpp")
    check(gateway.count("\n") < 30, "the README's gateway has more than 30 lines")
    for block in blocks:
        check(any(block in text for text in examples.values()), f"no example has what the README shows:\n{block}")
    for path in examples:
        where = path.relative_to(source) if path.parent.name == "examples" else path.parent.relative_to(source)
        check(f"({where})" in readme, f"the README's table of examples lacks {where}")

    for table in tables:
        told, declared = [name for _, name, _ in table.rows], table.fields()
        check(told == declared, f"README.md, {table.struct}: the table has {told}, the header {declared}")

    def installed(script):
        text = re.sub(r"\\\n +", "", (source / script).read_text())
        return set(re.search(r"^sh cmake/packages.sh ((?:[\w+.-]+ )*[\w+.-]+)", text, re.M)[1].split())

    def told(before):
        words = re.search(before + r"\s+`([^`]+)`", readme)
        return set(words[1].replace("libboost1.81-dev", "boost").split())
    check(installed("examples/run.sh") == told("What it installs:"), "README.md: examples/run.sh installs other packages")
    check(installed("tests/run.sh") | {"chromium", "chromium-driver"} ==
          (told("What it installs:") | told("Besides the packages above:")), "README.md: tests/run.sh installs other packages")

    for n, line in enumerate(lines):
        if line.startswith("|") and lines[n - 1].startswith("|"):
            columns = [len(re.findall(r"(?<!\\)\|", row)) for row in (lines[n - 1], line)]
            check(columns[0] == columns[1], f"README.md:{n + 1}: the row has other columns than the one above")

    titles = re.findall(r"^#+ (.*)$", readme, re.M)
    check(len(titles) == len(set(titles)), "README.md: two headings are the same, so that links to them go wrong")
    headings = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in titles}
    for link in re.findall(r"\]\(([^)\s]+)\)", readme):
        if link.startswith("#"):
            check(link[1:] in headings, f"README.md: no heading for {link}")
        elif "://" not in link:
            check((source / link).exists(), f"README.md: there is no {link}")


PRELUDE = """
#include <relais/relais.hpp>
using namespace relais;
using namespace std::chrono_literals;
"""

COMPARISON = """
#include <iostream>
static int failures = 0;
struct none {};

template <class T>
bool is(T const& found, none) {
    if constexpr (requires { found.empty(); })
        return found.empty();
    else
        return !found;
}
template <class T>
bool is(T const& found, T const& told) {
    return found == told;
}
"""


def placed(row, code):
    return f'#line {row} "README.md"\n{code}\n'


def defaults():
    """A program that compares the defaults."""
    unit = [PRELUDE, COMPARISON, "int main() {\n"]
    for table in tables:
        for number, name, default in table.rows:
            if literal := table.literal(default):
                told = literal if literal == "none{}" else f"[] {{ decltype({table.struct}::{name}) told = {literal}; return told; }}()"
                unit.append(placed(number, f'if (!is({table.struct}{{}}.{name}, {told}))\n'
                                           f'    ++failures, std::cout << "README.md:{number}: {table.struct} has another default '
                                           f'of {name}\\n";'))
    return "".join(unit) + "return failures > 0;\n}\n"


def directives():
    """What stands beside nginx's directives, each in a function of its own."""
    unit = [PRELUDE, "static auto const app = respond(200);\n"]
    for number, cells in table_rows(r"^\| nginx \| relais \|"):
        for i, code in enumerate(codes(cells[1])):
            if re.fullmatch(r"\w+", code):
                continue
            if code.startswith(("co_await", "x.")):
                unit.append(placed(number, f"awaitable<> row_{number}_{i}(exchange& x) {{ {code}; co_return; }}"))
            else:
                unit.append(placed(number, f"void row_{number}_{i}([[maybe_unused]] server& srv) {{ (void)({code}); }}"))
    return "".join(unit)


def mistakes():
    """A unit with all mistakes, and (line, sentence) of each."""
    unit, expected = [PRELUDE, "static auto const app = respond(200);\n"], []
    for number, cells in table_rows(r"^\| written \|"):
        code, sentence = codes(cells[0])[0], codes(cells[1])[0]
        expected.append((number, sentence))
        declaration = ""
        if re.match(r"[\w<>]+ f\(", code):
            declaration, code = code + ";", "http() | f | app"
        unit.append(placed(number, f'namespace row_{number} {{ {declaration} '
                                   f'void use(server& srv) {{ srv.listen("127.0.0.1:0", {code}); }} }}'))
    return "".join(unit), expected


def compile_code(folder, compiler, includes, *words):
    folder.mkdir(parents=True, exist_ok=True)
    flags = ["-std=c++20", *(f"-I{one}" for one in includes.split(";") if one not in ("", "/usr/include"))]

    def compiled(name, text, *more):
        (folder / name).write_text(text)
        done = subprocess.run([compiler, *flags, *more, folder / name, *words], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env=os.environ | {"LC_ALL": "C"})
        return done.returncode == 0, "\n".join(line for line in done.stdout.splitlines() if "error: " in line or "README.md:" in line)

    right, said = compiled("directives.cpp", directives(), "-fsyntax-only")
    check(right, f"what the README writes for nginx's directives does not compile:\n{said}")
    program = folder / "defaults"
    right, said = compiled("defaults.cpp", defaults(), "-o", program)
    check(right, f"the README has options that are none, or defaults that they cannot have:\n{said}")
    if right:
        done = subprocess.run([program], stdout=subprocess.PIPE, text=True)
        check(done.returncode == 0, done.stdout)

    text, expected = mistakes()
    said = compiled("mistakes.cpp", text, "-fsyntax-only")[1]
    for number, sentence in expected:
        check(f"README.md:{number}:" in said and re.search(rf"assertion failed.*: {re.escape(sentence)}$", said, re.M),
              f"README.md:{number}: the compiler does not say \"{sentence}\", but:\n{said}")


if len(sys.argv) == 2:
    compare_texts()
else:
    compile_code(Path(sys.argv[2]), *sys.argv[3:])
print("\n".join(failures))
sys.exit(bool(failures))
