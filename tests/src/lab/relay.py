"""A relay between two TAP devices that it makes, in the network where it is started: relay.py DEVICE DEVICE MILLISECONDS

What comes in at one goes out at the other, in order, so many milliseconds later. Says `ready` when both devices are there; they are gone when it
ends. Whoever started it may move them to other networks meanwhile.
"""

import collections
import fcntl
import os
import select
import struct
import sys
import time

# From linux/if_tun.h.
TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
# Longer than any frame: without offloading to the device, which nobody asks for here, the kernel hands over frames of its MTU.
FRAME = 65_536
# Frames on their way in one direction: half a second of 10 Mbit/s. Those beyond are dropped, as by any queue.
UNDER_WAY = 512
# So many are read at once from one device before the other has its turn.
TURN = 64


def open_tap(name):
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return tap


def take(tap, frames, due):
    """Takes the frames that wait at a device."""
    for _ in range(TURN):
        try:
            frame = os.read(tap, FRAME)
        except BlockingIOError:
            return
        if len(frames) < UNDER_WAY:
            frames.append((due, frame))


def hand_over(tap, frames, now):
    """Hands over the frames whose time has come."""
    while frames and frames[0][0] <= now:
        _, frame = frames.popleft()
        try:
            os.write(tap, frame)
        except OSError:
            # The device is down, which loses what comes to it.
            pass


def main():
    *names, milliseconds = sys.argv[1:]
    delay = float(milliseconds) / 1e3
    taps = [open_tap(name) for name in names]
    # What waits for going out at each.
    waiting = [collections.deque(), collections.deque()]
    poll = select.epoll()
    for tap in taps:
        poll.register(tap, select.EPOLLIN)
    print("ready", flush=True)
    while True:
        next_due = min((frames[0][0] for frames in waiting if frames), default=None)
        poll.poll(None if next_due is None else max(next_due - time.monotonic(), 0))
        now = time.monotonic()
        for number in (0, 1):
            take(taps[number], waiting[1 - number], now + delay)
            hand_over(taps[number], waiting[number], time.monotonic())


main()
