"""PESQ-WB (ITU-T P.862.2) of what was heard against what was said: judge_speech.py SAID.wav HEARD.wav [SECONDS]

Mean over pieces of eight seconds. What was heard may be late: it is shifted first to where it fits best. With SECONDS, what was said was repeated
again and again, and so much of the beginning of what was heard is left out, which may then begin anywhere in it.
"""

import sys
import wave

import numpy as np
from pesq import pesq
from scipy.signal import correlate, resample_poly

RATE = 16_000
PIECE = 8 * RATE


def read(path):
    with wave.open(path) as file:
        assert file.getframerate() == 48_000 and file.getnchannels() == 1
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    return resample_poly(samples.astype(float), 1, 3)


said, heard = read(sys.argv[1]), read(sys.argv[2])
if len(sys.argv) > 3:
    heard = heard[round(float(sys.argv[3]) * RATE):]
    assert len(heard) >= PIECE, "what was heard is too short"
    cycle = len(said)
    said = np.tile(said, len(heard) // cycle + 3)
    # Wherever it begins, it fits as well one cycle later.
    begins = int(np.argmax(correlate(said[:cycle + PIECE - 1], heard[:PIECE], mode="valid")))
    said = said[begins:]
else:
    late = int(np.argmax(correlate(heard[:PIECE], said[:PIECE]))) - (len(said[:PIECE]) - 1)
    heard = heard[max(late, 0):]
scores = [
    pesq(RATE, said[at:at + PIECE], heard[at:at + PIECE], "wb")
    for at in range(0, min(len(said), len(heard)) - PIECE + 1, PIECE)
]
print(f"{np.mean(scores):.3f}")
