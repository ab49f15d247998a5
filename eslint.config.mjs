// The lint of the page's modules: `make lint-js`. It needs Node.js and npx, which fetches eslint once; `make check` and
// CI do without. No plugins and no package.json: rules of eslint itself, and the names of the browser that are used.
const names = ["AbortController", "CustomEvent", "DOMException", "Event", "EventTarget", "File", "FileReader", "FormData", "Image",
  "ResizeObserver", "TextDecoderStream", "URL", "URLSearchParams", "Blob", "atob", "clearTimeout", "console", "createImageBitmap", "crypto",
  "document", "fetch", "history", "location", "navigator", "performance", "requestAnimationFrame", "sessionStorage",
  "setTimeout", "structuredClone", "window"];

export default [
  {
    files: ["vpmsearch/web/static/*.js"],
    languageOptions: { ecmaVersion: 2024, sourceType: "module", globals: Object.fromEntries(names.map((name) => [name, "readonly"])) },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "array-callback-return": "error", "constructor-super": "error", "consistent-return": "error", curly: ["error", "multi-line"],
      "default-case-last": "error", "dot-notation": "error", eqeqeq: "error", "for-direction": "error", "getter-return": "error",
      "no-alert": "error", "no-async-promise-executor": "error", "no-case-declarations": "error", "no-class-assign": "error",
      "no-compare-neg-zero": "error", "no-cond-assign": "error", "no-console": "error", "no-const-assign": "error",
      "no-constant-binary-expression": "error", "no-constructor-return": "error", "no-control-regex": "error",
      "no-debugger": "error", "no-dupe-args": "error", "no-dupe-class-members": "error", "no-dupe-else-if": "error",
      "no-dupe-keys": "error", "no-duplicate-case": "error", "no-duplicate-imports": "error", "no-empty": "error",
      "no-empty-pattern": "error", "no-eval": "error", "no-ex-assign": "error", "no-fallthrough": "error", "no-func-assign": "error",
      "no-global-assign": "error", "no-implied-eval": "error", "no-import-assign": "error", "no-inner-declarations": "error",
      "no-invalid-regexp": "error", "no-irregular-whitespace": "error", "no-loss-of-precision": "error", "no-new-func": "error",
      "no-obj-calls": "error", "no-param-reassign": "error", "no-promise-executor-return": "error", "no-redeclare": "error",
      "no-return-assign": ["error", "except-parens"], "no-self-assign": "error", "no-self-compare": "error", "no-shadow": "error",
      "no-sparse-arrays": "error", "no-template-curly-in-string": "error", "no-this-before-super": "error",
      "no-throw-literal": "error", "no-undef": "error", "no-unmodified-loop-condition": "error", "no-unreachable": "error",
      "no-unsafe-finally": "error", "no-unsafe-negation": "error", "no-unsafe-optional-chaining": "error",
      "no-unused-expressions": "error", "no-unused-vars": "error", "no-use-before-define": ["error", { functions: false, variables: false }],
      "no-useless-catch": "error", "no-useless-escape": "error", "no-useless-rename": "error", "no-var": "error",
      "object-shorthand": "error", "prefer-const": "error", "prefer-rest-params": "error", "prefer-template": "error",
      "require-atomic-updates": "off", "use-isnan": "error", "valid-typeof": "error", "max-len": ["off"],
    },
  },
];
