; What TypeScript has beside JavaScript: import fs = require("fs").

((import_require_clause source: (string (string_fragment) @name)) @finding
  (#match? @name "^(node:)?(child_process|fs|os|https?|net|vm|worker_threads|cluster|dgram)(/.*)?$")
  (#set! rule "require"))
