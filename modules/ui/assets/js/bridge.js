// The one component through which our scripts call Python: drafts, pictures, token counts. Built on gr.HTML's
// `server` functions and events (modules/ui/parts/bridge.py), so Gradio's login guards it like everything else.

const { debounce, blobToBase64, base64ToBlob } = await import(`./dom.js${new URL(import.meta.url).search}`);

const DRAFT_AFTER_MS = 500;
const DRAFT_GIVEN_UP_MS = 15_000; // a save that was not answered by then stands in nobody's way

export function createBridge() {
  const config = {}; // settings that scripts need; filled when the component attaches
  let server = null;
  let trigger = null;
  let attached;
  const ready = new Promise((resolve) => { attached = resolve; });
  // One save at a time, so that a slow line never carries two and the last one wins.
  let saving = 0; // since when
  let isStale = false; // something changed while a save was under way
  const draftSoon = debounce(DRAFT_AFTER_MS, saveDraft);

  function saveDraft() {
    if (saving && Date.now() - saving < DRAFT_GIVEN_UP_MS) { isStale = true; return; }
    saving = Date.now();
    isStale = false;
    trigger("draft");
  }

  async function call(name, values) {
    await ready;
    const answer = await server[name](values);
    if (answer?.error) throw new Error(answer.error);
    return answer;
  }

  return {
    config,
    attach(parts) {
      ({ server, trigger } = parts);
      Object.assign(config, parts.props.value);
      attached();
      // Values live in Gradio's client; any sign of editing asks it to send them all, once things are quiet.
      for (const kind of ["input", "change", "click", "keyup"]) {
        document.addEventListener(kind, (event) => { if (event.isTrusted && event.target.closest?.(".gradio-container")) draftSoon(); }, { capture: true, passive: true });
      }
      document.addEventListener("visibilitychange", () => { if (document.hidden && draftSoon.isPending()) draftSoon.now(); });
    },
    readSettings: async () => Object.assign(config, await call("get_script_settings", {})),
    draftSoon,
    draftSaved() { saving = 0; if (isStale) saveDraft(); },
    isDraftKept: () => !draftSoon.isPending() && !saving,
    forgetsDraft() { trigger = () => {}; }, // the page is about to be loaded anew, without its values
    putPicture: async (blob) => (await call("put_picture", { data: await blobToBase64(blob) })).sha256,
    getPicture: async (sha256) => {
      const { data } = await call("get_picture", { sha256 });
      return data ? base64ToBlob(data) : null;
    },
    putDocument: (name, document) => call("put_document", { name, document }),
    getDocument: async (name) => (await call("get_document", { name })).document,
    styles: async () => call("list_styles", {}),
    save_style: async (style) => call("save_style", style),
    delete_style: async (style) => call("delete_style", style),
    promptNames: async () => call("prompt_names", {}),
    readInfotext: async (data) => call("read_infotext", { data }),
    localization: async () => call("get_localization", {}),
    openFolder: async (what) => call("open_folder", what),
    countTokens: async (texts) => call("count_tokens", texts),
  };
}
