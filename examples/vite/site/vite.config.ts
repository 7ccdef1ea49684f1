import preact from "@preact/preset-vite";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [preact()],
  // Whether a small image that two files refer to is inlined otherwise depends on which of them is read first.
  build: { assetsInlineLimit: 0 },
});
