"""Run the shop's tests."""

import sys

from application.recording import main

if __name__ == "__main__":
    sys.exit(
        main(
            "application.shop.test_inserting",
            "application.shop.test_changing",
            "application.shop.test_querying",
            "application.shop.test_transactions",
        )
    )
