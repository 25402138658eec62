// The page's scripts: builds everything once and hands the parts to each other. Gradio's HTML components wait for
// `window.webuiReady` and attach themselves here; nothing searches Gradio's own DOM except by our element ids.

const search = new URL(import.meta.url).search; // the version, so that one page never mixes two releases' modules
const load = (file) => import(`./${file}${search}`);
const [{ createBridge }, { JobFeed }, { Panel }, { attachSteering }, { watchPrompts }, { watchKeys }, { localize }, { watchForever }, { watchPromptDrop }, { watchCompletion }, { watchSizes }, { applyLooks, keepAwake }] = await Promise.all(
  ["bridge.js", "jobs.js", "panel.js", "steering.js", "prompts.js", "keys.js", "localization.js", "forever.js", "prompt_drop.js", "complete.js", "sizes.js", "looks.js"].map(load),
);

const { toast } = await load("dom.js");

const SOURCE_TABS = ["img2img", "inpaint"];

const bridge = createBridge();
const feed = new JobFeed();
const panels = new Map(); // tab → Panel
const pictures = new Map(); // element id → PictureEditor
const cards = new Map(); // tab → CardsPanel
const waiting = new Map(); // element id → Blob for an editor whose tab has not been opened yet

function followSettings() {
  applyLooks(bridge.config);
  for (const panel of panels.values()) panel.drawFolder();
}

const lookAtSettings = () => bridge.readSettings().then(followSettings, (error) => toast(error.message, "error"));

