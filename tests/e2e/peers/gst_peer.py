"""A foreign WebRTC peer (gstreamer's webrtcbin) for the end-to-end tests: it publishes by WHIP or plays by WHEP.

usage: gst_peer.py whip URL [--tone HZ]    sends a tone until standard input closes
       gst_peer.py whep URL                prints a line of JSON a second about what it hears and sees
"""

import argparse
import json
import sys
import threading
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

OPUS = "application/x-rtp,media=audio,encoding-name=OPUS,payload=96,clock-rate=48000,encoding-params=(string)2"
H264 = "application/x-rtp,media=video,encoding-name=H264,payload=97,clock-rate=90000,packetization-mode=(string)1"


def say(**what):
    print(json.dumps(what), flush=True)


def post(url, offer):
    request = urllib.request.Request(url, offer.encode(), {"Content-Type": "application/sdp"}, method="POST")
    with urllib.request.urlopen(request, timeout=15) as answer:
        assert answer.status == 201, answer.status
        return answer.read().decode(), urllib.request.urljoin(url, answer.headers["Location"])


KEPT = []


def described(kind, text):
    # The description owns the message, which the binding does not know: it must not free it as well.
    _, sdp = GstSdp.SDPMessage.new_from_text(text)
    KEPT.append(sdp)
    KEPT.append(GstWebRTC.WebRTCSessionDescription.new(kind, sdp))
    return KEPT[-1]


class Peer:
    def __init__(self, options):
        self.options, self.session, self.frames = options, None, 0
        self.loop = GLib.MainLoop()
        self.pipeline = Gst.Pipeline.new(None)
        self.rtc = Gst.ElementFactory.make("webrtcbin")
        self.rtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.rtc)
        if options.mode == "whip":
            source = Gst.parse_bin_from_description(
                f"audiotestsrc is-live=true freq={options.tone} volume=0.5 ! audio/x-raw,rate=48000,channels=1 ! "
                f"opusenc inband-fec=true ! rtpopuspay ! capsfilter caps={OPUS}",
                True,
            )
            self.pipeline.add(source)
            source.link(self.rtc)
        else:
            for caps in (OPUS, H264):
                direction = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
                self.rtc.emit("add-transceiver", direction, Gst.Caps.from_string(caps))
            self.rtc.connect("pad-added", self.added)
        self.rtc.connect("notify::ice-gathering-state", self.gathered)
        self.rtc.connect("notify::connection-state", self.state)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.message)

    def run(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        GLib.timeout_add(200, self.offer)
        threading.Thread(target=self.wait, daemon=True).start()
        self.loop.run()
        if self.session:
            urllib.request.urlopen(urllib.request.Request(self.session, method="DELETE"), timeout=5)
        self.pipeline.set_state(Gst.State.NULL)

    def wait(self):
        sys.stdin.read()
        GLib.idle_add(self.loop.quit)

    def offer(self):
        def made(promise, _):
            promise.wait()
            # Made anew from its text: what the binding hands out has lost its insides when it comes back.
            reply = promise.get_reply()
            offer = reply.get_value("offer")
            text = offer.sdp.as_text()
            self.rtc.emit("set-local-description", described(GstWebRTC.WebRTCSDPType.OFFER, text), Gst.Promise.new())

        self.rtc.emit("create-offer", None, Gst.Promise.new_with_change_func(made, None))
        return False

    def gathered(self, rtc, _):
        if rtc.get_property("ice-gathering-state") != GstWebRTC.WebRTCICEGatheringState.COMPLETE or self.session:
            return
        local = rtc.get_property("local-description")
        answer, self.session = post(self.options.url, local.sdp.as_text())
        rtc.emit("set-remote-description", described(GstWebRTC.WebRTCSDPType.ANSWER, answer), None)

    def state(self, rtc, _):
        say(state=rtc.get_property("connection-state").value_nick)

    def added(self, _, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        if pad.get_current_caps().get_structure(0).get_string("media") == "audio":
            sink = "rtpopusdepay ! opusdec ! audioconvert ! spectrum bands=2400 interval=1000000000 ! level interval=1000000000 ! fakesink sync=false"
        else:
            sink = "rtph264depay ! h264parse ! openh264dec ! identity name=seen signal-handoffs=true ! fakesink sync=false"
        branch = Gst.parse_bin_from_description("queue ! " + sink, True)
        self.pipeline.add(branch)
        seen = branch.get_by_name("seen")
        if seen:
            seen.connect("handoff", self.seen)
        branch.sync_state_with_parent()
        pad.link(branch.get_static_pad("sink"))

    def seen(self, element, _):
        self.frames += 1
        if self.frames % 25 == 0:
            shape = element.get_static_pad("src").get_current_caps().get_structure(0)
            say(video=True, frames=self.frames, width=shape.get_int("width")[1], height=shape.get_int("height")[1])

    def message(self, _, message):
        if message.type == Gst.MessageType.ERROR:
            say(error=str(message.parse_error()))
            self.loop.quit()
        shape = message.get_structure()
        if shape and shape.get_name() == "spectrum":
            # 2400 bands of 10 Hz; the structure's list has no binding, its text has.
            bands = shape.to_string().split("magnitude=(float){", 1)[1].split("}", 1)[0].split(",")
            levels = [float(b) for b in bands]
            say(audio=True, hertz=10.0 * levels.index(max(levels)) + 5.0)


parser = argparse.ArgumentParser()
parser.add_argument("mode", choices=["whip", "whep"])
parser.add_argument("url")
parser.add_argument("--tone", type=float, default=440)
Gst.init(None)
Peer(parser.parse_args()).run()
