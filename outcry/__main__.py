"""The `outcry` command."""

from outcry.cli import app


def main() -> None:
    app()


if __name__ == "__main__":
    main()
