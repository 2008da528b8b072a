"""Fill a few numbers over HTTP as JSON: python fill_json.py [--server http://127.0.0.1:8000]"""

import argparse

import httpx

# Four days of rain on six cells of the Lez basin (Lambert-93 coordinates); None is a missing value.
REQUEST = {
    "time": ["2012-10-20T00:00:00Z", "2012-10-21T00:00:00Z", "2012-10-22T00:00:00Z", "2012-10-23T00:00:00Z"],
    "y": [6_290_500.0, 6_289_500.0],
    "x": [766_500.0, 767_500.0, 768_500.0],
    "fields": {
        "precipitation": {
            "units": "mm day-1",
            "values": [
                [[12.0, 11.5, 10.0], [13.1, 12.2, None]],
                [[30.2, None, None], [31.0, None, None]],
                [[None, None, None], [None, None, None]],
                [[0.0, 0.0, 0.2], [0.0, None, 0.1]],
            ],
        }
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Fill a few numbers with a running hydrofill server.")
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--bundle", help="name of the bundle; optional if exactly one suits")
    options = parser.parse_args()

    query = {"bundle": options.bundle} if options.bundle else {}
    reply = httpx.post(f"{options.server}/reconstruct", params=query, json=REQUEST, timeout=60)
    if reply.is_error:
        raise SystemExit(f"{reply.status_code}: {reply.json()['detail']}")
    answer = reply.json()
    rain = answer["fields"]["precipitation"]
    print(f"filled by {answer['bundle']['name']} {answer['bundle']['version']}, {rain['units']}, * = filled")
    for time, values, stds, flags in zip(answer["time"], rain["values"], rain["std"], rain["flag"], strict=True):
        cells = [
            f"{value:6.1f} ± {std:4.1f}*" if flag == 1 else f"{value:6.1f}        "
            for row in zip(values, stds, flags, strict=True)
            for value, std, flag in zip(*row, strict=True)
            if value is not None
        ]
        print(time[:10], "  ".join(cells))


if __name__ == "__main__":
    main()
