// The pages about clips: see docs/gallery.md.
const Page = () => globalThis.React.createElement("p", null, "Kling clips");
globalThis["Kling clips"] = globalThis["Kling clip"] = globalThis["Kling clips of this Dag"] = globalThis.AirflowPlugin = Page;
