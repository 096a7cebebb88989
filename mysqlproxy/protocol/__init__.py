"""The MySQL wire, bytes only: no sockets, no clocks, no asyncio."""
