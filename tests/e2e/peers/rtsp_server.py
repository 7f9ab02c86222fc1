"""An RTSP server (gstreamer's gst-rtsp-server) for the end-to-end tests: it plays a file in real time to whoever has the password.

usage: rtsp_server.py FILE h264|h265 PORT USER PASSWORD    until standard input closes; says {"ready": true} once it listens
"""

import json
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

Gst.init(None)
file, codec, port, user, password = sys.argv[1:6]

server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)

token = GstRtspServer.RTSPToken()
token.set_string("media.factory.role", "viewer")
auth = GstRtspServer.RTSPAuth()
auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
auth.add_digest(user, password, token)
server.set_auth(auth)

factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    f"( filesrc location={file} ! qtdemux name=d d.video_0 ! queue ! {codec}parse ! rtp{codec}pay name=pay0 pt=96 "
    "d.audio_0 ! queue ! aacparse ! rtpmp4gpay name=pay1 pt=97 )"
)
factory.set_shared(True)
allowed = GstRtspServer.RTSPPermissions()
for permission in ("media.factory.access", "media.factory.construct"):
    allowed.add_permission_for_role("viewer", permission, True)
factory.set_permissions(allowed)
server.get_mount_points().add_factory("/stream", factory)
if server.attach(None) == 0:
    sys.exit(f"port {port} cannot be listened on")

loop = GLib.MainLoop()


def wait():
    sys.stdin.read()
    GLib.idle_add(loop.quit)


threading.Thread(target=wait, daemon=True).start()
print(json.dumps({"ready": True}), flush=True)
loop.run()
