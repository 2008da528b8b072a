"""The page in a real Chromium: opening, filling, exploring and downloading a file."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr

from tests.page.conftest import OUT, PHONE, Visit
from tests.support.servers import SAMPLE

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "axe.min.js"
NETCDF = {"Content-Type": "application/x-netcdf"}


def opened(content: bytes) -> xr.Dataset:
    with xr.open_dataset(io.BytesIO(content), engine="h5netcdf") as dataset:
        return dataset.load()


def pixels(visit: Visit, canvas: str) -> str:
    found: str = visit.page.evaluate(f"document.getElementById('{canvas}').toDataURL()")
    return found


def violations(visit: Visit) -> list[str]:
    """Serious and critical findings of axe-core, which is injected because the page's policy blocks other scripts."""
    visit.page.evaluate(AXE.read_text())
    found: list[dict[str, Any]] = visit.page.evaluate("axe.run().then(r => r.violations)")
    return [
        f"{v['id']}: {node['html'][:120]}"
        for v in found
        if v["impact"] in ("serious", "critical")
        for node in v["nodes"]
    ]


def test_the_sample_opens_with_its_gaps_counted_and_nothing_filled(visit: Visit) -> None:
    visit.open_sample()
    sample = opened(SAMPLE.read_bytes())
    gaps = sum(int(sample[name].isnull().sum()) for name in ("precipitation", "pet", "river_flow"))
    assert f"{gaps:,} of" in visit.text("#estimate")
    assert "27 × 14 cells" in visit.text("#file-facts")
    assert visit.page.is_visible("#wait-filled")
    assert visit.page.is_hidden("#take")


def test_filling_closes_the_gaps_and_shows_the_uncertainty(visit: Visit) -> None:
    visit.open_sample()
    sent, before, std = (pixels(visit, f"map-{show}") for show in ("sent", "filled", "std"))
    visit.page.click("#run")
    visit.page.wait_for_selector("#take:not([hidden])", timeout=60_000)
    assert pixels(visit, "map-sent") == sent
    assert pixels(visit, "map-filled") != before
    assert pixels(visit, "map-std") != std
    assert visit.page.is_hidden("#wait-filled")
    sample = opened(SAMPLE.read_bytes())
    rows = visit.text("#stats").splitlines()
    assert any(f"{int(sample['precipitation'].isnull().sum()):,}" in row for row in rows)


def test_moving_the_slider_changes_the_date_and_the_maps(visit: Visit) -> None:
    page = visit.fill()
    date, picture = visit.text("#date"), pixels(visit, "map-filled")
    page.focus("#step")
    page.keyboard.press("ArrowLeft")
    assert visit.text("#date") != date
    assert pixels(visit, "map-filled") != picture
    page.keyboard.press("Home")
    assert visit.text("#date") == "1 Oct 2012"


def test_play_runs_through_time_until_it_is_paused(visit: Visit) -> None:
    page = visit.open_sample()
    date = visit.text("#date")
    page.click("#play")
    page.locator("#date").filter(has_not_text=date).wait_for()
    assert page.get_attribute("#play", "aria-pressed") == "true"
    page.click("#play")
    stopped = visit.text("#date")
    page.wait_for_timeout(500)
    assert visit.text("#date") == stopped


def test_clicking_a_cell_shows_its_time_series_with_the_value_of_the_reply(visit: Visit) -> None:
    page = visit.fill()
    box = page.locator("#map-filled").bounding_box()
    row, column = 20, 5
    page.mouse.click(box["x"] + (column + 0.5) * box["width"] / 14, box["y"] + (row + 0.5) * box["height"] / 27)
    assert page.locator("#place option:checked").inner_text() == f"Precipitation: cell {row + 1}, {column + 1}"
    page.focus("#step")
    page.keyboard.press("Home")
    reply = opened(httpx.post(f"{visit.address}/reconstruct", content=SAMPLE.read_bytes(), headers=NETCDF).content)
    expected = float(reply["precipitation"][0, row, column])
    shown = float(visit.text("#series-now strong").split()[0])
    assert shown == pytest.approx(expected, rel=0.02, abs=0.02)


def test_the_cell_moves_with_the_arrow_keys_and_is_announced(visit: Visit) -> None:
    page = visit.open_sample()
    page.locator("#map-sent").click(position={"x": 40, "y": 60})
    before = page.locator("#place option:checked").inner_text()
    page.focus("#map-sent")
    page.keyboard.press("ArrowDown")
    after = page.locator("#place option:checked").inner_text()
    assert after != before
    assert "Cell" in page.text_content("#live")


def test_a_gauge_is_picked_on_the_map_and_in_the_list(visit: Visit) -> None:
    page = visit.fill()
    page.select_option("#place", "site/0/1")
    assert "River flow: gauge middle" in page.get_attribute("#chart", "aria-label")
    sample = opened(SAMPLE.read_bytes())
    across = (float(sample["site_x"][0]) - float(sample["x"][0])) / 1000 + 0.5
    down = (float(sample["y"][0]) - float(sample["site_y"][0])) / 1000 + 0.5
    box = page.locator("#map-sent").bounding_box()
    page.mouse.click(box["x"] + across * box["width"] / 14, box["y"] + down * box["height"] / 27)
    assert page.locator("#place option:checked").inner_text() == "River flow: gauge upper"


