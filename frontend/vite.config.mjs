import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vite";

const OUT = "../app/page/dist";

/** What the build is made from; tests/page/test_build.py makes the same digest without node. */
const SOURCES = ["index.html", "package-lock.json", "package.json", "public", "src", "tsconfig.json", "vite.config.mjs"];

function filesBelow(path) {
  const entries = readdirSync(path, { withFileTypes: true });
  return entries.flatMap((e) => (e.isDirectory() ? filesBelow(`${path}/${e.name}`) : [`${path}/${e.name}`]));
}

function digest() {
  const files = SOURCES.flatMap((s) => (/\./.test(s) ? [s] : filesBelow(s))).sort();
  const lines = files.map((f) => `${createHash("sha256").update(readFileSync(f)).digest("hex")}  ${f}\n`);
  return createHash("sha256").update(lines.join("")).digest("hex");
}

export default defineConfig({
  base: "./",
  build: {
    outDir: OUT,
    emptyOutDir: true,
    assetsDir: "page",
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0,
    rollupOptions: {
      output: {
        entryFileNames: "page/page.js",
        chunkFileNames: "page/[name].js",
        assetFileNames: "page/page[extname]",
      },
    },
  },
  plugins: [
    {
      name: "digest-of-sources",
      closeBundle() {
        writeFileSync(join(OUT, "sources.sha256"), `${digest()}\n`);
      },
    },
  ],
});
