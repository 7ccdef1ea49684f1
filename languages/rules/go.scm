; What a reader of Go should look at twice. @finding is what is shown, @name completes the rule's name.

((import_spec path: (_) @name) @finding
  (#match? @name "^[\"`](os/exec|net|net/http|syscall|unsafe|plugin|golang\\.org/x/sys/.*)[\"`]$")
  (#set! rule "import"))
((selector_expression operand: (identifier) @_of field: (field_identifier) @name) @finding
  (#eq? @_of "exec") (#any-of? @name "Command" "CommandContext")
  (#set! rule "exec"))
((selector_expression operand: (identifier) @_of field: (field_identifier) @name) @finding
  (#eq? @_of "os") (#any-of? @name "Remove" "RemoveAll" "StartProcess")
  (#set! rule "os"))
((selector_expression operand: (identifier) @_of field: (field_identifier) @name) @finding
  (#eq? @_of "net") (#match? @name "^Dial")
  (#set! rule "net"))
((selector_expression operand: (identifier) @_of field: (field_identifier) @name) @finding
  (#eq? @_of "syscall")
  (#set! rule "syscall"))
((selector_expression operand: (identifier) @_of field: (field_identifier) @name) @finding
  (#eq? @_of "unsafe")
  (#set! rule "unsafe"))
((qualified_type package: (package_identifier) @_of name: (type_identifier) @name) @finding
  (#any-of? @_of "unsafe" "syscall")
  (#set! rule "unsafe"))

; By another name, or by none.
((import_spec name: [(package_identifier) (dot)] path: (_) @name) @finding
  (#match? @name "^[\"`]os[\"`]$")
  (#set! rule "alias"))
((import_spec path: (_) @name) @finding
  (#match? @name "^[\"`]C[\"`]$")
  (#set! rule "import"))
