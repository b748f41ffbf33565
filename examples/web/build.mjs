// Builds the page that `zoo demo` fills: one HTML file with its style and script inside, allowed by their hashes, and
// beside it onnxruntime's WebAssembly, compressed. Same sources, same pages: the test builds them again and compares.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const FOLDER = process.argv[2] ?? "../../pipelines/publishing/demo_page";
const RUNTIMES = {
  // Half the size, and faster on the processor.
  wasm: { package: "onnxruntime-web/wasm", binary: "ort-wasm-simd-threaded.wasm" },
  webgpu: { package: "onnxruntime-web/webgpu", binary: "ort-wasm-simd-threaded.asyncify.wasm" },
};

const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

mkdirSync(FOLDER, { recursive: true });
for (const [name, runtime] of Object.entries(RUNTIMES)) {
  const bundled = await build({
    entryPoints: ["src/main.ts"],
    bundle: true,
    minify: true,
    legalComments: "inline", // onnxruntime's license
    format: "iife", // a page that lies in a folder may not load modules
    target: "es2022",
    alias: { "onnxruntime-web": runtime.package },
    define: { WEBGPU: String(name === "webgpu") },
    write: false,
    logLevel: "warning",
  });
  const script = bundled.outputFiles[0].text;
  if (/<\/script|<!--/i.test(script)) throw new Error("the script would end its own element");
  const style = readFileSync("src/page.css", "utf8");
  // The page fetches nothing: it contains the models and the runtime. Images are those that it contains, and those
  // that its reader adds.
  const policy = [
    "default-src 'none'",
    `script-src ${hash(script)} 'wasm-unsafe-eval'`,
    `style-src ${hash(style)}`,
    "img-src data: blob:",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  const page = readFileSync("src/page.html", "utf8")
    .replace("%POLICY%", () => policy)
    .replace("%STYLE%", () => style)
    .replace("%SCRIPT%", () => script);
  writeFileSync(`${FOLDER}/${name}.html`, page);
  const packed = gzipSync(readFileSync(`node_modules/onnxruntime-web/dist/${runtime.binary}`), { level: 9 });
  writeFileSync(`${FOLDER}/${name}.wasm.gz`, packed);
}
