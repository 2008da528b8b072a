"""Accept and Content-Type: what a codec is chosen by, and that no header raises anything but a 406 or a 415."""

from __future__ import annotations

import random
import time
from contextlib import suppress

import httpx
import pytest

from app.codecs.negotiation import CODECS, reading_codec, writing_codec
from app.errors import NotAcceptableError, UnsupportedMediaTypeError
from tests.conftest import SEED
from tests.support.problems import check_problem
from tests.support.tiny import JSON, NETCDF, NPZ, body_of, sample

WEIGHTS = ("nan", "NaN", "inf", "-inf", "-1", "+1", "1e3", "1e999", "", "0x1", "1_0", "\u0661", "=1", '"1"', "9" * 400)


@pytest.mark.anyio
@pytest.mark.parametrize("weight", WEIGHTS)
async def test_weight_that_is_no_number_is_answered_406(client: httpx.AsyncClient, weight: str) -> None:
    accept = f"{JSON};q={weight}".encode()
    headers = {b"Content-Type": JSON.encode(), b"Accept": accept}
    reply = await client.post("/reconstruct", content=body_of(sample(), JSON), headers=headers)
    check_problem(reply, 406, "not-acceptable", NETCDF)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_range_with_such_a_weight_is_ignored_beside_others(weight: str) -> None:
    assert writing_codec({"accept": f"{JSON};q={weight}, {NPZ};q=0.1"}, CODECS[NETCDF]).media_type == NPZ


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (f"{JSON}; Q = 0.5 , {NPZ}; q=0.4", JSON),
        (f'{JSON};profile="a, {NPZ};q=1";q=0.2, {NETCDF};q=0.3', NETCDF),
        (f"{JSON};version=q;q=0.9,{NPZ}", NPZ),
        (f",, {JSON} ,", JSON),
        (f"{JSON};q=1.5, {NPZ};q=1", JSON),
        (f"{NPZ};q=0.001, */*;q=0", NPZ),
    ],
)
def test_ranges_are_read_as_http_says(accept: str, expected: str) -> None:
    assert writing_codec({"accept": accept}, CODECS[JSON]).media_type == expected


def test_no_header_raises_anything_but_its_refusal() -> None:
    draw = random.Random(SEED)
    words = [*CODECS, "*/*", "application/*", "*", ";", ",", "q", "=", "0.5", '"', "\\", " ", "\t", "\xff", *WEIGHTS]
    for _ in range(3000):
        text = "".join(draw.choices(words, k=draw.randint(0, 12)))
        with suppress(NotAcceptableError):
            assert writing_codec({"accept": text}, CODECS[JSON]) in CODECS.values()
        for headers in ({"content-type": text}, {"content-type": JSON, "content-encoding": text}):
            with suppress(UnsupportedMediaTypeError):
                assert reading_codec(headers) in CODECS.values()


@pytest.mark.parametrize("text", [",", f"{JSON};q=nan,", '"', f"{JSON};" + "a=b;", ";q", " ", "*/*;q=0,"])
def test_longest_header_is_read_quickly(text: str) -> None:
    started = time.process_time()
    with suppress(NotAcceptableError):
        writing_codec({"accept": text * (2**14 // len(text))}, CODECS[JSON])
    assert time.process_time() - started < 0.2