const webui = {
  config: bridge.config,
  attachBridge(parts) {
    bridge.attach(parts);
    followSettings();
    lookAtSettings(); // those that came with the page are from the program's start
  },

  attachPanel({ tab, element, props, watch, trigger }) {
    const host = element.querySelector(".webui-panel");
    const panel = new Panel({ tab, host, feed, config: bridge.config, trigger, send: webui.send, workOn: webui.workOn, openFolder: bridge.openFolder });
    panels.set(tab, panel);
    panel.show(props.value);
    watch("value", () => panel.show(props.value));
  },

  attachSteering({ tab, element }) {
    attachSteering({ tab, host: element.querySelector(".webui-steering"), feed, panels, config: bridge.config });
  },

  async attachPicture({ name, modes, element, props, watch }) {
    const { PictureEditor } = await load("editor/editor.js");
    const others = SOURCE_TABS.filter((tab) => `${tab}_image` !== name);
    const copyTo = SOURCE_TABS.length === others.length ? {} : Object.fromEntries(others.map((tab) => [tab, (blob) => webui.copyTo(tab, blob)]));
    const editor = new PictureEditor({
      name, modes, copyTo, host: element.querySelector(".webui-picture"), store: bridge, config: bridge.config,
      onChange: (value) => { props.value = value; bridge.draftSoon(); },
    });
    pictures.set(name, editor);
    document.dispatchEvent(new CustomEvent("webui-picture"));
    const delivered = waiting.get(name);
    waiting.delete(name);
    if (delivered) editor.load(delivered);
    else await editor.restore(props.value);
    watch("value", () => editor.restore(props.value));
  },

  async attachPngInfo({ element, server, trigger }) {
    const { attachPngInfo } = await load("pnginfo.js");
    attachPngInfo({ host: element.querySelector(".webui-pnginfo"), server, trigger, deliver: webui.deliver });
  },

  async attachExtras({ element, server }) {
    const { attachExtras } = await load("extras.js");
    const steer = (host) => attachSteering({ tab: "extras", host, feed, panels, config: bridge.config });
    await attachExtras({ host: element.querySelector(".webui-extras"), server, bridge, panels, pictures, waiting, steer });
  },

  async attachScripts({ tab, scripts, element, props, watch }) {
    const { attachScripts } = await load("scripts.js");
    attachScripts({ tab, scripts, host: element.querySelector(".webui-scripts"), props, watch, draftSoon: bridge.draftSoon });
  },

  async attachBatch({ tab, hasMasks, element, props, watch }) {
    const { attachBatch } = await load("batch.js");
    const batch = attachBatch({ tab, hasMasks, host: element.querySelector(".webui-batch"), props, watch, bridge });
    const join = () => { if (pictures.has(`${tab}_image`)) batch.join(pictures.get(`${tab}_image`)); };
    document.addEventListener("webui-picture", join);
    join();
  },

  async editStyles(parts) {
    const { editStyles } = await load("styles.js");
    await editStyles({ ...parts, bridge });
  },

  async attachSettings({ element, server, trigger }) {
    const { attachSettings } = await load("settings.js");
    const saved = (...said) => { trigger(...said); lookAtSettings(); };
    await attachSettings({ host: element.querySelector(".webui-settings-page"), server, trigger: saved });
  },

  async attachModels({ element, server }) {
    const { attachModels } = await load("models.js");
    await attachModels({ host: element.querySelector(".webui-models"), server });
  },

  async attachExtensions({ element, server }) {
    const { attachExtensions } = await load("extensions.js");
    await attachExtensions({ host: element.querySelector(".webui-extensions"), server });
  },

  async attachGallery({ element, trigger }) {
    const { Gallery } = await load("gallery.js");
    webui.gallery = new Gallery({ host: element.querySelector(".webui-gallery"), trigger, send: webui.send, feed, config: bridge.config });
  },

  async attachCards({ tab, order, element, trigger }) {
    const { CardsPanel } = await load("cards.js");
    cards.set(tab, new CardsPanel({ tab, order, host: element.querySelector(".webui-cards"), trigger, selectedImage: () => webui.selectedImage(tab) }));
  },

  async attachQueue({ element, trigger }) {
    const { QueuePanel } = await load("queue.js");
    webui.queue = new QueuePanel({ host: element.querySelector(".webui-queue"), trigger, feed, pictures });
  },

  // Bring a picture (Blob) to a source, now or when its tab is opened.
  deliver(name, blob) {
    const editor = pictures.get(name);
    if (editor) return editor.load(blob);
    waiting.set(name, blob);
    return Promise.resolve(true);
  },

  // Another source tab gets a picture, and is opened.
  async copyTo(tab, blob) {
    const opener = document.getElementById(`tab_${tab}-button`);
    if (!opener) { toast("that tab is hidden; Settings, User interface, shows it again", "error"); return; }
    opener.click();
    await webui.deliver(`${tab}_image`, blob);
  },

  // The value of a source with its newest strokes; `otherwise` for an editor that was never opened.
  flushPicture: async (name, otherwise) => (pictures.has(name) ? pictures.get(name).flush() : otherwise),

  // A result becomes the source of its own tab, under the mask that is there.
  async workOn(tab, image) {
    await pictures.get(`${tab}_image`).loadKeepingMask(await (await fetch(image.url)).blob());
  },

  // Send a gallery picture to another tab: the picture itself travels here, prompts and sizes through `trigger`.
  async send({ target, image, trigger, everything = false }) {
    if (target !== "txt2img") webui.deliver(`${target}_image`, await (await fetch(image.url)).blob());
    trigger("send", { target, infotext: image.infotext, width: image.width, height: image.height, everything });
  },

  selectedImage: (tab) => panels.get(tab)?.selected ?? null,
  pictures,
  panels,
  cards,
  feed,
};

Object.assign(webui, watchSizes({ pictures }), { forgetsDraft: bridge.forgetsDraft, draftSaved: bridge.draftSaved, isDraftKept: bridge.isDraftKept });
window.webui = webui;
watchPrompts(bridge);
watchPromptDrop(bridge);
watchCompletion(bridge);
localize(bridge);
watchKeys({ panels, feed, pictures });
keepAwake(feed, bridge.config);
watchForever({ panels, feed, config: bridge.config });
window.webuiIsReady(webui);
