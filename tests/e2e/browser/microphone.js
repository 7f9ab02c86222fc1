// A microphone whose clock is the machine's, as a sound card's is: of a browser that gets no time for a while, what was
// spoken meanwhile comes late, but it comes. (Chromium's own fake devices leave it out, and their sound slips.)
//
// `speech(url)`    plays this sound file again and again
// `reflex(ms, hz)` sounds a short tone so long after each flash in the page's video was shown: an interpreter,
//                  but for the human
(() => {
  const RATE = 48000, FRAME = 480;
  // What sounds at sample `at`, counted since the page began.
  let voice = () => 0;
  let began = null;

  const microphone = () => {
    const track = new MediaStreamTrackGenerator({ kind: 'audio' });
    const writer = track.writable.getWriter();
    began ??= performance.now();
    let done = 0;
    setInterval(() => {
      const due = Math.floor(((performance.now() - began) * RATE) / 1000 / FRAME);
      for (; done < due; done += 1) {
        const data = Float32Array.from({ length: FRAME }, (_, i) => voice(done * FRAME + i));
        const timestamp = (done * FRAME * 1e6) / RATE;
        writer.write(new AudioData({ format: 'f32-planar', sampleRate: RATE, numberOfFrames: FRAME, numberOfChannels: 1, timestamp, data }));
      }
    }, 10);
    return track;
  };
  let track = null;
  navigator.mediaDevices.getUserMedia = async () => {
    track ??= microphone();
    return new MediaStream([track.clone()]);
  };

  window.speech = async (url) => {
    const file = await (await fetch(url)).arrayBuffer();
    const samples = (await new OfflineAudioContext(1, 1, RATE).decodeAudioData(file)).getChannelData(0);
    voice = (at) => samples[at % samples.length];
  };

  window.reflex = (reaction, hertz) => {
    const LENGTH = 0.08 * RATE;
    let tones = [];
    voice = (at) => (tones.some((from) => at >= from && at < from + LENGTH) ? 0.5 * Math.sin((2 * Math.PI * hertz * at) / RATE) : 0);
    let lit = true;
    const luma = new Uint8Array(16);
    const look = async (video, frame) => {
      const looked = performance.now();
      const picture = new VideoFrame(video);
      const even = (share) => 2 * Math.round(share / 2);
      // The middle of the flash, without bringing the whole picture into another format.
      await picture.copyTo(luma, { rect: { x: even(picture.codedWidth * 0.5), y: even(picture.codedHeight * 0.875), width: 2, height: 2 } });
      picture.close();
      const now = luma[0] > 128;
      if (now && !lit && began !== null) {
        // How old the picture is when it is shown, ms.
        window.ages.push(frame.presentationTime - frame.receiveTime);
        // From when the picture is on the screen: that a busy page hears of it later is not the interpreter's.
        const shown = Math.min(looked, frame.expectedDisplayTime ?? looked);
        tones = [...tones.slice(-9), ((shown - began + reaction) * RATE) / 1000];
      }
      lit = now;
      video.requestVideoFrameCallback((_, frame) => look(video, frame));
    };
    // How old sound is when the page plays it, ms, once a second.
    window.playouts = [];
    window.ages = [];
    setInterval(() => window.playouts.push(window.__boothcast.stats().playout_ms), 1000);
    const wait = setInterval(() => {
      const video = document.querySelector('video');
      if (!video?.videoWidth) return;
      clearInterval(wait);
      video.requestVideoFrameCallback((_, frame) => look(video, frame));
    }, 50);
  };
})();
