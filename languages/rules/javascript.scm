; What a reader of JavaScript and TypeScript should look at twice. @finding is what is shown, @name completes the rule's name.

((call_expression function: (identifier) @_f arguments: (arguments . [(string (string_fragment) @name) (template_string . (string_fragment) @name .)])) @finding
  (#eq? @_f "require") (#match? @name "^(node:)?(child_process|fs|os|https?|net|vm|worker_threads|cluster|dgram)(/.*)?$")
  (#set! rule "require"))
((call_expression function: (identifier) @_f arguments: (arguments . [(binary_expression) (identifier) (call_expression) (member_expression) (subscript_expression) (template_string (template_substitution)) (string (escape_sequence))])) @finding
  (#eq? @_f "require")
  (#set! rule "require-computed"))
((call_expression function: (import) arguments: (arguments . [(binary_expression) (call_expression) (template_string (template_substitution)) (string (escape_sequence))])) @finding
  (#set! rule "import-computed"))
((call_expression function: (member_expression property: (property_identifier) @_f) arguments: (arguments . (string (string_fragment) @name))) @finding
  (#eq? @_f "require") (#match? @name "^(node:)?(child_process|fs|os|https?|net|vm|worker_threads|cluster|dgram)(/.*)?$")
  (#set! rule "require"))
((export_statement source: (string (string_fragment) @name)) @finding
  (#match? @name "^(node:)?(child_process|fs|os|https?|net|vm|worker_threads|cluster|dgram)(/.*)?$")
  (#set! rule "import"))
((import_statement source: (string (string_fragment) @name)) @finding
  (#match? @name "^(node:)?(child_process|fs|os|https?|net|vm|worker_threads|cluster|dgram)(/.*)?$")
  (#set! rule "import"))
((call_expression function: (import) arguments: (arguments . (string (string_fragment) @name))) @finding
  (#match? @name "^(node:)?(child_process|fs|os|https?|net|vm|worker_threads|cluster|dgram)(/.*)?$")
  (#set! rule "import"))

((member_expression object: (identifier) @_of property: (property_identifier) @name) @finding
  (#eq? @_of "process") (#any-of? @name "env" "exit" "kill" "binding" "dlopen")
  (#set! rule "process"))
((subscript_expression object: (identifier) @_of index: (string (string_fragment) @name)) @finding
  (#eq? @_of "process") (#any-of? @name "env" "exit" "kill" "binding" "dlopen")
  (#set! rule "process"))

((call_expression function: (identifier) @name) @finding
  (#any-of? @name "eval" "Function")
  (#set! rule "call"))
((new_expression constructor: (identifier) @name) @finding
  (#eq? @name "Function")
  (#set! rule "new"))
; What is not called by its name may be by another.
((variable_declarator value: (identifier) @name) @finding
  (#any-of? @name "eval" "Function" "require" "process")
  (#set! rule "alias"))
([
  (sequence_expression (identifier) @name) (array (identifier) @name) (pair value: (identifier) @name) (arguments (identifier) @name)
  (assignment_expression right: (identifier) @name) (return_statement (identifier) @name) (arrow_function body: (identifier) @name)
  (parenthesized_expression (identifier) @name) (ternary_expression consequence: (identifier) @name)
  (ternary_expression alternative: (identifier) @name) (binary_expression right: (identifier) @name)
] @finding
  (#any-of? @name "eval" "require")
  (#set! rule "alias"))
([(arguments (identifier) @name) (sequence_expression (identifier) @name)] @finding
  (#eq? @name "Function")
  (#set! rule "alias"))
((member_expression object: (identifier) @name property: (property_identifier) @_f) @finding
  (#any-of? @name "eval" "Function" "require") (#any-of? @_f "call" "apply" "bind")
  (#set! rule "alias"))

; The same by way of the global object.
((member_expression object: (identifier) @_of property: (property_identifier) @name) @finding
  (#any-of? @_of "globalThis" "global" "window") (#any-of? @name "eval" "Function" "process" "require")
  (#set! rule "global"))
((subscript_expression object: (identifier) @name index: [(binary_expression) (template_string) (string (escape_sequence)) (call_expression) (identifier)]) @finding
  (#any-of? @name "globalThis" "global" "window" "process")
  (#set! rule "computed"))
((subscript_expression object: (identifier) @_of index: (string (string_fragment) @name)) @finding
  (#any-of? @_of "globalThis" "global" "window") (#any-of? @name "eval" "Function" "process" "require")
  (#set! rule "global"))
; A letter by its number, in a name.
([(identifier) (property_identifier)] @finding
  (#match? @finding "\\\\u")
  (#set! rule "disguised"))

((member_expression property: (property_identifier) @name) @finding
  (#eq? @name "__proto__")
  (#set! rule "name"))
((subscript_expression index: (string (string_fragment) @name)) @finding
  (#eq? @name "__proto__")
  (#set! rule "name"))
((member_expression object: (member_expression property: (property_identifier) @_of) property: (property_identifier) @name) @finding
  (#eq? @_of "constructor") (#eq? @name "constructor")
  (#set! rule "name"))
((call_expression function: [
    (member_expression property: (property_identifier) @name)
    (subscript_expression index: (string (string_fragment) @name))]) @finding
  (#eq? @name "constructor")
  (#set! rule "call"))
