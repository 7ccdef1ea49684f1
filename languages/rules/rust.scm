; What a reader of Rust should look at twice. @finding is what is shown, @name completes the rule's name. What stands in
; the arguments of a macro is not parsed by this grammar: it has words alone there.

((unsafe_block) @finding (#set! rule "unsafe"))
((function_modifiers "unsafe") @finding (#set! rule "unsafe"))
((impl_item "unsafe") @finding (#set! rule "unsafe"))

([(scoped_identifier name: (identifier) @name) (scoped_type_identifier name: (type_identifier) @name)] @finding
  (#match? @finding "^(::\\s*)?(std\\s*::\\s*)?process\\s*::\\s*Command$")
  (#set! rule "process"))
((scoped_use_list path: (_) @_of list: (use_list (identifier) @name)) @finding
  (#match? @_of "^(::)?(std::)?process$") (#eq? @name "Command")
  (#set! rule "process"))
((use_wildcard (_) @name) @finding
  (#match? @name "^(::)?(std::)?process$")
  (#set! rule "process"))

((scoped_identifier name: (identifier) @name) @finding
  (#match? @finding "^(::)?(std\\s*::\\s*)?fs\\s*::\\s*remove_(file|dir|dir_all)$")
  (#set! rule "fs"))
((scoped_use_list path: (_) @_of list: (use_list (identifier) @name)) @finding
  (#match? @_of "^(::)?(std::)?fs$") (#match? @name "^remove_")
  (#set! rule "fs"))

; By another name.
((use_as_clause path: (_) @name) @finding
  (#match? @name "^(::\\s*)?(std\\s*::\\s*)?(process|fs)$")
  (#set! rule "alias"))

((token_tree (identifier) @_of . (identifier) @name) @finding
  (#eq? @_of "process") (#eq? @name "Command")
  (#set! rule "process"))
((token_tree (identifier) @_of . (identifier) @name) @finding
  (#eq? @_of "fs") (#match? @name "^remove_(file|dir|dir_all)$")
  (#set! rule "fs"))
((token_tree "unsafe" @finding)
  (#set! rule "unsafe"))
