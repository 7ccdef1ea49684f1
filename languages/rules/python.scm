; What a reader of Python should look at twice. @finding is what is shown, @name completes the rule's name.

((import_statement name: [(dotted_name . (identifier) @name) (aliased_import name: (dotted_name . (identifier) @name))]) @finding
  (#any-of? @name "os" "subprocess" "sys" "shutil" "pathlib" "socket" "urllib" "requests" "httplib" "http" "ctypes" "pickle" "marshal" "importlib" "builtins")
  (#set! rule "import"))
((import_from_statement module_name: (dotted_name . (identifier) @name)) @finding
  (#any-of? @name "os" "subprocess" "sys" "shutil" "pathlib" "socket" "urllib" "requests" "httplib" "http" "ctypes" "pickle" "marshal" "importlib" "builtins")
  (#set! rule "import"))

((attribute object: (identifier) @_of attribute: (identifier) @name) @finding
  (#eq? @_of "os") (#match? @name "^(system|popen.*|exec.*|spawn.*|posix_spawn.*|remove|unlink|rmdir|removedirs|kill|killpg)$")
  (#set! rule "os"))
((attribute object: (identifier) @_of attribute: (identifier) @name) @finding
  (#eq? @_of "subprocess") (#any-of? @name "run" "call" "Popen" "check_call" "check_output" "getoutput" "getstatusoutput")
  (#set! rule "subprocess"))
((attribute object: (identifier) @_of attribute: (identifier) @name) @finding
  (#eq? @_of "shutil") (#any-of? @name "rmtree" "move")
  (#set! rule "shutil"))
((attribute object: (identifier) @_of attribute: (identifier) @name) @finding
  (#eq? @_of "pathlib") (#eq? @name "Path")
  (#set! rule "pathlib"))
((attribute object: (identifier) @_of attribute: (identifier) @name) @finding
  (#any-of? @_of "pickle" "marshal") (#any-of? @name "load" "loads" "Unpickler")
  (#set! rule "unpickle"))

((call function: (identifier) @name) @finding
  (#any-of? @name "eval" "exec" "compile" "open" "file" "globals" "locals" "vars" "dir" "getattr" "setattr" "delattr" "__import__")
  (#set! rule "call"))
; What is not called by its name may be by another.
((assignment right: (identifier) @name) @finding
  (#any-of? @name "eval" "exec" "compile" "getattr" "setattr" "delattr" "__import__")
  (#set! rule "alias"))
((argument_list (identifier) @name) @finding
  (#any-of? @name "eval" "exec" "__import__")
  (#set! rule "alias"))

((identifier) @name @finding
  (#any-of? @name "__builtins__" "__class__" "__bases__" "__base__" "__mro__" "__subclasses__" "__globals__")
  (#set! rule "name"))
([
  (list (identifier) @name) (tuple (identifier) @name) (set (identifier) @name) (expression_list (identifier) @name)
  (pair value: (identifier) @name) (keyword_argument value: (identifier) @name) (default_parameter value: (identifier) @name)
  (return_statement (identifier) @name) (lambda body: (identifier) @name) (conditional_expression (identifier) @name)
  (parenthesized_expression (identifier) @name) (named_expression value: (identifier) @name) (decorator (identifier) @name)
  (boolean_operator (identifier) @name)
] @finding
  (#any-of? @name "eval" "exec" "__import__")
  (#set! rule "alias"))
; Python takes a letter of another form for the plain one: PEP 3131. Full width, mathematical, and in circles.
((identifier) @finding
  (#match? @finding "[\\x{FF21}-\\x{FF5A}\\x{1D400}-\\x{1D7FF}\\x{2460}-\\x{24FF}\\x{2100}-\\x{214F}]")
  (#set! rule "disguised"))
