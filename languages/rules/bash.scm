; What a reader of a shell script should look at twice. @finding is what is shown, @name completes the rule's name.

((command name: (command_name (word) @name)) @finding
  (#match? @name "^(.*/)?(rmdir|mkfs(\\..*)?|curl|wget|nc|ncat|netcat|chmod|chown|sudo|su|shutdown|reboot|poweroff|halt|init|systemctl|kill|killall|pkill|printenv|env|eval)$")
  (#set! rule "command"))
((command name: (command_name (word) @_f) argument: (word) @_a) @finding
  (#match? @_f "^(.*/)?rm$") (#match? @_a "^(-[a-zA-Z]*[rR][a-zA-Z]*|--recursive)$")
  (#set! rule "rm-recursive"))
((command name: (command_name (word) @_f) argument: (_) @_a) @finding
  (#match? @_f "^(.*/)?dd$") (#match? @_a "^[\"']?if=")
  (#set! rule "dd"))
((declaration_command "export" @name) @finding
  (#set! rule "command"))

; Not the devices that swallow or stand for the script's own streams.
((file_redirect destination: (_) @name) @finding
  (#match? @name "^[\"']?/dev/") (#not-match? @name "^[\"']?/dev/(null|stdout|stderr|stdin|fd/[0-9]+|tty)[\"']?$")
  (#set! rule "redirect"))

; Paths, but for those that are only printed.
((command name: (command_name) @_f argument: [(word) (string) (raw_string) (concatenation)] @name) @finding
  (#not-any-of? @_f "echo" "printf") (#match? @name "/etc/(passwd|shadow)([^a-zA-Z0-9]|$)|(~|\\$HOME|\\$\\{HOME\\}|/root|/home/[^/]+)/\\.ssh([^a-zA-Z0-9]|$)")
  (#set! rule "path"))
((file_redirect destination: (_) @name) @finding
  (#match? @name "/etc/(passwd|shadow)([^a-zA-Z0-9]|$)|(~|\\$HOME|\\$\\{HOME\\}|/root|/home/[^/]+)/\\.ssh([^a-zA-Z0-9]|$)")
  (#set! rule "path"))
