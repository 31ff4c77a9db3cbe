"""The floor: a bare uvloop process that sends each datagram back. `python -m bench.echo HOST FIRST_PORT COUNT`."""

import asyncio
import sys
from typing import cast

import uvloop


class Echo(asyncio.DatagramProtocol):
    """One call's worth of nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's does not inherit from it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


async def serve(host: str, first: int, count: int) -> None:
    loop = asyncio.get_running_loop()
    for index in range(count):
        await loop.create_datagram_endpoint(Echo, local_addr=(host, first + 2 * index))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.readline)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
