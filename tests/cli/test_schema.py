"""``mpzmq schema``, ``schema diff``, ``stubs`` and ``call ... --help``, as users run them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mpzmq.cli.function_help import typed_help
from mpzmq.testing import ContainerProcess
from mpzmq.typed.stubs import stubs
from tests.schemas.make import FOLDER, base, schema_of
from tests.support import ROOT, commands
from tests.support.commands import SECONDS, called
from tests.support.shared import strict_mypy
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SERVER = '''
from collections.abc import AsyncIterator
from mpzmq import ContainerServer
from tests.typed.kinds import KINDS, Color, Item, Point

server = ContainerServer(typed=True)

def kind(annotation):
    def same(x):
        return x
    same.__annotations__ = {"x": annotation, "return": annotation}
    return same

for number, (annotation, _) in enumerate(KINDS.values()):
    server.function(kind(annotation), name=f"kind_{number}")

@server.function
def buy(item: Item, count: int = 1, *, color: Color = Color.RED) -> float:
    """Buys an item."""
    return float(item.price) * count + len(color.value)

@server.function
async def walk(start: Point, /, steps: int = 2) -> AsyncIterator[Point]:
    for step in range(steps):
        yield Point(start.x + step, start.y)

@server.function
async def load(items: AsyncIterator[Item], shelf: int, *more: int, **marks: str) -> int:
    return len([item async for item in items])
'''
UNTYPED = (
    "from mpzmq import ContainerServer\nserver = ContainerServer()\n@server.function\ndef add(a, b): return a + b\n"
)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("schema")
    (folder / "shop.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{SERVER}")
    with ContainerProcess("shop:server", folder=folder) as process:
        yield process.endpoint


def run(*args: str, how: Callable[..., subprocess.CompletedProcess[str]] = called) -> tuple[int, str, str]:
    done = how(*args)
    return done.returncode, done.stdout, done.stderr


def test_a_schema_is_printed_and_compared(endpoint: str, tmp_path: Path) -> None:
    code, told, _ = run("schema", endpoint, how=commands.run)
    assert code == 0
    functions = json.loads(told)["functions"]
    assert functions["buy"]["parameters"]["required"] == ["item"]
    assert functions["walk"]["kind"] == "stream"
    file = tmp_path / "shop.json"
    file.write_text(told)
    assert run("schema", "diff", str(file), endpoint) == (0, "", "")
    del functions["buy"]["parameters"]["properties"]["count"]
    file.write_text(json.dumps({"functions": functions}))
    code, told, _ = run("schema", "diff", endpoint, str(file))
    assert (code, told) == (1, "buy: the parameter 'count' is gone\n")
    code, told, _ = run("schema", "diff", endpoint, str(file), "--json")
    assert (code, json.loads(told)) == (1, {"breaks": ["buy: the parameter 'count' is gone"]})


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["schema", "diff", str(FOLDER / "1.0.json")], 64, "takes OLD and NEW"),
        (["schema", "127.0.0.1:1", "more"], 64, "takes one ENDPOINT"),
        (["schema", "diff", str(FOLDER / "make.py"), str(FOLDER / "1.0.json")], 65, "is no schema"),
        (["schema", "diff", "nowhere.json", str(FOLDER / "1.0.json")], 1, "cannot read nowhere.json"),
        (["schema", "127.0.0.1:1"], 2, "ConnectRefused"),
        (["stubs", str(FOLDER / "1.0.json"), "--name", "a b"], 1, "is no name of a class"),
    ],
)
def test_what_cannot_be_done_is_told(args: list[str], code: int, told: str) -> None:
    done = run(*args)
    assert done[0] == code
    assert told in done[2]


def test_a_container_that_is_not_typed_has_no_schema(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(UNTYPED)
    with ContainerProcess("plain:server", folder=tmp_path) as process:
        code, _, said = run("schema", process.endpoint)
        assert code == 1
        assert "its functions are not typed" in said
        assert run("call", process.endpoint, "add", "--help") == (0, "add(a, b)\n\n", "")


def test_help_of_a_typed_function_and_json_for_it(endpoint: str) -> None:
    code, told, _ = run("call", endpoint, "buy", "--help")
    assert code == 0
    assert told == (
        f"Usage: mpzmq call {endpoint} buy ITEM [COUNT] [--kw color=JSON]\n\n"
        "  Buys an item.\n\n"
        "  item    Item, required\n"
        "  count   integer, default 1\n"
        '  color   Color, default "red"\n'
        "  result  number\n\n"
        "Types:\n"
        '  Item: {"name": string, "price": decimal, "colors"?: [Color, ...]}\n'
        '  Color: "red" or "blue"\n'
    )
    assert run("call", endpoint, "buy", '{"name": "pen", "price": "1.5"}', "2", "--kw", 'color="blue"')[1] == "7.0\n"
    code, _, said = run("call", endpoint, "buy", '{"name": "pen", "price": "much"}')
    assert code == 1
    assert "item.price: expected Decimal, got 'much'" in said
    code, _, said = run("call", endpoint, "sell", "--help")
    assert (code, "has no function 'sell'; it has " in said) == (64, True)
    code, told, _ = run("call", "--help")
    assert "Call a function of a container" in told


def test_help_of_every_function_of_a_schema() -> None:
    for name, schema in schema_of(base())["functions"].items():
        told = "\n".join(typed_help("127.0.0.1:3010", name, schema))
        assert all(key in told for key in schema["parameters"]["properties"])


@pytest.mark.long
@pytest.mark.timeout(scaled(150))  # it may wait for the mypy of another process
def test_stubs_are_a_module_that_type_checks_and_fits(endpoint: str, tmp_path: Path, shared_folder: Path) -> None:
    code, told, _ = run("stubs", endpoint, "--name", "Shop", how=commands.run)
    assert code == 0
    (tmp_path / "shop_client.py").write_text(told)
    (tmp_path / "use.py").write_text(
        "import asyncio\nimport sys\nfrom decimal import Decimal\n\nfrom mpzmq import ComputerEngineWorker\n"
        "from shop_client import Item, Point, Shop\n\n\n"
        "async def main(endpoint: str) -> None:\n"
        "    async with ComputerEngineWorker(typed=True) as worker:\n"
        "        container = await worker.connect(endpoint)\n"
        "        await container.check(Shop)\n"
        "        shop = container.of(Shop)\n"
        '        print(await shop.buy(Item(name="pen", price=Decimal("1.5")), count=2))\n'
        "        print([point.x async for point in shop.walk(Point(x=1, y=2))])\n"
        '        print(await shop.load([Item(name="pen", price=Decimal(1))], 1, 2, other="a"))\n\n\n'
        "asyncio.run(main(sys.argv[1]))\n"
    )
    checked = strict_mypy(shared_folder, tmp_path, "shop_client.py", "use.py")
    assert checked.returncode == 0, checked.stdout
    used = subprocess.run(
        [sys.executable, "use.py", endpoint], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert used.stdout.splitlines() == ["6.0", "[1, 2]", "1"], used.stderr


def test_stubs_of_names_that_python_does_not_have() -> None:
    odd = {"title": "Odd", "type": "object", "properties": {"first-name": {"type": "string"}}, "required": []}
    function = {
        "kind": "call",
        "parameters": {
            "type": "object",
            "properties": {"x": {"$ref": "#/$defs/Odd"}},
            "required": ["x"],
            "additionalProperties": False,
            "$defs": {"Odd": odd},
        },
        "result": {"x-type": "numpy.ndarray"},
    }
    text = stubs({"functions": {"ok": function, "is-odd": function, "class": function}}, "Api", "A test")
    compile(text, "stubs.py", "exec")
    assert "_first_name: str | msgspec.UnsetType = msgspec.field(name='first-name', default=msgspec.UNSET)" in text
    assert "-> numpy.ndarray: ..." in text
    assert '# "is-odd" is no name of a method' in text
