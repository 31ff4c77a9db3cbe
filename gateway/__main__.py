"""`trunkline`, and `python -m trunkline.gateway`."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Entry point. Loading takes most of a second: Ctrl-C ends it without a word then, too."""
    try:
        from .cli import main as command

        command()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
