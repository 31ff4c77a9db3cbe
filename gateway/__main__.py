"""`python -m trunkline.gateway` is `trunkline`."""

from .cli import main

main()
