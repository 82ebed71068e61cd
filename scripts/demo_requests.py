"""Asks a served completejourney model one question by REST, as curl would.

The same question, and one with little in it, go into a file for
`tfplugin predict`.
"""

import argparse
import json
import pathlib
import urllib.request

#: A household of the log looks at a bottle of soft drink in its store.
PURCHASE = {
    "household_id": 900,
    "product_id": 1095275,
    "store_id": 330,
    "manufacturer_id": 2,
    "product_category": "SOFT DRINKS",
    "product_type": "SOFT DRINKS 12/18&15PK CAN CAR",
    "household_category": "900/SOFT DRINKS",
}
TIMEOUT_SECONDS = 30


def ask_rest(url: str) -> dict[str, float]:
    """Asks in row form, as `curl -d` would."""
    body = json.dumps({"instances": [PURCHASE]}).encode()
    print(f"REST  POST {url}\n      {body.decode()}")
    request = urllib.request.Request(url, body)
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        return json.load(response)["predictions"][0]


def main() -> None:
    """Prints the answer and writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rest-url", required=True)
    parser.add_argument("--rows", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    for objective, probability in sorted(ask_rest(arguments.rest_url).items()):
        print(f"      P({objective}) = {probability:.4f}")
    # To tfplugin predict an absent column is a missing value.
    rows = [PURCHASE, {"household_id": PURCHASE["household_id"]}]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    arguments.rows.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
