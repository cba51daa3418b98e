"""Gives every member of a gang the sum of all members' numbers, as training does with gradients.

Members find each other by name: main1, sub1, sub2, ... Where names do not resolve, the addresses in
TRACKBED_GANG_ADDRESSES stand in the same order. The Python standard library is all it needs.

Each member has a part of the numbers 1 to COUNT. main1 listens; the others send it what their part
adds up to, and get the sum of all back.
"""

import os
import socket
import sys
import time

PORT = 29400
PATIENCE = 60.0  # seconds until all members have to be there

hosts = os.environ["TRACKBED_GANG_HOSTS"].split(",")
rank = int(os.environ["TRACKBED_GANG_RANK"])


def address_of(member):
    """An address by which this member is reached."""
    try:
        return socket.gethostbyname(hosts[member])
    except OSError:
        addresses = os.environ.get("TRACKBED_GANG_ADDRESSES")
        if not addresses:
            raise
        return addresses.split(",")[member]


def send_number(connection, number):
    connection.sendall(b"%d\n" % number)


def receive_number(connection):
    with connection.makefile("rb") as lines:
        line = lines.readline()
    if not line.endswith(b"\n"):
        raise ConnectionError("a member has gone")
    return int(line)


def reduce_as_main(number):
    with socket.create_server((address_of(0), PORT)) as listener:
        listener.settimeout(PATIENCE)
        connections = [listener.accept()[0] for _ in hosts[1:]]
    total = number + sum(receive_number(connection) for connection in connections)
    for connection in connections:
        send_number(connection, total)
        connection.close()
    return total


def reduce_as_other(number):
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection = socket.create_connection((address_of(0), PORT), timeout=PATIENCE)
            break
        except OSError as error:  # main1 may take a moment
            if time.monotonic() > deadline:
                sys.exit(f"{hosts[rank]}: main1 cannot be reached: {error}")
            time.sleep(0.1)
    with connection:
        send_number(connection, number)
        return receive_number(connection)


def main():
    count = int(sys.argv[1])
    number = sum(range(1 + rank, count + 1, len(hosts)))
    total = reduce_as_main(number) if rank == 0 else reduce_as_other(number)
    print(f"{hosts[rank]}: {number} of {total}", flush=True)
    if rank == 0:  # what main1 leaves is what the task leaves
        with open(os.environ["TRACKBED_OUTPUT"], "a", encoding="utf-8") as outputs:
            outputs.write(f"total={total}\n")


main()
