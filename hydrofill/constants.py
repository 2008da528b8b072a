"""Constants that several modules use."""

from __future__ import annotations

DAY_S = 86_400.0
YEAR_DAYS = 365.2425  # mean Gregorian year
YEAR_S = YEAR_DAYS * DAY_S
Z90 = 1.6448536269514722  # 95th percentile of the standard normal: 90 % of it lies between -Z90 and Z90
