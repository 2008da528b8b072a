"""API keys: missing, unknown and used up ones, and the file that holds them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from app.__main__ import cli
from app.errors import KeyMissingError, KeyRefusedError, QuotaError
from app.keys import Key, Keys, make_key, read_keys
from app.main import create_app
from app.settings import Settings, SettingsError
from tests.support.problems import check_problem
from tests.support.tiny import JSON, body_of, client_of, sample


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# clients\nann:{sha256('one')}\n\nbob:{sha256('two')}:2  # a trial\n")
    return path


async def fill(client: httpx.AsyncClient, route: str = "/reconstruct", **headers: str) -> httpx.Response:
    return await client.post(route, content=body_of(sample(), JSON), headers={"Content-Type": JSON, **headers})


@pytest.mark.anyio
@pytest.mark.parametrize("route", ["/reconstruct", "/estimate"])
async def test_routes_that_take_data_need_a_key(bundles: Path, keys_file: Path, route: str) -> None:
    async with client_of(create_app(Settings(bundles=bundles, keys_file=keys_file))) as client:
        reply = await fill(client, route)
        check_problem(reply, 401, "key-missing")
        assert reply.headers["www-authenticate"] == "Bearer"
        check_problem(await fill(client, route, Authorization="Bearer three"), 403, "key-refused")
        check_problem(await fill(client, route, Authorization="Basic one"), 401, "key-missing")
        check_problem(await fill(client, route, Authorization=f"Bearer {sha256('one')}"), 403, "key-refused")
        assert (await fill(client, route, Authorization="Bearer one")).status_code == 200
        assert (await fill(client, route, **{"X-API-Key": "one"})).status_code == 200
        assert (await client.get("/healthz")).status_code == 200
        metrics = (await client.get("/metrics")).text
        assert 'hydrofill_rejections_total{reason="key"} 4.0' in metrics


@pytest.mark.anyio
async def test_used_up_quota_is_answered_429_with_retry_after(bundles: Path, keys_file: Path) -> None:
    async with client_of(create_app(Settings(bundles=bundles, keys_file=keys_file))) as client:
        replies = [await fill(client, Authorization="Bearer two") for _ in range(3)]
        assert [reply.status_code for reply in replies] == [200, 200, 429]
        check_problem(replies[2], 429, "quota", "2 requests per minute")
        assert 1 <= int(replies[2].headers["retry-after"]) <= 30


def test_quota_refills_as_time_passes() -> None:
    now = [0.0]
    keys = Keys([Key("ann", sha256("one"), 2)], now_s=lambda: now[0])
    headers = {"x-api-key": "one"}
    assert [keys.client(headers) for _ in range(2)] == ["ann", "ann"]
    with pytest.raises(QuotaError) as refused:
        keys.client(headers)
    assert refused.value.retry_after_s == pytest.approx(30.0)
    now[0] = 30.0
    assert keys.client(headers) == "ann"


def test_key_is_recognised_by_its_hash_and_the_hash_is_not_a_key() -> None:
    made, digest = make_key()
    keys = Keys([Key("ann", digest, None)])
    assert keys.client({"authorization": f"bearer {made}"}) == "ann"
    with pytest.raises(KeyRefusedError):
        keys.client({"x-api-key": digest})
    with pytest.raises(KeyMissingError):
        keys.client({"authorization": "Bearer "})


@pytest.mark.parametrize(
    "text", ["", "# none\n", "ann:abc\n", f"ann:{'0' * 64}:0\n", f"a b:{'0' * 64}\n", f"a:{'0' * 64}\na:{'1' * 64}\n"]
)
def test_invalid_keys_file_is_refused_without_quoting_its_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(SettingsError, match="HYDROFILL_KEYS_FILE") as refused:
        read_keys(path)
    assert "000" not in str(refused.value)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_keys(tmp_path / "none")


def test_command_makes_a_line_for_the_file_and_a_key(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["key", "ann"])
    (tmp_path / "keys").write_text(result.stdout)
    keys = read_keys(tmp_path / "keys")
    assert keys.client({"x-api-key": result.stderr.strip()}) == "ann"
