"""Constants that several modules use."""

from __future__ import annotations

from collections.abc import Mapping

DAY_S = 86_400.0
YEAR_DAYS = 365.2425  # mean Gregorian year
YEAR_S = YEAR_DAYS * DAY_S
STANDARD = "standard"  # the calendar of data that name none
# Mean number of days of a year in each calendar of the CF conventions 1.11, section 4.4.1.
CALENDAR_YEAR_DAYS: Mapping[str, float] = {
    STANDARD: YEAR_DAYS,
    "proleptic_gregorian": YEAR_DAYS,
    "julian": 365.25,
    "noleap": 365.0,
    "all_leap": 366.0,
    "360_day": 360.0,
}
Z90 = 1.6448536269514722  # 95th percentile of the standard normal: 90 % of it lies between -Z90 and Z90
EARTH_RADIUS_M = 6_371_008.8  # mean radius (IUGG)
