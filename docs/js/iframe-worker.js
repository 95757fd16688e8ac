// Search on pages opened from disk. Browsers start no Worker from file://, so there, and only there, a hidden frame plays the worker:
// its script gets the frame's own postMessage and message events, and nothing else on the page notices.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "search";
      const start = () => {
        document.body.append(frame);
        const inner = frame.contentWindow, page = frame.contentDocument;
        inner.postMessage = data => this.receive(data);
        const script = page.createElement("script");
        script.src = new URL(url, location.href);
        script.onload = () => { this.inner = inner; this.waiting.splice(0).forEach(data => this.postMessage(data)); };
        page.head.append(script);
      };
      if (document.body) start(); else addEventListener("DOMContentLoaded", start);
      this.frame = frame;
    }
    receive(data) {
      const event = new MessageEvent("message", { data });
      this.dispatchEvent(event);
      if (this.onmessage) this.onmessage(event);
    }
    postMessage(data) {
      if (this.inner) setTimeout(() => this.inner.dispatchEvent(new this.inner.MessageEvent("message", { data })));
      else this.waiting.push(data);
    }
    terminate() { this.frame.remove(); }
  };
}