def test_the_other_variable_has_its_own_scale_and_units(visit: Visit) -> None:
    page = visit.open_sample()
    picture = pixels(visit, "map-sent")
    page.click("text=Potential evapotranspiration >> nth=0")
    assert pixels(visit, "map-sent") != picture
    assert visit.text("#legend-field p") == "Potential evapotranspiration, mm day⁻¹"


def test_gaps_longer_than_requested_are_refused(visit: Visit) -> None:
    page = visit.open_sample()
    page.fill("#max-gap", "3")
    page.click("#run")
    page.wait_for_selector("#take:not([hidden])", timeout=60_000)
    assert "refused" in visit.text("#stats")
    assert '"max_gap": 3' in page.text_content("#snippet")


def test_the_download_opens_in_xarray_and_equals_the_reply_of_the_interface(visit: Visit, tmp_path: Path) -> None:
    page = visit.fill()
    with page.expect_download() as waiting:
        page.click("#download")
    target = tmp_path / "filled.nc"
    waiting.value.save_as(target)
    assert waiting.value.suggested_filename == "sample-filled.nc"
    reply = httpx.post(f"{visit.address}/reconstruct", content=SAMPLE.read_bytes(), headers=NETCDF, timeout=60)
    downloaded, expected = opened(target.read_bytes()), opened(reply.content)
    assert set(downloaded.variables) == set(expected.variables)
    for name in expected.variables:
        np.testing.assert_array_equal(downloaded[name].values, expected[name].values)


def test_the_copied_program_makes_the_same_file(visit: Visit, tmp_path: Path) -> None:
    page = visit.fill()
    page.click("#copy")
    program = page.text_content("#snippet")
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, timeout=120)
    reply = httpx.post(f"{visit.address}/reconstruct", content=SAMPLE.read_bytes(), headers=NETCDF, timeout=60)
    made, expected = opened((tmp_path / "sample-filled.nc").read_bytes()), opened(reply.content)
    np.testing.assert_array_equal(made["pet"].values, expected["pet"].values)


def test_a_broken_file_shows_an_error_and_the_page_still_works(visit: Visit, tmp_path: Path) -> None:
    broken = tmp_path / "broken.nc"
    broken.write_bytes(SAMPLE.read_bytes()[:5000])
    visit.page.set_input_files("#file", broken)
    visit.page.wait_for_selector("#problem:not([hidden])")
    assert "request" in visit.text("#problem")
    assert visit.page.get_attribute("#problem", "role") == "alert"
    assert violations(visit) == []
    visit.picture("error")
    visit.open_sample()
    assert visit.page.is_hidden("#problem")


def test_a_file_without_a_known_variable_is_refused_by_name(visit: Visit, tmp_path: Path) -> None:
    unknown = opened(SAMPLE.read_bytes())[["slope"]]
    unknown.to_netcdf(tmp_path / "unknown.nc", engine="h5netcdf")
    visit.page.set_input_files("#file", tmp_path / "unknown.nc")
    visit.page.wait_for_selector("#problem:not([hidden])")
    assert visit.page.is_hidden("#work")


def test_a_grid_from_south_to_north_is_drawn_the_right_way_up(visit: Visit, tmp_path: Path) -> None:
    sample = opened(SAMPLE.read_bytes())
    sample.isel(y=slice(None, None, -1)).to_netcdf(tmp_path / "upside.nc", engine="h5netcdf")
    visit.open_sample()
    right = pixels(visit, "map-std")
    visit.page.set_input_files("#file", tmp_path / "upside.nc")
    visit.page.locator("#file-name").filter(has_text="upside.nc").wait_for()
    assert pixels(visit, "map-std") == right


def test_the_page_requests_only_its_server_and_keeps_its_content_security_policy(visit: Visit) -> None:
    visit.fill()
    assert [url for url in visit.requested if not url.startswith((visit.address, "blob:", "data:"))] == []
    assert visit.console == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [None, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_serious(chromium: Any, address: str, scheme: str, viewport: dict[str, int] | None) -> None:
    visit = Visit(chromium, address, color_scheme=scheme, **({"viewport": viewport} if viewport else {}))
    assert violations(visit) == []
    visit.open_sample()
    assert violations(visit) == []
    visit.page.click("#run")
    visit.page.wait_for_selector("#take:not([hidden])", timeout=60_000)
    visit.page.click("summary")
    assert violations(visit) == []
    visit.context.close()


def test_the_page_fits_a_phone(chromium: Any, address: str) -> None:
    visit = Visit(chromium, address, viewport=PHONE, device_scale_factor=2, has_touch=True)
    visit.fill()
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    visit.picture("phone")
    visit.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_of_the_page_are_taken(chromium: Any, address: str, scheme: str) -> None:
    visit = Visit(chromium, address, color_scheme=scheme)
    visit.picture(f"start-{scheme}")
    visit.fill()
    name = {"light": "desktop", "dark": "dark"}[scheme]
    assert visit.picture(name).stat().st_size > 50_000
    assert (OUT / f"start-{scheme}.png").exists()
    visit.context.close()
