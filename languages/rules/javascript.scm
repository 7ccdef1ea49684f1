; What a reader of JavaScript and TypeScript should look at twice. @finding is what is shown, @name completes the rule's name.

((call_expression function: (identifier) @_f arguments: (arguments . [(string (string_fragment) @name) (template_string . (string_fragment) @name .)])) @finding
  (#eq? @_f "require") (#match? @name "^(node:)?(child_process|fs|os|https?|net|vm|worker_threads|cluster|dgram)(/.*)?$")
  (#set! rule "require"))
((call_expression function: (identifier) @_f arguments: (arguments . [(binary_expression) (identifier) (call_expression) (member_expression) (subscript_expression) (template_string (template_substitution))])) @finding
  (#eq? @_f "require")
  (#set! rule "require-computed"))
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
((variable_declarator value: (identifier) @name) @finding
  (#any-of? @name "eval" "Function" "require")
  (#set! rule "alias"))

((member_expression property: (property_identifier) @name) @finding
  (#eq? @name "__proto__")
  (#set! rule "name"))
((subscript_expression index: (string (string_fragment) @name)) @finding
  (#eq? @name "__proto__")
  (#set! rule "name"))
((member_expression object: (member_expression property: (property_identifier) @_of) property: (property_identifier) @name) @finding
  (#eq? @_of "constructor") (#eq? @name "constructor")
  (#set! rule "name"))
