"""How well speech is understood after a network: short-time objective intelligibility (Taal et al. 2011), 0 to 1.

usage: stoi.py SPOKEN.wav HEARD.wav    both 16 kHz mono; SPOKEN was played again and again

Pieces of what was heard are laid over the speech where they fit best; the middle value is printed. They are short, so that
a voice that is moved slowly in time, which nobody hears, is not taken for one that is not understood.
"""

import sys
import wave

import numpy
from pystoi import stoi
from scipy.signal import correlate

RATE = 16_000
PIECE = 24_000


def read(path):
    with wave.open(path) as file:
        assert file.getframerate() == RATE and file.getnchannels() == 1, path
        return numpy.frombuffer(file.readframes(file.getnframes()), numpy.int16).astype(float) / 32_768


spoken, heard = read(sys.argv[1]), read(sys.argv[2])
twice = numpy.concatenate([spoken, spoken, spoken])
figures = []
for start in range(0, len(heard) - PIECE, PIECE // 2):
    piece = heard[start : start + PIECE]
    at = int(numpy.argmax(correlate(twice, piece, "valid", "fft")))
    figures.append(stoi(twice[at : at + len(piece)], piece, RATE))
print(f"{numpy.median(figures):.4f}")
