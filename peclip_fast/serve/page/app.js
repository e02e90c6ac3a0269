"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const views = ["enter", "send", "camera", "work", "result"];
  let about = null;  // what the server says of itself
  let job = null;  // the address of the job that is shown
  let shown = null;  // its result
  let upload = null;  // the request that sends a file
  let at = 0;  // the moment that is shown, in seconds
  let asked = null;  // the moment that the video was last sent to

  // ---- what is on the page

  const element = (name, text = "", properties = {}) =>
    Object.assign(document.createElement(name), { textContent: text }, properties);

  const view = (name) => {
    for (const other of views) byId(other).hidden = other !== name;
    byId(`${name}-title`).focus();
  };

  const problem = (text) => {
    byId("problem").textContent = text;
    byId("problem").hidden = !text;
  };

  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  const clock = (time) => {
    const tenths = Math.round(10 * Math.abs(time)), seconds = Math.floor(tenths / 10);
    const two = (n) => String(n).padStart(2, "0");
    const minutes = Math.floor(seconds / 60) % 60, hours = Math.floor(seconds / 3600);
    return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(seconds % 60)}.${tenths % 10}`;
  };

  const colour = (name) => `var(--k${about.classes.indexOf(name) % 8})`;

  const swatch = (name) => {
    const box = element("span", "", { className: "swatch" });
    box.style.background = name ? colour(name) : "none";
    return box;
  };

  // ---- the server

  class Refused extends Error {
    constructor(status, text) {
      super(text);
      this.status = status;
    }
  }

  const reason = (status, body) => {
    try {
      return JSON.parse(body).detail || `The server answered ${status}.`;
    } catch {
      return body || `The server answered ${status}.`;
    }
  };

  const get = async (path, options = {}) => {
    let answer;
    try {
      answer = await fetch(path, options);
    } catch {
      throw new Refused(0, "The server can't be reached.");
    }
    if (!answer.ok) throw new Refused(answer.status, reason(answer.status, await answer.text()));
    return answer;
  };

  const told = (error) => {
    if (error.status === 401) view("enter");
    else problem(error.message);
  };

  const enter = (token) =>
    get("/api/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });

  // ---- sending

  const sizes = () => `Up to ${about.limits.megabytes} MB and ${about.limits.seconds} seconds. `
    + "The file is removed from the server as soon as there is a result.";

  const isText = async (blob) => {
    const head = new Uint8Array(await blob.slice(0, 512).arrayBuffer());
    return head.every((byte) => byte >= 9);  // videos begin with zeros and the like
  };

  const send = async (blob) => {
    problem("");
    if (await isText(blob)) {
      problem(blob.size ? "This is a text, not a video." : "This file is empty.");
      return;
    }
    if (blob.size > about.limits.megabytes * 1e6) {
      problem(`This file has ${(blob.size / 1e6).toFixed(0)} MB; at most ${about.limits.megabytes} are taken.`);
      return;
    }
    view("work");
    progress("Sending the video", 0);
    upload = new XMLHttpRequest();
    upload.open("POST", "/api/jobs");
    upload.setRequestHeader("Content-Type", blob.type || "application/octet-stream");
    upload.upload.onprogress = (event) => {
      if (event.lengthComputable) progress("Sending the video", event.loaded / event.total);
    };
    upload.upload.onload = () => progress("Looking at the file", null);
    upload.onerror = () => { upload = null; view("send"); problem("The server can't be reached."); };
    upload.onload = () => {
      const { status, responseText } = upload;
      upload = null;
      if (status !== 202) {
        view("send");
        told(new Refused(status, reason(status, responseText)));
        return;
      }
      follow(JSON.parse(responseText).id);
    };
    upload.send(blob);
  };

  const progress = (text, share) => {
    if (byId("step").textContent !== text) byId("step").textContent = text;
    if (share === null) byId("bar").removeAttribute("value");
    else byId("bar").value = share;
  };

  // ---- waiting

  const follow = (id) => {
    job = `/api/jobs/${id}`;
    history.replaceState(null, "", `#job=${id}`);
    view("work");
    progress("Waiting", null);
    look(job);
  };

  const look = async (mine) => {
    let state;
    try {
      state = await (await get(mine)).json();
    } catch (error) {
      if (mine !== job) return;
      if (error.status && error.status !== 503) {
        leave();
        told(error);
      } else {  // the job is still there when the server is
        progress(error.status ? "The server is busy; trying again"
          : "The server can't be reached; trying again", null);
        setTimeout(() => look(mine), 2000);
      }
      return;
    }
    if (mine !== job) return;
    if (state.state === "done") { show(state); return; }
    if (state.state === "failed") {
      leave();
      problem(`The video couldn't be analyzed: ${state.error}`);
      return;
    }
    if (state.state === "waiting") {
      progress(state.ahead ? `Waiting: ${state.ahead} ${state.ahead > 1 ? "videos come" : "video comes"} first` : "Waiting", null);
    } else {
      const share = state.frames ? state.frame / state.frames : null;
      progress(state.step === "drawing" ? "Drawing the video" : "Looking for faces and what they show",
        share === null ? null : state.step === "drawing" ? 0.8 + 0.2 * share : 0.8 * share);
    }
    setTimeout(() => look(mine), 400);
  };

  // Back to the beginning.
  const leave = () => {
    job = shown = null;
    byId("video").removeAttribute("src");
    byId("video").load();
    history.replaceState(null, "", location.pathname);
    view("send");
  };

  const remove = async () => {
    const mine = job;
    if (upload) { upload.abort(); upload = null; }
    leave();
    if (mine) await get(mine, { method: "DELETE" }).catch((error) => error.status === 404 || told(error));
  };

  // ---- the result

  const show = async (state) => {
    shown = state.result;
    at = shown.start;
    const people = shown.tracks.length;
    byId("summary").textContent = `${people} ${people === 1 ? "face" : "faces"} followed in ${clock(shown.end - shown.start)}, `
      + `${shown.frames} frames, ${shown.frames_without_face} of them without a face`;
    byId("notes").replaceChildren(...shown.notes.map((note) => element("li", note)));
    byId("missing").hidden = true;
    byId("video").hidden = false;
    byId("video").src = `${job}/video`;
    byId("legend").replaceChildren(...shown.classes.map((name) => {
      const line = element("li");
      line.append(swatch(name), name);
      return line;
    }));
    byId("people").hidden = !people;
    tabulate();
    const link = (text, path, name) => {
      const line = element("li");
      line.append(element("a", text, { href: job + path, download: name }));
      return line;
    };
    byId("downloads").replaceChildren(
      link("Faces in every frame (CSV)", "/csv?table=frames", "frames.csv"),
      link("Windows (CSV)", "/csv?table=windows", "windows.csv"),
      link("Tracks (CSV)", "/csv?table=tracks", "tracks.csv"),
      link("Everything but the frames (JSON)", "", "result.json"),
      link(`Video with the results (${shown.video.split(".").pop().toUpperCase()})`, "/video", shown.video),
    );
    const minutes = Math.max(1, Math.round(state.expires_in / 60));
    byId("expires").textContent = `The server removes all of this in ${minutes} ${minutes > 1 ? "minutes" : "minute"}.`;
    byId("strip").hidden = true;
    byId("explaining").textContent = "";
    const timeline = byId("timeline");
    timeline.setAttribute("aria-valuemin", shown.start.toFixed(1));
    timeline.setAttribute("aria-valuemax", shown.end.toFixed(1));
    try {
      const text = await (await get(`${job}/timeline`)).text();
      const svg = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
      timeline.replaceChildren(document.importNode(svg, true));
    } catch (error) {
      told(error);
    }
    view("result");
    moment();
  };

  const tabulate = () => {
    byId("people-head").replaceChildren(...["track", "from", "to", "shows mostly", ...shown.classes].map(
      (name) => element("th", name, { scope: "col" })));
    byId("people-rows").replaceChildren(...shown.tracks.map((track) => {
      const row = element("tr");
      row.append(...[track.track, clock(track.start), clock(track.end), track.prediction || "too short",
        ...shown.classes.map((name) => track.probabilities ? percent(track.probabilities[name]) : "")].map(
        (text) => element("td", String(text))));
      return row;
    }));
    byId("track").replaceChildren(...shown.tracks.filter((track) => track.windows.length).map(
      (track) => element("option", String(track.track), { value: track.track })));
    fillWindows();
  };

  const trackChosen = () => shown.tracks.find((track) => track.track === Number(byId("track").value));

  const fillWindows = () => {
    const track = trackChosen();
    byId("explain").disabled = !track;
    byId("window").replaceChildren(...(track ? track.windows : []).map((one) => element("option",
      `${clock(one.start)} to ${clock(one.end)}: ${one.prediction} ${percent(one.probabilities[one.prediction])}`,
      { value: one.window })));
  };

  const windowHere = () => {
    const track = trackChosen();
    if (!track) return;
    const middle = (one) => Math.abs((one.start + one.end) / 2 - at);
    const best = track.windows.reduce((a, b) => middle(b) < middle(a) ? b : a);
    byId("window").value = best.window;
  };

  const explain = async () => {
    const track = trackChosen(), one = track.windows[Number(byId("window").value)];
    byId("explain").disabled = true;
    byId("explaining").textContent = "Drawing the explanation";
    try {
      const answer = await get(`${job}/explain?track=${track.track}&window=${one.window}`);
      const image = byId("strip-image");
      if (image.src) URL.revokeObjectURL(image.src);
      image.src = URL.createObjectURL(await answer.blob());
      const words = shown.classes.map((name) => `${name} ${percent(one.probabilities[name])}`).join(", ");
      image.alt = `Frames of the window with the places where the model looks, and its probabilities frame by frame. At the end: ${words}.`;
      byId("strip-text").textContent = `Track ${track.track}, ${clock(one.start)} to ${clock(one.end)}: ${words}.`;
      byId("strip").hidden = false;
      byId("explaining").textContent = "The explanation is below.";
    } catch (error) {
      byId("explaining").textContent = error.message;
    }
    byId("explain").disabled = false;
  };

  // ---- the moment

  const during = (spans, time) => spans.find((span) => time >= span[0] && time < span[1]);

  const now = (track) => {
    if (at < track.start || at > track.end) return null;
    const segment = track.segments.find((one) => at >= one.start && at < one.end);
    const hidden = during(track.hidden, at);
    if (!segment) return { text: hidden ? "hidden" : "not enough frames", share: "", name: null };
    return { text: segment.prediction + (hidden ? " (hidden)" : ""), name: segment.prediction,
      share: percent(segment.probability) };
  };

  const moment = () => {
    const share = Math.min(Math.max((at - shown.start) / (shown.end - shown.start), 0), 1);
    const head = byId("timeline").querySelector(".head");
    for (const end of head ? ["x1", "x2"] : []) head.setAttribute(end, share * shown.width);
    byId("clock").textContent = clock(at);
    const lines = [], words = [];
    for (const track of shown.tracks) {
      const found = now(track);
      if (!found) continue;
      const line = element("li"), what = element("span");
      what.append(swatch(found.name), found.text);
      line.append(element("span", `Track ${track.track}`), what, element("span", found.share));
      lines.push(line);
      words.push(`track ${track.track} ${found.text} ${found.share}`);
    }
    if (!lines.length) lines.push(element("li", "nobody", { className: "away" }));
    byId("now").replaceChildren(...lines);
    byId("timeline").setAttribute("aria-valuenow", at.toFixed(1));
    byId("timeline").setAttribute("aria-valuetext", `${clock(at)}: ${words.join(", ") || "nobody"}`);
  };

  const seek = (time) => {
    at = asked = Math.min(Math.max(time, shown.start), shown.end);
    if (!byId("video").hidden) byId("video").currentTime = Math.max(0, at);
    moment();
  };

  const video = byId("video"), timeline = byId("timeline");
  const here = () => video.currentTime;
  const run = () => {
    if (!shown || video.paused) return;
    at = here();
    moment();
    requestAnimationFrame(run);
  };
  video.addEventListener("play", run);
  video.addEventListener("seeked", () => {
    if (!shown || !video.paused || (asked !== null && Math.abs(here() - asked) < 0.2)) return;
    at = here();
    moment();
  });
  video.addEventListener("error", () => {
    if (!video.hasAttribute("src")) return;
    video.hidden = true;
    byId("missing").hidden = false;
  });

  const pointed = (event) => {
    const box = timeline.querySelector("svg").getBoundingClientRect();
    seek(shown.start + (shown.end - shown.start) * (event.clientX - box.left) / box.width);
  };
  timeline.addEventListener("click", pointed);
  timeline.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" && event.buttons & 1) pointed(event);
  });
  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
  timeline.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in steps) seek(at + steps[event.key] * (event.shiftKey ? 0.1 : 1));
    else if (event.key === "Home") seek(shown.start);
    else if (event.key === "End") seek(shown.end);
    else if (event.key === " " && !video.hidden) {
      if (video.paused) video.play(); else video.pause();
    } else return;
    event.preventDefault();
  });

  // ---- the camera

  let stream = null, recorder = null, ticking = null;

  const openCamera = async () => {
    problem("");
    if (!navigator.mediaDevices) {
      problem("Browsers give pages the camera only on this computer itself or over HTTPS.");
      return;
    }
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } }, audio: false });
    } catch (error) {
      problem(error.name === "NotAllowedError" ? "The browser wasn't allowed to use the camera."
        : "No camera was found, or another program uses it.");
      return;
    }
    byId("recorded").textContent = "";
    byId("start").hidden = false;
    byId("stop").hidden = true;
    view("camera");
    byId("preview").srcObject = stream;
    byId("preview").play();
  };

  const closeCamera = () => {
    clearInterval(ticking);
    if (recorder) {
      recorder.onstop = null;
      if (recorder.state !== "inactive") recorder.stop();
      recorder = null;
    }
    if (stream) stream.getTracks().forEach((track) => track.stop());
    stream = null;
    byId("preview").srcObject = null;
  };

  const record = () => {
    const kinds = ["video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm", "video/mp4"];
    const parts = [], kind = kinds.find((one) => MediaRecorder.isTypeSupported(one));
    recorder = new MediaRecorder(stream, kind ? { mimeType: kind } : {});
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = () => {
      const type = recorder.mimeType.split(";")[0];
      closeCamera();
      send(new Blob(parts, { type }));
    };
    recorder.start(1000);
    const began = performance.now(), most = Math.min(120, about.limits.seconds);
    ticking = setInterval(() => {
      const seconds = (performance.now() - began) / 1000;
      byId("recorded").textContent = clock(seconds);
      if (seconds > most - 1) recorder.stop();
    }, 100);
    byId("start").hidden = true;
    byId("stop").hidden = false;
    byId("stop").focus();
  };

  // ---- what one can press

  const drop = byId("drop");
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", () => {
    const [file] = byId("file").files;
    byId("file").value = "";
    if (file) send(file);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    window.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && !byId("send").hidden && event.dataTransfer.files.length) {
        send(event.dataTransfer.files[0]);
      }
    });
  }
  byId("record").addEventListener("click", openCamera);
  byId("start").addEventListener("click", record);
  byId("stop").addEventListener("click", () => recorder.stop());
  byId("leave").addEventListener("click", () => { closeCamera(); view("send"); });
  byId("cancel").addEventListener("click", remove);
  byId("delete").addEventListener("click", remove);
  byId("again").addEventListener("click", () => { problem(""); leave(); });
  byId("track").addEventListener("change", fillWindows);
  byId("here").addEventListener("click", windowHere);
  byId("explain").addEventListener("click", explain);
  byId("enter-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    problem("");
    try {
      await enter(byId("token").value);
      byId("token").value = "";
      begin();
    } catch (error) {
      problem(error.message);
    }
  });
  window.addEventListener("pagehide", closeCamera);

  const begin = async () => {
    const given = new URLSearchParams(location.hash.slice(1));
    try {
      if (given.has("token")) {
        history.replaceState(null, "", location.pathname);
        await enter(given.get("token"));
      }
      about = await (await get("/api/about")).json();
    } catch (error) {
      told(error);
      return;
    }
    byId("model").textContent = `${about.title}: ${about.classes.join(", ")}`;
    byId("limits").textContent = sizes();
    byId("seconds").textContent = `a window of ${about.window} seconds`;
    byId("licences").textContent = Object.entries(about.licences).map(
      ([name, licence]) => `Faces by ${name}; licence of its weights: ${licence}.`).join(" ");
    if (given.has("job")) follow(given.get("job"));
    else view("send");
  };

  begin();
})();
