"""A foreign WebRTC peer (aiortc) for the end-to-end tests: it publishes by WHIP or plays by WHEP.

usage: aiortc_peer.py whip URL [--tone HZ] [--video]    sends a tone, and a test picture, until standard input closes
       aiortc_peer.py whep URL                          prints a line of JSON a second about what it hears and sees
"""

import argparse
import asyncio
import fractions
import json
import sys
import urllib.request

import av
import numpy
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

RATE = 48_000
BLOCK = 960


class Tone(AudioStreamTrack):
    """A sine at half of full scale, 20 ms at a time."""

    def __init__(self, hertz):
        super().__init__()
        self.hertz, self.sent, self.began = hertz, 0, None

    async def recv(self):
        loop = asyncio.get_running_loop()
        self.began = self.began or loop.time()
        await asyncio.sleep(max(0, self.began + self.sent / RATE - loop.time()))
        at = (self.sent + numpy.arange(BLOCK)) / RATE
        wave = (16_384 * numpy.sin(2 * numpy.pi * self.hertz * at)).astype(numpy.int16)
        # Both channels: made into stereo by the encoder, mono would lose 3 dB.
        frame = av.AudioFrame.from_ndarray(numpy.repeat(wave, 2).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.sent, fractions.Fraction(1, RATE)
        self.sent += BLOCK
        return frame


class Card(VideoStreamTrack):
    """A picture that changes all the time."""

    async def recv(self):
        pts, base = await self.next_timestamp()
        ramp = (numpy.arange(640, dtype=numpy.uint32)[None, :] + numpy.arange(360)[:, None] + pts // 3000) % 256
        frame = av.VideoFrame.from_ndarray(numpy.repeat(ramp.astype(numpy.uint8)[:, :, None], 3, axis=2), format="rgb24")
        frame.pts, frame.time_base = pts, base
        return frame


def post(url, offer):
    """The answer and the session's address."""
    request = urllib.request.Request(url, offer.encode(), {"Content-Type": "application/sdp"}, method="POST")
    with urllib.request.urlopen(request, timeout=15) as answer:
        assert answer.status == 201, answer.status
        return answer.read().decode(), urllib.request.urljoin(url, answer.headers["Location"])


async def connect(peer, url):
    await peer.setLocalDescription(await peer.createOffer())
    answer, session = await asyncio.to_thread(post, url, peer.localDescription.sdp)
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    return session


def say(**what):
    print(json.dumps(what), flush=True)


async def hear(track):
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    heard = []
    while True:
        for frame in resampler.resample(await track.recv()):
            heard.append(frame.to_ndarray().reshape(-1))
        if sum(map(len, heard)) >= RATE:
            wave, heard = numpy.concatenate(heard), []
            spectrum = numpy.abs(numpy.fft.rfft(wave * numpy.hanning(len(wave))))
            level = 10 * numpy.log10(numpy.mean(wave**2) + 1e-12)
            say(audio=True, hertz=float(numpy.argmax(spectrum) * RATE / len(wave)), level_db=float(level))


async def see(track):
    seen = 0
    while True:
        frame = await track.recv()
        seen += 1
        if seen % 25 == 0:
            say(video=True, frames=seen, width=frame.width, height=frame.height, mean=float(frame.to_ndarray(format="gray").mean()))


async def main():
    options = argparse.ArgumentParser()
    options.add_argument("mode", choices=["whip", "whep"])
    options.add_argument("url")
    options.add_argument("--tone", type=float, default=440)
    options.add_argument("--video", action="store_true")
    options = options.parse_args()

    peer = RTCPeerConnection()
    peer.on("connectionstatechange", lambda: say(state=peer.connectionState))
    if options.mode == "whip":
        peer.addTrack(Tone(options.tone))
        if options.video:
            peer.addTrack(Card())
    else:
        peer.addTransceiver("audio", direction="recvonly")
        peer.addTransceiver("video", direction="recvonly")
        running = []
        peer.on("track", lambda track: running.append(asyncio.ensure_future((hear if track.kind == "audio" else see)(track))))
    session = await connect(peer, options.url)
    # Until the test closes our standard input, or ends.
    await asyncio.to_thread(sys.stdin.read)
    urllib.request.urlopen(urllib.request.Request(session, method="DELETE"), timeout=5)
    await peer.close()


asyncio.run(main())
