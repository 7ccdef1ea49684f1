; What TypeScript has beside JavaScript: import fs = require("fs").

((import_require_clause source: (string (string_fragment) @name)) @finding
  (#match? @name "^(node:)?(child_process|fs|os|https?|net|vm|worker_threads|cluster|dgram)(/.*)?$")
  (#set! rule "require"))

; A type says nothing about what is done.
((member_expression object: [
    (parenthesized_expression (as_expression (identifier) @_of))
    (non_null_expression (identifier) @_of)] property: (property_identifier) @name) @finding
  (#eq? @_of "process") (#any-of? @name "env" "exit" "kill" "binding" "dlopen")
  (#set! rule "process"))
((member_expression object: (parenthesized_expression (as_expression (identifier) @_of)) property: (property_identifier) @name) @finding
  (#any-of? @_of "globalThis" "global" "window") (#any-of? @name "eval" "Function" "process" "require")
  (#set! rule "global"))
([(as_expression (identifier) @name) (non_null_expression (identifier) @name)] @finding
  (#any-of? @name "eval" "require")
  (#set! rule "alias"))
